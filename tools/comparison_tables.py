"""What was learned with and without something, side by side, out of docs/results: for tables of the docs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results_table import HEADLINE, POLICIES, figure_of, share, together


def policies(folder: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """RAPTOR's policies side by side.

    Args:
        folder: holds `eval_raptor.json`.

    Returns:
        The heads and the rows of the table.
    """
    path = folder / "eval_raptor.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    names = [name for name in POLICIES if document.get(name) is not None]
    heads = (f"with error clipping, {document.get('airframes', 0)} airframes", *names)
    return heads, [(title, *(figure_of(document[n], key) for n in names)) for title, key in HEADLINE]


def students(folder: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What different trainings of RAPTOR's student gave.

    Args:
        folder: holds `raptor_training.json`.

    Returns:
        The heads and the rows of the table.
    """
    path = folder / "raptor_training.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"recipes": []}
    heads = ("training", "seeds", *(title for title, _ in _STUDENT), "core-minutes of its own")
    rows = [
        (
            recipe["name"],
            str(len(recipe["runs"])),
            *(_spread([run["metrics"][key] for run in recipe["runs"]], key) for _, key in _STUDENT),
            f"{recipe['core_minutes']:.1f}",
        )
        for recipe in document["recipes"]
    ]
    return heads, rows


_STUDENT = (
    ("lost in hover", "hover_crash"),
    ("hover error", "hover_rmse_m"),
    ("lost in figure eights", "figure_eight_crash"),
    ("their RMSE", "figure_eight_5_5s_rmse_m"),
    ("lost in them, 10 ms late", "delay_10ms_crash"),
)


def interventions(folder: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Policies that were learned with and without interventions.

    Args:
        folder: holds `dagger.json`.

    Returns:
        The heads and the rows of the table.
    """
    path = folder / "dagger.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    rows = [
        (row["name"], f"{row['expert_steps']:,.0f}", row["seeds"].replace(" ", ", "), together(row))
        for row in document["rows"]
    ]
    return ("learned from", "expert steps", "successes by seed", "together"), rows


def imitation(folder: Path, kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Policies that were learned with and without an option.

    Args:
        folder: holds `imitation_options.json`.
        kind: the option: goals or retrieval.

    Returns:
        The heads and the rows of the table.
    """
    path = folder / "imitation_options.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in document["rows"]:
        if (", few" in row["name"]) == (kind == "retrieval"):
            found.setdefault(row["name"], []).append(row)
    rows = [
        (name, *(str(row["successes"]) for row in some[:-1]), share(some[-1])) for name, some in found.items()
    ]
    seeds = max((len(some) - 1 for some in found.values()), default=0)
    return ("learned", *(f"seed {number}" for number in range(seeds)), "together"), rows


def choices(folder: Path, name: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Diffusion policies that were trained, or used, with one choice changed.

    Args:
        folder: holds the file.
        name: of the file, without its ending.

    Returns:
        The heads and the rows of the table.
    """
    path = folder / f"{name}.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    rows = [
        (
            row["name"],
            *row["seeds"].split(", "),
            f"{100 * row['rate']:.1f} % ({100 * row['lower']:.1f} to {100 * row['upper']:.1f} %)",
        )
        for row in document["rows"]
    ]
    seeds = max((len(row) - 2 for row in rows), default=0)
    return ("changed", *(f"seed {number}" for number in range(seeds)), "together"), rows


def _spread(values: Sequence[float], key: str) -> str:
    scale, digits, unit = (1.0, 3, " m") if key.endswith("_m") else (100.0, 1, " %")
    low, middle, high = (f"{scale * f(values):.{digits}f}" for f in (min, statistics.median, max))
    return f"{middle}{unit}" if len(values) == 1 else f"{middle}{unit} ({low} to {high})"
