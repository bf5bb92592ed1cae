"""What a bench finds: a table, ratios, and the machine it was made on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reflexarc.machine import Machine
from reflexarc.output import Output, to_json

REPORT_SCHEMA = "reflexarc/bench-report/1"


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    # The key in the rows.
    key: str
    # The heading, with the unit.
    heading: str
    # Digits after the point.
    digits: int = 2


@dataclass(frozen=True)
class BenchReport:
    """What a bench found."""

    # The bench's name.
    name: str
    # One sentence: what was measured, beside what.
    title: str
    # The columns in order; the first holds the contender's name.
    columns: tuple[Column, ...]
    # One mapping a contender, with the columns' keys and any others.
    rows: tuple[Mapping[str, Any], ...]
    # What the bench is about: ours over the reference, by a name that reads on from «0.27 ×».
    ratios: Mapping[str, float]
    # The machine before the measurement.
    machine: Machine
    # The settings that a repetition needs.
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Sentences that a reader must know.
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "schema": REPORT_SCHEMA,
            "name": self.name,
            "title": self.title,
            "rows": list(self.rows),
            "ratios": dict(self.ratios),
            "machine": self.machine,
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def show_report(report: BenchReport, output: Output) -> None:
    """Print a report: as JSON where that is asked for, as a table otherwise."""
    output.result(report.document())
    if output.json:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(report.title), title_justify="left", title_style="bold")
    for number, column in enumerate(report.columns):
        table.add_column(escape(column.heading), justify="left" if number == 0 else "right")
    for row in report.rows:
        table.add_row(*(escape(_cell(row.get(column.key), column.digits)) for column in report.columns))
    output.console.print(table)
    for name, ratio in report.ratios.items():
        output.console.print(f"[bold]{ratio:.2f}[/bold] × {escape(name)}")
    for note in report.notes:
        output.console.print(f"[dim]{escape(note)}[/dim]")
    output.console.print(f"[dim]{escape(report.machine.line)}[/dim]")


def write_report(report: BenchReport, path: Path) -> None:
    """Write a report as JSON; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(report.document()) + "\n", encoding="utf-8")


def _cell(value: str | float | int | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
