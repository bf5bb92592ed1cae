"""Whether data of one robot may be used for another: their cards, compared line by line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from hardware import schema
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard

# What says nothing about the meaning of the data: who the robot is, who moves it, how late it is, how often
# it measures.
_APART = ("schema", "name", "description", "driver", "latency", "parameters")
_APART_BELOW = ("topic", "rate_hz", "max_age_s", "timeout_s", "robot_timeout_s", "authority_ramp_s")


def card_differences(found: RobotCard, wanted: RobotCard) -> list[str]:
    """Compare what two cards say about the meaning of data.

    Args:
        found: the card inside the data.
        wanted: the robot's.

    Returns:
        One line a difference, `path: found instead of wanted`; none when data of one is data of the other.
    """
    ours, theirs = _flat(wanted), _flat(found)
    lines = []
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            lines.append(f"{path}: {_say(theirs, path)} instead of {_say(ours, path)}")
    return lines


def check_card(found: RobotCard, wanted: RobotCard, *, where: str) -> None:
    """Refuse data of another robot.

    Args:
        found: the card inside the data.
        wanted: the robot's.
        where: the data.

    Raises:
        ConfigErrors: they differ; every difference is listed.
    """
    lines = card_differences(found, wanted)
    if lines:
        raise ConfigErrors(
            [
                ConfigError(
                    line,
                    where=f"card of {found.name!r}",
                    expected=f"what the card of {wanted.name!r} says",
                    mend="use the card that the data was recorded with, or data of this robot",
                )
                for line in lines
            ],
            where=where,
        )


def _flat(card: RobotCard) -> dict[str, Any]:
    plain = yaml.safe_load(schema.dump(card))
    found: dict[str, Any] = {}
    _walk({key: value for key, value in plain.items() if key not in _APART}, "", found)
    # The order of the elements of a command is part of its meaning; a mapping has lost it by now.
    found |= {f"commands.{name}.names": list(spec.names) for name, spec in card.commands.items()}
    return found


def _walk(value: Any, path: str, found: dict[str, Any]) -> None:  # noqa: ANN401
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _APART_BELOW:
                _walk(item, f"{path}.{key}" if path else str(key), found)
    else:
        found[path] = value


def _say(values: Mapping[str, Any], path: str) -> str:
    return str(values[path]) if path in values else "nothing"
