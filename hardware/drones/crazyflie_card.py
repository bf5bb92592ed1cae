"""What a card must say for a Crazyflie."""

from __future__ import annotations

from hardware.command import CommandKind
from hardware.drones.card_checks import check_lands, check_observations
from hardware.drones.crazyflie_wire import SetpointKind
from hardware.drones.state import REFERENCE_NAMES
from hardware.errors import ConfigError
from hardware.robot import RobotCard


def check_card(card: RobotCard) -> None:
    """Compare a card with what a Crazyflie measures and takes.

    Args:
        card: the robot's card.

    Raises:
        ConfigError: a term that it does not tell, an interface of another kind or with other elements,
            a safe action other than land, or a setting that is none.
    """
    where = f"robot card {card.name!r}"
    check_observations(card)
    for name, spec in card.commands.items():
        if spec.kind is not CommandKind.REFERENCE or sorted(spec.names) != sorted(REFERENCE_NAMES):
            raise ConfigError(
                f"the interface {name!r} of kind {spec.kind.value} with {', '.join(spec.names)}",
                where=where,
                expected="kind reference with " + ", ".join(REFERENCE_NAMES),
                mend="command references; RAPTOR on board follows them too",
            )
        check_lands(card, spec)
    kind = str(card.parameters.get("setpoint", SetpointKind.FULL_STATE))
    if kind not in list(SetpointKind):
        raise ConfigError(
            f"setpoint {kind!r}",
            where=f"{where}: parameters",
            expected="one of " + ", ".join(SetpointKind),
            mend="choose one of these",
        )
