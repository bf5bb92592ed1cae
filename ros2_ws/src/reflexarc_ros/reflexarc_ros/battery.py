"""The battery of a vehicle: what is told of it, and when it is too low."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sensor_msgs.msg import BatteryState

from hardware.drones.vehicle import VehicleStatus
from hardware.errors import ConfigError
from hardware.parameters import optional_number
from hardware.robot import RobotCard
from reflexarc_ros.messages import to_time

# A dip of the voltage under load is not yet an empty battery: so long must it be below the limit.
_DIP_NS = 2_000_000_000


@dataclass(frozen=True)
class BatteryLimits:
    """When a battery is low, as on the card; what is absent is not judged."""

    # Charge (0 to 1) and voltage below which it is warned of.
    warn_share: float | None = None
    warn_v: float | None = None
    # Charge and voltage below which the vehicle lands.
    land_share: float | None = None
    land_v: float | None = None

    @classmethod
    def of(cls, card: RobotCard) -> BatteryLimits:
        """Read the card's parameters `battery_warn_share`, `battery_land_v`, ...

        Raises:
            ConfigError: one is no positive number, or it warns only after the landing.
        """
        found = cls(*(optional_number(card, f"battery_{n}") for n in cls.__dataclass_fields__))
        for unit in ("share", "v"):
            warn, land = getattr(found, f"warn_{unit}"), getattr(found, f"land_{unit}")
            if warn is not None and land is not None and warn < land:
                raise ConfigError(
                    f"battery_warn_{unit} {warn:g} is below battery_land_{unit} {land:g}",
                    where=f"robot card {card.name!r}: parameters",
                    expected="a warning before the landing",
                    mend="swap or correct them",
                )
        return found


class BatteryWatch:
    """Judges a battery by its limits.

    Args:
        limits: as on the card.
    """

    def __init__(self, limits: BatteryLimits) -> None:
        """Nothing was low yet."""
        self._limits = limits
        self._low_since_ns: int | None = None

    def is_low(self, status: VehicleStatus) -> bool:
        """Whether it is below the limit at which it is warned of."""
        return _is_below(status, self._limits.warn_share, self._limits.warn_v) or self.is_empty(status)

    def is_empty(self, status: VehicleStatus) -> bool:
        """Whether it is below the limit of landing at this moment."""
        return _is_below(status, self._limits.land_share, self._limits.land_v)

    def must_land(self, status: VehicleStatus, steady_ns: int) -> bool:
        """Whether it has been below the limit of landing for two seconds; call it often.

        Args:
            status: of the vehicle.
            steady_ns: the steady clock.
        """
        if not self.is_empty(status):
            self._low_since_ns = None
            return False
        if self._low_since_ns is None:
            self._low_since_ns = steady_ns
        return steady_ns - self._low_since_ns >= _DIP_NS

    def sentence(self, status: VehicleStatus) -> str:
        """How full it is, in words."""
        parts = []
        if status.battery_share is not None:
            parts.append(f"{100 * status.battery_share:.0f} %")
        if status.battery_v is not None:
            parts.append(f"{status.battery_v:.2f} V")
        return ", ".join(parts) or "not measured"


def battery_message(status: VehicleStatus, stamp_ns: int) -> BatteryState:
    """Say how the battery is.

    Args:
        status: of the vehicle.
        stamp_ns: the ROS clock.

    Returns:
        The message; NaN for what is not measured, as its definition asks for.
    """
    message = BatteryState()
    message.header.stamp = to_time(stamp_ns)
    for name in ("temperature", "current", "charge", "capacity", "design_capacity"):
        setattr(message, name, math.nan)
    message.voltage = math.nan if status.battery_v is None else float(status.battery_v)
    message.percentage = math.nan if status.battery_share is None else float(status.battery_share)
    message.power_supply_status = BatteryState.POWER_SUPPLY_STATUS_DISCHARGING
    message.present = status.battery_v is not None or status.battery_share is not None
    return message


def _is_below(status: VehicleStatus, share: float | None, volts: float | None) -> bool:
    """Whether what is measured is below what is given."""
    return (share is not None and status.battery_share is not None and status.battery_share < share) or (
        volts is not None and status.battery_v is not None and status.battery_v < volts
    )
