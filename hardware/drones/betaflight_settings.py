"""What a robot card says about a quadrotor behind Betaflight."""

from __future__ import annotations

from dataclasses import dataclass, field

from hardware import schema
from hardware.drones.betaflight_config import Channels, ControlPath, FailsafeSettings, Wanted
from hardware.drones.outer_loop import OuterLoopSettings
from hardware.drones.pilot import PilotSettings
from hardware.errors import ConfigError
from hardware.robot import RobotCard

# The elements of a command, in our order; a card may have them in another.
REFERENCE_NAMES = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "yaw")
RATES_NAMES = ("roll_rate", "pitch_rate", "yaw_rate", "thrust")


@dataclass(frozen=True)
class BetaflightSettings:
    """Parameters of a card of this driver: `parameters: {betaflight: {...}}`."""

    # Where the flight controller is: serial:DEVICE, serial:DEVICE:BAUD or tcp:HOST:PORT.
    link: str
    # Who moves the sticks.
    control: ControlPath = ControlPath.COMPANION
    # Which auxiliary channel is which switch.
    channels: Channels = field(default_factory=Channels)
    # What the firmware is to do without radio control; compared at every start.
    failsafe: FailsafeSettings = field(default_factory=FailsafeSettings)
    # Whether a set-up that differs is written (motors off) instead of refused.
    write_configuration: bool = False
    # Stick frames, telemetry and poses a second. The firmware handles 100 messages a second in all by
    # default.
    rc_rate_hz: float = 50.0
    telemetry_rate_hz: float = 20.0
    feed_rate_hz: float = 50.0
    # Share of the full thrust that carries the weight, as a first guess; learnt in flight.
    hover_thrust: float = 0.2
    # How much of a rotor's thrust grows with the square of its output, 0 (linear) to 1.
    thrust_bend: float = 0.5
    # Output of an idling motor, 0 to 1.
    motor_idle: float = 0.055
    # Override: the watchdog disarms after this long without a stick frame, seconds.
    watchdog_s: float = 0.25
    # How flights go.
    flight: PilotSettings = field(default_factory=PilotSettings)
    # Tuning of the outer loop that climbs, holds and lands.
    outer_loop: OuterLoopSettings = field(default_factory=OuterLoopSettings)
    # Further lines for the command line of a simulated flight controller.
    firmware_lines: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        """The set-up that the firmware needs."""
        return Wanted(self.control, self.channels, self.failsafe)

    def __post_init__(self) -> None:
        """Refuse rates and shares that cannot be.

        Raises:
            ConfigError: a rate is too slow for the firmware's receiver, or a share is none.
        """
        checks = (
            (
                self.rc_rate_hz >= 25.0,
                "rc_rate_hz",
                "25 or more: the firmware takes 150 ms for a lost receiver",
            ),
            (self.telemetry_rate_hz >= 5.0, "telemetry_rate_hz", "5 or more"),
            (self.feed_rate_hz >= 20.0, "feed_rate_hz", "20 or more: a pose is stale after 100 ms"),
            (0.0 < self.hover_thrust < 1.0, "hover_thrust", "between 0 and 1"),
            (0.0 <= self.thrust_bend <= 1.0, "thrust_bend", "0 to 1"),
            (0.0 <= self.motor_idle < 0.5, "motor_idle", "0 to 0.5"),
            (self.watchdog_s >= 0.1, "watchdog_s", "0.1 or more"),
        )
        for good, name, expected in checks:
            if not good:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where="parameters.betaflight",
                    expected=expected,
                    mend=f"correct {name}",
                )


def settings_of(card: RobotCard) -> BetaflightSettings:
    """Read the driver's settings from a card.

    Args:
        card: a card of this driver.

    Returns:
        The settings.

    Raises:
        ConfigError: the card is of another driver, or a parameter is wrong.
    """
    where = f"robot card {card.name!r}"
    if card.driver != "betaflight":
        raise ConfigError(
            f"driver {card.driver!r}",
            where=where,
            expected="'betaflight'",
            mend="choose a card of this driver",
        )
    return schema.parse(
        BetaflightSettings, card.parameters.get("betaflight", {}), where=f"{where}: parameters.betaflight"
    )
