"""The student's learning curve, as JSON, CSV and a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CURVE_FILE = "learning_curve"
_JUDGED = (
    *("hover_crash", "hover_rmse_m", "hover_heading_rad"),
    *("figure_eight_crash", "figure_eight_rmse_m", "delay_crash", "executor_crash", "executor_rmse_m"),
)
# Crash rates: what is plotted, its label and its colour.
_RATES = (
    ("hover_crash", "hover, tilted starts", "#0072b2"),
    ("figure_eight_crash", "figure eight, 5.5 s", "#009e73"),
    ("delay_crash", "figure eight, 10 ms late", "#d55e00"),
)


def write_curves(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `learning_curve.json`, `.csv` and `.png`.

    Args:
        folder: made if it is not there.
        rows: lines of the curve, fields of `policies.raptor.training.train.Row`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"rows": list(rows)}, indent=1)
    (folder / f"{CURVE_FILE}.json").write_text(text, encoding="utf-8")
    names = ("stage", "number", "cpu_s", "loss", "episode_return", "length", "lost")
    with (folder / f"{CURVE_FILE}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *_JUDGED])
        for row in rows:
            judged = row["judgement"] or {}
            values = [*(row[name] for name in names), *(judged.get(name) for name in _JUDGED)]
            writer.writerow([f"{v:g}" if isinstance(v, float) else v for v in values])
    _plot(folder / f"{CURVE_FILE}.png", rows)


def _plot(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.figure import Figure

    judged = [row for row in rows if row["judgement"] is not None]
    minutes = [row["cpu_s"] / 60.0 for row in judged]
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    rates = figure.add_subplot()
    for name, label, colour in _RATES:
        # A rate of zero has no place on a logarithmic axis: it is drawn at the bottom.
        values = [max(row["judgement"][name], 1e-3) for row in judged]
        rates.plot(minutes, values, color=colour, label=label)
    rates.set_yscale("log")
    rates.set_ylim(1e-3, 1.05)
    rates.set_xlabel("minutes of one core")
    rates.set_ylabel("share of vehicles lost")
    error = rates.twinx()
    values = [row["judgement"]["figure_eight_rmse_m"] for row in judged]
    error.plot(minutes, values, color="0.55", linestyle="--", label="figure eight, RMSE")
    error.set_ylabel("RMSE, metres")
    error.set_ylim(0.0, 0.5)
    stages = [row["stage"] for row in rows]
    if len(set(stages)) > 1:
        change = rows[stages.index("tuning")]["cpu_s"] / 60.0
        rates.axvline(change, color="0.6", linewidth=0.8, linestyle=":")
    handles, labels = rates.get_legend_handles_labels()
    more = error.get_legend_handles_labels()
    rates.legend(handles + more[0], labels + more[1], loc="upper right", frameon=False)
    # No creation date or version inside, so that the same training gives the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
