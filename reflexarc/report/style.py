"""Colours and plots in one style, which follows the page's light and dark theme."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each colour of a plot stands for a variable of the page's style sheet, so that a plot follows its theme.
INK, MUTED, GRID, PAPER = "#1d2733", "#667382", "#dfe4ea", "#fffffe"
FLOWN, REFERENCE, DANGER, GOOD = "#e8590b", "#3566c9", "#c92a35", "#23875d"
GUST, VIOLET, TEAL = "#b8860c", "#7a4fc4", "#0f8a94"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    FLOWN: "--flown",
    REFERENCE: "--reference",
    DANGER: "--danger",
    GOOD: "--good",
    GUST: "--gust",
    VIOLET: "--violet",
    TEAL: "--teal",
}
# In this order for lines that stand side by side.
SERIES = (FLOWN, REFERENCE, GOOD, VIOLET, GUST, TEAL)

_WIDTH_IN, _DPI = 9.2, 150
# What only a file of its own needs, or what would stand twice on one page.
_DROPPED = re.compile(
    r'<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|\sxmlns(:\w+)?="[^"]*"'
    r'|\sid="(?:figure|axes|patch|line2d|text|xtick|ytick|legend|matplotlib\.axis|PolyCollection|LineCollection'
    r'|FillBetweenPolyCollection|PathCollection|Line3DCollection|QuadMesh|pane3d|axis3d|grid3d)_?\d*"',
    re.DOTALL,
)


def new_figure(
    *,
    height_in: float,
    rows: int = 1,
    columns: int = 1,
    **keywords: Any,  # noqa: ANN401, whatever matplotlib takes
) -> tuple[Figure, list[Axes]]:
    """Make a figure of the report's width.

    Args:
        height_in: its height, inches.
        rows: of axes.
        columns: of axes.
        **keywords: for `matplotlib.pyplot.subplots`, such as `sharex`.

    Returns:
        The figure and its axes, row by row.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {
            "font.size": 9.5,
            "font.family": "DejaVu Sans",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.linewidth": 0.7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlecolor": INK,
            "axes.facecolor": "none",
            "figure.facecolor": PAPER,
            "text.color": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "grid.color": GRID,
            "grid.linewidth": 0.7,
            "axes.grid": True,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "lines.linewidth": 1.4,
            "lines.solid_capstyle": "round",
            "svg.fonttype": "none",
            "path.simplify_threshold": 0.3,
        }
    )
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **keywords)
    return figure, list(axes.ravel())


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write a plot as PNG, and give it as SVG for the page.

    Args:
        figure: the plot.
        folder: where the PNG goes.
        name: of the file, without ending; also keeps the plot's own names apart from those of others.

    Returns:
        An `<svg>` element whose colours are variables of the style sheet.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=_DPI)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True)
    return inline_svg(buffer.getvalue(), name)


def inline_svg(text: str, name: str) -> str:
    """Turn an SVG file into an element of a page.

    Args:
        text: the file.
        name: goes in front of every name that the element refers to itself by.

    Returns:
        The element: no outside address, the page's colours, as wide as the page allows.
    """
    text = _DROPPED.sub("", text)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\sid="([^"]+)"', rf' id="{name}-\1"', text)
    text = re.sub(r'"#([A-Za-z][^"]*)"', rf'"#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()
