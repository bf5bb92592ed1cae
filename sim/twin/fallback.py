"""The quadrotor's own way down: what its firmware does when nobody commands the motors any more.

A geometric attitude controller under a velocity controller. It levels the vehicle, damps its
horizontal velocity, descends slowly and cuts the motors on the ground. It knows its airframe: thrusts
come out of the mixer's inverse, efforts out of the thrust curve's inverse, and the motors' lag is
compensated as far as their range allows. When not everything can be had, tilt comes before lift and
lift before heading. Source of the attitude law: Lee, Leok, McClamroch, "Geometric tracking control
of a quadrotor UAV on SE(3)", CDC 2010, with the error reduced to the direction of thrust.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe
from sim.quadrotor.dynamics import QuadrotorState

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class LandingGains:
    """How the vehicle comes down."""

    # Speed of the descent.
    descent_m_s: float = 0.4
    # Acceleration per velocity error, vertical and horizontal, 1/s.
    vertical_per_s: float = 2.5
    horizontal_per_s: float = 1.8
    # Steepest tilt that it asks for to brake.
    max_tilt_rad: float = 0.45
    # Bounds of the vertical acceleration that it asks for, down and up.
    max_down_m_s2: float = 4.0
    max_up_m_s2: float = 6.0
    # Stiffness of the attitude loop; its damping is critical.
    attitude_rad_s: float = 7.0
    # Damping of the heading's rate, 1/s.
    yaw_per_s: float = 2.0
    # What is left of the motors' lag after compensation.
    motor_s: float = 0.02
    # Time on the ground after which the motors are cut.
    ground_s: float = 0.1
    # A landing that begins on the ground and slower than this is over at once.
    resting_m_s: float = 0.3


class LandingController:
    """Lands one vehicle.

    Args:
        airframe: the vehicle.
        gains: how it comes down.
    """

    def __init__(self, airframe: Airframe, gains: LandingGains | None = None) -> None:
        """Invert the mixer once."""
        self._airframe = airframe
        self._gains = LandingGains() if gains is None else gains
        self._unmix: list[list[float]] = np.linalg.inv(airframe.mixer).tolist()
        self._low_n, self._high_n = airframe.thrust_n[0], sum(airframe.thrust_n)
        self.reset()

    def reset(self) -> None:
        """Begin a new landing."""
        self._ground_s = 0.0
        self._begins = True
        self.is_down = False

    def efforts(self, state: QuadrotorState, *, on_ground: bool, dt_s: float) -> list[float]:
        """Set-points for the motors.

        Args:
            state: of one vehicle, world frame z up.
            on_ground: whether it touches the ground.
            dt_s: time since the last call, seconds.

        Returns:
            Four efforts, 0 to 1, in the order of `MOTORS`; zeros once it is down.
        """
        _, _, _, w, x, y, z, vx, vy, vz, p, q, r, *effort = state.packed.tolist()
        self._ground_s = self._ground_s + dt_s if on_ground else 0.0
        rests = self._begins and on_ground and math.hypot(vx, vy, vz) < self._gains.resting_m_s
        self._begins = False
        self.is_down = self.is_down or rests or self._ground_s > self._gains.ground_s - 0.5 * dt_s
        if self.is_down:
            return [0.0] * 4
        up = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
        wanted = self._wanted_force((vx, vy, vz))
        size = math.sqrt(sum(f * f for f in wanted))
        goal = tuple(f / size for f in wanted)
        # The thrust that is wanted, in the body: how far "up" has to turn, and about which axis.
        goal_body = _to_body((w, x, y, z), goal)
        error = _turn(goal_body)
        torque = self._torque(error, (p, q, r))
        # Upside down, thrust only hurts: none beyond what the torques need.
        lift = max(0.0, sum(a * b for a, b in zip(wanted, up, strict=True)))
        return self._allocate(lift, torque, effort)

    def _wanted_force(self, velocity: Vector) -> Vector:
        gains, mass = self._gains, self._airframe.mass_kg
        vertical = gains.vertical_per_s * (-gains.descent_m_s - velocity[2])
        vertical = min(gains.max_up_m_s2, max(-gains.max_down_m_s2, vertical))
        up = GRAVITY_M_S2 + vertical
        ax, ay = -gains.horizontal_per_s * velocity[0], -gains.horizontal_per_s * velocity[1]
        limit = up * math.tan(gains.max_tilt_rad)
        scale = min(1.0, limit / max(math.hypot(ax, ay), 1e-9))
        return (mass * ax * scale, mass * ay * scale, mass * up)

    def _torque(self, error: Vector, rates: Vector) -> Vector:
        gains = self._gains
        jx, jy, jz = self._airframe.inertia_kg_m2
        p, q, r = rates
        stiffness, damping = gains.attitude_rad_s**2, 2.0 * gains.attitude_rad_s
        return (
            jx * (stiffness * error[0] - damping * p) + (jz - jy) * q * r,
            jy * (stiffness * error[1] - damping * q) + (jx - jz) * p * r,
            jz * (-gains.yaw_per_s * r) + (jy - jx) * p * q,
        )

    def _allocate(self, lift_n: float, torque: Vector, effort: list[float]) -> list[float]:
        """Thrusts within the rotors' range: tilt first, then lift, then heading."""
        low, high = self._low_n, self._high_n
        tilt = [row[1] * torque[0] + row[2] * torque[1] for row in self._unmix]
        room = (high - low) / max(max(tilt) - min(tilt), 1e-12)
        if room < 1.0:
            tilt = [t * room for t in tilt]
        # Every rotor gives its share of the lift, as far as the tilt leaves room.
        base = min(high - max(tilt), max(low - min(tilt), lift_n / 4.0))
        thrusts = [base + t for t in tilt]
        turn = [row[3] * torque[2] for row in self._unmix]
        share = 1.0
        for f, t in zip(thrusts, turn, strict=True):
            if t > 0.0:
                share = min(share, (high - f) / t)
            elif t < 0.0:
                share = min(share, (low - f) / t)
        share = max(0.0, share)
        return [self._motor(f + share * t, u) for f, t, u in zip(thrusts, turn, effort, strict=True)]

    def _motor(self, thrust_n: float, effort: float) -> float:
        """The set-point that brings a lagging rotor to a thrust in about `motor_s`."""
        wanted = self._airframe.effort_for(thrust_n)
        lag_s = self._airframe.rising_s if wanted >= effort else self._airframe.falling_s
        lead = max(1.0, lag_s / self._gains.motor_s)
        return min(1.0, max(0.0, effort + lead * (wanted - effort)))


def _to_body(quaternion: tuple[float, ...], vector: tuple[float, ...]) -> Vector:
    w, x, y, z = quaternion
    a, b, c = vector
    return (
        (1 - 2 * (y * y + z * z)) * a + 2 * (x * y + w * z) * b + 2 * (x * z - w * y) * c,
        2 * (x * y - w * z) * a + (1 - 2 * (x * x + z * z)) * b + 2 * (y * z + w * x) * c,
        2 * (x * z + w * y) * a + 2 * (y * z - w * x) * b + (1 - 2 * (x * x + y * y)) * c,
    )


def _turn(goal_body: Vector) -> Vector:
    """The rotation vector, body frame, that takes the body's z axis onto a direction."""
    a, b, c = goal_body
    # z cross goal; exactly upside down any horizontal axis is as good as another.
    sine = math.hypot(a, b)
    if sine < 1e-9:
        return (0.0, 0.0, 0.0) if c > 0.0 else (math.pi, 0.0, 0.0)
    angle = math.atan2(sine, c)
    return (-b / sine * angle, a / sine * angle, 0.0)
