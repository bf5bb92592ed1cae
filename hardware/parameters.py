"""Reads single settings out of a robot card's `parameters`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hardware.errors import ConfigError
from hardware.ranges import LONGEST_S
from hardware.robot import RobotCard


def number(card: RobotCard, name: str, default: float, *, most: float = LONGEST_S) -> float:
    """Read a positive number.

    Args:
        card: the robot's card.
        name: of the parameter.
        default: its value where the card has none.
        most: the largest that makes sense.

    Returns:
        The number.

    Raises:
        ConfigError: it is no positive number, or too large a one.
    """
    value = card.parameters.get(name, default)
    if not _is_number(value) or not 0.0 < value <= most:
        raise _wrong(card, name, value, f"a positive number of at most {most:g}", default)
    return float(value)


def share(card: RobotCard, name: str, default: float) -> float:
    """Read a number from 0 to 1; raises ConfigError where it is none.

    Args:
        card: the robot's card.
        name: of the parameter.
        default: its value where the card has none.

    Returns:
        The number.
    """
    value = card.parameters.get(name, default)
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise _wrong(card, name, value, "a number from 0 to 1", default)
    return float(value)


def whole(card: RobotCard, name: str, default: int, *, most: int) -> int:
    """Read a whole number from 0 on; raises ConfigError where it is none.

    Args:
        card: the robot's card.
        name: of the parameter.
        default: its value where the card has none.
        most: the largest that is one.

    Returns:
        The number.
    """
    value = card.parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _wrong(card, name, value, f"a whole number from 0 to {most}", default)
    return value


def numbers(card: RobotCard, name: str) -> dict[str, float]:
    """Read numbers by name.

    Args:
        card: the robot's card.
        name: of the parameter.

    Returns:
        Empty where the card has none.

    Raises:
        ConfigError: it is no mapping of names to numbers.
    """
    found = card.parameters.get(name, {})
    is_mapping = isinstance(found, Mapping)
    wrong = {k: v for k, v in found.items() if not _is_number(v)} if is_mapping else found
    if wrong or not is_mapping:
        raise ConfigError(
            f"{name} has {wrong!r}",
            where=f"robot card {card.name!r}: parameters",
            expected="a mapping of names to numbers",
            mend=f"correct {name}",
        )
    return {str(k): float(v) for k, v in found.items()}


def optional_number(card: RobotCard, name: str) -> float | None:
    """Read a positive number that a card need not have.

    Args:
        card: the robot's card.
        name: of the parameter.

    Returns:
        The number, or None.

    Raises:
        ConfigError: it is no positive number.
    """
    return None if name not in card.parameters else number(card, name, math.nan)


def choice(card: RobotCard, name: str, choices: tuple[str, ...]) -> str:
    """Read a text out of a few.

    Args:
        card: the robot's card.
        name: of the parameter.
        choices: the allowed values.

    Returns:
        The text; empty where the card has none.

    Raises:
        ConfigError: it is none of the choices.
    """
    value = card.parameters.get(name, "")
    if value and value not in choices:
        raise ConfigError(
            f"{name} is {value!r}",
            where=f"robot card {card.name!r}: parameters",
            expected="one of " + ", ".join(choices),
            mend=f"correct {name}, or leave it out",
        )
    return str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(card: RobotCard, name: str, value: object, expected: str, default: float) -> ConfigError:
    return ConfigError(
        f"{name} is {value!r}",
        where=f"robot card {card.name!r}: parameters",
        expected=expected,
        mend=f"correct {name}" + ("" if math.isnan(default) else f", or leave it out ({default:g})"),
    )
