"""`reflexarc eval raptor`: the published policy, ours or another, in a thousand airframes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reflexarc.eval import find_policy, finish
from reflexarc.output import Output

if TYPE_CHECKING:
    from policies.raptor.fleet import FleetPilot
    from sim.evaluation.fleet.evaluation import FleetReport, PolicyResult
    from sim.evaluation.fleet.measures import Estimate, Rate, Row
    from sim.evaluation.fleet.reference import Comparison

PartName = Literal["hover", "figure-eight", "sensitivity", "comparison", "named", "recovery", "probe"]
_PARTS: tuple[PartName, ...] = (
    *("hover", "figure-eight", "sensitivity", "comparison"),
    *("named", "recovery", "probe"),
)
PUBLISHED, OURS = "published", "reflexarc"


@dataclass(frozen=True)
class RaptorEval:
    """What to evaluate."""

    # The policy to fly beside the published one: METHOD/NAME or a policy folder; none: raptor/reflexarc,
    # where it is.
    policy: str | None = None
    # Airframes, drawn from RAPTOR's training distribution; the same for every policy.
    airframes: int = 1024
    # How many of them fly the tables of delays, noise and rates.
    sensitivity_airframes: int = 256
    # Draws airframes, starts, forces and noise.
    seed: int = 0
    # The parts to fly.
    only: tuple[PartName, ...] = _PARTS
    # Exit with 1 when the published policy differs from RAPTOR's own simulator: a rate whose interval does
    # not overlap, another figure that is off by more than 5 % and by more than chance explains.
    require_specs: bool = False
    # Also draw the plots, PNG, into this folder.
    plots: Path | None = None
    # Also write the result, JSON, to this file.
    out: Path | None = None


def evaluate_raptor(config: RaptorEval, output: Output) -> int:
    """Evaluate policies on a fleet.

    Args:
        config: what to evaluate.
        output: where progress and result go.

    Returns:
        0; 1 when the published policy does not do what the specs require.

    Raises:
        ConfigError: no such policy, faults of one, or counts out of range.
        ConfigErrors: a policy is no RAPTOR.
    """
    from sim.evaluation.fleet.evaluation import Part, evaluate_fleet

    pilots = _pilots(config.policy)
    with output.progress("flying") as progress:
        report = evaluate_fleet(
            pilots,
            airframes=config.airframes,
            sensitivity_airframes=min(config.sensitivity_airframes, config.airframes),
            seed=config.seed,
            parts=[Part(name) for name in dict.fromkeys(config.only)],
            progress=progress,
        )
    comparisons = compare_with_specs(report.policies[PUBLISHED])
    is_ok = not config.require_specs or all(row.agrees or row.within_chance for row in comparisons)
    document: dict[str, Any] = {
        "ok": is_ok,
        "airframes": config.airframes,
        "sensitivity_airframes": min(config.sensitivity_airframes, config.airframes),
        "seed": config.seed,
        "only": list(config.only),
    }
    for name, result in report.policies.items():
        document[name] = {"policy": pilots[name].name, **_document(result)}
    document["specs"] = [_flat(row) for row in comparisons]
    if config.plots is not None:
        from reflexarc.report.fleet_plots import draw

        document["plots"] = draw(report, config.plots)
    finish(document, config.out, output, lambda: _show(report, comparisons, output))
    return 0 if is_ok else 1


def compare_with_specs(result: PolicyResult) -> list[Comparison]:
    """Set everything that the published policy did beside what the specs measured.

    Args:
        result: of the published policy.

    Returns:
        One entry a figure of the specs; none for parts that were not flown.
    """
    from sim.evaluation.fleet import reference

    rows = [
        *reference.compare_hover(result.hover),
        *reference.compare_figure_eight(result.figure_eight),
        *reference.compare_clipped(result.clipped),
        *reference.compare_sensitivity(
            [row.figure_eight for row in result.sensitivity], [row.hover for row in result.sensitivity]
        ),
        *reference.compare_named(result.named),
        *reference.compare_recovery(result.recovery, clipped=False),
        *reference.compare_recovery(result.recovery_clipped, clipped=True),
    ]
    return rows if result.probe is None else [*rows, *reference.compare_probe(result.probe)]


def _pilots(policy: str | None) -> dict[str, FleetPilot]:
    from policies.raptor.fleet import FleetPilot
    from policies.raptor.policy import PUBLISHED as PUBLISHED_FOLDER

    pilots = {PUBLISHED: FleetPilot.load(PUBLISHED_FOLDER)}
    ours = PUBLISHED_FOLDER.with_name(OURS)
    folder = find_policy(policy) if policy is not None else ours if ours.exists() else None
    if folder is None or folder.resolve() == PUBLISHED_FOLDER.resolve():
        return pilots
    pilot = FleetPilot.load(folder)
    name = OURS if pilot.name == f"raptor-{OURS}" else folder.resolve().name
    pilots[name if name != PUBLISHED else f"{name}-given"] = pilot
    return pilots


def _document(result: PolicyResult) -> dict[str, Any]:
    """A policy's object: the headline figures flat, their intervals beside them, then the tables."""
    headline = result.headline
    metrics: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name in _HEADLINE:
        figure: Rate | Estimate | None = None if headline is None else getattr(headline, name)
        metrics[name] = None if figure is None else _value(figure)
        intervals[name] = None if figure is None else figure.interval
    return {
        **metrics,
        "intervals": intervals,
        "comparison": [_row(row) for row in result.comparison],
        "by_torque_to_inertia": [
            {"lower": b.lower, "upper": b.upper, "airframes": b.hover_crash.trials}
            | {name: getattr(b, name).share for name in _BINS}
            for b in result.by_torque_to_inertia
        ],
        "hover": [_row(row) for row in result.hover],
        "figure_eight": [_row(row) for row in result.figure_eight],
        "with_clipping": [_row(row) for row in result.clipped],
        "sensitivity": list(_sensitivity(result.sensitivity)),
        "sensitivity_with_clipping": list(_sensitivity(result.sensitivity_clipped)),
        "named": [_flat(row) for row in result.named],
        "recovery": [_flat(row) for row in result.recovery],
        "recovery_with_clipping": [_flat(row) for row in result.recovery_clipped],
        "probe": result.probe,
    }


_HEADLINE = (
    *("hover_crash", "hover_rmse_m", "figure_eight_10s_rmse_m", "figure_eight_5_5s_rmse_m"),
    *("figure_eight_crash", "delay_10ms_crash"),
)
_BINS = ("figure_eight_crash", "delay_10ms_crash", "hover_crash")
# Where nothing ends or settles, these say nothing.
_ENDS = ("terminated", "length", "settle_s")


def _value(figure: Rate | Estimate) -> float:
    return float(getattr(figure, "share", getattr(figure, "value", float("nan"))))


def _row(row: Row, *, ends: bool = True) -> dict[str, Any]:
    kept = {f.name: getattr(row, f.name) for f in fields(row) if ends or f.name not in _ENDS}
    return {key: value for name, found in kept.items() for key, value in _spread(name, found)}


def _sensitivity(rows: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for row in rows:
        yield {
            "name": row.name,
            "figure_eight": {k: v for k, v in _row(row.figure_eight, ends=False).items() if k != "name"},
            "hover": {k: v for k, v in _row(row.hover, ends=False).items() if k != "name"},
        }


def _flat(row: Any) -> dict[str, Any]:  # noqa: ANN401
    """Any row as an object, its rates spread out, its traces left to the plots."""
    return {
        key: value
        for f in fields(row)
        if f.name != "distance_m"
        for key, value in _spread(f.name, getattr(row, f.name))
    }


def _spread(name: str, found: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """A rate or an estimate as its value and its interval."""
    from sim.evaluation.fleet.measures import Estimate, Rate
    from sim.evaluation.statistics import Interval

    if isinstance(found, Interval):
        yield name, (found.lower, found.upper)
    elif isinstance(found, Rate | Estimate):
        yield name, _value(found)
        if isinstance(found, Rate):
            yield f"{name}_count", found.count
        yield f"{name}_interval", (found.interval.lower, found.interval.upper)
    else:
        yield name, found


def _show(report: FleetReport, comparisons: list[Comparison], output: Output) -> None:
    from reflexarc.evals.raptor_tables import show

    show(report, comparisons, output.console)
