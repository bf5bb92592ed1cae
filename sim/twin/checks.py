"""What a twin refuses: cards that describe another robot, and commands that are not for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hardware.command import Command, FloatArray
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import CommandSpec, RobotCard, TermSpec


def check_terms(card: RobotCard, measured: Mapping[str, TermSpec]) -> None:
    """Compare a card's observation terms with what a twin measures; rates and topics are the card's.

    Args:
        card: the robot card.
        measured: every term that the twin can measure, with its elements, unit and frame.

    Raises:
        ConfigErrors: one line for every term that the twin does not measure that way.
    """
    where = f"robot card {card.name!r}"
    findings: list[ConfigError] = []
    for name, term in card.observations.items():
        twin = measured.get(name)
        if twin is None:
            findings.append(
                ConfigError(
                    f"the twin does not measure {name!r}",
                    where=where,
                    expected="terms out of " + ", ".join(measured),
                    mend="correct the name or remove the term",
                )
            )
            continue
        for part in ("names", "unit", "frame"):
            have, want = getattr(term, part), getattr(twin, part)
            if have != want:
                findings.append(
                    ConfigError(
                        f"{part} {have!r} of {name!r}",
                        where=where,
                        expected=repr(want),
                        mend="write the card as the twin measures",
                    )
                )
    if findings:
        raise ConfigErrors(findings, where=where)


def ordered_values(command: Command, spec: CommandSpec, *, robot: str) -> FloatArray:
    """Check a command and put its set-points into the order of the card.

    Args:
        command: its elements in any order.
        spec: the command interface of the card.
        robot: name of the robot, for the messages.

    Returns:
        Shape (D,), a new array.

    Raises:
        ConfigError: another kind, other elements, or a number that is not finite.
    """
    where, names = f"twin of {robot!r}", spec.names
    values = np.asarray(command.values, dtype=np.float64)
    if command.kind is not spec.kind:
        raise ConfigError(
            f"a command of kind {command.kind.value}",
            where=where,
            expected=spec.kind.value,
            mend="send the kind that the robot card offers",
        )
    if values.shape != (len(command.names),) or not np.isfinite(values).all():
        raise ConfigError(
            f"values {values.tolist()}",
            where=where,
            expected=f"{len(command.names)} finite numbers, one a name",
            mend="send commands through the command gate, which refuses these",
        )
    if command.names == names:
        return values.copy()
    if sorted(command.names) != sorted(names):
        raise ConfigError(
            f"elements {', '.join(command.names)}",
            where=where,
            expected=", ".join(names),
            mend="name every element of the robot card once",
        )
    order = {name: index for index, name in enumerate(command.names)}
    return values[[order[name] for name in names]]
