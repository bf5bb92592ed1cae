"""The pieces that report pages are made of: HTML that needs no other file and no network."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from reflexarc.demos.stage import Check
from reflexarc.demos.summary import Outcome
from reflexarc.report.video import poster_path

_STYLE = Path(__file__).with_name("page.css")
_BADGES = {True: ("good", "passed"), False: ("bad", "failed"), None: ("none", "not flown")}


@dataclass(frozen=True)
class Media:
    """What was drawn."""

    # Plots as `<svg>` elements, by name: timeline, top_views, latency, joints, cubes.
    plots: Mapping[str, str] = field(default_factory=dict)
    # Films as MP4 files, by the name of their stage.
    films: Mapping[str, Path] = field(default_factory=dict)


def document(title: str, parts: Sequence[str]) -> str:
    """Write a page.

    Args:
        title: of the page.
        parts: what is on it, as HTML.

    Returns:
        An HTML document.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def bounds_text(check: Check) -> str:
    """What a figure must be, as people read it."""
    low, high = check.at_least, check.at_most
    if low is not None and high is not None:
        return f"{figure_text(low, check.unit)} to {figure_text(high, check.unit)}"
    if high is not None:
        return f"at most {figure_text(high, check.unit)}"
    return "" if low is None else f"at least {figure_text(low, check.unit)}"


def figure_text(value: float | None, unit: str) -> str:
    """A number as people read it; metres as centimetres, shares as per cent."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "never"
    if unit == "m":
        return f"{value * 100:.1f} cm"
    if unit == "":
        return f"{value:.0%}"
    return f"{value:.1f} {unit}" if value < 20 else f"{value:.0f} {unit}"


def heading(outcome: Outcome) -> str:
    """Begin a stage's section: its title and its verdict."""
    return f"<section><h2>{escape(outcome.title)} {badge(outcome.passed)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is a class of the style sheet."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def checks_table(checks: Sequence[Check]) -> str:
    """The figures against their bounds; nothing where there are none."""
    if not checks:
        return ""
    titles = ["Figure", "Measured", "Must be", ""]
    rows: list[list[str | bool | None]] = [
        [check.title, figure_text(check.value, check.unit), bounds_text(check), check.passed]
        for check in checks
    ]
    if any(check.reference is not None for check in checks):
        titles.insert(3, "Reference")
        for row, check in zip(rows, checks, strict=True):
            row.insert(3, figure_text(check.reference, check.unit))
    return "<h3>Figures</h3>" + grid(titles, rows)


def grid(titles: Sequence[str], rows: Sequence[Sequence[str | bool | None]]) -> str:
    """A table; a verdict becomes a badge, and what is not in the first column does not wrap."""
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>"
        + "".join(
            (f'<td class="number">{_cell(cell)}</td>' if column else f"<td>{_cell(cell)}</td>")
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str | bool | None) -> str:
    return escape(cell) if isinstance(cell, str) else badge(cell)


def badge(verdict: bool | None) -> str:
    """A verdict in a word."""
    kind, text = _BADGES[verdict]
    return f'<span class="badge {kind}">{text}</span>'


def failure(outcome: Outcome) -> str:
    """Why a stage stopped early, with the end of its log; nothing where it did not."""
    if outcome.error is None:
        return ""
    log = escape("\n".join(outcome.log))
    return (
        f'<div class="failure"><strong>This stage stopped early:</strong> {escape(outcome.error)}.'
        + (f"<pre>{log}</pre>" if log else "")
        + "</div>"
    )


def film(name: str, media: Media) -> str:
    """The film of a stage; nothing where there is none."""
    path = media.films.get(name)
    if path is None:
        return ""
    picture = poster_path(path)
    poster = f' poster="{_data("image/jpeg", picture)}"' if picture.exists() else ""
    return (
        f'<video controls muted playsinline preload="metadata"{poster}>'
        f'<source type="video/mp4" src="{_data("video/mp4", path)}"></video>'
        + paragraph("Rendered afterwards from the recorded states.", "small")
    )


def _data(kind: str, path: Path) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def plot(name: str, caption: str, media: Media) -> str:
    """A plot with its caption; nothing where there is none."""
    svg = media.plots.get(name)
    if svg is None:
        return ""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{text}</figure>"
