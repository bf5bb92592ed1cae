"""What every card of a vehicle behind a flight controller must say."""

from __future__ import annotations

from hardware.command import SafeAction
from hardware.errors import ConfigError
from hardware.robot import CommandSpec, RobotCard

# What flight controllers tell of themselves; a card picks from these.
MEASURED = ("position", "orientation", "linear_velocity", "angular_velocity")


def check_observations(card: RobotCard) -> None:
    """Compare a card's terms with what flight controllers tell.

    Args:
        card: the robot's card.

    Raises:
        ConfigError: a term that none of them tells.
    """
    for name in card.observations:
        if name not in MEASURED:
            raise ConfigError(
                f"the term {name!r}",
                where=f"robot card {card.name!r}",
                expected="one of " + ", ".join(MEASURED),
                mend="remove the term",
            )


def check_lands(card: RobotCard, spec: CommandSpec) -> None:
    """Refuse an interface whose safe action is not to land.

    Args:
        card: the robot's card.
        spec: one of its interfaces.

    Raises:
        ConfigError: another safe action.
    """
    if spec.safe_action is not SafeAction.LAND:
        raise ConfigError(
            f"the safe action {spec.safe_action.value}",
            where=f"robot card {card.name!r}",
            expected="land",
            mend="set safe_action to land",
        )
