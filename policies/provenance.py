"""What a training writes down about itself: the command, the state of the repository, versions."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any


def command_line(
    words: Sequence[str],
    config: Any,  # noqa: ANN401
    *,
    paths: Collection[str],
    skip: Collection[str] = (),
) -> str:
    """The command that does it again: every setting that is not its default.

    Args:
        words: `reflexarc` and its verbs.
        config: an instance of the dataclass that holds the settings.
        paths: settings that are paths; only their last part is told, because where files lay on the machine
            of the training says nothing to anybody else.
        skip: settings that change nothing about the result.

    Returns:
        One line.
    """
    line = list(words)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in skip or value == field.default:
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            # As on the command line: a switch, that turns the default round.
            line.append(f"--{name}" if value else f"--no-{name}")
            continue
        if field.name in paths:
            value = _last_part(value)
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        line += [f"--{name}", text]
    return " ".join(line)


def settings(config: Any, *, paths: Collection[str]) -> dict[str, Any]:  # noqa: ANN401
    """Every setting as a plain value, of paths only the last part.

    Args:
        config: an instance of a dataclass.
        paths: settings that are paths.

    Returns:
        Values by name.
    """
    plain: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }
    return plain | {name: _last_part(plain[name]) for name in paths if name in plain}


def _last_part(value: Any) -> Any:  # noqa: ANN401
    """The last part of a path, or of each of several."""
    if isinstance(value, tuple | list):
        return type(value)(Path(path).name for path in value)
    return Path(value).name


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of packages, by name."""
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version()} | found


def git_commit() -> str:
    """The commit of the repository, with `-dirty` when files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a git checkout"
