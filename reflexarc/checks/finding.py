"""What a check says."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    # Works, but worse than it could.
    WARN = "warn"
    # Something that the stack needs does not work.
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One sentence about the machine, and what to do about it."""

    # What was looked at, in a word or two.
    subject: str
    # How bad it is.
    level: Level
    # What was found, a plain sentence.
    sentence: str
    # What to do; empty when all is well.
    mend: str = ""
    # Commands that do it, for a shell; empty where none does.
    commands: tuple[str, ...] = ()


def ok(subject: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(subject, Level.OK, sentence)


def warn(subject: str, sentence: str, mend: str, *commands: str) -> Finding:
    """It works, but worse than it could."""
    return Finding(subject, Level.WARN, sentence, mend, commands)


def fail(subject: str, sentence: str, mend: str, *commands: str) -> Finding:
    """Something that the stack needs does not work."""
    return Finding(subject, Level.FAIL, sentence, mend, commands)
