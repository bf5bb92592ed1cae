"""Plots of an evaluation on a fleet: what delays do, how errors spread, who is lost, who comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reflexarc.report.style import FLOWN, GOOD, MUTED, PAPER, REFERENCE, SERIES, VIOLET, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sim.evaluation.fleet.evaluation import FleetReport, PolicyResult
    from sim.evaluation.fleet.measures import Rate
    from sim.evaluation.fleet.named import RecoveryRow

# Beyond this distance recoveries are cut off, metres.
_FAR_M = 4.0


def draw(report: FleetReport, folder: Path) -> list[str]:
    """Draw what was flown.

    Args:
        report: what was found.
        folder: where the PNG files go.

    Returns:
        The files' names.
    """
    makers: dict[str, Callable[[FleetReport], Figure | None]] = {
        "eval_raptor_delay": delays,
        "eval_raptor_rmse": errors,
        "eval_raptor_torque_to_inertia": losses,
        "eval_raptor_recovery": recoveries,
    }
    names = []
    for name, make in makers.items():
        figure = make(report)
        if figure is not None:
            save(figure, folder, name)
            names.append(f"{name}.png")
    return names


def delays(report: FleetReport) -> Figure | None:
    """Crashes in the figure eight over the delay of actions; None where that was not flown."""
    from sim.evaluation.fleet.tables import SENSITIVITY

    if not all(result.sensitivity for result in report.policies.values()):
        return None
    chosen = {
        hz: [
            (number, case.perturbations.action_delay_s[0] * 1e3)
            for number, case in enumerate(SENSITIVITY)
            if case.policy_hz == hz and (case.name == "none" or case.name.startswith("action delay"))
        ]
        for hz in (100, 400)
    }
    figure, panels = new_figure(height_in=3.6, columns=2, sharey=True)
    for axes, attribute, how in zip(
        panels, ("sensitivity", "sensitivity_clipped"), ("without", "with"), strict=True
    ):
        colours = _colours(report.policies)
        for name, result in report.policies.items():
            rows = getattr(result, attribute)
            for hz, style in ((100, "-"), (400, "--")):
                rates = [rows[number].figure_eight.crash for number, _ in chosen[hz]]
                delays_ms = [delay for _, delay in chosen[hz]]
                _rates(axes, delays_ms, rates, colours[name], f"{name}, {hz} Hz", style)
        axes.set_title(f"Figure eight of 5.5 s, {how} error clipping")
        axes.set_xlabel("delay of actions, milliseconds")
    panels[0].set_ylabel("lost, %")
    panels[0].set_ylim(0, 100)
    panels[1].legend(loc="lower right")
    return figure


def errors(report: FleetReport) -> Figure | None:
    """How the errors of figure eights spread over airframes; None where they were not flown."""
    if not report.flights:
        return None
    from sim.evaluation.fleet.evaluation import FAST_ROW, SLOW_ROW

    figure, panels = new_figure(height_in=3.3, columns=2)
    colours = _colours(report.policies)
    for axes, row in zip(panels, (SLOW_ROW, FAST_ROW), strict=True):
        flown = [flights[row] for flights in report.flights.values()]
        common = np.logical_and.reduce([flight.survived for flight in flown])
        values = [flight.rmse_m[common] * 100.0 for flight in flown]
        axes.set_title(f"Figure eight of {row}, with error clipping")
        axes.set_xlabel(f"RMSE, cm ({int(common.sum())} airframes that nobody lost)")
        if not common.any():
            continue
        low, high = (float(f([np.percentile(v, q) for v in values])) for f, q in ((min, 0), (max, 98.5)))
        edges = np.linspace(0.97 * low, 1.05 * high, 60)
        for name, found in zip(report.flights, values, strict=True):
            beyond = int((found > edges[-1]).sum())
            label = f"{name}, mean {found.mean():.1f} cm" + (f" ({beyond} beyond)" if beyond else "")
            axes.hist(found, bins=edges.tolist(), color=colours[name], alpha=0.55, label=label)
            axes.axvline(float(found.mean()), color=colours[name], linewidth=1.2, dashes=(3, 2))
        # The lines of the means may run behind the words.
        axes.legend(loc="upper right", fontsize=8.5, frameon=True, facecolor=PAPER, edgecolor="none")
    panels[0].set_ylabel("airframes")
    return figure


def losses(report: FleetReport) -> Figure | None:
    """Crashes by how quickly the airframe can turn; None where the comparison was not flown."""
    if not report.flights:
        return None
    figure, panels = new_figure(height_in=3.3, columns=3)
    colours = _colours(report.policies)
    for axes, field, title in zip(
        panels,
        ("hover_crash", "figure_eight_crash", "delay_10ms_crash"),
        ("Hover, paper's starts", "Figure eight, 5.5 s", "… and actions 10 ms late"),
        strict=True,
    ):
        for name, result in report.policies.items():
            bins = result.by_torque_to_inertia
            centres = [float(np.sqrt(b.lower * b.upper)) for b in bins]
            _rates(axes, centres, [getattr(b, field) for b in bins], colours[name], name, "-")
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks([50, 100, 200, 500, 1000], labels=["50", "100", "200", "500", "1000"])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("lost, %")
    panels[1].set_xlabel("torque to inertia, 1/s² (slow to turn at the left), with error clipping")
    panels[0].legend(loc="upper right")
    return figure


def recoveries(report: FleetReport) -> Figure | None:
    """The way back of every named airframe; None where that was not flown."""
    policies = {name: result for name, result in report.policies.items() if result.recovery}
    if not policies:
        return None
    figure, panels = new_figure(
        height_in=0.6 + 2.8 * len(policies), rows=len(policies), columns=2, sharex=True, sharey=True
    )
    for number, (name, result) in enumerate(policies.items()):
        for axes, rows, how in (
            (panels[2 * number], result.recovery, "not clipped"),
            (panels[2 * number + 1], result.recovery_clipped, "clipped"),
        ):
            _ways_back(axes, rows)
            back = sum(row.success for row in rows)
            axes.set_title(f"{name}, errors {how}: {back} of {len(rows)} come back")
        panels[2 * number].set_ylabel("distance, m")
    for axes in panels[-2:]:
        axes.set_xlabel("seconds since the start, 2.8 m away and pitched by 90°")
    panels[1].legend(loc="upper right", fontsize=8, ncols=2)
    return figure


def _ways_back(axes: Axes, rows: Sequence[RecoveryRow]) -> None:
    for number, row in enumerate(rows):
        time_s = (np.arange(len(row.distance_m)) + 1) * 0.05
        distance = np.asarray(row.distance_m)
        axes.plot(
            time_s,
            np.where(distance <= _FAR_M, distance, np.nan),
            color=SERIES[number % len(SERIES)],
            linestyle="-" if number < len(SERIES) else "--",
            linewidth=1.1,
            label=row.airframe,
        )
    axes.axhline(0.12, color=MUTED, linewidth=0.8, dashes=(2, 2))
    axes.set_xlim(0, 5)
    axes.set_ylim(0, _FAR_M)


def _rates(
    axes: Axes, where: Sequence[float], rates: Sequence[Rate], colour: str, label: str, style: str
) -> None:
    share = np.array([100.0 * rate.share for rate in rates])
    below = share - np.array([100.0 * rate.interval.lower for rate in rates])
    above = np.array([100.0 * rate.interval.upper for rate in rates]) - share
    # Rounding may leave an end of an interval on the wrong side of the share by 1e-16.
    axes.errorbar(
        where,
        share,
        yerr=np.maximum([below, above], 0.0),
        color=colour,
        linestyle=style,
        marker="o",
        markersize=3,
        elinewidth=0.8,
        capsize=2,
        label=label,
    )


def _colours(policies: Mapping[str, PolicyResult]) -> dict[str, str]:
    return dict(zip(policies, (REFERENCE, FLOWN, GOOD, VIOLET), strict=False))
