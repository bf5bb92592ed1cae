"""What a verb is: where its settings and its code live, looked up only when the verb is used.

A verb's module stays cheap to import. What it needs (torch, mujoco, rclpy) is imported when it runs,
so that `reflexarc --help` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import keyword
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from reflexarc.output import Output

FILE_HELP = "Settings from a YAML file, such as a training.yaml; options of the command line come after it."
JSON_HELP = "Print one JSON document on standard output; everything else goes to standard error."


@dataclass(frozen=True)
class Example:
    """One line that a user can copy."""

    # What to type.
    line: str
    # What it does.
    does: str


@dataclass(frozen=True)
class Command:
    """Something that can be run."""

    # One sentence, for the lists.
    summary: str
    # The dataclass that holds the settings, `module:Class`.
    config: str
    # What runs it, `module:function` or a function: takes the settings and, if it has a parameter
    # `output`, the Output; gives the exit code.
    run: str | Callable[..., int]
    # At least two.
    examples: tuple[Example, ...]
    # More sentences for `--help`.
    details: str = ""
    # Whether `--config FILE` gives settings.
    takes_file: bool = False

    def invoke(self, config: object, output: Output) -> int:
        """Run the command.

        Args:
            config: its settings, an instance of the class that `config` names.
            output: where results and progress go.

        Returns:
            The exit code.
        """
        run = resolve(self.run) if isinstance(self.run, str) else self.run
        if "output" in inspect.signature(run).parameters:
            return int(run(config, output=output))
        return int(run(config))


@dataclass(frozen=True)
class Group:
    """A verb with several commands below it."""

    # One sentence, for the lists.
    summary: str
    # What holds its commands by name, `module:MAPPING`.
    commands: str

    def load(self) -> Mapping[str, Command]:
        """Import the commands of the group."""
        commands: Mapping[str, Command] = resolve(self.commands)
        return commands


def resolve(target: str) -> Any:  # noqa: ANN401
    """Import what a string names.

    Args:
        target: `module:attribute`.

    Returns:
        The attribute.
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def parse(path: Sequence[str], command: Command, arguments: Sequence[str]) -> tuple[Any, Output]:
    """Read a command's settings from the command line.

    Args:
        path: the words that name the command, such as ("export", "schema").
        command: the command.
        arguments: what follows those words.

    Returns:
        The settings and the output that `--json` asks for.

    Raises:
        SystemExit: `--help` was asked for (0), or the arguments make no sense (2).
        ConfigError: the file that `--config` names cannot be read, or holds what is no setting.
    """
    import tyro

    kind, arguments = resolve(command.config), list(arguments)
    file: list[Any] = []
    given: Path | None = None
    if command.takes_file:
        file = [
            ("config", Annotated[Path | None, tyro.conf.arg(help=FILE_HELP)], dataclasses.field(default=None))
        ]
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        finder.add_argument("--config", type=Path)
        given = finder.parse_known_args(arguments)[0].config
        if given is not None:
            from reflexarc.config_file import words_of

            # First what the file says, so that the command line has the last word.
            arguments = [*words_of(given, kind, path[-1]), *arguments]
    settings = path[-1].replace("-", "_")
    if keyword.iskeyword(settings):
        settings = "_".join(path)
    flat: Any = tyro.conf.OmitArgPrefixes
    # The settings and --json side by side, so that every command has the flag and none declares it.
    together = dataclasses.make_dataclass(
        "Arguments",
        [
            (settings, flat[kind]),
            *file,
            ("json", Annotated[bool, tyro.conf.arg(help=JSON_HELP)], dataclasses.field(default=False)),
        ],
        frozen=True,
    )
    try:
        found: Any = tyro.cli(
            together,
            prog=" ".join(("reflexarc", *path)),
            description=describe(command),
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.EnumChoicesFromValues),
        )
    except SystemExit as end:
        if end.code and given is not None:
            print(f"Settings that are not on the command line are those of {given}.", file=sys.stderr)
        raise
    return getattr(found, settings), Output(json=found.json)


def describe(command: Command) -> str:
    """Compose the head of a command's `--help`: summary, details and examples."""
    parts = [command.summary]
    if command.details:
        parts.append(command.details)
    lines = ["Examples:"]
    for example in command.examples:
        lines += [f"  {example.line}", f"      {example.does}"]
    parts.append("\n".join(lines))
    return "\n\n".join(parts)
