"""What the published policy was measured at in RAPTOR's own simulator, beside what it does in ours.

Source: specs of RAPTOR, sections 3.3 and 3.4, measured by an independent script on the `l2f` package; no
figures of the paper. Percentages were turned back into counts; those of several seeds are pooled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sim.evaluation.fleet.measures import Rate, Row
from sim.evaluation.fleet.named import NamedRow, RecoveryRow
from sim.evaluation.fleet.probe import Probe
from sim.evaluation.statistics import Interval, wilson

# Medians may differ by so much (the criterion), and so many of the airframes flew in its tables.
TOLERANCE = 0.05
_MANY, _FEW, _EPISODES = 1024, 256, 256


@dataclass(frozen=True)
class Comparison:
    """One figure of the specs beside ours."""

    # Which table, row and quantity.
    table: str
    row: str
    quantity: str
    # The specs' figure, and for a rate its Wilson interval.
    specs: float
    specs_interval: Interval | None
    # Ours, with its interval where it has one.
    ours: float
    ours_interval: Interval | None
    # Rates: whether the intervals overlap. Other figures: whether they differ by 5 % at most.
    agrees: bool
    # Other figures: whether the difference is what chance does to two fleets: whether the specs' figure
    # lies within our bootstrap interval, widened by the square root of two because theirs is uncertain too.
    # Few airframes, many of them lost, leave a median uncertain by more than 5 %.
    within_chance: bool | None = None


@dataclass(frozen=True)
class _Specs:
    """A row of the specs; None where they say nothing."""

    # Crashes and flights out of the box, percent, one number a seed.
    crash: tuple[float, ...] = ()
    terminated: tuple[float, ...] = ()
    # Medians: error, its vertical part (metres), settling time (seconds). And means.
    median_m: float | None = None
    vertical_m: float | None = None
    settle_s: float | None = None
    mean_m: float | None = None
    horizontal_m: float | None = None
    length: float | None = None


_HOVER: Mapping[str, _Specs] = {
    "init as in code": _Specs((4.4, 4.4, 5.5), (27, 31, 29), 0.021, settle_s=1.08, length=369.3),
    "init as in code, constant force": _Specs(
        (5.1, 4.8, 5.9), (28, 31, 30), 0.036, settle_s=1.26, length=366.0
    ),
    "paper init": _Specs((6.5, 5.7, 7.0), (34, 36, 35), 0.021, settle_s=1.17, length=340.3),
    "imitation init": _Specs((2.0, 2.3, 3.0), (3.0, 3.5, 3.8), 0.021, settle_s=0.84, length=486.7),
}
_FIGURE_EIGHT: Mapping[str, _Specs] = {
    "10 s": _Specs((2.1, 1.8, 2.8), median_m=0.062, mean_m=0.064, horizontal_m=0.061),
    "5.5 s": _Specs((2.3, 2.0, 2.9), median_m=0.167, mean_m=0.170, horizontal_m=0.167),
    "10 s, no velocity reference": _Specs((2.3,), mean_m=0.336),
    "5.5 s, no velocity reference": _Specs((2.3,), mean_m=0.549),
}
_CLIPPED: Mapping[str, _Specs] = {
    "paper init": _Specs((1.9, 2.8, 2.8), (25, 25, 26), 0.021, settle_s=1.36, length=386.7),
    "10 s": _Specs((1.8,), median_m=0.062, mean_m=0.064, horizontal_m=0.061),
    "5.5 s": _Specs((1.8,), median_m=0.167, mean_m=0.171, horizontal_m=0.168),
}
# Figure eight and hover of each row.
_SENSITIVITY: Mapping[str, tuple[_Specs, _Specs]] = {
    "none": (_Specs((0.4,), median_m=0.165), _Specs((0.0,), median_m=0.021, vertical_m=0.013)),
    "action delay 2.5 ms": (
        _Specs((0.8,), median_m=0.171),
        _Specs((0.0,), median_m=0.024, vertical_m=0.016),
    ),
    "action delay 5 ms": (_Specs((5.1,), median_m=0.208), _Specs((2.3,), median_m=0.080, vertical_m=0.058)),
    "action delay 5 ms, 400 Hz executor": (
        _Specs((0.8,), median_m=0.166),
        _Specs((0.0,), median_m=0.022, vertical_m=0.014),
    ),
    "action delay 10 ms": (_Specs((36.0,), median_m=0.31), _Specs((33.0,), median_m=0.26, vertical_m=0.24)),
    "action delay 10 ms, 400 Hz executor": (
        _Specs((21.0,), median_m=0.235),
        _Specs((17.0,), median_m=0.17, vertical_m=0.15),
    ),
    "action delay 20 ms": (_Specs((82.0,)), _Specs((80.0,))),
    "action delay 30 ms": (_Specs((95.0,)), _Specs((93.0,))),
    "action delay 40 ms": (_Specs((98.0,)), _Specs((98.0,))),
    "observation delay 10 ms": (_Specs((35.0,)), _Specs((30.0,))),
    "observation delay 20 ms": (_Specs((82.0,)), _Specs((79.0,))),
    "observation delay 30 ms": (_Specs((94.0,)), _Specs((93.0,))),
    "velocity delay 10 ms": (
        _Specs((0.8,), median_m=0.154),
        _Specs((0.0,), median_m=0.021, vertical_m=0.013),
    ),
    "velocity delay 20 ms": (
        _Specs((0.8,), median_m=0.142),
        _Specs((0.0,), median_m=0.022, vertical_m=0.015),
    ),
    "velocity delay 30 ms": (
        _Specs((0.8,), median_m=0.142),
        _Specs((0.0,), median_m=0.068, vertical_m=0.062),
    ),
    "velocity delay 50 ms": (
        _Specs((37.0,), median_m=0.172),
        _Specs((17.0,), median_m=0.187, vertical_m=0.158),
    ),
    "velocity noise 0.01 m/s": (_Specs((0.0,), median_m=0.165), _Specs((0.0,), median_m=0.021)),
    "velocity noise 0.03 m/s": (_Specs((0.8,), median_m=0.164), _Specs((0.0,), median_m=0.021)),
    "velocity noise 0.1 m/s": (_Specs((0.8,), median_m=0.170), _Specs((0.0,), median_m=0.030)),
    "noise, small": (_Specs((0.0,), median_m=0.165), _Specs((0.0,), median_m=0.023, vertical_m=0.015)),
    "noise, large": (_Specs((0.8,), median_m=0.180), _Specs((0.0,), median_m=0.049, vertical_m=0.038)),
    "50 Hz policy": (_Specs((4.7,), median_m=0.181), _Specs((3.9,), median_m=0.024, vertical_m=0.018)),
}
# Figure eight of 10 s and its horizontal part, of 5.5 s and its horizontal part, hover offset (metres);
# from imitation starts, mean length (steps) and flights out of the box (percent).
_NAMED: Mapping[str, tuple[float, float, float, float, float, float, float]] = {
    "crazyflie": (0.086, 0.067, 0.205, 0.189, 0.053, 464.0, 7.8),
    "x500_real": (0.063, 0.061, 0.169, 0.167, 0.022, 498.0, 0.4),
    "x500_sim": (0.069, 0.065, 0.187, 0.182, 0.024, 498.0, 0.4),
    "arpl": (0.095, 0.064, 0.172, 0.158, 0.079, 494.0, 1.2),
    "mrs": (0.063, 0.062, 0.170, 0.168, 0.022, 500.0, 0.0),
    "flightmare": (0.127, 0.069, 0.193, 0.160, 0.115, 483.0, 3.5),
    "soft": (0.059, 0.058, 0.160, 0.159, 0.021, 498.0, 0.8),
    "fs": (0.059, 0.057, 0.158, 0.157, 0.022, 481.0, 4.3),
}
# Figure-eight RMSE of the named airframes by period in seconds, metres.
NAMED_RMSE_M: Mapping[str, Mapping[float, float]] = {
    name: {10.0: figures[0], 5.5: figures[2]} for name, figures in _NAMED.items()
}
# Of those the specs started as in Figure 3 of the paper: without clipping these came back, with it all did.
_RECOVERED_WITHOUT_CLIPPING = ("arpl", "flightmare", "soft", "fs")
# Explained variance of the linear probe: from 4 s on, and over all steps.
_PROBE_R2 = (0.929, 0.81)


def compare_hover(rows: Sequence[Row]) -> Iterator[Comparison]:
    """Set a hover table without clipping beside the specs' (section 3.3)."""
    for row in rows:
        yield from _row("hover", row, _HOVER.get(row.name, _Specs()), _MANY)


def compare_figure_eight(rows: Sequence[Row]) -> Iterator[Comparison]:
    """Set a table of figure eights without clipping beside the specs' (section 3.3)."""
    for row in rows:
        yield from _row("figure eight", row, _FIGURE_EIGHT.get(row.name, _Specs()), _MANY)


def compare_clipped(rows: Sequence[Row]) -> Iterator[Comparison]:
    """Set rows that were flown with clipping beside those of the specs (section 3.3)."""
    for row in rows:
        yield from _row("with clipping", row, _CLIPPED.get(row.name, _Specs()), _MANY)


def compare_sensitivity(figure_eight: Sequence[Row], hover: Sequence[Row]) -> Iterator[Comparison]:
    """Set the two halves of a sensitivity table without clipping beside the specs' (section 3.4)."""
    nothing = (_Specs(), _Specs())
    for half, table, rows in ((0, "figure eight, 5.5 s", figure_eight), (1, "hover", hover)):
        for row in rows:
            yield from _row(f"sensitivity, {table}", row, _SENSITIVITY.get(row.name, nothing)[half], _FEW)


def compare_named(rows: Sequence[NamedRow]) -> Iterator[Comparison]:
    """Set the named airframes without clipping beside the specs' (section 3.3)."""
    for row in rows:
        if row.airframe not in _NAMED:
            continue
        slow, slow_xy, fast, fast_xy, offset, length, terminated = _NAMED[row.airframe]
        for quantity, specs, ours in (
            ("figure eight 10 s, RMSE", slow, row.figure_eight_10s_rmse_m),
            ("figure eight 10 s, horizontal", slow_xy, row.figure_eight_10s_horizontal_m),
            ("figure eight 5.5 s, RMSE", fast, row.figure_eight_5_5s_rmse_m),
            ("figure eight 5.5 s, horizontal", fast_xy, row.figure_eight_5_5s_horizontal_m),
            ("hover offset", offset, row.hover_offset_m),
        ):
            yield _figure("named airframes", row.airframe, quantity, specs, ours)
        yield _figure(
            *("named airframes", row.airframe, "mean length"), length, row.length.value, row.length.interval
        )
        yield _rate("named airframes", row.airframe, "terminated", (terminated,), _EPISODES, row.terminated)


def compare_recovery(rows: Sequence[RecoveryRow], *, clipped: bool) -> Iterator[Comparison]:
    """Set recoveries beside the specs' (section 3.3): who came back."""
    table = "recovery with clipping" if clipped else "recovery"
    for row in rows:
        if row.airframe in _NAMED:
            came_back = clipped or row.airframe in _RECOVERED_WITHOUT_CLIPPING
            yield Comparison(
                table=table,
                row=row.airframe,
                quantity="came back",
                specs=float(came_back),
                specs_interval=None,
                ours=float(row.success),
                ours_interval=None,
                agrees=came_back == row.success,
            )


def compare_probe(probe: Probe) -> Iterator[Comparison]:
    """Set the linear probe beside the specs' (section 3.3)."""
    for quantity, specs, ours in (
        ("R2 from 4 s on", _PROBE_R2[0], probe.late_r2),
        ("R2, all steps", _PROBE_R2[1], probe.all_r2),
    ):
        yield _figure("linear probe", "thrust to weight", quantity, specs, ours)


def _row(table: str, row: Row, specs: _Specs, trials: int) -> Iterator[Comparison]:
    if specs.crash:
        yield _rate(table, row.name, "crash", specs.crash, trials, row.crash)
    if specs.terminated:
        yield _rate(table, row.name, "terminated", specs.terminated, trials, row.terminated)
    for quantity, known, ours, interval in (
        ("RMSE, median", specs.median_m, row.rmse_median_m.value, row.rmse_median_m.interval),
        ("RMSE, mean", specs.mean_m, row.rmse_mean_m.value, row.rmse_mean_m.interval),
        ("horizontal RMSE, mean", specs.horizontal_m, row.rmse_horizontal_m, None),
        ("vertical RMSE, median", specs.vertical_m, row.rmse_vertical_m.value, row.rmse_vertical_m.interval),
        ("settling time, median", specs.settle_s, row.settle_s.value, row.settle_s.interval),
        ("mean length", specs.length, row.length.value, row.length.interval),
    ):
        if known is not None:
            yield _figure(table, row.name, quantity, known, ours, interval)


def _rate(
    table: str, row: str, quantity: str, percent: Sequence[float], trials: int, ours: Rate
) -> Comparison:
    count = sum(round(value / 100.0 * trials) for value in percent)
    whole = trials * len(percent)
    specs = wilson(count, whole)
    return Comparison(
        table=table,
        row=row,
        quantity=quantity,
        specs=count / whole,
        specs_interval=specs,
        ours=ours.share,
        ours_interval=ours.interval,
        agrees=specs.lower <= ours.interval.upper and ours.interval.lower <= specs.upper,
    )


def _figure(
    table: str, row: str, quantity: str, specs: float, ours: float, interval: Interval | None = None
) -> Comparison:
    # The specs' figures are rounded: half of their last digit is no difference.
    rounding = 0.5 * 10.0 ** -len(repr(specs).partition(".")[2])
    within = None
    if interval is not None:
        lower = ours - math.sqrt(2.0) * (ours - interval.lower) - rounding
        upper = ours + math.sqrt(2.0) * (interval.upper - ours) + rounding
        within = lower <= specs <= upper
    return Comparison(
        table=table,
        row=row,
        quantity=quantity,
        specs=specs,
        specs_interval=None,
        ours=ours,
        ours_interval=interval,
        agrees=abs(ours - specs) <= TOLERANCE * specs + rounding,
        within_chance=within,
    )
