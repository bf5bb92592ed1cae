"""The figures of the demo, computed from traces: no figure where nothing was flown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.reference import Trajectory
from reflexarc.demos.plan import GUST_DURATION_S, RAMP_S, FlightPlan, Phase, Segment
from sim.twin.trace import Trace

# How near the vehicle must be to its reference, and for how long, to have recovered.
RECOVERED_M, RECOVERED_FOR_S = 0.10, 1.0
# How far it must rise to have taken off.
LIFTED_M = 0.02


@dataclass(frozen=True)
class Flight:
    """A trace beside the reference that was to be flown; N rows."""

    # Seconds since the reference began, shape (N,).
    time_s: FloatArray
    # Position and reference position, world frame, metres, shape (N, 3).
    position_m: FloatArray
    reference_m: FloatArray

    @property
    def error_m(self) -> FloatArray:
        """Distance between vehicle and reference, shape (N,)."""
        return np.asarray(np.linalg.norm(self.position_m - self.reference_m, axis=1))

    def between(self, begin_s: float, end_s: float) -> NDArray[np.bool_]:
        """Which rows lie in a stretch of time, begin included, end excluded."""
        return np.asarray((self.time_s >= begin_s) & (self.time_s < end_s))


def make_flight(trace: Trace, trajectory: Trajectory, *, start_ns: int) -> Flight:
    """Lay a trace beside its reference.

    Args:
        trace: of a quadrotor.
        trajectory: what was to be flown.
        start_ns: when the reference began, ROS clock.

    Returns:
        The flight, from the first row of the trace.
    """
    time_s = np.asarray((trace.time_ns - start_ns) * 1e-9, dtype=np.float64)
    reference = np.array([trajectory.sample(float(t)).position_m for t in time_s]).reshape(-1, 3)
    return Flight(time_s, trace.qpos[:, :3].reshape(-1, 3), reference)


def rms(values: FloatArray) -> float | None:
    """Root of the mean square; None where there are no values."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None


def hover_error_m(flight: Flight, plan: FlightPlan) -> float | None:
    """RMS position error over the last seconds of the first hover (`plan.hover_window_s`)."""
    phase = plan.find(Segment.HOVER)
    if phase is None or not _was_flown(flight, phase.end_s):
        return None
    return rms(flight.error_m[flight.between(phase.end_s - plan.hover_window_s, phase.end_s)])


def figure_eight_rmse_m(flight: Flight, plan: FlightPlan, segment: Segment) -> float | None:
    """RMS position error of a figure eight between its two ramps; None where it was not flown."""
    phase = plan.find(segment)
    if phase is None or not _was_flown(flight, phase.end_s):
        return None
    return rms(flight.error_m[flight.between(phase.start_s + RAMP_S, phase.end_s - RAMP_S)])


@dataclass(frozen=True)
class GustFigures:
    """What a gust did."""

    # The largest distance from the reference, metres.
    largest_error_m: float
    # From the end of the gust until the vehicle is, and stays, near its reference; None: never.
    settled_s: float | None


def gust_figures(flight: Flight, plan: FlightPlan, *, begin_s: float | None) -> GustFigures | None:
    """How far the gust pushed the vehicle and how soon it was back.

    Args:
        flight: the flight.
        plan: its plan.
        begin_s: when the gust began, seconds since the reference began; None: there was none.

    Returns:
        The figures, or None.
    """
    phase = plan.find(Segment.GUST)
    if phase is None or begin_s is None or not _was_flown(flight, phase.end_s):
        return None
    rows = flight.between(begin_s, phase.end_s)
    error, after_s = flight.error_m[rows], flight.time_s[rows] - begin_s - GUST_DURATION_S
    far = np.flatnonzero(error > RECOVERED_M)
    settled_s: float | None = 0.0
    if len(far):
        # A vehicle that is still far away at the end has not settled.
        settled_s = None if far[-1] == len(error) - 1 else max(0.0, float(after_s[far[-1] + 1]))
    return GustFigures(float(error.max()), settled_s)


@dataclass(frozen=True)
class FaultFigures:
    """What the death of the policy did."""

    # Wall time from the kill to the gate's safe action, milliseconds.
    reaction_ms: float | None
    # Wall time from the kill until commands pass again, seconds.
    commands_back_s: float | None
    # How far the vehicle came down meanwhile, metres.
    height_lost_m: float
    # From the kill until the vehicle is, and stays for a while, near its reference; None: never.
    recovered_s: float | None


def fault_figures(
    flight: Flight,
    *,
    kill_s: float,
    end_s: float,
    reaction_ms: float | None,
    commands_back_s: float | None,
) -> FaultFigures:
    """How the vehicle got through the death of its policy.

    Args:
        flight: the flight.
        kill_s: when the policy was killed, seconds since the reference began.
        end_s: when the landing began, likewise; infinite where there was none.
        reaction_ms: as observed on the wire.
        commands_back_s: as observed on the wire.

    Returns:
        The figures.
    """
    before = flight.between(kill_s - 0.5, kill_s)
    after = flight.between(kill_s, end_s)
    height = flight.position_m[:, 2]
    lost = 0.0
    if before.any() and after.any():
        lost = max(0.0, float(height[before].mean() - height[after].min()))
    back_s = recovery_s(flight, after_s=kill_s + (commands_back_s or 0.0))
    return FaultFigures(reaction_ms, commands_back_s, lost, None if back_s is None else back_s - kill_s)


def recovery_s(flight: Flight, *, after_s: float) -> float | None:
    """When the vehicle came near its reference and stayed there for `RECOVERED_FOR_S`.

    Args:
        flight: the flight.
        after_s: when to begin to look, seconds since the reference began.

    Returns:
        Seconds since the reference began; None where it never did.
    """
    rows = flight.time_s >= after_s
    times, near = flight.time_s[rows], flight.error_m[rows] <= RECOVERED_M
    since_s: float | None = None
    for time_s, is_near in zip(times.tolist(), near.tolist(), strict=True):
        if not is_near:
            since_s = None
        elif since_s is None:
            since_s = time_s
        elif time_s - since_s >= RECOVERED_FOR_S - 1e-9:
            return since_s
    return None


def lift_off_s(trace: Trace) -> float | None:
    """Seconds from the first row until the vehicle has left the ground; None: never."""
    if not len(trace.qpos):
        return None
    raised = np.flatnonzero(trace.qpos[:, 2] > trace.qpos[0, 2] + LIFTED_M)
    return float(trace.time_s[raised[0]]) if len(raised) else None


@dataclass(frozen=True)
class Percentiles:
    """A distribution in three numbers, and how many samples they stand on."""

    p50: float | None
    p95: float | None
    p99: float | None
    samples: int


def percentiles(values: Sequence[float] | FloatArray) -> Percentiles:
    """The 50th, 95th and 99th percentile; None each where there are no values."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Percentiles(None, None, None, 0)
    p50, p95, p99 = (float(v) for v in np.percentile(data, (50.0, 95.0, 99.0)))
    return Percentiles(p50, p95, p99, int(data.size))


def stretches(times_s: FloatArray, is_on: Callable[[float], bool]) -> list[tuple[float, float]]:
    """Where a condition holds, as (begin, end) in the unit of the times."""
    found: list[tuple[float, float]] = []
    begin: float | None = None
    for time_s in times_s.tolist():
        if is_on(time_s) and begin is None:
            begin = time_s
        elif not is_on(time_s) and begin is not None:
            found.append((begin, time_s))
            begin = None
    if begin is not None:
        found.append((begin, float(times_s[-1])))
    return found


def safe_stretches(trace: Trace, *, start_ns: int) -> list[tuple[float, float]]:
    """When the robot was in its safe action, as (begin, end), seconds since the reference began."""
    found: list[tuple[float, float]] = []
    begin: int | None = None
    for time_ns, name in zip(trace.event_time_ns.tolist(), trace.event_names, strict=True):
        if name == "safe_stop" and begin is None:
            begin = time_ns
        elif name == "released" and begin is not None:
            found.append(((begin - start_ns) * 1e-9, (time_ns - start_ns) * 1e-9))
            begin = None
    if begin is not None and len(trace.time_ns):
        found.append(((begin - start_ns) * 1e-9, (int(trace.time_ns[-1]) - start_ns) * 1e-9))
    return found


def phases_flown(flight: Flight, plan: FlightPlan) -> list[Phase]:
    """The phases that were at least begun."""
    return [phase for phase in plan.phases if _was_flown(flight, phase.start_s)]


def _was_flown(flight: Flight, until_s: float) -> bool:
    return len(flight.time_s) > 0 and float(flight.time_s[-1]) >= until_s - 0.05
