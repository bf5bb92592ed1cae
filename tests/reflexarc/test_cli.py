"""Protects the command line's promises: help with examples, exit codes, clear errors, a fast start."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardware.errors import ConfigError, ConfigErrors
from reflexarc import cli
from reflexarc.commands import Command, Example, Group, describe
from reflexarc.output import Output

ROOT = Path(__file__).parents[2]


def commands() -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, verb in cli.VERBS.items():
        if isinstance(verb, Group):
            paths += [(name, inner) for inner in verb.load()]
        else:
            paths.append((name,))
    return paths


def examples(text: str) -> list[str]:
    return re.findall(r"^  (reflexarc .+)$", text, re.MULTILINE)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb_has_two_examples(run_cli, verb):
    done = run_cli(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert len(examples(done.stdout)) >= 2
    assert all(line.startswith(f"reflexarc {verb}") for line in examples(done.stdout))
    assert cli.VERBS[verb].summary in done.stdout


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_help_of_every_command_offers_json_and_examples(capsys, path):
    assert cli.main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert len(examples(text)) >= 2
    assert all(line.startswith("reflexarc " + " ".join(path)) for line in examples(text))


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_example_parses(path):
    verb = cli.VERBS[path[0]]
    command = verb.load()[path[1]] if isinstance(verb, Group) else verb
    for example in command.examples:
        words = shlex.split(example.line.partition(" > ")[0])
        assert words[: 1 + len(path)] == ["reflexarc", *path]
        cli.parse(path, command, words[1 + len(path) :])


def test_overview_lists_every_verb(run_cli):
    for words in ([], ["--help"], ["-h"], ["help"]):
        done = run_cli(*words)
        assert done.returncode == 0
        for name, verb in cli.VERBS.items():
            assert f"  {name:<8}{verb.summary}" in done.stdout
        assert len(examples(done.stdout)) >= 2


def test_overview_imports_nothing_heavy():
    # The promise is a start below 0.4 s; what a busy machine makes of it is not under test.
    heavy = "numpy torch mujoco rclpy rich tyro yaml onnxruntime lerobot gymnasium".split()
    code = (
        "import sys; from reflexarc.cli import main; main(['--help']);"
        f"print('HEAVY', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("verb", ["up", "doctor", "bench", "export"])
def test_help_of_a_verb_imports_nothing_that_takes_a_second(verb):
    heavy = "torch mujoco rclpy onnxruntime lerobot gymnasium".split()
    code = (
        f"import sys; from reflexarc.cli import main; main([{verb!r}, '--help']);"
        f"print('HEAVY', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_version(run_cli):
    done = run_cli("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"reflexarc \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_verb_is_one_block_and_exit_code_2(run_cli):
    done = run_cli("dokter")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: unknown verb 'dokter'\n"
        "  where     reflexarc\n"
        f"  expected  one of {', '.join(cli.VERBS)}\n"
        "  to mend   did you mean 'doctor'?\n"
    )


def test_unknown_command_names_those_of_the_group(capsys):
    assert cli.main(["export", "schemas"]) == 2
    text = capsys.readouterr().err
    assert "error: unknown command 'schemas'" in text
    assert "expected  one of c, px4, numpy, lerobot-card, raptor-published, schema" in text
    assert "to mend   did you mean 'schema'?" in text


def test_unknown_option_and_wrong_type_exit_with_2(capsys):
    assert cli.main(["doctor", "--fixhints"]) == 2
    assert "--fix-hints" in capsys.readouterr().err
    assert cli.main(["bench", "raptor", "--steps", "many"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_group_without_a_name_lists_its_commands(capsys):
    assert cli.main(["export"]) == 0
    assert "raptor-published" in capsys.readouterr().out
    assert cli.main(["export", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["commands"]) == {
        "c",
        "lerobot-card",
        "numpy",
        "px4",
        "raptor-published",
        "schema",
    }


def test_bad_input_in_json_is_on_standard_output_too(run_cli):
    done = run_cli("doctor", "--only", "weather", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["exit_code"] == 2
    assert document["errors"][0]["what"] == "there is no check 'weather'"
    assert document["errors"][0]["mend"] == "correct the name"
    assert done.stderr.startswith("error: there is no check 'weather'\n")


class Broken:
    """A verb that does what the test wants."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, config: object, output: Output) -> int:
        raise self.error


@pytest.fixture
def broken(monkeypatch):
    def install(error: BaseException) -> None:
        command = Command(
            summary="Breaks.",
            config="reflexarc.doctor:DoctorConfig",
            run=Broken(error),
            examples=(Example("reflexarc broken", "breaks"), Example("reflexarc broken --json", "breaks")),
        )
        monkeypatch.setitem(cli.VERBS, "broken", command)

    return install


def test_several_findings_are_one_block_each(broken, capsys):
    single = [ConfigError(f"fault {i}", where="here", expected="none", mend="mend it") for i in (1, 2)]
    broken(ConfigErrors(single, where="card.yaml"))
    assert cli.main(["broken", "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("error: fault") == 2
    assert [e["what"] for e in json.loads(shown.out)["errors"]] == ["fault 1", "fault 2"]


def test_missing_extra_names_the_extra(broken, capsys):
    broken(ModuleNotFoundError("No module named 'mujoco'", name="mujoco"))
    assert cli.main(["broken"]) == 2
    text = capsys.readouterr().err
    assert "the module 'mujoco' is not installed" in text
    assert "to mend   run `make setup` in the clone, or `pip install 'reflexarc[sim]'`" in text


def test_fault_of_ours_keeps_its_traceback(broken):
    broken(ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["broken"])
    broken(ModuleNotFoundError("No module named 'hardware.gone'", name="hardware.gone"))
    with pytest.raises(ModuleNotFoundError, match=r"hardware\.gone"):
        cli.main(["broken"])


def test_ctrl_c_ends_a_command_with_130_and_without_a_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "reflexarc", "bench", "raptor", "--repeats", "1000000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # onnxruntime is loaded last, when the bench makes its contenders.
        deadline = time.monotonic() + 240
        while "onnxruntime" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def test_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "reflexarc", "--help"],
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_description_holds_summary_details_and_examples():
    command = Command(
        summary="Does it.",
        config="m:C",
        run="m:f",
        examples=(Example("reflexarc x", "once"), Example("reflexarc x --twice", "twice")),
        details="More.",
    )
    assert describe(command) == (
        "Does it.\n\nMore.\n\nExamples:\n  reflexarc x\n      once\n  reflexarc x --twice\n      twice"
    )
