"""What Betaflight says in its MSP messages: numbers in SI units, our frames, and plain words.

Every parser takes a payload and ignores what newer firmware appends to it. Body frame forward-left-up.
Sources: the firmware's `msp/msp.c`, `fc/runtime_config.h` and `msp/msp_box.c` (4.6, API 1.47); signs as
measured on the running firmware (specs of RAPTOR, section 5a.2).
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray

STANDARD_GRAVITY_M_S2 = 9.80665
# Raw units of MSP_RAW_IMU: gyro 2000 deg/s full scale, accelerometer as the simulator target scales it.
_GYRO_PER_DEG_S = 16.4
_ACC_PER_G = 256.0
RC_CHANNELS = 18


class Msp(enum.IntEnum):
    """The messages that we use, by the firmware's own names."""

    API_VERSION = 1
    FC_VARIANT = 2
    FC_VERSION = 3
    MODE_RANGES = 34
    SET_MODE_RANGE = 35
    FEATURE_CONFIG = 36
    MIXER_CONFIG = 42
    RX_CONFIG = 44
    RX_MAP = 64
    REBOOT = 68
    FAILSAFE_CONFIG = 75
    SET_FAILSAFE_CONFIG = 76
    RXFAIL_CONFIG = 77
    STATUS = 101
    RAW_IMU = 102
    MOTOR = 104
    RC = 105
    ATTITUDE = 108
    ANALOG = 110
    RC_TUNING = 111
    BOXIDS = 119
    RC_DEADBAND = 125
    BATTERY_STATE = 130
    SET_RAW_RC = 200
    SET_MOTOR = 214
    MULTIPLE_MSP = 230
    EEPROM_WRITE = 250


class Box(enum.IntEnum):
    """Flight modes by their permanent ids."""

    ARM = 0
    ANGLE = 1
    HORIZON = 2
    FAILSAFE = 27
    AIRMODE = 28
    USER1 = 40
    MSP_OVERRIDE = 50


# Why the firmware will not arm, by bit; the word is what its own configurator shows.
ARMING_BLOCKERS: tuple[tuple[str, str], ...] = (
    ("NOGYRO", "no gyroscope was found"),
    ("FAILSAFE", "its failsafe acts"),
    ("RXLOSS", "it receives no radio control"),
    ("NOT_DISARMED", "it was told to arm while its failsafe ended; disarm first"),
    ("BOXFAILSAFE", "the failsafe switch is on"),
    ("RUNAWAY", "it stopped a runaway take-off; disarm first, then check propellers and motor order"),
    ("CRASH", "it detected a crash; disarm first"),
    ("THROTTLE", "the throttle is not low"),
    ("ANGLE", "it is tilted too far (small_angle)"),
    ("BOOTGRACE", "it has just started; wait a few seconds"),
    ("NOPREARM", "the pre-arm switch is off"),
    ("LOAD", "its processor is overloaded"),
    ("CALIB", "its sensors are being calibrated; keep it still"),
    ("CLI", "its command line is open; close it and restart the flight controller"),
    ("CMS", "its on-screen menu is open"),
    ("BST", "another device on its bus forbids it"),
    ("MSP", "a configurator is connected and forbids it"),
    ("PARALYZE", "it is paralysed by a switch; restart it"),
    ("GPS", "it waits for a GPS fix"),
    ("RESCUE_SW", "the GPS rescue switch is on"),
    ("DSHOT_TELEM", "motor telemetry does not work"),
    ("REBOOT_REQD", "its configuration changed; restart it"),
    ("DSHOT_BBANG", "the motor protocol does not work on these pins"),
    ("NO_ACC_CAL", "its accelerometer was never calibrated"),
    ("MOTOR_PROTO", "no motor protocol is configured"),
    ("FLIP_SWITCH", "the crash-flip switch is on"),
    ("ALT_HOLD_SW", "the altitude-hold switch is on"),
    ("POS_HOLD_SW", "the position-hold switch is on"),
    ("ARM_SWITCH", "the arm switch was on before the other reasons went away; switch it off first"),
)


class MspFormatError(ValueError):
    """A message is shorter than its kind, or says what cannot be."""


def _unpack(layout: str, payload: bytes, what: str, offset: int = 0) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, payload, offset)
    except struct.error as error:
        raise MspFormatError(f"{what} of {len(payload)} bytes: {error}") from error


def arming_blockers(bits: int) -> tuple[str, ...]:
    """Put the arming-disable word into sentences.

    Args:
        bits: one bit a reason.

    Returns:
        A sentence for every bit that is set, with the configurator's word in front.
    """
    known = tuple(f"{name}: {text}" for i, (name, text) in enumerate(ARMING_BLOCKERS) if bits >> i & 1)
    rest = bits >> len(ARMING_BLOCKERS)
    return (*known, f"unknown reason (bits {rest << len(ARMING_BLOCKERS):#x})") if rest else known


@dataclass(frozen=True, slots=True)
class StatusReport:
    """MSP_STATUS."""

    # Time between two rounds of the firmware's control loop, seconds.
    cycle_s: float
    # Active modes: one bit a box, in the order of MSP_BOXIDS.
    mode_flags: int
    # Why it will not arm: one bit a reason of `ARMING_BLOCKERS`.
    arming_disabled: int
    # How busy its processor is, 0 to 1.
    load_share: float
    # Whether a changed setting waits for a restart.
    reboot_required: bool

    @staticmethod
    def parse(payload: bytes) -> StatusReport:
        """Read a payload; raises MspFormatError when it is too short."""
        cycle_us, _, _, flags, _, load, _, extra = _unpack("<HHHIBHHB", payload, "status")
        extra &= 0x0F
        more = payload[16 : 16 + extra]
        if len(more) < extra:
            raise MspFormatError(f"status of {len(payload)} bytes with {extra} bytes of further modes")
        flags |= int.from_bytes(more, "little") << 32
        _, disabled = _unpack("<BI", payload, "status", 16 + extra)
        config = payload[21 + extra] if len(payload) > 21 + extra else 0
        return StatusReport(cycle_us * 1e-6, flags, disabled, load / 100.0, bool(config & 1))

    def modes(self, box_ids: Sequence[int]) -> frozenset[int]:
        """Permanent ids of the active modes, given the order that MSP_BOXIDS told."""
        return frozenset(box for i, box in enumerate(box_ids) if self.mode_flags >> i & 1)


@dataclass(frozen=True, slots=True)
class AttitudeReport:
    """MSP_ATTITUDE, turned into our frames: coarse (0.1 degrees; the heading 1 degree)."""

    # About the body's x axis: left side up is positive, radians.
    roll_rad: float
    # About the body's y axis (left): nose down is positive, radians.
    pitch_rad: float
    # The firmware's own heading, without a compass relative to where it started, radians.
    yaw_rad: float

    @staticmethod
    def parse(payload: bytes) -> AttitudeReport:
        """Read a payload; raises MspFormatError when it is too short."""
        roll, pitch, yaw = _unpack("<3h", payload, "attitude")
        return AttitudeReport(math.radians(roll / 10.0), -math.radians(pitch / 10.0), math.radians(yaw))

    @property
    def up(self) -> FloatArray:
        """The world's up axis in the body, shape (3,): what is left of an attitude without its heading."""
        sr, cr = math.sin(self.roll_rad), math.cos(self.roll_rad)
        sp, cp = math.sin(self.pitch_rad), math.cos(self.pitch_rad)
        return np.array([-sp, cp * sr, cp * cr])


@dataclass(frozen=True, slots=True)
class ImuReport:
    """MSP_RAW_IMU in SI units, body forward-left-up."""

    # Specific force, shape (3,), m/s^2; at rest +1 g along z.
    acceleration_m_s2: FloatArray
    # Rates, shape (3,), rad/s.
    angular_velocity_rad_s: FloatArray

    @staticmethod
    def parse(payload: bytes) -> ImuReport:
        """Read a payload; raises MspFormatError when it is too short."""
        raw = np.array(_unpack("<6h", payload, "raw IMU"), dtype=np.float64)
        return ImuReport(
            raw[:3] * (STANDARD_GRAVITY_M_S2 / _ACC_PER_G), np.radians(raw[3:] / _GYRO_PER_DEG_S)
        )


@dataclass(frozen=True, slots=True)
class AnalogReport:
    """MSP_ANALOG."""

    # Volts of the battery.
    voltage_v: float
    # Charge drawn since the battery was connected, mAh.
    drawn_mah: int
    # Signal strength of the radio, 0 to 1.
    rssi_share: float
    # Amperes drawn now.
    current_a: float

    @staticmethod
    def parse(payload: bytes) -> AnalogReport:
        """Read a payload; raises MspFormatError when it is too short."""
        _, drawn, rssi, current, voltage = _unpack("<BHHhH", payload, "analog")
        return AnalogReport(voltage / 100.0, drawn, rssi / 1023.0, current / 100.0)


@dataclass(frozen=True, slots=True)
class BatteryReport:
    """MSP_BATTERY_STATE."""

    # Cells in series; 0: no battery was recognised.
    cells: int
    # Full charge as configured, mAh; 0: unknown.
    capacity_mah: int
    # Volts.
    voltage_v: float
    # Charge drawn, mAh.
    drawn_mah: int

    @staticmethod
    def parse(payload: bytes) -> BatteryReport:
        """Read a payload; raises MspFormatError when it is too short."""
        cells, capacity, _, drawn, _, _, voltage = _unpack("<BHBHhBH", payload, "battery state")
        return BatteryReport(cells, capacity, voltage / 100.0, drawn)

    @property
    def share(self) -> float | None:
        """What is left, 0 to 1, from the charge drawn; None where capacity or battery are unknown."""
        if not self.cells or not self.capacity_mah:
            return None
        return min(1.0, max(0.0, 1.0 - self.drawn_mah / self.capacity_mah))


@dataclass(frozen=True, slots=True)
class ModeRange:
    """One slot of MSP_MODE_RANGES: a mode that is on while an auxiliary channel lies in a range."""

    # Permanent id of the mode.
    box: int
    # Auxiliary channel, from 1.
    aux: int
    # From and up to, microseconds.
    low_us: int
    high_us: int

    @property
    def is_used(self) -> bool:
        """Whether the range is not empty."""
        return self.low_us < self.high_us

    def contains(self, value_us: int) -> bool:
        """Whether the mode is on at a channel value."""
        return self.low_us <= value_us < self.high_us

    def encode(self, slot: int) -> bytes:
        """Payload of MSP_SET_MODE_RANGE for a slot."""
        low, high = ((us - 900) // 25 for us in (self.low_us, self.high_us))
        return bytes((slot, self.box, self.aux - 1, low, high))

    @staticmethod
    def parse_all(payload: bytes) -> tuple[ModeRange, ...]:
        """Read every slot."""
        return tuple(
            ModeRange(payload[i], payload[i + 1] + 1, 900 + 25 * payload[i + 2], 900 + 25 * payload[i + 3])
            for i in range(0, len(payload) - 3, 4)
        )


@dataclass(frozen=True, slots=True)
class FailsafeReport:
    """MSP_FAILSAFE_CONFIG: what the firmware does without radio control."""

    # Time without control until stage 2, seconds.
    delay_s: float
    # Longest landing before it disarms anyway, seconds.
    landing_s: int
    # Throttle while it lands, microseconds.
    throttle_us: int
    # What the failsafe switch does: 0 stage 1, 1 disarm, 2 stage 2.
    switch_mode: int
    # Low throttle for this long before the loss just disarms, tenths of a second.
    throttle_low_ds: int
    # Stage 2: 0 lands, 1 drops, 2 flies home.
    procedure: int

    @staticmethod
    def parse(payload: bytes) -> FailsafeReport:
        """Read a payload; raises MspFormatError when it is too short."""
        delay, landing, throttle, switch, low, procedure = _unpack("<BBHBHB", payload, "failsafe settings")
        return FailsafeReport(delay / 10.0, landing, throttle, switch, low, procedure)

    def encode(self) -> bytes:
        """Payload of MSP_SET_FAILSAFE_CONFIG."""
        return struct.pack(
            "<BBHBHB",
            round(self.delay_s * 10),
            self.landing_s,
            self.throttle_us,
            self.switch_mode,
            self.throttle_low_ds,
            self.procedure,
        )


def parse_multiple(commands: Sequence[int], payload: bytes) -> Mapping[int, bytes]:
    """Take the answer of MSP_MULTIPLE_MSP apart.

    Args:
        commands: what was asked for, in order.
        payload: the answers, each after its length.

    Returns:
        Payload by command; commands that the firmware had no room for are left out.

    Raises:
        MspFormatError: a length points beyond the end.
    """
    found, at = {}, 0
    for command in commands:
        if at >= len(payload):
            break
        size = payload[at]
        part = payload[at + 1 : at + 1 + size]
        if len(part) < size:
            raise MspFormatError(f"answer to {command} is cut off: {len(part)} of {size} bytes")
        found[command] = part
        at += 1 + size
    return found


def encode_channels(values_us: Sequence[int]) -> bytes:
    """Payload of MSP_SET_RAW_RC.

    Args:
        values_us: one value a raw channel, microseconds, at most `RC_CHANNELS`.
    """
    return struct.pack(f"<{len(values_us)}H", *values_us)


def parse_channels(payload: bytes) -> tuple[int, ...]:
    """Channels of MSP_RC (roll, pitch, yaw, throttle, AUX1, ...) or of MSP_MOTOR, microseconds."""
    return struct.unpack_from(f"<{len(payload) // 2}H", payload)
