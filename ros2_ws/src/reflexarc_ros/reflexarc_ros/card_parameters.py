"""Reads single settings out of a robot card's `parameters`."""

from __future__ import annotations

import math

from hardware.errors import ConfigError
from hardware.robot import RobotCard


def number(card: RobotCard, name: str, default: float) -> float:
    """Read a positive number.

    Args:
        card: the robot's card.
        name: of the parameter.
        default: its value where the card has none.

    Returns:
        The number.

    Raises:
        ConfigError: it is no positive number.
    """
    value = card.parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ConfigError(
            f"{name} is {value!r}",
            where=f"robot card {card.name!r}: parameters",
            expected="a positive number",
            mend=f"correct {name}, or leave it out ({default:g})",
        )
    return float(value)


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
