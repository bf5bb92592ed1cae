"""What a card must say for a Crazyflie."""

from __future__ import annotations

from hardware.command import CommandKind, SafeAction
from hardware.drones.crazyflie_wire import SetpointKind
from hardware.drones.state import REFERENCE_NAMES
from hardware.errors import ConfigError
from hardware.robot import RobotCard

# What a Crazyflie tells of itself; a card picks from these.
MEASURED = ("position", "orientation", "linear_velocity", "angular_velocity")


def check_card(card: RobotCard) -> None:
    """Compare a card with what a Crazyflie measures and takes.

    Args:
        card: the robot's card.

    Raises:
        ConfigError: a term that it does not tell, an interface of another kind or with other elements,
            a safe action other than land, or a setting that is none.
    """
    where = f"robot card {card.name!r}"
    for name in card.observations:
        if name not in MEASURED:
            raise ConfigError(
                f"the term {name!r}",
                where=where,
                expected="one of " + ", ".join(MEASURED),
                mend="remove the term",
            )
    for name, spec in card.commands.items():
        if spec.kind is not CommandKind.REFERENCE or sorted(spec.names) != sorted(REFERENCE_NAMES):
            raise ConfigError(
                f"the interface {name!r} of kind {spec.kind.value} with {', '.join(spec.names)}",
                where=where,
                expected="kind reference with " + ", ".join(REFERENCE_NAMES),
                mend="command references; RAPTOR on board follows them too",
            )
        if spec.safe_action is not SafeAction.LAND:
            raise ConfigError(
                f"the safe action {spec.safe_action.value}",
                where=where,
                expected="land",
                mend="set safe_action to land",
            )
    kind = str(card.parameters.get("setpoint", SetpointKind.FULL_STATE))
    if kind not in list(SetpointKind):
        raise ConfigError(
            f"setpoint {kind!r}",
            where=f"{where}: parameters",
            expected="one of " + ", ".join(SetpointKind),
            mend="choose one of these",
        )
