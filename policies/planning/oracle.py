"""Whether a vehicle that a policy flies keeps to a trajectory: flown in the batched simulator, many at once.

This is the second of MFRL's three levels of feasibility (arXiv 2403.08152): a simulation with all six degrees
of freedom, in which the vehicle may never be further than 0.20 m from its reference, nor turned by more than
15 degrees from its heading. The policy itself flies, so that its lag counts, which no model of the vehicle
alone would show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hardware.command import FloatArray
from policies.planning.minimum_snap import PolynomialTrajectory
from policies.raptor.fleet import FleetPilot
from sim.quadrotor.airframes import Airframe, load_airframe
from sim.quadrotor.batch import observe_batch, step_batch
from sim.quadrotor.fleet_airframes import AirframeBatch, BoolArray, Float32Array

CONTROL_S = 0.01


class Path(Protocol):
    """What can be told to a policy: position and heading over time, with derivatives."""

    def derivatives(self, t_s: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
        """As `PolynomialTrajectory.derivatives`."""


Telling = Callable[[PolynomialTrajectory], Path]


@dataclass(frozen=True)
class Limits:
    """How closely a trajectory must be followed."""

    # Largest distance from the reference at any time, metres.
    position_m: float = 0.20
    # Largest difference from its heading at any time, radians.
    yaw_rad: float = math.radians(15.0)


@dataclass(frozen=True, eq=False)
class Flight:
    """How M trajectories were followed; errors are reference minus vehicle."""

    # Time since the trajectories' start of every control step, seconds, shape (T,).
    time_s: FloatArray
    # Position errors, metres, world, shape (T, M, 3); NaN after a trajectory's end.
    position_error_m: FloatArray
    # Heading errors, radians, shape (T, M); NaN after a trajectory's end.
    yaw_error_rad: FloatArray

    @property
    def worst_position_m(self) -> FloatArray:
        """Largest distance from the reference, metres, shape (M,)."""
        distance = np.linalg.norm(self.position_error_m, axis=-1)
        result: FloatArray = np.nanmax(distance, axis=0)
        return result

    @property
    def worst_yaw_rad(self) -> FloatArray:
        """Largest difference from the heading, radians, shape (M,)."""
        result: FloatArray = np.nanmax(np.abs(self.yaw_error_rad), axis=0)
        return result

    def ratios(self, limits: Limits) -> FloatArray:
        """Largest error over its limit, of position or heading, whichever is nearer, shape (M,)."""
        return np.maximum(self.worst_position_m / limits.position_m, self.worst_yaw_rad / limits.yaw_rad)

    def feasible(self, limits: Limits) -> BoolArray:
        """Which trajectories were followed closely enough, shape (M,)."""
        kept: BoolArray = (self.worst_position_m <= limits.position_m) & (
            self.worst_yaw_rad <= limits.yaw_rad
        )
        return kept


@dataclass(frozen=True)
class Oracle:
    """One airframe, flown by one policy as it flies real ones: 100 Hz, errors clipped."""

    # What flies it.
    pilot: FleetPilot
    # What is flown.
    airframe: Airframe = field(default_factory=lambda: load_airframe("x500_real"))
    # What counts as followed.
    limits: Limits = Limits()
    # Time to hover at the first waypoint beforehand, in which the policy gets to know the airframe, seconds.
    settle_s: float = 3.0

    def fly(self, trajectories: Sequence[PolynomialTrajectory], *, told: Telling | None = None) -> Flight:
        """Fly every trajectory once, each by a vehicle of its own.

        Args:
            trajectories: M of them, each from rest.
            told: makes of a trajectory what the policy is told instead; errors are those from the trajectory.

        Returns:
            How they were followed. A vehicle that was lost is infinitely far away.
        """
        count = len(trajectories)
        settle = round(self.settle_s / CONTROL_S)
        steps = math.ceil(max(t.duration_s for t in trajectories) / CONTROL_S)
        time: FloatArray = CONTROL_S * np.arange(steps + 1, dtype=np.float64)
        goal, _, heading = _sampled(trajectories, time)
        position, velocity, yaw = _sampled(
            trajectories if told is None else [told(t) for t in trajectories], time
        )

        fleet = AirframeBatch.of([self.airframe] * count)
        state = np.zeros((17, count), np.float32)
        state[0:3] = position[0]
        state[3], state[6] = np.cos(0.5 * yaw[0]), np.sin(0.5 * yaw[0])
        state[13:17] = fleet.hover_effort
        action = np.float32(2.0) * state[13:17] - np.float32(1.0)
        controller = self.pilot.controller(clip_errors=True)
        controller.reset(count)
        position_error = np.empty((steps + 1, count, 3))
        yaw_error = np.empty((steps + 1, count))
        still = np.zeros((3, count))
        for step in range(-settle, steps + 1):
            now = max(step, 0)
            if step >= 0:
                position_error[now] = (goal[now] - state[0:3]).T
                yaw_error[now] = _wrapped(heading[now] - _heading(state[3:7]))
            speed = velocity[now] if step >= 0 else still
            seen = _in_yaw_frame(state, position[now], speed, yaw[now])
            observation = observe_batch(seen, *_zeros(count), action)
            answer = controller.act(observation, round((step + settle) * CONTROL_S * 1e9))
            action = np.ascontiguousarray(answer.T, np.float32)
            setpoint = np.float32(0.5) * action + np.float32(0.5)
            step_batch(fleet, state, setpoint, dt_s=CONTROL_S, out=state)
        lost = ~np.isfinite(position_error).all(axis=-1)
        position_error[lost], yaw_error[~np.isfinite(yaw_error)] = np.inf, np.inf
        over = time[:, None] > np.array([t.duration_s for t in trajectories])
        position_error[over], yaw_error[over] = np.nan, np.nan
        return Flight(time, position_error, yaw_error)

    def near_limit(
        self,
        trajectories: Sequence[PolynomialTrajectory],
        *,
        told: Telling | None = None,
        rounds: int = 4,
    ) -> tuple[list[PolynomialTrajectory], Flight]:
        """Bring every trajectory near the pace at which it is just followed, by what its flights say.

        Args:
            trajectories: M of them, at any pace.
            told: as in `fly`.
            rounds: how often they are flown.

        Returns:
            The trajectories as they were flown last, and that flight.
        """
        near = list(trajectories)
        for left in reversed(range(rounds)):
            flight = self.fly(near, told=told)
            if left:
                ratio = flight.ratios(self.limits).clip(0.2, 5.0)
                near = [t.scaled(r**0.4) for t, r in zip(near, ratio, strict=True)]
        return near, flight

    def fastest(
        self,
        trajectories: Sequence[PolynomialTrajectory],
        *,
        told: Telling | None = None,
        slowest: float = 4.0,
        quickest: float = 0.25,
        candidates: int = 12,
        rounds: int = 3,
    ) -> FloatArray:
        """Scale every trajectory's time to the least at which it is still followed.

        MFRL's baseline bisects the factor; here a round flies several at once and keeps the gap in which
        the limit lies, which needs fewer rounds. Feasible means that this factor and every larger one that
        was flown were followed.

        Args:
            trajectories: M of them.
            told: as in `fly`.
            slowest: largest factor tried.
            quickest: smallest.
            candidates: factors a round and trajectory.
            rounds: how often the gap is searched.

        Returns:
            The factors, shape (M,); NaN where even the slowest is not followed.
        """
        count = len(trajectories)
        low, high = np.full(count, math.log(quickest)), np.full(count, math.log(slowest))
        best = np.full(count, np.nan)
        for _ in range(rounds):
            # The upper end is flown in the first round alone; afterwards it is known.
            share = np.linspace(0.0, 1.0, candidates + 1)[1:]
            factors = np.exp(low[:, None] + (high - low)[:, None] * share)
            flown = [t.scaled(f) for t, row in zip(trajectories, factors, strict=True) for f in row]
            followed = self.fly(flown, told=told).feasible(self.limits).reshape(count, candidates)
            for m in range(count):
                failing = np.flatnonzero(~followed[m])
                first = 0 if not len(failing) else failing[-1] + 1
                if first == candidates:
                    continue
                best[m] = factors[m, first]
                high[m] = math.log(best[m])
                low[m] = low[m] if first == 0 else math.log(factors[m, first - 1])
        return best


def _sampled(paths: Sequence[Path], time: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position (T, 3, M), velocity (T, 3, M) and heading (T, M)."""
    sampled = [path.derivatives(time, 1) for path in paths]
    position, velocity = (np.stack([p[k] for p, _ in sampled], axis=-1) for k in (0, 1))
    return position, velocity, np.stack([y[0] for _, y in sampled], axis=-1)


def _zeros(count: int) -> tuple[Float32Array, Float32Array]:
    zero = np.zeros((3, count), np.float32)
    return zero, zero


def _in_yaw_frame(
    state: Float32Array, position: FloatArray, velocity: FloatArray, yaw: FloatArray
) -> Float32Array:
    """The vehicles relative to their references, turned back by the reference's heading: (13, M)."""
    out = np.empty((13, state.shape[1]), np.float32)
    c, s = np.cos(yaw), np.sin(yaw)
    for first, reference in ((0, position), (7, velocity)):
        x, y, z = state[first : first + 3] - reference
        out[first], out[first + 1], out[first + 2] = c * x + s * y, c * y - s * x, z
    c, s = np.cos(0.5 * yaw), np.sin(0.5 * yaw)
    w, x, y, z = state[3:7]
    out[3], out[4], out[5], out[6] = c * w + s * z, c * x + s * y, c * y - s * x, c * z - s * w
    out[10:13] = state[10:13]
    return out


def _heading(orientation: Float32Array) -> FloatArray:
    w, x, y, z = orientation.astype(np.float64)
    heading: FloatArray = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return heading


def _wrapped(angle: FloatArray) -> FloatArray:
    return (angle + np.pi) % (2.0 * np.pi) - np.pi
