"""`reflexarc bench raptor`: one step of RAPTOR, our back ends beside the authors' package."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress


@dataclass(frozen=True)
class RaptorBench:
    """How long to measure."""

    # Steps in a repeat.
    steps: int = 1000
    # Repeats; all contenders run in each, in an order that moves on.
    repeats: int = 15
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: RaptorBench, progress: Progress) -> BenchReport:
    """Time every back end and the authors' package in one run.

    Args:
        config: how long.
        progress: is told when the measurement ends.

    Returns:
        The report; its ratios are times a step over those of `foundation_policy`.

    Raises:
        ConfigError: a library of one of the contenders cannot be loaded, or a count is not positive.
    """
    from policies.raptor.bench import REFERENCE, bench_backends

    machine = describe_machine()
    rows = bench_backends(config.steps, config.repeats)
    progress(1, 1)
    ours = [row for row in rows if row.name != REFERENCE]
    return BenchReport(
        name="raptor",
        title=f"RAPTOR, one step: our back ends beside {REFERENCE}",
        columns=(
            Column("name", "back end"),
            Column("us_per_step", "µs a step (median)"),
            Column("best_us_per_step", "µs (best)"),
            Column("ratio", f"× {REFERENCE}"),
        ),
        rows=tuple(asdict(row) for row in rows),
        ratios={f"{REFERENCE}'s time, {row.name}": row.ratio for row in ours},
        machine=machine,
        settings={"steps": config.steps, "repeats": config.repeats},
        notes=(f"{config.repeats} repeats of {config.steps} steps, batch size 1, all contenders in each.",),
    )
