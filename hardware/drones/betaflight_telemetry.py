"""What Betaflight tells about itself, gathered: asked for in one message, kept with its time. Pure."""

from __future__ import annotations

import math

import numpy as np

from hardware.command import FloatArray
from hardware.drones.msp_messages import (
    AnalogReport,
    AttitudeReport,
    BatteryReport,
    Box,
    ImuReport,
    Msp,
    StatusReport,
    arming_blockers,
    parse_channels,
    parse_multiple,
)

_POLLED = (Msp.STATUS, Msp.ATTITUDE, Msp.RAW_IMU, Msp.MOTOR)
_RARELY = (Msp.ANALOG, Msp.BATTERY_STATE)
_EVERY = 10
# What was said is believed for this long, seconds.
_BELIEVED_S = 1.0
_GYRO_S = 0.08
_MODES = {Box.FAILSAFE: "failsafe", Box.ANGLE: "angle", Box.HORIZON: "horizon"}


class Telemetry:
    """The newest reports of one flight controller.

    Args:
        box_ids: permanent ids of its modes, in the order of its mode flags.
    """

    def __init__(self, box_ids: tuple[int, ...]) -> None:
        """Nothing said yet."""
        self._box_ids = box_ids
        self._turn = 0
        self._asked: tuple[int, ...] = ()
        self.status: StatusReport | None = None
        self.attitude: AttitudeReport | None = None
        self.imu: ImuReport | None = None
        self.analog: AnalogReport | None = None
        self.battery: BatteryReport | None = None
        self.motors_us: tuple[int, ...] = ()
        # When the newest answer came, steady clock, nanoseconds.
        self.received_ns = 0

    def question(self) -> tuple[tuple[int, ...], bytes]:
        """What to ask next: the commands, and the payload of MSP_MULTIPLE_MSP."""
        commands = _POLLED if self._turn % _EVERY else _POLLED + _RARELY
        self._turn += 1
        return commands, bytes(commands)

    def take(self, commands: tuple[int, ...], payload: bytes, now_ns: int) -> None:
        """Take the answer to a question.

        Args:
            commands: what was asked.
            payload: the answer.
            now_ns: when it came, steady clock, nanoseconds.

        Raises:
            MspFormatError: it makes no sense; what was known stays.
        """
        parts = parse_multiple(commands, payload)
        status = StatusReport.parse(parts[Msp.STATUS]) if Msp.STATUS in parts else self.status
        attitude = AttitudeReport.parse(parts[Msp.ATTITUDE]) if Msp.ATTITUDE in parts else self.attitude
        imu = ImuReport.parse(parts[Msp.RAW_IMU]) if Msp.RAW_IMU in parts else self.imu
        analog = AnalogReport.parse(parts[Msp.ANALOG]) if Msp.ANALOG in parts else self.analog
        battery = (
            BatteryReport.parse(parts[Msp.BATTERY_STATE]) if Msp.BATTERY_STATE in parts else self.battery
        )
        self.status, self.attitude, self.imu, self.analog, self.battery = (
            status,
            attitude,
            imu,
            analog,
            battery,
        )
        if Msp.MOTOR in parts:
            self.motors_us = parse_channels(parts[Msp.MOTOR])[:4]
        self.received_ns = now_ns

    def is_fresh(self, now_ns: int, limit_s: float = _BELIEVED_S) -> bool:
        """Whether the newest answer is that young."""
        return self.status is not None and now_ns - self.received_ns <= round(limit_s * 1e9)

    @property
    def modes(self) -> frozenset[int]:
        """Permanent ids of the active modes."""
        return frozenset() if self.status is None else self.status.modes(self._box_ids)

    def armed(self, now_ns: int) -> bool | None:
        """Whether the firmware says that it is armed; None: it has said nothing lately."""
        return Box.ARM in self.modes if self.is_fresh(now_ns) else None

    @property
    def mode(self) -> str:
        """The flight mode, in a word."""
        return next((word for box, word in _MODES.items() if box in self.modes), "rates")

    @property
    def blockers(self) -> tuple[str, ...]:
        """Why the firmware will not arm, in sentences."""
        return () if self.status is None else arming_blockers(self.status.arming_disabled)

    @property
    def motor_outputs(self) -> tuple[float, ...]:
        """Outputs of the four motors, 0 to 1, in the firmware's order; empty while unknown."""
        return tuple(min(1.0, max(0.0, (us - 1000) / 1000.0)) for us in self.motors_us)

    def rates(self, now_ns: int) -> FloatArray | None:
        """Body rates of the gyroscope, shape (3,), rad/s; None while they are not fresh."""
        if self.imu is None or not self.is_fresh(now_ns, _GYRO_S):
            return None
        return self.imu.angular_velocity_rad_s

    def tilt_disagreement(self, orientation_wxyz: FloatArray, now_ns: int) -> float | None:
        """Angle between "up" as the firmware sees it and as a pose says, radians; None: unknown."""
        if self.attitude is None or not self.is_fresh(now_ns, _GYRO_S):
            return None
        w, x, y, z = (float(v) for v in orientation_wxyz)
        up = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
        return math.acos(min(1.0, max(-1.0, float(up @ self.attitude.up))))
