"""Betaflight's stick curves, inverted: which stick gives a body rate, which throttle gives a thrust.

Source: the firmware's `applyActualRates` (`fc/rc.c`), `updateRcCommands` and `rcLookupThrottle` (4.6).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from hardware.drones.msp_messages import MspFormatError
from hardware.errors import ConfigError

ACTUAL = 3
RATE_TYPES = ("BETAFLIGHT", "RACEFLIGHT", "KISS", "ACTUAL", "QUICK")
STICK_MIDDLE_US, STICK_HALF_US = 1500, 500
THROTTLE_TOP_US = 2000
_LAYOUT = struct.Struct("<8BH4B2B3HB")


@dataclass(frozen=True, slots=True)
class AxisCurve:
    """One axis of the rate profile of type ACTUAL: deg/s over stick, -1 to 1."""

    # Slope at the middle, deg/s for a whole stick.
    centre_deg_s: float
    # Rate at full stick, deg/s.
    full_deg_s: float
    # How much the curve is bent, 0 to 1.
    expo: float
    # The profile's own bound, deg/s.
    limit_deg_s: float

    def rate(self, stick: float) -> float:
        """Rate in rad/s that the firmware wants at a stick, -1 to 1."""
        size = abs(stick)
        bent = size * (stick**5 * self.expo + stick * (1.0 - self.expo))
        rate = stick * self.centre_deg_s + max(0.0, self.full_deg_s - self.centre_deg_s) * bent
        return math.radians(min(self.limit_deg_s, max(-self.limit_deg_s, rate)))

    @property
    def fastest_rad_s(self) -> float:
        """Rate at full stick, rad/s."""
        return self.rate(1.0)

    def stick(self, rate_rad_s: float) -> float:
        """Stick, -1 to 1, that makes the firmware want a rate; the nearest end beyond what it can.

        Args:
            rate_rad_s: body rate, rad/s.
        """
        wanted = abs(rate_rad_s)
        if wanted >= self.fastest_rad_s:
            return math.copysign(1.0, rate_rad_s)
        low, high = 0.0, 1.0
        # The curve rises everywhere; 24 halvings are finer than a microsecond of stick.
        for _ in range(24):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.rate(middle) < wanted else (low, middle)
        return math.copysign(0.5 * (low + high), rate_rad_s)


@dataclass(frozen=True, slots=True)
class RateProfile:
    """MSP_RC_TUNING: how sticks become rates and throttle becomes motor output."""

    # Curves about the body's axes as the firmware calls them.
    roll: AxisCurve
    pitch: AxisCurve
    yaw: AxisCurve
    # Whether the throttle stick acts linearly (no expo, no limit).
    throttle_is_linear: bool

    @staticmethod
    def parse(payload: bytes) -> RateProfile:
        """Read a payload.

        Args:
            payload: of MSP_RC_TUNING, API 1.43 or newer.

        Raises:
            MspFormatError: it is too short.
            ConfigError: the profile is of a type whose curve is not inverted here.
        """
        if len(payload) < _LAYOUT.size:
            raise MspFormatError(f"rate profile of {len(payload)} bytes")
        fields = _LAYOUT.unpack_from(payload)
        roll_centre, roll_expo, roll_full, pitch_full, yaw_full, _, _, throttle_expo = fields[:8]
        yaw_expo, yaw_centre, pitch_centre, pitch_expo = fields[9:13]
        limit_type, limit_percent = fields[13:15]
        roll_limit, pitch_limit, yaw_limit = fields[15:18]
        kind = fields[18]
        if kind != ACTUAL:
            name = RATE_TYPES[kind] if kind < len(RATE_TYPES) else str(kind)
            raise ConfigError(
                f"a rate profile of type {name}",
                where="Betaflight",
                expected="ACTUAL, the firmware's default",
                mend="set rates_type = ACTUAL in the firmware's command line, then save",
            )
        return RateProfile(
            AxisCurve(10.0 * roll_centre, 10.0 * roll_full, roll_expo / 100.0, roll_limit),
            AxisCurve(10.0 * pitch_centre, 10.0 * pitch_full, pitch_expo / 100.0, pitch_limit),
            AxisCurve(10.0 * yaw_centre, 10.0 * yaw_full, yaw_expo / 100.0, yaw_limit),
            throttle_is_linear=throttle_expo == 0 and (limit_type == 0 or limit_percent == 100),
        )


@dataclass(frozen=True, slots=True)
class StickMap:
    """From rates and thrust to the four stick channels, and back.

    Thrust is the share of the four rotors' greatest thrust, 0 to 1. A rotor at output u (0 to 1) is
    taken to push `(1 - bend) u + bend u^2` of its greatest thrust.
    """

    # The firmware's rate profile.
    profile: RateProfile
    # Stick that has no effect around the middle, microseconds: roll and pitch, yaw.
    deadband_us: int
    yaw_deadband_us: int
    # Throttle below which the firmware sees a low stick (min_check), microseconds.
    throttle_low_us: int
    # Output of a motor that idles, 0 to 1.
    idle: float
    # How much of the thrust grows with the square of the output, 0 to 1.
    bend: float

    def sticks(self, rates_rad_s: tuple[float, float, float], thrust: float) -> tuple[int, int, int, int]:
        """Channels roll, pitch, yaw, throttle in microseconds.

        Args:
            rates_rad_s: body rates about forward, left and up.
            thrust: share of the greatest thrust, 0 to 1.
        """
        roll, pitch, yaw = rates_rad_s
        # Right roll is positive for both; stick forward is nose down, which is positive about "left"; stick
        # right turns clockwise, which is negative about "up".
        return (
            _channel(self.profile.roll.stick(roll), self.deadband_us),
            _channel(self.profile.pitch.stick(pitch), self.deadband_us),
            _channel(-self.profile.yaw.stick(yaw), self.yaw_deadband_us),
            self.throttle_us(thrust),
        )

    def throttle_us(self, thrust: float) -> int:
        """Throttle channel for a thrust, in flight: never so low that the firmware takes it for landed."""
        share = min(1.0, max(0.0, thrust))
        linear = 1.0 - self.bend
        root = linear + math.sqrt(linear * linear + 4.0 * self.bend * share)
        output = 2.0 * share / root if root > 0.0 else 0.0
        stick = min(1.0, max(0.0, (output - self.idle) / (1.0 - self.idle)))
        low = self.throttle_low_us + 5
        return round(low + stick * (THROTTLE_TOP_US - low))

    def thrust_of(self, output: float) -> float:
        """Share of the greatest thrust at a motor output, 0 to 1."""
        return (1.0 - self.bend) * output + self.bend * output * output

    def rates(self, channels_us: tuple[int, int, int, int]) -> tuple[float, float, float]:
        """Body rates that the firmware makes of channels, rad/s: the curves forward."""
        roll, pitch, yaw, _ = channels_us
        return (
            self.profile.roll.rate(_stick(roll, self.deadband_us)),
            self.profile.pitch.rate(_stick(pitch, self.deadband_us)),
            -self.profile.yaw.rate(_stick(yaw, self.yaw_deadband_us)),
        )


def _channel(stick: float, deadband_us: int) -> int:
    if stick == 0.0:
        return STICK_MIDDLE_US
    offset = deadband_us + abs(stick) * (STICK_HALF_US - deadband_us)
    return STICK_MIDDLE_US + round(math.copysign(offset, stick))


def _stick(channel_us: int, deadband_us: int) -> float:
    offset = channel_us - STICK_MIDDLE_US
    size = max(0, abs(offset) - deadband_us)
    return math.copysign(size / (STICK_HALF_US - deadband_us), offset)
