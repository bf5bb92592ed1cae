"""Plots of a flight: where it went, how far from its reference, what the motors did, how old its data was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardware.command import FloatArray
from reflexarc.demos.metrics import (
    Flight,
    figure_eight_rmse_m,
    make_flight,
    percentiles,
    phases_flown,
    safe_stretches,
)
from reflexarc.demos.plan import FAST_PERIOD_S, RAMP_S, SLOW_PERIOD_S, Segment
from reflexarc.demos.records import FlightRecord
from reflexarc.report.style import (
    DANGER,
    FLOWN,
    GRID,
    GUST,
    INK,
    MUTED,
    PAPER,
    REFERENCE,
    SERIES,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GATED_MOTORS = "Motor commands that the gate let through"
# Every how many rows of the trace (100 a second) a line gets a point.
_STRIDE = 4
_SHORT_TITLES = {
    Segment.TAKE_OFF: "take-off",
    Segment.HOVER: "hover",
    Segment.FIGURE_EIGHT_10S: "figure eight, 10 s",
    Segment.FIGURE_EIGHT_5_5S: "figure eight, 5.5 s",
    Segment.PAUSE: "",
    Segment.GUST: "gust",
    Segment.FAULT: "policy killed",
}


def timeline(record: FlightRecord, *, motors_title: str = GATED_MOTORS) -> Figure:
    """Error, height and motor commands over the whole flight, with its phases, the gust and the fault."""
    flight = make_flight(record.trace, record.trajectory, start_ns=record.start_ns)
    figure, (error, height, motors) = new_figure(
        height_in=6.4, rows=3, sharex=True, gridspec_kw={"height_ratios": (1.25, 1.0, 1.1)}
    )
    time_s = flight.time_s[::_STRIDE]
    # A vehicle that climbs by itself does not follow the reference yet, and a landing one no more.
    follows = (flight.time_s >= 0.0) & (flight.time_s < (record.estop_s or np.inf))
    error_cm = np.where(follows, flight.error_m * 100, np.nan)
    error.plot(time_s, error_cm[::_STRIDE], color=FLOWN)
    error.set_ylabel("error, cm")
    error.set_title("Distance from the reference", pad=18)
    error.set_ylim(0, max(10.0, 1.08 * float(error_cm[follows].max(initial=0.0))))
    height.plot(time_s, flight.reference_m[::_STRIDE, 2], color=REFERENCE, dashes=(4, 2), label="reference")
    height.plot(time_s, flight.position_m[::_STRIDE, 2], color=FLOWN, label="flown")
    height.set_ylabel("height, m")
    height.set_title("Height")
    height.legend(loc="lower center", ncols=2)
    height.set_ylim(0, None)
    _plot_motors(motors, record, flight, motors_title)
    figure.align_ylabels([error, height, motors])
    motors.set_xlabel("seconds since the reference began")
    motors.set_xlim(float(flight.time_s[0]), float(flight.time_s[-1]))
    for axes in (error, height, motors):
        _mark(axes, record, flight)
    _name_phases(error, record, flight)
    return figure


def top_views(record: FlightRecord) -> Figure | None:
    """Every figure eight from above, beside its reference; None where none was flown."""
    flight = make_flight(record.trace, record.trajectory, start_ns=record.start_ns)
    flown = [
        (phase, rmse)
        for phase in record.plan.phases
        if (rmse := figure_eight_rmse_m(flight, record.plan, phase.segment)) is not None
        and phase.segment in (Segment.FIGURE_EIGHT_10S, Segment.FIGURE_EIGHT_5_5S)
    ]
    if not flown:
        return None
    figure, axes = new_figure(height_in=3.1, columns=2)
    for axis, (phase, rmse) in zip(axes, flown, strict=False):
        rows = np.flatnonzero(flight.between(phase.start_s + RAMP_S, phase.end_s - RAMP_S))[::2]
        period_s = SLOW_PERIOD_S if phase.segment is Segment.FIGURE_EIGHT_10S else FAST_PERIOD_S
        middle_s = phase.start_s + RAMP_S
        reference = flight.reference_m[flight.between(middle_s, middle_s + period_s)]
        axis.plot(*flight.position_m[rows, :2].T, color=FLOWN, linewidth=1.1, label="flown")
        axis.plot(*reference[:, :2].T, color=REFERENCE, dashes=(4, 2), label="reference")
        axis.set_title(f"{phase.title}: RMSE {rmse * 100:.1f} cm")
        axis.set_xlabel("x, m")
        axis.set_ylabel("y, m")
        axis.set_aspect("equal")
        axis.set_xlim(-1.45, 1.45)
        axis.set_ylim(-0.85, 0.85)
    axes[0].legend(loc="lower left", fontsize=8.5)
    for axis in axes[len(flown) :]:
        axis.set_visible(False)
    return figure


def latency_histogram(record: FlightRecord) -> Figure | None:
    """How old the data behind each command was when the motors got it; None where there was no command."""
    values = np.asarray(record.timing.photon_to_motor_ms)
    if values.size == 0:
        return None
    figure, (axes,) = new_figure(height_in=2.7)
    shown = percentiles(values)
    assert shown.p50 is not None and shown.p95 is not None and shown.p99 is not None  # noqa: PT018
    right = max(2.0 * shown.p50, 1.25 * shown.p99)
    bins = np.linspace(0.0, right, 90).tolist()
    axes.hist(np.clip(values, 0, right), bins=bins, color=REFERENCE, alpha=0.75)
    axes.set_xlim(0, right)
    top = axes.get_ylim()[1]
    for level, (name, value) in enumerate((("p50", shown.p50), ("p95", shown.p95), ("p99", shown.p99))):
        axes.axvline(value, color=INK, linewidth=1.0, dashes=(3, 2))
        axes.text(
            value + 0.008 * right,
            top * (0.97 - 0.14 * level),
            f"{name} {value:.1f} ms",
            va="top",
            color=INK,
            # The line of the next percentile may run behind the words.
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0},
        )
    beyond = int((values > right).sum())
    label = "milliseconds from the capture of the state to the motors"
    axes.set_xlabel(label + (f" ({beyond} of {values.size} beyond the right edge)" if beyond else ""))
    axes.set_ylabel("commands")
    axes.set_title("Photon to motor, over ROS 2 and three processes")
    return figure


def _plot_motors(axes: Axes, record: FlightRecord, flight: Flight, title: str) -> None:
    trace = record.trace
    time_s = (trace.command_time_ns - record.start_ns) * 1e-9
    rows = np.arange(0, len(time_s), _STRIDE)
    # A gap in the commands is a gap in the lines.
    gaps = np.flatnonzero(np.diff(time_s[rows]) > 0.15) + 1
    times = np.insert(time_s[rows], gaps, np.nan)
    for number, name in enumerate(trace.command_names):
        values: FloatArray = np.insert(trace.command_values[rows, number], gaps, np.nan)
        axes.plot(
            times, values, color=SERIES[number % len(SERIES)], linewidth=0.8, label=name.replace("_", " ")
        )
    axes.set_ylim(0, 1)
    axes.set_ylabel("effort, 0 to 1")
    axes.set_title(title)
    axes.legend(loc="upper left", ncols=4, fontsize=8.5)


def _mark(axes: Axes, record: FlightRecord, flight: Flight) -> None:
    """Shade the gust and the safe action, and draw a line between phases."""
    end_s = float(flight.time_s[-1])
    for phase in phases_flown(flight, record.plan)[1:]:
        axes.axvline(phase.start_s, color=GRID, linewidth=1.0, zorder=0)
    if record.gust_s is not None and record.gust_s[0] < end_s:
        axes.axvspan(record.gust_s[0], min(record.gust_s[1], end_s), color=GUST, alpha=0.22, linewidth=0)
    for begin_s, until_s in safe_stretches(record.trace, start_ns=record.start_ns):
        axes.axvspan(begin_s, until_s, color=DANGER, alpha=0.16, linewidth=0)


def _name_phases(axes: Axes, record: FlightRecord, flight: Flight) -> None:
    end_s = float(flight.time_s[-1])
    whole_s = end_s - float(flight.time_s[0])
    names = [(_SHORT_TITLES[p.segment], p.start_s, p.end_s) for p in phases_flown(flight, record.plan)]
    if record.estop_s is not None:
        names[-1] = (*names[-1][:2], record.estop_s)
        names.append(("landing", record.estop_s, end_s))
    for title, start_s, phase_end_s in names:
        until_s = min(phase_end_s, end_s)
        # A name needs about this share of the width a letter.
        if not title or (until_s - start_s) / whole_s < 0.0105 * len(title):
            title = title.replace(" ", "\n", 1)
        axes.annotate(
            title,
            ((max(start_s, float(flight.time_s[0])) + until_s) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=DANGER if title.startswith("policy") else MUTED,
        )
