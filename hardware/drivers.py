"""Drivers by name: from a robot card to the robot that it names. What a driver needs is imported with it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from hardware.errors import ConfigError
from hardware.robot import Robot, RobotCard

# The driver that is no hardware: the twin of a card is made by whoever owns its time.
TWIN = "twin"


@dataclass(frozen=True)
class Driver:
    """Where a driver lives. Its class takes the card, and everything else from the card's parameters."""

    # The module and the class in it.
    module: str
    name: str
    # What pip has to install for it.
    extra: str


DRIVERS: dict[str, Driver] = {
    "betaflight": Driver("hardware.drones.betaflight", "BetaflightVehicle", "reflexarc[drones]"),
    "px4": Driver("hardware.drones.px4", "PX4Vehicle", "reflexarc[drones]"),
    "crazyflie": Driver("hardware.drones.crazyflie", "CrazyflieVehicle", "reflexarc[drones]"),
}


def make_driver(card: RobotCard) -> Robot:
    """Make the robot that a card names.

    Args:
        card: the robot's card; its driver is a key of `DRIVERS`.

    Returns:
        The robot, not connected.

    Raises:
        ConfigError: there is no driver of that name, a package that it needs is not installed, or the
            card's parameters do not suit it.
    """
    driver = DRIVERS.get(card.driver)
    if driver is None:
        raise ConfigError(
            f"no driver {card.driver!r}",
            where=f"robot card {card.name!r}",
            expected="one of " + ", ".join((TWIN, *DRIVERS)),
            mend="choose a card with a driver that this version has",
        )
    try:
        module = importlib.import_module(driver.module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the driver {card.driver!r} needs the package {error.name!r}, which is not installed",
            where=f"robot card {card.name!r}",
            expected=f"the packages of {driver.extra}",
            mend=f"pip install '{driver.extra}'",
        ) from error
    robot: Robot = getattr(module, driver.name)(card)
    return robot
