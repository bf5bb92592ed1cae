"""The whole evaluation of one policy or several, on the same airframes with the same chances."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardware.errors import ConfigError
from sim.evaluation.fleet.cases import Case, FleetController, FleetPolicy
from sim.evaluation.fleet.flight import Advance, BoolArray, FleetFlight, fly
from sim.evaluation.fleet.measures import Estimate, Rate, Row, mean_of, median_of, rate, summarise
from sim.evaluation.fleet.named import NAMED_CASES, RECOVERY, NamedRow, RecoveryRow, fly_named, recover
from sim.evaluation.fleet.probe import PROBE, PROBE_EPISODES, Probe, probe_thrust_to_weight
from sim.evaluation.fleet.tables import DELAYED, FIGURE_EIGHT, HOVER, SENSITIVITY, SENSITIVITY_PERIOD_S
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array
from sim.quadrotor.sampling import sample_airframes

# The comparison's rows that the headline figures are of.
HOVER_ROW, SLOW_ROW, FAST_ROW = "paper init", "10 s", "5.5 s"
COMPARISON: tuple[Case, ...] = (
    *HOVER,
    *(case for case in FIGURE_EIGHT if case.knows_velocity),
    DELAYED,
)
# Where the bins of torque to inertia begin and end, 1/s^2.
TORQUE_TO_INERTIA = (40.0, 65.0, 100.0, 150.0, 225.0, 350.0, 500.0, 700.0, 950.0, 1200.0)


class Part(enum.StrEnum):
    """What can be asked for."""

    # Hovers and figure eights without error clipping: specs of RAPTOR, section 3.3.
    HOVER = "hover"
    FIGURE_EIGHT = "figure-eight"
    # Delays, noise and rates, with and without clipping: section 3.4.
    SENSITIVITY = "sensitivity"
    # Hovers, figure eights and the delay with clipping, on airframes that survive under every policy.
    COMPARISON = "comparison"
    # The nine named airframes.
    NAMED = "named"
    # Starts as in Figure 3 of the paper, with and without clipping.
    RECOVERY = "recovery"
    # Thrust-to-weight from the hidden state.
    PROBE = "probe"


@dataclass(frozen=True)
class SensitivityRow:
    """One perturbation."""

    # What it is.
    name: str
    # A figure eight of 5.5 s, two loops.
    figure_eight: Row
    # A hover of 12 s from rest.
    hover: Row


@dataclass(frozen=True)
class Bin:
    """Crashes among the airframes of one range of torque to inertia."""

    # The range, 1/s^2.
    lower: float
    upper: float
    # Lost in the comparison's figure eight of 5.5 s, in that of late actions, and in its hover.
    figure_eight_crash: Rate
    delay_10ms_crash: Rate
    hover_crash: Rate


@dataclass(frozen=True)
class Headline:
    """The figures by which policies are compared, with error clipping."""

    # Hover from the paper's starts: lost, and median error of the last second in metres.
    hover_crash: Rate
    hover_rmse_m: Estimate
    # Figure eights of 10 s and 5.5 s: mean RMSE in metres; lost in that of 5.5 s.
    figure_eight_10s_rmse_m: Estimate
    figure_eight_5_5s_rmse_m: Estimate
    figure_eight_crash: Rate
    # Lost in the figure eight of 5.5 s with actions 10 ms late, the policy at 100 Hz.
    delay_10ms_crash: Rate


@dataclass(frozen=True)
class PolicyResult:
    """What one policy did; empty or None where a part was not asked for."""

    # Without clipping.
    hover: tuple[Row, ...] = ()
    figure_eight: tuple[Row, ...] = ()
    sensitivity: tuple[SensitivityRow, ...] = ()
    # With clipping; errors are those of each policy's own survivors.
    clipped: tuple[Row, ...] = ()
    sensitivity_clipped: tuple[SensitivityRow, ...] = ()
    # With clipping; errors are those of airframes that no policy lost.
    comparison: tuple[Row, ...] = ()
    headline: Headline | None = None
    by_torque_to_inertia: tuple[Bin, ...] = ()
    # Named airframes, without clipping; recoveries without and with.
    named: tuple[NamedRow, ...] = ()
    recovery: tuple[RecoveryRow, ...] = ()
    recovery_clipped: tuple[RecoveryRow, ...] = ()
    probe: Probe | None = None


@dataclass(frozen=True, eq=False)
class FleetReport:
    """What an evaluation found."""

    # What each policy did, by the name it was given under.
    policies: Mapping[str, PolicyResult]
    # The flights of the comparison, by policy and row, for plots.
    flights: Mapping[str, Mapping[str, FleetFlight]]
    # The airframes that flew them.
    airframes: AirframeBatch


def evaluate_fleet(
    policies: Mapping[str, FleetPolicy],
    *,
    airframes: int = 1024,
    sensitivity_airframes: int = 256,
    seed: int = 0,
    parts: Collection[Part] = tuple(Part),
    progress: Callable[[int, int], None] | None = None,
) -> FleetReport:
    """Fly policies through the tables.

    Args:
        policies: by name.
        airframes: how many are drawn from RAPTOR's training distribution; the same for every policy.
        sensitivity_airframes: how many of them fly the sensitivity tables, at most `airframes`.
        seed: draws airframes, starts, forces and noise.
        parts: what to fly.
        progress: is told control steps flown and to fly.

    Returns:
        What was found.

    Raises:
        ConfigError: a count is out of range, or there is nothing to fly.
    """
    _check(policies, airframes, sensitivity_airframes, seed, parts)
    batch = sample_airframes(airframes, seed=seed)
    few = batch.take(np.arange(sensitivity_airframes))
    total, flown = len(policies) * sum(_steps(part) for part in parts), 0

    def advance(steps: int) -> None:
        nonlocal flown
        flown += steps
        if progress is not None:
            progress(flown, total)

    results: dict[str, PolicyResult] = {}
    flights: dict[str, dict[str, FleetFlight]] = {}
    for name, policy in policies.items():
        results[name] = _fly_tables(policy, batch, few, seed, parts, advance)
        if Part.COMPARISON in parts:
            controller = policy.controller(clip_errors=True)
            flights[name] = {
                case.name: fly(case, batch, controller, seed=seed, advance=advance) for case in COMPARISON
            }
    if flights:
        common = {
            case.name: np.logical_and.reduce([flown[case.name].survived for flown in flights.values()])
            for case in COMPARISON
        }
        for name, found in flights.items():
            results[name] = _compare(results[name], found, common, batch)
    return FleetReport(results, flights, batch)


def _steps(part: Part) -> int:
    """Control steps of a part, for one policy."""
    eights = [replace(case, figure_eight_s=SENSITIVITY_PERIOD_S) for case in SENSITIVITY]
    cases: Mapping[Part, Sequence[Case]] = {
        Part.HOVER: HOVER,
        Part.FIGURE_EIGHT: FIGURE_EIGHT,
        Part.SENSITIVITY: 2 * (*SENSITIVITY, *eights),
        Part.COMPARISON: COMPARISON,
        Part.NAMED: NAMED_CASES,
        Part.RECOVERY: 2 * (RECOVERY,),
        Part.PROBE: PROBE_EPISODES * (PROBE,),
    }
    return sum(case.steps for case in cases[part])


def _fly_tables(
    policy: FleetPolicy,
    batch: AirframeBatch,
    few: AirframeBatch,
    seed: int,
    parts: Collection[Part],
    advance: Advance,
) -> PolicyResult:
    result = PolicyResult()
    bare, clipped = policy.controller(clip_errors=False), policy.controller(clip_errors=True)

    def rows(cases: Sequence[Case]) -> tuple[Row, ...]:
        return tuple(summarise(fly(case, batch, bare, seed=seed, advance=advance)) for case in cases)

    if Part.HOVER in parts:
        result = replace(result, hover=rows(HOVER))
    if Part.FIGURE_EIGHT in parts:
        result = replace(result, figure_eight=rows(FIGURE_EIGHT))
    if Part.SENSITIVITY in parts:
        result = replace(
            result,
            sensitivity=_sensitivity(bare, few, seed, advance),
            sensitivity_clipped=_sensitivity(clipped, few, seed, advance),
        )
    if Part.NAMED in parts:
        result = replace(result, named=fly_named(bare, seed=seed, advance=advance))
    if Part.RECOVERY in parts:
        result = replace(
            result,
            recovery=recover(bare, advance=advance),
            recovery_clipped=recover(clipped, advance=advance),
        )
    if Part.PROBE in parts:
        result = replace(result, probe=probe_thrust_to_weight(bare, seed=seed, advance=advance))
    return result


def _sensitivity(
    controller: FleetController, batch: AirframeBatch, seed: int, advance: Advance
) -> tuple[SensitivityRow, ...]:
    def row(case: Case) -> Row:
        return summarise(fly(case, batch, controller, seed=seed, advance=advance))

    return tuple(
        SensitivityRow(case.name, row(replace(case, figure_eight_s=SENSITIVITY_PERIOD_S)), row(case))
        for case in SENSITIVITY
    )


def _compare(
    result: PolicyResult,
    flights: Mapping[str, FleetFlight],
    common: Mapping[str, BoolArray],
    batch: AirframeBatch,
) -> PolicyResult:
    hover, slow, fast, late = (flights[name] for name in (HOVER_ROW, SLOW_ROW, FAST_ROW, DELAYED.name))
    return replace(
        result,
        clipped=tuple(summarise(flight) for flight in flights.values()),
        comparison=tuple(summarise(flight, among=common[name]) for name, flight in flights.items()),
        headline=Headline(
            hover_crash=rate(hover.crashed),
            hover_rmse_m=median_of(hover.rmse_m[common[HOVER_ROW]]),
            figure_eight_10s_rmse_m=mean_of(slow.rmse_m[common[SLOW_ROW]]),
            figure_eight_5_5s_rmse_m=mean_of(fast.rmse_m[common[FAST_ROW]]),
            figure_eight_crash=rate(fast.crashed),
            delay_10ms_crash=rate(late.crashed),
        ),
        by_torque_to_inertia=tuple(
            Bin(lower, upper, *(rate(flight.crashed[inside]) for flight in (fast, late, hover)))
            for lower, upper, inside in _bins(batch.torque_to_inertia)
            if inside.any()
        ),
    )


def _bins(values: Float32Array) -> list[tuple[float, float, BoolArray]]:
    # Rounding to float32 may put an airframe just outside the sampler's range.
    place = np.searchsorted(TORQUE_TO_INERTIA[1:-1], values, side="right")
    pairs = zip(TORQUE_TO_INERTIA, TORQUE_TO_INERTIA[1:], strict=False)
    return [(lower, upper, place == number) for number, (lower, upper) in enumerate(pairs)]


def _check(
    policies: Mapping[str, FleetPolicy],
    airframes: int,
    sensitivity_airframes: int,
    seed: int,
    parts: Collection[Part],
) -> None:
    if airframes < 1 or not 1 <= sensitivity_airframes <= airframes:
        raise ConfigError(
            f"airframes is {airframes} and sensitivity_airframes {sensitivity_airframes}",
            where="fleet evaluation",
            expected="at least one, and no more for the sensitivity than in all",
            mend="correct the counts",
        )
    if seed < 0:
        raise ConfigError(
            f"seed is {seed}", where="fleet evaluation", expected="0 or more", mend="correct the seed"
        )
    if not policies or not parts:
        raise ConfigError(
            f"{len(policies)} policies and {len(parts)} parts",
            where="fleet evaluation",
            expected="at least one of each",
            mend="name a policy and a part",
        )
