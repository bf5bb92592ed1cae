"""The entry point: finds the verb, reads its settings, runs it and turns what happens into an exit code.

Exit codes: 0 all went well, 1 a stage or a check failed, 2 bad input (nothing moved), 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from reflexarc.commands import Command, Example, Group, parse
from reflexarc.output import Output, error_block, error_document, shows_colour, to_json

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

# Verbs whose results are folders.
_FOLDERS = {"train": ("out",), "record": ("out",), "demo": ("out",)}
# Verbs that write their result, JSON, to a file.
_FILES = {"eval": ("out",), "bench": ("out",)}
VERBS: dict[str, Command | Group] = {
    "demo": Command(
        summary="Fly the quadrotor and move the arm in the twin, over ROS 2, and write a report.",
        config="reflexarc.demo:DemoConfig",
        run="reflexarc.demo:run",
        examples=(
            Example("reflexarc demo", "both systems, one after the other, with a window where there is one"),
            Example(
                "reflexarc demo --headless --seconds 5 --out /tmp/report",
                "a short one without a window; the report lands in /tmp/report",
            ),
        ),
        details=(
            "Writes report.html, plots, a video of each system and summary.json to the folder --out.\n"
            "With --json the summary is printed as well. Exit code 1 when a stage fails."
        ),
    ),
    "up": Command(
        summary="Bring a system up and keep it running until q or Ctrl-C.",
        config="reflexarc.up:UpConfig",
        run="reflexarc.up:run",
        examples=(
            Example("reflexarc up", "list the systems and their arguments"),
            Example("reflexarc up quadrotor robot:=twin", "fly the digital twin"),
            Example("reflexarc up arm robot:=twin headless:=true", "the arm, without a window"),
        ),
        details=(
            "The arguments are those of the launch file of the same name; both run one description.\n"
            "With --json every log line is one JSON object on a line of its own."
        ),
    ),
    "teleop": Command(
        summary="Move a running robot by keyboard, gamepad, SpaceMouse, leader arm or a page on a phone.",
        config="reflexarc.teleop:TeleopConfig",
        run="reflexarc.teleop:run",
        examples=(
            Example("reflexarc teleop keyboard", "a window whose keys move the only robot there is"),
            Example("reflexarc teleop terminal", "keys typed here, over SSH too"),
            Example("reflexarc teleop browser", "serves a page on this machine and shows its address"),
            Example(
                'reflexarc teleop so101_leader --options \'{"port": "/dev/ttyACM1"}\'',
                "a leader arm at that port",
            ),
            Example("reflexarc teleop", "shows the operator that the robot has"),
            Example("reflexarc teleop --release-stop", "releases a latched emergency stop"),
        ),
        details=(
            "Joins a system that `up` has brought up; `up SYSTEM teleop:=DEVICE` brings both up at once.\n"
            "Losing the device means hold, losing this process an emergency stop; Ctrl-C lets go in order."
        ),
    ),
    "vehicle": Command(
        summary="Arm, disarm, take off or land a vehicle that `up` has brought up.",
        config="reflexarc.vehicle:VehicleConfig",
        run="reflexarc.vehicle:run",
        examples=(
            Example("reflexarc vehicle arm", "arms the only vehicle there is, or says why it will not"),
            Example("reflexarc vehicle take-off", "climbs; then the reference begins"),
            Example("reflexarc vehicle land --namespace px4", "lands and disarms that vehicle"),
        ),
        details="Calls the services of robot_node, which answer when it has happened. Exit code 1 otherwise.",
    ),
    "train": Group(
        summary="Train a policy and write its policy folder.", commands="reflexarc.train:COMMANDS"
    ),
    "eval": Group(
        summary="Let a policy act in the twin for many seeds and count successes.",
        commands="reflexarc.eval:COMMANDS",
    ),
    "doctor": Command(
        summary="Check the machine, the wheels, the cards and the bindings; say how to mend each finding.",
        config="reflexarc.doctor:DoctorConfig",
        run="reflexarc.doctor:run",
        examples=(
            Example("reflexarc doctor", "everything, about ten seconds"),
            Example("reflexarc doctor --only cards bindings", "some checks only"),
            Example("reflexarc doctor --fix-hints", "also the commands that mend the findings, to copy"),
            Example("reflexarc doctor --json > doctor.json", "for machines and for bug reports"),
        ),
        details="Exit code 0 when no check failed, 1 otherwise. Warnings do not change it.",
    ),
    "bench": Group(
        summary="Measure, beside a reference in the same run, and print ratios.",
        commands="reflexarc.bench:COMMANDS",
    ),
    "serve": Group(
        summary="Let a policy think on this computer for a robot on another one.",
        commands="reflexarc.serve:COMMANDS",
    ),
    "replay": Command(
        summary="Do a policy's run again from its journal, and compare every command bit for bit.",
        config="reflexarc.replay:ReplayConfig",
        run="reflexarc.replay:run",
        examples=(
            Example("reflexarc replay journal/policy_000000.mcap", "with the policy that flew"),
            Example(
                "reflexarc replay journal/policy_000000.mcap --policy outputs/mine --json",
                "for machines, with a policy that lies elsewhere now",
            ),
        ),
        details=(
            "A journal is written by policy_node: reflexarc up arm journal:=journal. Exit code 1 when a\n"
            "command differs."
        ),
    ),
    "results": Command(
        summary="Print a committed result with the command that measures it again.",
        config="reflexarc.results:ResultsConfig",
        run="reflexarc.results:run",
        examples=(
            Example("reflexarc results", "list them"),
            Example("reflexarc results eval_arm --json", "one of them, for machines"),
        ),
        details="The files are those of docs/results in the clone.",
    ),
    "record": Command(
        summary="Record episodes of a robot or its twin: bring a system up, or join one that runs.",
        config="reflexarc.record:RecordConfig",
        run="reflexarc.record:run",
        examples=(
            Example("reflexarc record arm --out recordings", "the arm; keys start, stop and judge episodes"),
            Example(
                "reflexarc record arm --episodes 50 --seconds 8 --task PickCube",
                "fifty episodes of the twin, each from a fresh start, without a person",
            ),
            Example("reflexarc record", "join the recorder of `reflexarc up arm record:=recordings`"),
        ),
        details=(
            "Keys: s start, x stop, y success, f failure, r re-record, d discard, n note, i instruction,"
            " q quit.\n"
            "An episode is a file, episode_000012.mcap; whatever happens, at most its open chunk is lost.\n"
            "Exit code 1 when the system or the disk failed; finished episodes are safe then, too."
        ),
    ),
    "data": Group(
        summary="List, show, verify, repair, merge, delete, export and import recorded episodes.",
        commands="reflexarc.data:COMMANDS",
    ),
    "export": Group(
        summary="Write policy folders and schemas from their sources.", commands="reflexarc.export:COMMANDS"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `reflexarc`; None: those of the process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except SystemExit as stop:
        return _exit_code(stop)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`| head`): leave too, and let nobody flush into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        explained = _explain(error, words)
        if explained is None:
            raise
        # A file that failed while something ran is no bad input: something had begun.
        code = EXIT_FAILED if isinstance(error, OSError) else EXIT_BAD_INPUT
        return _refuse(explained, code, in_json="--json" in words)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_OK
    if words[0] == "--version":
        print(f"reflexarc {_version()}")
        return EXIT_OK
    verb = _look_up(words[0], VERBS, what="verb", where="reflexarc")
    if isinstance(verb, Command):
        return _run([words[0]], verb, words[1:])
    commands = verb.load()
    rest = words[1:]
    if not rest or rest[0] in ("-h", "--help", "--json"):
        return _list_group(
            words[0], verb, commands, asked_for_help="-h" in rest or "--help" in rest, rest=rest
        )
    command = _look_up(rest[0], commands, what="command", where=f"reflexarc {words[0]}")
    return _run([words[0], rest[0]], command, rest[1:])


def _run(path: list[str], command: Command, arguments: list[str]) -> int:
    from reflexarc.files import require_writable

    config, output = parse(path, command, arguments)
    require_writable(config, folders=_FOLDERS.get(path[0], ()), files=_FILES.get(path[0], ()))
    if path == ["demo"] and output.json:
        return _demo_in_json(command, config, output)
    return command.invoke(config, output)


def _demo_in_json(command: Command, config: Any, output: Output) -> int:  # noqa: ANN401
    """Run the demo with its text on standard error, then print the summary that it wrote."""
    with contextlib.redirect_stdout(sys.stderr):
        code = command.invoke(config, output)
    summary = config.out / "summary.json"
    output.result(
        {
            "ok": code == EXIT_OK,
            "exit_code": code,
            "out": config.out,
            "summary": json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else None,
        }
    )
    return code


def _look_up[T](word: str, known: Mapping[str, T], *, what: str, where: str) -> T:
    if word in known:
        return known[word]
    from hardware.errors import ConfigError

    near = difflib.get_close_matches(word, known, n=1)
    raise ConfigError(
        f"unknown {what} {word!r}",
        where=where,
        expected="one of " + (", ".join(known) or "none: nothing is installed here"),
        mend=f"did you mean {near[0]!r}?" if near else f"see `{where} --help`",
    )


def _explain(error: Exception, words: Sequence[str]) -> Exception | None:
    """Turn what a user can mend into a ConfigError; None for a fault of ours."""
    from hardware.errors import ConfigError

    if isinstance(error, ConfigError):
        return error
    if isinstance(error, ImportError):
        from reflexarc.imports import explain_import_error

        return explain_import_error(error, os.environ)
    if isinstance(error, OSError):
        from reflexarc.files import explain_os_error

        return explain_os_error(error, words)
    return None


def _refuse(error: Any, code: int, *, in_json: bool) -> int:  # noqa: ANN401
    print(error_block(error, colour=shows_colour(sys.stderr)), file=sys.stderr)
    if in_json:
        print(to_json(error_document(error, code)))
    return code


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return EXIT_OK
    if isinstance(stop.code, int):
        return stop.code
    print(stop.code, file=sys.stderr)
    return EXIT_FAILED


def _overview() -> str:
    lines = [
        "usage: reflexarc VERB ...",
        "",
        "A ROS 2 control stack for robots driven by learned policies.",
        "",
        "verbs:",
        *(f"  {name:<8}{verb.summary}" for name, verb in VERBS.items()),
        "",
        "Every verb explains itself: reflexarc VERB --help. Every verb takes --json.",
        "",
        "Examples:",
        "  reflexarc doctor",
        "      is this machine ready?",
        "  reflexarc demo --headless --seconds 5",
        "      a short demo without a window",
        "  reflexarc up quadrotor robot:=twin",
        "      fly the twin until q or Ctrl-C",
        "",
        "Exit codes: 0 all went well, 1 a stage or a check failed, 2 bad input, 130 Ctrl-C.",
    ]
    return "\n".join(lines)


def _list_group(
    name: str, group: Group, commands: Mapping[str, Command], *, asked_for_help: bool, rest: Sequence[str]
) -> int:
    if rest[:1] == ["--json"] and not asked_for_help:
        print(to_json({"commands": {key: command.summary for key, command in commands.items()}}))
        return EXIT_OK
    width = max((len(key) for key in commands), default=0) + 2
    lines = [f"usage: reflexarc {name} NAME [OPTIONS]", "", group.summary, "", "names:"]
    lines += [f"  {key:<{width}}{command.summary}" for key, command in commands.items()]
    lines += ["", f"The options of each: reflexarc {name} NAME --help.", "", "Examples:"]
    for command in commands.values():
        for example in command.examples:
            lines += [f"  {example.line}", f"      {example.does}"]
    print("\n".join(lines))
    return EXIT_OK


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("reflexarc")
    except PackageNotFoundError:
        import tomllib
        from pathlib import Path

        project = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
