"""What the demo flies and how often the arm picks: the whole of it, or as much as fits into some seconds."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hardware.errors import ConfigError

AIRFRAME = "x500_real"
CLIMB_M_S = 0.5
# A figure eight takes this long to reach its speed, and to lose it again.
RAMP_S = 1.0
SLOW_PERIOD_S, FAST_PERIOD_S = 10.0, 5.5
# Height of flight: the whole demo needs room below for the failure of the policy.
FULL_HEIGHT_M, SHORT_HEIGHT_M = 1.8, 1.0
# The whole demo measures hovering this long, after the vehicle has settled for the time before.
HOVER_WINDOW_S, SETTLE_S = 5.0, 3.0
# A push to the left and forward that swells and dies away: six tenths of the vehicle's weight.
GUST_DURATION_S, GUST_FORCE_N = 1.5, (9.6, 7.2, 0.0)
_GUST_LEAD_S, _GUST_SETTLE_S = 0.7, 3.3
_PAUSE_S = 2.0
ARM_EPISODES = 10
# About what one attempt takes, the change of episode included, seconds.
ARM_EPISODE_S = 6.0


class Segment(enum.StrEnum):
    """What a phase of the flight shows."""

    TAKE_OFF = "take_off"
    HOVER = "hover"
    FIGURE_EIGHT_10S = "figure_eight_10s"
    FIGURE_EIGHT_5_5S = "figure_eight_5_5s"
    PAUSE = "pause"
    GUST = "gust"
    FAULT = "fault"


TITLES = {
    Segment.TAKE_OFF: "Take-off",
    Segment.HOVER: "Hover",
    Segment.FIGURE_EIGHT_10S: "Figure eight, 10 s",
    Segment.FIGURE_EIGHT_5_5S: "Figure eight, 5.5 s",
    Segment.PAUSE: "Hover",
    Segment.GUST: "Gust",
    Segment.FAULT: "Policy killed",
}


@dataclass(frozen=True)
class Phase:
    """A stretch of the flight, in seconds since the reference began."""

    segment: Segment
    start_s: float
    # Infinite for the last phase.
    end_s: float

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.segment]


@dataclass(frozen=True)
class FlightPlan:
    """The flight of the quadrotor."""

    # Height of flight over the ground, metres.
    height_m: float
    # What reference_node flies: its parameter `program`.
    program: tuple[str, ...]
    # The phases in order, without gaps; the last one is the failure of the policy.
    phases: tuple[Phase, ...]
    # How long before its end hovering is measured, seconds.
    hover_window_s: float
    # When the gust begins, seconds since the reference began; None: no gust.
    gust_s: float | None

    @property
    def kill_s(self) -> float:
        """When the policy is killed, seconds since the reference began."""
        return self.phases[-1].start_s

    def find(self, segment: Segment) -> Phase | None:
        """The phase of a kind, or None where it is not flown."""
        return next((p for p in self.phases if p.segment is segment), None)

    def at(self, time_s: float) -> Phase:
        """The phase at a time, seconds since the reference began."""
        return next((p for p in self.phases if time_s < p.end_s), self.phases[-1])

    @property
    def gust_argument(self) -> str:
        """The gust as the bring-up argument wants it; empty: none."""
        if self.gust_s is None:
            return ""
        return ",".join(f"{n:g}" for n in (self.gust_s, GUST_DURATION_S, *GUST_FORCE_N))


@dataclass(frozen=True)
class ArmPlan:
    """The attempts of the arm."""

    # How many cubes.
    episodes: int
    # When an attempt counts as failed, seconds.
    time_limit_s: float = 10.0


@dataclass(frozen=True)
class _Figures:
    """What is flown between hovering and the failure of the policy."""

    slow_loops: int = 0
    fast_loops: int = 0
    gust: bool = False


_EVERYTHING = _Figures(slow_loops=2, fast_loops=4, gust=True)
# What a short flight shows, in the order of importance.
_WISHES: tuple[dict[str, Any], ...] = (
    {"fast_loops": 1},
    {"gust": True},
    {"slow_loops": 1},
    {"fast_loops": 2},
    {"fast_loops": 3},
    {"fast_loops": 4},
    {"slow_loops": 2},
)
# How much longer than asked for a flight may be.
_TOLERANCE_S = 0.5


def plan_flight(seconds: float | None) -> FlightPlan:
    """Plan the flight.

    Args:
        seconds: about how long to fly before the policy is killed; None: everything.

    Returns:
        The plan. A short one hovers, then flies what fits: first one loop of the fast figure eight,
        then the gust, one loop of the slow one, and more loops. The policy is always killed at the end.

    Raises:
        ConfigError: no positive number of seconds.
    """
    _check(seconds)
    if seconds is None:
        return _assemble(_EVERYTHING, height_m=FULL_HEIGHT_M, settle_s=SETTLE_S, window_s=HOVER_WINDOW_S)
    short = seconds < 30.0
    height_m = SHORT_HEIGHT_M if short else FULL_HEIGHT_M
    climb_s = height_m / CLIMB_M_S
    settle_s = 1.0 if short else SETTLE_S
    window_s = min(HOVER_WINDOW_S, max(2.0, 0.4 * (seconds - climb_s - settle_s)))
    best = _Figures()
    for wish in _WISHES:
        wanted = replace(best, **wish)
        plan = _assemble(wanted, height_m=height_m, settle_s=settle_s, window_s=window_s)
        if plan.kill_s > seconds + _TOLERANCE_S:
            break
        best = wanted
    return _assemble(best, height_m=height_m, settle_s=settle_s, window_s=window_s)


def plan_arm(seconds: float | None) -> ArmPlan:
    """Plan the attempts of the arm.

    Args:
        seconds: about how long it may take; None: all ten attempts.

    Returns:
        The plan, with at least one attempt.

    Raises:
        ConfigError: no positive number of seconds.
    """
    _check(seconds)
    if seconds is None:
        return ArmPlan(ARM_EPISODES)
    return ArmPlan(min(ARM_EPISODES, max(1, int(seconds // ARM_EPISODE_S))))


def _assemble(figures: _Figures, *, height_m: float, settle_s: float, window_s: float) -> FlightPlan:
    climb_s = height_m / CLIMB_M_S
    program = [f"hover {climb_s + settle_s + window_s:g}"]
    lengths = [(Segment.TAKE_OFF, climb_s), (Segment.HOVER, settle_s + window_s)]
    for segment, period_s, loops in (
        (Segment.FIGURE_EIGHT_10S, SLOW_PERIOD_S, figures.slow_loops),
        (Segment.FIGURE_EIGHT_5_5S, FAST_PERIOD_S, figures.fast_loops),
    ):
        if loops:
            duration_s = loops * period_s + RAMP_S
            program += [f"figure_eight {period_s:g} {duration_s:g}", f"hover {_PAUSE_S:g}"]
            lengths += [(segment, duration_s), (Segment.PAUSE, _PAUSE_S)]
    # Where the reference stays, the next phase needs no pause before it.
    if figures.gust:
        lengths.append((Segment.GUST, _GUST_LEAD_S + GUST_DURATION_S + _GUST_SETTLE_S))
    lengths.append((Segment.FAULT, math.inf))
    phases = _in_a_row(lengths)
    gust_phase = next((p for p in phases if p.segment is Segment.GUST), None)
    return FlightPlan(
        height_m=height_m,
        program=tuple(program),
        phases=phases,
        hover_window_s=window_s,
        gust_s=None if gust_phase is None else gust_phase.start_s + _GUST_LEAD_S,
    )


def _in_a_row(lengths: Sequence[tuple[Segment, float]]) -> tuple[Phase, ...]:
    phases, begin_s = [], 0.0
    for segment, length_s in lengths:
        phases.append(Phase(segment, begin_s, begin_s + length_s))
        begin_s += length_s
    return tuple(phases)


def _check(seconds: float | None) -> None:
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise ConfigError(
            f"--seconds is {seconds:g}",
            where="reflexarc demo",
            expected="a positive number of seconds, or nothing for the whole demo",
            mend="correct the number",
        )
