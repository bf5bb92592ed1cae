"""Draws, films and writes everything that a run of the demo leaves in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflexarc.demos.summary import Run
from reflexarc.output import to_json
from reflexarc.report.page import make_page
from reflexarc.report.pieces import Media

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Called with (done, total) frames.
Progress = Callable[[int, int], None]


def draw(run: Run, folder: Path) -> dict[str, str]:
    """Draw all plots of a run.

    Args:
        run: what was shown.
        folder: where they go, as PNG.

    Returns:
        The plots for the page, by name.
    """
    from reflexarc.report import arm_plots, flight_plots
    from reflexarc.report.style import save

    figures: dict[str, Figure | None] = {}
    if run.flight is not None:
        figures["timeline"] = flight_plots.timeline(run.flight)
        figures["top_views"] = flight_plots.top_views(run.flight)
        figures["latency"] = flight_plots.latency_histogram(run.flight)
    if run.arm is not None:
        figures["cubes"] = arm_plots.cubes(run.arm)
        figures["joints"] = arm_plots.joints(run.arm)
    return {name: save(figure, folder, name) for name, figure in figures.items() if figure is not None}


def film(run: Run, folder: Path, progress: Mapping[str, Progress]) -> dict[str, Path]:
    """Render the films of a run.

    Args:
        run: what was shown.
        folder: where the MP4 files go.
        progress: by the name of the stage.

    Returns:
        The files, by the name of the stage.

    Raises:
        ConfigError: no OpenGL library can be loaded.
    """
    films: dict[str, Path] = {}
    if run.flight is not None:
        from reflexarc.report.flight_film import render_flight

        films["quadrotor"] = folder / "quadrotor.mp4"
        render_flight(run.flight, films["quadrotor"], progress["quadrotor"])
    if run.arm is not None:
        from reflexarc.report.arm_film import render_arm

        films["arm"] = folder / "arm.mp4"
        render_arm(run.arm, films["arm"], progress["arm"])
    return films


def write(run: Run, summary: Mapping[str, Any], media: Media, folder: Path) -> Path:
    """Write summary.json and report.html.

    Args:
        run: what was shown.
        summary: the same, for machines.
        media: plots and films.
        folder: where they go.

    Returns:
        The report.
    """
    (folder / "summary.json").write_text(to_json(summary) + "\n", encoding="utf-8")
    report = folder / "report.html"
    report.write_text(make_page(run, summary, media), encoding="utf-8")
    return report
