"""Position control in front of a flight controller that takes body rates and thrust.

A cascade: position error to velocity, velocity error to acceleration, acceleration to a direction and size
of thrust, direction to body rates. The law for the direction is that of Lee, Leok and McClamroch,
"Geometric tracking control of a quadrotor UAV on SE(3)" (CDC 2010), reduced to the axis of thrust; the
flight controller does the rest. Thrust is in multiples of the vehicle's weight, so that nothing here knows
the vehicle. World east-north-up, body forward-left-up. Pure: no clock, no thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix

GRAVITY_M_S2 = 9.81
_UP = np.array([0.0, 0.0, 1.0])
# Errors that last are learnt this near to the reference; farther away they are a way still to go, metres.
_NEAR_M = 0.4


@dataclass(frozen=True)
class OuterLoopSettings:
    """How the cascade is tuned. The defaults leave room for a tenth of a second between pose and rotor."""

    # Velocity per position error, 1/s.
    position_per_s: float = 1.8
    # Acceleration per velocity error, horizontal and vertical, 1/s.
    velocity_per_s: float = 3.2
    vertical_per_s: float = 4.0
    # Growth of the acceleration that is added for a lasting position error, 1/s^3, and its bound, m/s^2.
    integral_per_s3: float = 1.5
    integral_limit_m_s2: float = 3.0
    # Body rate per angle of the thrust's direction, and per heading error, 1/s.
    attitude_per_s: float = 6.0
    yaw_per_s: float = 2.0
    # Bounds: speed from position errors, tilt, body rates, and thrust in weights.
    max_speed_m_s: float = 2.5
    max_tilt_rad: float = 0.7
    max_rate_rad_s: float = 6.0
    max_yaw_rate_rad_s: float = 2.0
    min_thrust: float = 0.15
    max_thrust: float = 2.2
    # Time constant with which the reference's acceleration is taken from its velocity, seconds; 0: not at
    # all.
    acceleration_s: float = 0.05

    def __post_init__(self) -> None:
        """Refuse gains that cannot fly.

        Raises:
            ConfigError: a number is not positive (an integral or an acceleration filter may be zero), or
                the bounds
                of thrust do not hold the weight.
        """
        may_be_zero = ("integral_per_s3", "integral_limit_m_s2", "acceleration_s", "min_thrust")
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not (value > 0.0 or (value == 0.0 and name in may_be_zero)):
                raise _wrong(f"{name} is {value}", "a positive number", f"correct {name}")
        if not self.min_thrust < 1.0 < self.max_thrust or not self.max_tilt_rad < math.pi / 2:
            raise _wrong(
                f"thrust {self.min_thrust} to {self.max_thrust} weights, tilt to {self.max_tilt_rad} rad",
                "bounds around 1, and a tilt below a quarter turn",
                "correct the bounds",
            )


def _wrong(what: str, expected: str, mend: str) -> ConfigError:
    return ConfigError(what, where="outer loop", expected=expected, mend=mend)


@dataclass(frozen=True, slots=True)
class Setpoint:
    """Where to be: world frame."""

    # Shape (3,), metres.
    position_m: FloatArray
    # Shape (3,), m/s.
    velocity_m_s: FloatArray
    # Heading, radians.
    yaw_rad: float = 0.0


@dataclass(frozen=True, slots=True)
class RatesThrust:
    """What the flight controller is to do."""

    # About forward, left and up, rad/s.
    rates_rad_s: tuple[float, float, float]
    # Collective thrust in weights.
    thrust: float


HOVER = RatesThrust((0.0, 0.0, 0.0), 1.0)


class OuterLoop:
    """The cascade of one vehicle.

    Args:
        settings: its tuning.
    """

    def __init__(self, settings: OuterLoopSettings | None = None) -> None:
        """Start as after `reset`."""
        self.settings = OuterLoopSettings() if settings is None else settings
        self.reset()

    def reset(self) -> None:
        """Forget what lasted: for a new flight, or after somebody else flew."""
        self._integral: FloatArray = np.zeros(3)
        self._velocity: FloatArray | None = None
        self._acceleration: FloatArray = np.zeros(3)

    @property
    def memory(self) -> dict[str, FloatArray]:
        """A copy of what lasts from step to step.

        `integral` and `acceleration` (m/s^2), the last reference `velocity` (m/s), each of shape (3,), and
        `seen`, shape (1,): 1 where that velocity is one.
        """
        return {
            "integral": self._integral.copy(),
            "acceleration": self._acceleration.copy(),
            "velocity": np.zeros(3) if self._velocity is None else self._velocity.copy(),
            "seen": np.array([0.0 if self._velocity is None else 1.0]),
        }

    def recall(self, memory: Mapping[str, FloatArray]) -> None:
        """Take back what `memory` gave."""
        self._integral = np.array(memory["integral"], dtype=np.float64)
        self._acceleration = np.array(memory["acceleration"], dtype=np.float64)
        seen = float(memory["seen"][0]) > 0.5
        self._velocity = np.array(memory["velocity"], dtype=np.float64) if seen else None

    def update(
        self,
        setpoint: Setpoint,
        *,
        position_m: FloatArray,
        velocity_m_s: FloatArray,
        orientation_wxyz: FloatArray,
        dt_s: float,
        flying: bool = True,
    ) -> RatesThrust:
        """One step.

        Args:
            setpoint: where to be.
            position_m: where it is, shape (3,).
            velocity_m_s: how fast, world frame, shape (3,).
            orientation_wxyz: body to world, shape (4,).
            dt_s: time since the last step, seconds.
            flying: False while it stands on the ground, where a lasting error means nothing.

        Returns:
            Body rates and thrust, within the settings' bounds.
        """
        s = self.settings
        acceleration = self._wanted_acceleration(setpoint, position_m, velocity_m_s, dt_s, flying=flying)
        force = acceleration + GRAVITY_M_S2 * _UP
        # Downwards faster than free fall is not to be had; what is left points up.
        force[2] = max(force[2], 0.2 * GRAVITY_M_S2)
        sideways = math.hypot(force[0], force[1])
        limit = force[2] * math.tan(s.max_tilt_rad)
        if sideways > limit:
            force[:2] *= limit / sideways
        body = rotation_matrix(orientation_wxyz)
        goal = body.T @ (force / np.linalg.norm(force))
        roll, pitch = _turn(goal)
        heading = math.atan2(body[1, 0], body[0, 0])
        yaw_error = math.remainder(setpoint.yaw_rad - heading, math.tau)
        rates = (
            _clip(s.attitude_per_s * roll, s.max_rate_rad_s),
            _clip(s.attitude_per_s * pitch, s.max_rate_rad_s),
            # Turning the heading costs tilt; it comes last where the thrust has to swing far.
            _clip(s.yaw_per_s * yaw_error, s.max_yaw_rate_rad_s) * max(0.0, float(goal[2])),
        )
        thrust = float(force @ body[:, 2]) / GRAVITY_M_S2
        return RatesThrust(rates, min(s.max_thrust, max(s.min_thrust, thrust)))

    def _wanted_acceleration(
        self,
        setpoint: Setpoint,
        position_m: FloatArray,
        velocity_m_s: FloatArray,
        dt_s: float,
        *,
        flying: bool,
    ) -> FloatArray:
        s = self.settings
        error = setpoint.position_m - position_m
        catch_up = s.position_per_s * error
        speed = float(np.linalg.norm(catch_up))
        if speed > s.max_speed_m_s:
            catch_up *= s.max_speed_m_s / speed
        if flying and float(np.linalg.norm(error)) < _NEAR_M:
            self._integral += s.integral_per_s3 * dt_s * error
            np.clip(self._integral, -s.integral_limit_m_s2, s.integral_limit_m_s2, out=self._integral)
        gains = np.array([s.velocity_per_s, s.velocity_per_s, s.vertical_per_s])
        wanted = gains * (setpoint.velocity_m_s + catch_up - velocity_m_s)
        return wanted + self._integral + self._feed_forward(setpoint.velocity_m_s, dt_s)

    def _feed_forward(self, velocity_m_s: FloatArray, dt_s: float) -> FloatArray:
        """The reference's own acceleration, from how its velocity changes."""
        last, self._velocity = self._velocity, np.array(velocity_m_s)
        if last is None or self.settings.acceleration_s == 0.0 or not dt_s > 0.0:
            return np.zeros(3)
        change = (self._velocity - last) / dt_s
        share = 1.0 - math.exp(-dt_s / self.settings.acceleration_s)
        # A jump of the reference is no acceleration that anybody could follow.
        self._acceleration += share * (np.clip(change, -15.0, 15.0) - self._acceleration)
        return self._acceleration


class HoverThrottle:
    """Learns which share of the full thrust carries the weight, from thrust asked for and acceleration felt.

    Args:
        first: where to begin, 0 to 1.
        per_s: how fast it follows.
    """

    def __init__(self, first: float, per_s: float = 0.8) -> None:
        """Begin with a guess."""
        self.share = first
        self._per_s = per_s
        self._asked = self._felt = 1.0

    def climb(self, dt_s: float) -> None:
        """On the ground, told to take off, and not moving yet: it takes more.

        Args:
            dt_s: time since the last step, seconds.
        """
        self._asked = self._felt = 1.0
        self._set(self.share * math.exp(0.6 * dt_s))

    def update(self, thrust: float, felt_m_s2: float, dt_s: float) -> None:
        """In flight.

        Args:
            thrust: what was asked for, in weights.
            felt_m_s2: specific force along the body's up axis.
            dt_s: time since the last step, seconds.
        """
        share = min(1.0, dt_s / 0.3)
        self._asked += share * (thrust - self._asked)
        self._felt += share * (felt_m_s2 / GRAVITY_M_S2 - self._felt)
        error = min(0.5, max(-0.5, self._asked - self._felt))
        self._set(self.share * math.exp(self._per_s * dt_s * error))

    def _set(self, share: float) -> None:
        self.share = min(0.9, max(0.02, share))


def _turn(goal_body: FloatArray) -> tuple[float, float]:
    """Angles about the body's x and y axes that take its up axis onto a direction, radians."""
    a, b, c = (float(v) for v in goal_body)
    sine = math.hypot(a, b)
    if sine < 1e-9:
        return (0.0, 0.0) if c > 0.0 else (math.pi, 0.0)
    angle = math.atan2(sine, c)
    return (-b / sine * angle, a / sine * angle)


def _clip(value: float, bound: float) -> float:
    return min(bound, max(-bound, value))
