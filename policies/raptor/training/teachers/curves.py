"""Learning curves of teachers, as JSON, CSV and a plot."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.raptor.training.teachers.bank import ACCEPTED_RETURN
from policies.raptor.training.teachers.store import GroupResult

CURVE_FILE = "learning_curve"


def write_curves(folder: Path, results: Sequence[GroupResult]) -> None:
    """Write `learning_curve.json`, `.csv` (one line an evaluation of a teacher) and `.png`.

    Args:
        folder: made if it is not there.
        results: finished groups, at least one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = [
        {
            "first": result.first,
            "count": result.count,
            "returns": result.returns.tolist(),
            "best_steps": result.steps.tolist(),
            "core_minutes_each": result.points[-1].cpu_s / 60.0 / result.count,
            "points": [dataclasses.asdict(point) for point in result.points],
        }
        for result in results
    ]
    (folder / f"{CURVE_FILE}.json").write_text(json.dumps({"groups": groups}), encoding="utf-8")
    with (folder / f"{CURVE_FILE}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["teacher", "step", "return", "length", "terminated", "core_s"])
        for result in results:
            for i in range(result.count):
                for p in result.points:
                    row = (p.step, p.returns[i], p.lengths[i], p.terminated[i], p.cpu_s / result.count)
                    writer.writerow([result.first + i, *(f"{value:g}" for value in row)])
    _plot(folder / f"{CURVE_FILE}.png", results)


def _plot(path: Path, results: Sequence[GroupResult]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for result in results:
        steps = [point.step for point in result.points]
        returns = np.array([point.returns for point in result.points])
        axes.plot(steps, returns, color="#0072b2", alpha=0.25, linewidth=0.8)
    steps = [point.step for point in results[0].points]
    every = np.concatenate([np.array([p.returns for p in result.points]) for result in results], axis=1)
    axes.plot(steps, np.median(every, axis=1), color="#d55e00", label=f"median of {every.shape[1]}")
    axes.axhline(ACCEPTED_RETURN, color="0.5", linewidth=0.8, linestyle=":", label="acceptance")
    axes.set_xlabel("environment steps of a teacher")
    axes.set_ylabel("mean return of an episode")
    axes.legend(loc="lower right", frameon=False)
    # No creation date or version inside, so that the same training gives the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
