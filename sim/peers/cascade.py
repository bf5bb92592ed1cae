"""A cascaded flight controller: position, velocity, attitude, turning rate, mixer.

The structure is PX4's (position P, velocity PID, attitude P with heading of lesser weight, rate PID,
prioritised allocation), written for SI units: a rate error asks for an angular acceleration, which the
airframe's inertia turns into a torque. Frames here are ours: world z up, body forward-left-up.
Sources: PX4 user guide, "Controller Diagrams"; Brescianini, Hehn, D'Andrea, "Nonlinear quadrocopter
attitude control", ETH 2013 (tilt before heading).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.peers.estimator import Estimate
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe

NAN = math.nan
UNSET = (NAN, NAN, NAN)


@dataclass(frozen=True)
class CascadeGains:
    """Gains and limits; the defaults are PX4's where it has them in the same unit."""

    # Velocity per position error, 1/s (MPC_XY_P, MPC_Z_P).
    position_xy: float = 0.95
    position_z: float = 1.0
    # Acceleration per velocity error, 1/s (MPC_XY_VEL_P_ACC, MPC_Z_VEL_P_ACC).
    velocity_xy: float = 1.8
    velocity_z: float = 4.0
    # Integrators, 1/s^2 (MPC_XY_VEL_I_ACC, MPC_Z_VEL_I_ACC).
    integral_xy: float = 0.4
    integral_z: float = 2.0
    # Fastest speed that position errors may ask for.
    speed_xy_m_s: float = 5.0
    climb_m_s: float = 3.0
    sink_m_s: float = 1.5
    # Steepest tilt.
    tilt_rad: float = math.radians(45.0)
    # Turning rate per attitude error, 1/s (MC_ROLL_P, MC_PITCH_P, MC_YAW_P).
    attitude: float = 6.5
    heading: float = 2.8
    # Fastest turning rates.
    rate_rad_s: float = 3.8
    yaw_rate_rad_s: float = 2.0
    # Angular acceleration per rate error, 1/s, and its integrator, 1/s^2.
    rate: float = 18.0
    yaw_rate: float = 6.0
    rate_integral: float = 8.0
    # What is left of the motors' lag after the mixer's lead; infinite: no lead.
    motor_s: float = math.inf


@dataclass(frozen=True)
class Target:
    """What to track; every number may be NaN, which leaves it to the others.

    Position, velocity and acceleration are of the world (m, m/s, m/s^2), x, y, z.
    """

    position: tuple[float, ...] = UNSET
    velocity: tuple[float, ...] = UNSET
    acceleration: tuple[float, ...] = UNSET
    # Heading, radians, from east, counter-clockwise, and its rate.
    yaw: float = NAN
    yaw_rate: float = NAN

    @property
    def is_complete(self) -> bool:
        """Whether every axis is told something."""
        return all(
            any(math.isfinite(v[axis]) for v in (self.position, self.velocity, self.acceleration))
            for axis in range(3)
        )


class Cascade:
    """The controllers of one vehicle.

    Args:
        airframe: the vehicle.
        gains: gains and limits.
    """

    def __init__(self, airframe: Airframe, gains: CascadeGains | None = None) -> None:
        """Invert the mixer once."""
        self.airframe = airframe
        self.gains = CascadeGains() if gains is None else gains
        self._unmix: list[list[float]] = np.linalg.inv(airframe.mixer).tolist()
        self._low_n, self._high_n = airframe.thrust_n[0], sum(airframe.thrust_n)
        self.reset()

    def reset(self) -> None:
        """Forget what the integrators learned."""
        self._velocity_sum = [0.0, 0.0, 0.0]
        self._rate_sum = [0.0, 0.0, 0.0]
        self._yaw_hold: float | None = None
        self._effort = [0.0] * 4
        self.thrust_n = 0.0

    def track(self, estimate: Estimate, target: Target, dt_s: float) -> list[float]:
        """Efforts that follow a target; shape (4,), 0 to 1, in the order of `MOTORS`."""
        force = self._force(estimate, target, dt_s)
        size = math.sqrt(sum(f * f for f in force))
        goal = [f / size for f in force]
        yaw, yaw_rate = target.yaw, target.yaw_rate
        if math.isfinite(yaw):
            self._yaw_hold = yaw
        elif math.isfinite(yaw_rate) or self._yaw_hold is None:
            self._yaw_hold = estimate.yaw
        feed = yaw_rate if math.isfinite(yaw_rate) else 0.0
        up = _up(estimate.orientation)
        lift = sum(f * u for f, u in zip(force, up, strict=True))
        return self._attitude(estimate, goal, self._yaw_hold, feed, max(0.0, lift), dt_s)

    def hold_attitude(
        self, estimate: Estimate, orientation: Sequence[float], thrust_n: float, dt_s: float
    ) -> list[float]:
        """Efforts that follow an attitude (w, x, y, z, body to world) and a collective thrust."""
        w, x, y, z = orientation
        yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        return self._attitude(estimate, list(_up(orientation)), yaw, 0.0, thrust_n, dt_s)

    def hold_rates(
        self, estimate: Estimate, rates: Sequence[float], thrust_n: float, dt_s: float
    ) -> list[float]:
        """Efforts that follow turning rates of the body (rad/s) and a collective thrust."""
        g, self.thrust_n = self.gains, thrust_n
        gains = (g.rate, g.rate, g.yaw_rate)
        wanted = []
        for i in range(3):
            error = rates[i] - estimate.rates[i]
            self._rate_sum[i] = _clip(self._rate_sum[i] + g.rate_integral * error * dt_s, 4.0)
            wanted.append(gains[i] * error + self._rate_sum[i])
        jx, jy, jz = self.airframe.inertia_kg_m2
        p, q, r = estimate.rates
        torque = (
            jx * wanted[0] + (jz - jy) * q * r,
            jy * wanted[1] + (jx - jz) * p * r,
            jz * wanted[2] + (jy - jx) * p * q,
        )
        return self._mix(thrust_n, torque, dt_s)

    def collective_n(self, thrust: float) -> float:
        """Newtons of a normalised thrust: all four rotors at that effort, as PX4 with THR_MDL_FAC 0."""
        u = min(1.0, max(0.0, thrust))
        c0, c1, c2 = self.airframe.thrust_n
        return 4.0 * (c0 + u * (c1 + u * c2))

    # --- private ------------------------------------------------------------------------------

    def _force(self, estimate: Estimate, target: Target, dt_s: float) -> list[float]:
        g = self.gains
        wanted = [
            (0.0 if math.isnan(v) else v) + (0.0 if math.isnan(p) else k * (p - x))
            for v, p, x, k in zip(
                target.velocity,
                target.position,
                estimate.position,
                (g.position_xy, g.position_xy, g.position_z),
                strict=True,
            )
        ]
        speed = math.hypot(wanted[0], wanted[1])
        if speed > g.speed_xy_m_s:
            wanted[0], wanted[1] = (w * g.speed_xy_m_s / speed for w in wanted[:2])
        wanted[2] = min(g.climb_m_s, max(-g.sink_m_s, wanted[2]))
        feed = [0.0 if math.isnan(a) else a for a in target.acceleration]
        acceleration = []
        for i in range(3):
            free = math.isnan(target.position[i]) and math.isnan(target.velocity[i])
            if free:
                acceleration.append(feed[i])
                continue
            gain, integral = (g.velocity_xy, g.integral_xy) if i < 2 else (g.velocity_z, g.integral_z)
            error = wanted[i] - estimate.velocity[i]
            self._velocity_sum[i] = _clip(self._velocity_sum[i] + integral * error * dt_s, 3.0)
            acceleration.append(feed[i] + gain * error + self._velocity_sum[i])
        ax, ay, az = acceleration
        up = GRAVITY_M_S2 + min(12.0, max(-7.0, az))
        limit = up * math.tan(g.tilt_rad)
        share = min(1.0, limit / max(math.hypot(ax, ay), 1e-9))
        mass = self.airframe.mass_kg
        return [mass * ax * share, mass * ay * share, mass * up]

    def _attitude(
        self,
        estimate: Estimate,
        goal: list[float],
        yaw: float,
        yaw_rate: float,
        thrust_n: float,
        dt_s: float,
    ) -> list[float]:
        g = self.gains
        w, x, y, z = estimate.orientation
        # The world's z axis and the goal, both seen from the body.
        level = (2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y))
        gx, gy, gz = goal
        a = (1.0 - 2.0 * (y * y + z * z)) * gx + 2.0 * (x * y + w * z) * gy + level[0] * gz
        b = 2.0 * (x * y - w * z) * gx + (1.0 - 2.0 * (x * x + z * z)) * gy + level[1] * gz
        c = 2.0 * (x * z + w * y) * gx + 2.0 * (y * z - w * x) * gy + level[2] * gz
        # The axis that turns the body's z axis onto the goal; upside down any horizontal one will do.
        sine = math.hypot(a, b)
        angle = math.atan2(sine, c)
        tilt = (math.pi, 0.0) if sine < 1e-9 and c < 0.0 else (-b, a)
        scale = 1.0 if sine < 1e-9 else angle / sine
        turn = math.remainder(yaw - estimate.yaw, 2.0 * math.pi)
        # The heading is turned about the world's z axis.
        spin = _clip(g.heading * turn + yaw_rate, g.yaw_rate_rad_s)
        rates = (
            _clip(g.attitude * tilt[0] * scale + spin * level[0], g.rate_rad_s),
            _clip(g.attitude * tilt[1] * scale + spin * level[1], g.rate_rad_s),
            spin * level[2],
        )
        return self.hold_rates(estimate, rates, thrust_n, dt_s)

    def _mix(self, lift_n: float, torque: Sequence[float], dt_s: float) -> list[float]:
        """Thrusts within the rotors' range: roll and pitch first, then lift, then heading."""
        low, high = self._low_n, self._high_n
        tilt = [row[1] * torque[0] + row[2] * torque[1] for row in self._unmix]
        spread = max(tilt) - min(tilt)
        if spread > high - low:
            tilt = [t * (high - low) / spread for t in tilt]
        base = min(high - max(tilt), max(low - min(tilt), lift_n / 4.0))
        share, turn = 1.0, [row[3] * torque[2] for row in self._unmix]
        for t, z in zip(tilt, turn, strict=True):
            room = (high - base - t) if z > 0.0 else (base + t - low)
            if abs(z) > room:
                share = min(share, max(0.0, room) / abs(z))
        airframe, efforts = self.airframe, []
        for i, (t, z) in enumerate(zip(tilt, turn, strict=True)):
            wanted = airframe.effort_for(base + t + share * z)
            lag_s = airframe.rising_s if wanted >= self._effort[i] else airframe.falling_s
            lead = max(1.0, lag_s / self.gains.motor_s)
            command = min(1.0, max(0.0, self._effort[i] + lead * (wanted - self._effort[i])))
            # Where the rotor will be after this step, as the airframe's first-order lag has it.
            self._effort[i] += (command - self._effort[i]) * (1.0 - math.exp(-dt_s / lag_s))
            efforts.append(command)
        return efforts


def _up(orientation: Sequence[float]) -> tuple[float, ...]:
    w, x, y, z = orientation
    return (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y))


def _clip(value: float, limit: float) -> float:
    return min(limit, max(-limit, value))
