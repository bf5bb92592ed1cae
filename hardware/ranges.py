"""What numbers and names a card may hold, whatever robot it is of."""

from __future__ import annotations

import re

from hardware.errors import ConfigError

# Faster than any robot is told or tells, and longer than anybody waits for one.
FASTEST_HZ, LONGEST_S = 10_000.0, 3600.0
_PART = r"[A-Za-z_][A-Za-z0-9_]*"


def is_ros_name(text: str) -> bool:
    """Whether ROS takes a text as a name, or as several that are joined by slashes.

    Args:
        text: of a topic or a namespace, with or without a slash before it.

    Returns:
        True where every part has letters, digits and underscores alone and begins with no digit.
    """
    return re.fullmatch(rf"/?{_PART}(/{_PART})*", text) is not None


def check_positive(name: str, value: float, *, where: str, most: float) -> None:
    """Refuse a number that is not positive, or beyond all reason.

    Args:
        name: of the field.
        value: of the field.
        where: the part of the card.
        most: the largest that makes sense.

    Raises:
        ConfigError: it is out of these bounds.
    """
    if not value > 0:
        raise ConfigError(
            f"{name} {value} is not positive",
            where=where,
            expected="a positive number",
            mend=f"correct {name}",
        )
    if value > most:
        raise ConfigError(
            f"{name} {value:g} is too large",
            where=where,
            expected=f"a positive number of at most {most:g}",
            mend=f"correct {name}",
        )


def check_time(name: str, value: float, *, where: str) -> None:
    """Refuse a time that is negative, or longer than `LONGEST_S`.

    Args:
        name: of the field.
        value: seconds; zero is one.
        where: the part of the card.

    Raises:
        ConfigError: it is out of these bounds.
    """
    if not value >= 0:
        raise ConfigError(
            f"{name} {value} is negative", where=where, expected="0 or more", mend=f"correct {name}"
        )
    if value:
        check_positive(name, value, where=where, most=LONGEST_S)
