"""Plots of the arm's attempts: one attempt joint by joint, and the cubes of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardware.command import FloatArray
from reflexarc.demos.records import ArmRecord, Episode
from reflexarc.report.style import DANGER, FLOWN, GOOD, INK, MUTED, REFERENCE, SERIES, new_figure
from sim.worlds import so101, so101_table
from sim.worlds.pick_cube import PickCubeSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The middle of the cube in a row of the trace, behind the joints.
_CUBE = slice(len(so101.JOINTS), len(so101.JOINTS) + 3)


def joints(record: ArmRecord) -> Figure:
    """Joint positions and gated commands of the first cube that was picked, or of the first attempt."""
    number, episode = next(
        ((n, e) for n, e in enumerate(record.episodes) if e.picked_s is not None), (0, record.episodes[0])
    )
    figure, axes = new_figure(height_in=4.4, rows=2, columns=3, sharex=True)
    trace = episode.trace
    command_s = (trace.command_time_ns - trace.time_ns[0]) * 1e-9
    for index, (axis, name) in enumerate(zip(axes, so101.JOINTS, strict=True)):
        column = trace.command_names.index(name)
        axis.plot(command_s, trace.command_values[:, column], color=REFERENCE, linewidth=1.0, label="command")
        axis.plot(trace.time_s, trace.qpos[:, index], color=FLOWN, label="joint")
        axis.set_title(name.replace("_", " "))
        if episode.picked_s is not None:
            axis.axvline(episode.picked_s, color=GOOD, linewidth=1.0, dashes=(3, 2))
        if index % 3 == 0:
            axis.set_ylabel("rad")
        if index >= 3:
            axis.set_xlabel("seconds")
    axes[0].legend(loc="best", fontsize=8.5)
    figure.suptitle(f"Cube {number + 1}, joint by joint", x=0.01, ha="left", fontsize=10.5, color=MUTED)
    return figure


def cubes(record: ArmRecord) -> Figure:
    """Where the cubes lay, and how high each was over time."""
    settings = PickCubeSettings()
    figure, (table, height) = new_figure(height_in=3.4, columns=2, width_ratios=(1.0, 1.55))
    for number, episode in enumerate(record.episodes):
        x, y, _ = episode.trace.qpos[0, _CUBE]
        colour = DANGER if episode.picked_s is None else GOOD
        table.plot(y, x, marker="s", markersize=11, color=colour, alpha=0.85, linestyle="none")
        table.text(y, x, str(number + 1), ha="center", va="center", fontsize=7.5, color="white")
        height.plot(
            episode.trace.time_s, _height_cm(episode), color=SERIES[number % len(SERIES)], linewidth=1.1
        )
        if episode.picked_s is not None:
            row = int(np.searchsorted(episode.trace.time_s, episode.picked_s))
            row = min(row, len(episode.trace.time_s) - 1)
            height.plot(episode.picked_s, _height_cm(episode)[row], marker="o", markersize=5, color=GOOD)
    _frame_table(table, settings)
    height.axhline(settings.lift_m * 100, color=MUTED, linewidth=1.0, dashes=(4, 2))
    height.text(0.0, settings.lift_m * 100 + 0.2, "lifted", color=MUTED, fontsize=8.5, va="bottom")
    height.set_xlim(0, None)
    height.set_ylim(-0.5, None)
    height.set_xlabel("seconds since the attempt began")
    height.set_ylabel("height over the table, cm")
    height.set_title("The cubes go up (dot: held long enough)")
    return figure


def _height_cm(episode: Episode) -> FloatArray:
    return np.asarray(100 * (episode.trace.qpos[:, _CUBE][:, 2] - so101_table.CUBE_EDGE_M / 2))


def _frame_table(axes: Axes, settings: PickCubeSettings) -> None:
    (x0, x1), (y0, y1) = settings.cube_x_m, settings.cube_y_m
    axes.plot([y0, y1, y1, y0, y0], [x0, x0, x1, x1, x0], color=MUTED, linewidth=1.0, dashes=(4, 2))
    axes.plot(0.0, 0.0, marker="o", markersize=9, color=INK)
    axes.annotate("base", (0.0, 0.0), xytext=(9, 0), textcoords="offset points", va="center", color=MUTED)
    axes.set_aspect("equal")
    axes.set_xlim(y1 + 0.04, y0 - 0.04)
    axes.set_ylim(-0.02, x1 + 0.03)
    axes.set_xlabel("y, m (left is left)")
    axes.set_ylabel("x, m")
    axes.set_title("Where they lay, from above")
