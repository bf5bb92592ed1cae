"""The tables of `reflexarc eval raptor`, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sim.evaluation.fleet.evaluation import FleetReport, PolicyResult
    from sim.evaluation.fleet.measures import Estimate, Rate, Row
    from sim.evaluation.fleet.named import RecoveryRow
    from sim.evaluation.fleet.reference import Comparison
    from sim.evaluation.statistics import Interval

_ROWS = {
    "hover_crash": "hover from the paper's starts, lost",
    "hover_rmse_m": "the same, error of the last second, median",
    "figure_eight_10s_rmse_m": "figure eight of 10 s, RMSE, mean",
    "figure_eight_5_5s_rmse_m": "figure eight of 5.5 s, RMSE, mean",
    "figure_eight_crash": "the same, lost",
    "delay_10ms_crash": "the same with actions 10 ms late, lost",
}


def show(report: FleetReport, comparisons: Sequence[Comparison], console: Console) -> None:
    """Print what was flown.

    Args:
        report: what was found.
        comparisons: the published policy beside the specs.
        console: where it goes.
    """
    policies = report.policies
    if all(result.headline is not None for result in policies.values()):
        _headline(policies, console)
    for name, result in policies.items():
        for title, rows in (
            ("hover", result.hover),
            ("figure eight", result.figure_eight),
            ("with error clipping", result.clipped),
        ):
            if rows:
                _rows(f"{name}: {title}", rows, console)
    if any(result.sensitivity for result in policies.values()):
        _sensitivity(policies, console)
    for name, result in policies.items():
        if result.named:
            _named(name, result, console)
        if result.recovery:
            _recovery(name, result.recovery, result.recovery_clipped, console)
        if result.probe is not None:
            console.print(
                f"[bold]{name}[/bold]: thrust-to-weight from the hidden state, from 4 s on:"
                f" R² {result.probe.late_r2:.3f} for all, {result.probe.kept_r2:.3f} for those that stayed"
                f" in the training's box; over all steps {result.probe.all_r2:.3f}"
            )
    if comparisons:
        _specs(comparisons, console)


def _headline(policies: Mapping[str, PolicyResult], console: Console) -> None:
    table = _table(
        "with error clipping, same airframes, errors of those that survive under every policy",
        "figure",
        *policies,
    )
    for field, title in _ROWS.items():
        table.add_row(title, *(_figure(getattr(r.headline, field)) for r in policies.values()))
    console.print(table)


def _rows(title: str, rows: Sequence[Row], console: Console) -> None:
    table = _table(title, "case", "lost", "left box", "steps", "median, m", "mean, m", "settled, s")
    for row in rows:
        table.add_row(
            row.name,
            _figure(row.crash),
            f"{row.terminated.share:.1%}",
            f"{row.length.value:.0f}",
            _number(row.rmse_median_m.value),
            _number(row.rmse_mean_m.value),
            _number(row.settle_s.value, digits=2),
        )
    console.print(table)


def _sensitivity(policies: Mapping[str, PolicyResult], console: Console) -> None:
    for what, attribute in (("without", "sensitivity"), ("with", "sensitivity_clipped")):
        heads = [f"{name}: {head}" for name in policies for head in ("eight lost", "RMSE", "hover lost")]
        table = _table(f"sensitivity, {what} error clipping", "what is wrong", *heads)
        tables = [getattr(result, attribute) for result in policies.values()]
        for rows in zip(*tables, strict=True):
            cells = [
                cell
                for row in rows
                for cell in (
                    f"{row.figure_eight.crash.share:.1%}",
                    _number(row.figure_eight.rmse_median_m.value),
                    f"{row.hover.crash.share:.1%}",
                )
            ]
            table.add_row(rows[0].name, *cells)
        console.print(table)


def _named(name: str, result: PolicyResult, console: Console) -> None:
    table = _table(
        f"{name}: named airframes",
        *("airframe", "10 s RMSE (horizontal)", "5.5 s RMSE (horizontal)", "hover offset, cm"),
        *("left the box", "steps"),
    )
    for row in result.named:
        table.add_row(
            row.airframe,
            f"{row.figure_eight_10s_rmse_m:.3f} ({row.figure_eight_10s_horizontal_m:.3f})",
            f"{row.figure_eight_5_5s_rmse_m:.3f} ({row.figure_eight_5_5s_horizontal_m:.3f})",
            f"{100 * row.hover_offset_m:.1f}",
            f"{row.terminated.share:.1%}",
            f"{row.length.value:.0f}",
        )
    console.print(table)


def _recovery(
    name: str, bare: Sequence[RecoveryRow], clipped: Sequence[RecoveryRow], console: Console
) -> None:
    table = _table(
        f"{name}: started 2.8 m away, pitched by 90°",
        *("airframe", "back with clipping, s", "fell, m", "back without, s", "fell, m"),
    )
    for ours, without in zip(clipped, bare, strict=True):
        cells = [
            cell
            for row in (ours, without)
            for cell in (_number(row.recovered_s, digits=2), f"{row.altitude_loss_m:.2f}")
        ]
        table.add_row(ours.airframe, *cells)
    console.print(table)


def _specs(comparisons: Sequence[Comparison], console: Console) -> None:
    agree = sum(row.agrees for row in comparisons)
    console.print(
        f"[bold]{agree} of {len(comparisons)}[/bold] figures of the published policy are those of RAPTOR's"
        " own simulator: rates with overlapping intervals, others within 5 %"
    )
    rest = [row for row in comparisons if not row.agrees]
    if not rest:
        return
    table = _table("the others", "table", "row", "figure", "specs", "here", "could be chance")
    for row in rest:
        inside = "" if row.within_chance is None else "yes" if row.within_chance else "no"
        table.add_row(row.table, row.row, row.quantity, f"{row.specs:.3g}", f"{row.ours:.3g}", inside)
    console.print(table)


def _figure(figure: Rate | Estimate) -> str:
    interval: Interval = figure.interval
    if hasattr(figure, "share"):
        return f"{100 * figure.share:.1f} % [{100 * interval.lower:.1f}, {100 * interval.upper:.1f}]"
    return f"{figure.value:.3f} m [{interval.lower:.3f}, {interval.upper:.3f}]"


def _number(value: float, *, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _table(title: str, *heads: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for number, head in enumerate(heads):
        # Narrow terminals break names, intervals and long heads, never numbers.
        breaks = number == 0 or head.endswith(("lost", "figure")) or len(head) > 20
        table.add_column(
            head,
            justify="left" if number == 0 else "right",
            no_wrap=not breaks,
            min_width=16 if number == 0 else None,
        )
    return table
