"""The figures of each stage beside what they must reach, and where that comes from."""

from __future__ import annotations

from dataclasses import dataclass

from reflexarc.demos.metrics import (
    FaultFigures,
    GustFigures,
    Percentiles,
    fault_figures,
    figure_eight_rmse_m,
    gust_figures,
    hover_error_m,
    make_flight,
    percentiles,
)
from reflexarc.demos.pilots import PILOT, TOLERANCE, Pilot
from reflexarc.demos.plan import Segment
from reflexarc.demos.records import ArmRecord, FlightRecord
from reflexarc.demos.stage import Check
from sim.evaluation.statistics import Interval, wilson

HOVER_LIMIT_M = 0.05
# Without gated commands for this long the vehicle would have acted alone: robot_timeout_s of its card.
REACTION_LIMIT_MS = 200.0
GUST_SETTLE_LIMIT_S, RECOVERY_LIMIT_S = 3.0, 30.0
ARM_RATE_LIMIT = 0.8


@dataclass(frozen=True)
class FlightFigures:
    """What a flight came to; None: not flown."""

    hover_error_m: float | None
    # How long hovering was measured.
    hover_window_s: float
    figure_eight_10s_rmse_m: float | None
    figure_eight_5_5s_rmse_m: float | None
    gust: GustFigures | None
    fault: FaultFigures
    photon_to_motor_ms: Percentiles
    deadline_misses: int


def flight_figures(record: FlightRecord) -> FlightFigures:
    """Compute the figures of a flight."""
    plan = record.plan
    flight = make_flight(record.trace, record.trajectory, start_ns=record.start_ns)
    return FlightFigures(
        hover_error_m=hover_error_m(flight, plan),
        hover_window_s=plan.hover_window_s,
        figure_eight_10s_rmse_m=figure_eight_rmse_m(flight, plan, Segment.FIGURE_EIGHT_10S),
        figure_eight_5_5s_rmse_m=figure_eight_rmse_m(flight, plan, Segment.FIGURE_EIGHT_5_5S),
        gust=gust_figures(flight, plan, begin_s=None if record.gust_s is None else record.gust_s[0]),
        fault=fault_figures(
            flight,
            kill_s=record.kill_s,
            end_s=float("inf") if record.estop_s is None else record.estop_s,
            reaction_ms=record.reaction_ms,
            commands_back_s=record.commands_back_s,
        ),
        photon_to_motor_ms=percentiles(record.timing.photon_to_motor_ms),
        deadline_misses=record.timing.deadline_misses,
    )


def judge_flight(figures: FlightFigures, pilot: Pilot = PILOT) -> tuple[Check, ...]:
    """Hold a flight against what it must reach.

    Args:
        figures: of the flight.
        pilot: who flew it.

    Returns:
        The figures with their bounds.
    """
    gust = figures.gust
    return (
        Check(
            f"Hover error, RMS of {figures.hover_window_s:g} s",
            figures.hover_error_m,
            "m",
            at_most=HOVER_LIMIT_M,
            reference=pilot.hover_m,
        ),
        *(
            Check(
                f"Figure eight of {period} s, RMSE",
                rmse_m,
                "m",
                at_least=(1 - TOLERANCE) * reference_m if pilot.is_reproduction else None,
                at_most=(1 + TOLERANCE) * reference_m,
                reference=reference_m,
            )
            for period, rmse_m, reference_m in (
                ("10", figures.figure_eight_10s_rmse_m, pilot.slow_m),
                ("5.5", figures.figure_eight_5_5s_rmse_m, pilot.fast_m),
            )
        ),
        Check(
            "Back within 10 cm after the gust",
            _never(None if gust is None else gust.settled_s, is_flown=gust is not None),
            "s",
            at_most=GUST_SETTLE_LIMIT_S,
        ),
        Check(
            "Safe action after the kill",
            figures.fault.reaction_ms,
            "ms",
            at_most=REACTION_LIMIT_MS,
        ),
        Check(
            "Back within 10 cm after the kill",
            _never(figures.fault.recovered_s, is_flown=True),
            "s",
            at_most=RECOVERY_LIMIT_S,
        ),
    )


@dataclass(frozen=True)
class ArmFigures:
    """What the attempts came to."""

    successes: int
    episodes: int
    # 95 % interval of the success rate; None without attempts.
    wilson: Interval | None
    # Time of each attempt until the cube had been held for long enough; None: not picked.
    picked_s: tuple[float | None, ...]
    deadline_misses: int


def arm_figures(record: ArmRecord) -> ArmFigures:
    """Compute the figures of the arm."""
    episodes = len(record.episodes)
    return ArmFigures(
        record.successes,
        episodes,
        wilson(record.successes, episodes) if episodes else None,
        tuple(episode.picked_s for episode in record.episodes),
        sum(episode.timing.deadline_misses for episode in record.episodes),
    )


def judge_arm(figures: ArmFigures) -> tuple[Check, ...]:
    """Hold the arm against what it must reach."""
    rate = figures.successes / figures.episodes if figures.episodes else None
    return (Check("Cubes picked", rate, "", at_least=ARM_RATE_LIMIT),)


def passed(checks: tuple[Check, ...]) -> bool:
    """Whether no figure that was flown missed its bounds."""
    return all(check.passed is not False for check in checks)


def _never(value: float | None, *, is_flown: bool) -> float | None:
    """A time that never came is no figure that was not flown: it is infinite."""
    return float("inf") if value is None and is_flown else value
