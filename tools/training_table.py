"""Compares trainings of RAPTOR's student: flies what they gave, and puts curves and figures into one file.

    .venv/bin/python tools/training_table.py --out docs/results/raptor_training.json
        "tuning=runs/tuning_0" "tuning=runs/tuning_1" "tuning without delays=runs/calm_0"

Every argument is a label and a policy folder that `reflexarc train raptor` wrote; folders of one label are
seeds of one recipe. All of them fly the same airframes with the same chances.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from policies.raptor.fleet import FleetPilot
from sim.evaluation.fleet import quick_metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Fly the policies and write the file.

    Args:
        arguments: the command line; None: that of the process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="LABEL=FOLDER", help="a recipe's name and a policy folder")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--airframes", type=int, default=1024, help="how many airframes fly")
    parser.add_argument("--seed", type=int, default=0, help="draws them and their starts")
    options = parser.parse_args(arguments)
    recipes: dict[str, list[dict[str, Any]]] = {}
    for text in options.runs:
        label, _, folder = text.partition("=")
        found = _run(Path(folder), airframes=options.airframes, seed=options.seed)
        recipes.setdefault(label, []).append(found)
        print(label, Path(folder).name, found["metrics"], file=sys.stderr, flush=True)
    document = {
        "airframes": options.airframes,
        "seed": options.seed,
        "recipes": [
            {
                "name": label,
                "median": _median(runs),
                "core_minutes": statistics.median(run["core_minutes"] for run in runs),
                "runs": runs,
            }
            for label, runs in recipes.items()
        ],
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _run(folder: Path, *, airframes: int, seed: int) -> dict[str, Any]:
    record = yaml.safe_load((folder / "training.yaml").read_text(encoding="utf-8"))
    metrics = quick_metrics(FleetPilot.load(folder), airframes=airframes, seed=seed)
    with (folder / "learning_curve.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["hover_crash"]]
    columns = ("cpu_s", "hover_crash", "figure_eight_crash", "figure_eight_rmse_m", "delay_crash")
    return {
        "command": record["command"],
        "seed": record["seed"],
        "finished": record["finished"],
        "core_minutes": record["cpu_minutes"],
        "metrics": dataclasses.asdict(metrics),
        "curve": [
            {"stage": row["stage"], "number": int(row["number"])}
            | {name: float(row[name]) for name in columns}
            for row in rows
        ],
    }


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = runs[0]["metrics"]
    return {name: statistics.median(run["metrics"][name] for run in runs) for name in names}


if __name__ == "__main__":
    sys.exit(main())
