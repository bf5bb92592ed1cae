"""Flies a case with every airframe of a fleet and measures each of them.

Definitions, from specs of RAPTOR, section 3.3 (what they leave open was found by matching its figures): a
hover is lost when an error of its last second exceeds 1 m or is not a number, a figure eight when any error
exceeds 3 m; the RMSE of a hover is that of its last second, that of a figure eight covers all loops after
the ramp; a hover has settled when its error stays below 10 cm for half a second. The hovers of section 3.4
are judged as figure eights are: from the second second on, lost beyond 3 m.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.evaluation.fleet.cases import RAMP_S, Case, FleetController
from sim.quadrotor.dynamics import STATE_SIZE
from sim.quadrotor.fleet import CODE, QuadrotorFleet, TerminationRules
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array
from sim.quadrotor.references import HOVER, figure_eight

BoolArray = NDArray[np.bool_]

# Told how many control steps were flown since it was told last.
Advance = Callable[[int], None]

# How often the error is noted, Hz.
RECORD_HZ = 100
_LAST_S, _HOVER_LOST_M, _EIGHT_LOST_M = 1.0, 1.0, 3.0
_SETTLED_M, _SETTLED_S = 0.1, 0.5
_TELL_EVERY = 100


@dataclass(frozen=True, eq=False)
class FleetFlight:
    """How each of N vehicles flew a case; every array has shape (N,)."""

    # What was flown.
    case: Case
    # Whether the vehicle was lost.
    crashed: BoolArray
    # Whether it ever left the box of the training, and after how many control steps (all where it did not).
    terminated: BoolArray
    length: NDArray[np.int64]
    # Root mean square of the distance to the reference, metres; of its horizontal and vertical parts.
    rmse_m: Float32Array
    rmse_horizontal_m: Float32Array
    rmse_vertical_m: Float32Array
    # When a hover had settled, seconds; infinite where it never did, and for a figure eight.
    settle_s: Float32Array

    @property
    def survived(self) -> BoolArray:
        """Whether the vehicle was not lost."""
        return np.logical_not(self.crashed)


def fly(
    case: Case,
    airframes: AirframeBatch,
    controller: FleetController,
    *,
    seed: int,
    advance: Advance | None = None,
) -> FleetFlight:
    """Fly a case once with every airframe.

    Args:
        case: what to fly.
        airframes: N of them.
        controller: is reset here.
        seed: draws starts, forces and noise; the same for every controller that is compared.
        advance: is told the progress.

    Returns:
        How each vehicle flew.
    """
    fleet = make_fleet(case, airframes, seed=seed)
    terminated = np.zeros(len(airframes), np.bool_)
    length = np.full(len(airframes), case.steps, np.int64)

    def watch(step: int) -> None:
        length[fleet.terminated & ~terminated] = step + 1
        np.logical_or(terminated, fleet.terminated, out=terminated)

    errors = record(fleet, case, controller, watch=watch, advance=advance)
    with np.errstate(all="ignore"):
        return _measure(case, errors, terminated, length)


def make_fleet(case: Case, airframes: AirframeBatch, *, seed: int) -> QuadrotorFleet:
    """Put a fleet at the start of a case.

    Args:
        case: what will be flown.
        airframes: N of them.
        seed: draws what the case leaves to chance.

    Returns:
        The fleet.
    """
    fleet = QuadrotorFleet(
        airframes,
        seed=seed,
        start=CODE if case.start is None else case.start,
        reference=HOVER if case.figure_eight_s is None else figure_eight(case.figure_eight_s),
        perturbations=case.perturbations,
        dt_s=case.physics_s,
        physics_steps=case.physics_steps,
        episode_steps=case.steps,
        termination=TerminationRules(),
    )
    if case.start is None:
        fleet.place(at_rest(airframes))
    return fleet


def at_rest(airframes: AirframeBatch) -> Float32Array:
    """The state of vehicles that hover at the origin, each at its own hover effort.

    Args:
        airframes: N of them.

    Returns:
        Shape (17, N).
    """
    state = np.zeros((STATE_SIZE, len(airframes)), np.float32)
    state[3] = 1.0
    state[13:17] = airframes.hover_effort
    return state


def record(
    fleet: QuadrotorFleet,
    case: Case,
    controller: FleetController,
    *,
    watch: Callable[[int], None] | None = None,
    advance: Advance | None = None,
) -> Float32Array:
    """Fly a fleet from where it is to the end of a case.

    Args:
        fleet: at the start.
        case: what to fly.
        controller: is reset here.
        watch: is called after every control step with its number, from 0.
        advance: is told the progress.

    Returns:
        Position errors, 100 a second, shape (T, 3, N), metres; not finite for a lost vehicle.
    """
    controller.reset(len(fleet))
    control_ns = round(case.control_s * 1e9)
    every = round(1.0 / (RECORD_HZ * case.control_s))
    errors: Float32Array = np.empty((case.steps // every, 3, len(fleet)), np.float32)
    action: Float32Array | None = None
    with np.errstate(all="ignore"):
        for step in range(case.steps):
            if action is None or step % case.hold == 0:
                observation = fleet.observe()
                if not case.knows_velocity:
                    observation[:, 12:15] += fleet.reference_velocity.T
                action = controller.act(observation, step * control_ns)
            fleet.step(action)
            if watch is not None:
                watch(step)
            if (step + 1) % every == 0:
                np.subtract(fleet.state[0:3], fleet.reference_position, out=errors[step // every])
            if advance is not None and (step + 1) % _TELL_EVERY == 0:
                advance(_TELL_EVERY)
    if advance is not None:
        advance(case.steps % _TELL_EVERY)
    return errors


def _measure(
    case: Case, errors: Float32Array, terminated: BoolArray, length: NDArray[np.int64]
) -> FleetFlight:
    squared = errors * errors
    distance = np.sqrt(squared.sum(axis=1))
    is_hover = case.figure_eight_s is None
    at_end = is_hover and case.judged_at_end
    begin = len(errors) - round(_LAST_S * RECORD_HZ) if at_end else round(RAMP_S * RECORD_HZ)
    judged, limit = (distance[begin:], _HOVER_LOST_M) if at_end else (distance, _EIGHT_LOST_M)
    # Compared so that a number that is none is a crash.
    survived = (judged <= limit).all(axis=0)
    mean = squared[begin:].mean(axis=0)
    return FleetFlight(
        case=case,
        crashed=np.logical_not(survived),
        terminated=terminated,
        length=length,
        rmse_m=np.sqrt(mean.sum(axis=0)),
        rmse_horizontal_m=np.sqrt(mean[0:2].sum(axis=0)),
        rmse_vertical_m=np.sqrt(mean[2]),
        settle_s=_settle(distance) if is_hover else np.full(len(terminated), np.inf, np.float32),
    )


def _settle(distance: Float32Array) -> Float32Array:
    """When the first stretch of `_SETTLED_S` below `_SETTLED_M` begins."""
    window = round(_SETTLED_S * RECORD_HZ)
    inside = np.zeros((len(distance) + 1, distance.shape[1]), np.int32)
    np.cumsum(distance < _SETTLED_M, axis=0, out=inside[1:])
    whole = inside[window:] - inside[:-window] == window
    first = (whole.argmax(axis=0) + 1).astype(np.float32) / RECORD_HZ
    return np.where(whole.any(axis=0), first, np.float32(np.inf)).astype(np.float32)
