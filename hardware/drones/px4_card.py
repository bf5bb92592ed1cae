"""What a card must say for PX4, and what its parameters mean to the driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hardware.command import Command, CommandKind
from hardware.drones.card_checks import check_lands, check_observations
from hardware.drones.px4_modes import Mode
from hardware.drones.px4_session import SessionSettings
from hardware.drones.state import RATES_NAMES, REFERENCE_NAMES
from hardware.errors import ConfigError, Refusal
from hardware.parameters import number, numbers, share, whole
from hardware.robot import RobotCard

_NAMES = {CommandKind.REFERENCE: REFERENCE_NAMES, CommandKind.RATES_THRUST: RATES_NAMES}
FOLLOW = {"offboard": Mode.OFFBOARD, "raptor": Mode.EXTERNAL1}


def check_card(card: RobotCard) -> None:
    """Compare a card with what PX4 measures and takes.

    Args:
        card: the robot's card.

    Raises:
        ConfigError: a term that PX4 does not tell, an interface of another kind or with other elements,
            or a safe action other than land.
    """
    where = f"robot card {card.name!r}"
    check_observations(card)
    for name, spec in card.commands.items():
        if spec.kind not in _NAMES:
            raise ConfigError(
                f"the interface {name!r} is of kind {spec.kind.value}",
                where=where,
                expected="reference or rates_thrust: PX4 takes no motor commands over MAVLink",
                mend="choose another kind",
            )
        missing = [n for n in _NAMES[spec.kind] if n not in spec.names]
        extra = [n for n in spec.names if n not in _NAMES[spec.kind]]
        if missing or extra:
            raise ConfigError(
                f"the interface {name!r} "
                + " and ".join(
                    f"{verb} {', '.join(names)}"
                    for verb, names in (("lacks", missing), ("has", extra))
                    if names
                ),
                where=where,
                expected=", ".join(_NAMES[spec.kind]),
                mend="name these elements; a reference needs its velocity",
            )
        check_lands(card, spec)


def settings_of(card: RobotCard) -> SessionSettings:
    """Read how to talk to the vehicle out of a card's parameters.

    Args:
        card: the robot's card.

    Returns:
        The settings.

    Raises:
        ConfigError: `follow` is none of its values or does not suit the interfaces, or a number is none.
    """
    parameters: Mapping[str, Any] = card.parameters
    follow = str(parameters.get("follow", "offboard"))
    if follow not in FOLLOW:
        raise ConfigError(
            f"follow {follow!r}",
            where=f"robot card {card.name!r}: parameters",
            expected=" or ".join(FOLLOW),
            mend="choose one of these",
        )
    kinds = {spec.kind for spec in card.commands.values()}
    if follow == "raptor" and kinds != {CommandKind.REFERENCE}:
        raise ConfigError(
            "follow raptor with an interface of rates and thrust",
            where=f"robot card {card.name!r}",
            expected="references alone: PX4's RAPTOR mode takes nothing else",
            mend="remove the interface, or set follow to offboard",
        )
    return SessionSettings(
        follow=FOLLOW[follow],
        timeouts_s={spec.kind: spec.robot_timeout_s for spec in card.commands.values()},
        stream_hz=number(card, "stream_hz", 50.0),
        state_hz=max(term.rate_hz for term in card.observations.values()),
        vehicle_system=whole(card, "vehicle_system", 0, most=255),
        parameters=numbers(card, "firmware_parameters"),
        writes_parameters=bool(parameters.get("writes_parameters", False)),
        feeds_acceleration=bool(parameters.get("feeds_acceleration", True)),
        battery_land_share=share(card, "battery_land_share", 0.0),
    )


def values_of(command: Command) -> dict[str, float]:
    """The elements of a command by name.

    Args:
        command: of kind reference or rates_thrust.

    Returns:
        All elements of its kind, finite.

    Raises:
        Refusal: one is missing or not finite.
    """
    names = _NAMES[command.kind]
    values = dict(zip(command.names, (float(v) for v in command.values), strict=True))
    missing = [n for n in names if n not in values]
    if missing:
        raise Refusal(f"a command of kind {command.kind.value} without {', '.join(missing)}")
    bad = [n for n in names if not math.isfinite(values[n])]
    if bad:
        raise Refusal(f"a command of kind {command.kind.value} whose {', '.join(bad)} is not finite")
    return {n: values[n] for n in names}
