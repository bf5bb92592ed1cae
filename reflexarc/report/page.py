"""The report: one HTML page that holds everything, plots and films included."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from reflexarc.demos.stage import Check
from reflexarc.demos.summary import Outcome, Run
from reflexarc.report.story import not_flown, tell_arm, tell_flight, unplanned_safe_actions
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


def make_page(run: Run, summary: Mapping[str, Any], media: Media) -> str:
    """Write the report.

    Args:
        run: what was shown.
        summary: the same as `summarise` writes it down.
        media: plots and films.

    Returns:
        An HTML document that needs no other file and no network.
    """
    parts = [_header(run, summary), _cards(run)]
    for outcome in run.outcomes:
        parts.append(
            _quadrotor(run, outcome, media) if outcome.name == "quadrotor" else _arm(run, outcome, media)
        )
    parts += [_timing(summary, media), _gate(summary), _circumstances(summary)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Reflexarc demo</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
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


def _header(run: Run, summary: Mapping[str, Any]) -> str:
    commit = summary["git"]["commit"]
    words = [
        run.started.replace("T", " "),
        "the whole demo" if run.seconds is None else f"shortened to about {run.seconds:g} s a stage",
        f"{run.duration_s:.0f} s",
    ]
    if commit:
        words.append(f"commit {commit[:10]}" + (" (with changes)" if summary["git"]["modified"] else ""))
    return (
        f"<header><h1>Reflexarc demo {_badge(run.passed)}</h1>"
        + _text(
            "Learned policies move two robots of the digital twin over ROS 2, in real time. Every command"
            " passes a gate, a process of its own, before it reaches a motor.",
            "lead",
        )
        + _text(", ".join(words), "small")
        + "</header>\n"
    )


def _cards(run: Run) -> str:
    flight, arm = run.flight_figures, run.arm_figures
    cards: list[tuple[str, str]] = []
    if flight is not None:
        cards += [
            (figure_text(flight.hover_error_m, "m"), "hover error (RMS)"),
            (figure_text(flight.figure_eight_5_5s_rmse_m, "m"), "RMSE on the fast figure eight"),
            (figure_text(flight.fault.reaction_ms, "ms"), "from a killed policy to the safe action"),
            (figure_text(flight.photon_to_motor_ms.p50, "ms"), "photon to motor, median"),
        ]
    if arm is not None:
        cards.append((f"{arm.successes} of {arm.episodes}", "cubes picked"))
    if run.flight is not None:
        cards.append((f"{run.flight.first_motion_s:.1f} s", "from the command to the first motion"))
    inner = "".join(f'<div class="card"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in cards)
    return f'<div class="cards">{inner}</div>\n' if cards else ""


def _quadrotor(run: Run, outcome: Outcome, media: Media) -> str:
    parts = [
        _heading(outcome),
        _text(
            "A published neural network with 2084 parameters, RAPTOR, sees position, attitude and velocities"
            " 100 times a second and commands the four motors of a two-kilogram x500 directly; there is no"
            " other controller between them. The world is simulated; the processes, the messages and their"
            " delays are real."
        ),
        _failure(outcome),
        _film("quadrotor", media),
    ]
    if run.flight is not None and run.flight_figures is not None:
        told = "".join(
            f"<li><time>{max(0.0, t):.1f} s</time><span>{escape(text)}</span></li>"
            for t, text in tell_flight(run.flight, run.flight_figures)
        )
        parts.append(f'<h3>What happened</h3><ol class="story">{told}</ol>')
        unplanned = unplanned_safe_actions(run.flight)
        if unplanned:
            text = (
                f"The gate took the safe action {unplanned} more time(s) in flight: processes were late. The"
                " load of the machine is at the end of this page."
            )
            parts.append(_text(text, "small"))
        left_out = not_flown(run.flight)
        if left_out:
            parts.append(_text(f"Not flown in this short demo: {', '.join(left_out)}.", "small"))
    if outcome.checks:
        parts += [
            _table(outcome.checks),
            _text(
                "Reference: the same network and airframe in the simulator of RAPTOR's authors. Figure eights"
                " are judged at full speed, without their ramps. On real x500s the authors measured 11 and"
                " 21 cm.",
                "small",
            ),
        ]
    parts += [
        _plot(
            "timeline",
            "Red: the safe action (waiting for the first command, policy killed, landing). Yellow: the gust.",
            media,
        ),
        _plot(
            "top_views",
            "From above, at full speed. The policy knows its reference only at this very instant, so it"
            " swings wide where the reference turns.",
            media,
        ),
    ]
    return "".join(parts) + "</section>\n"


def _arm(run: Run, outcome: Outcome, media: Media) -> str:
    parts = [
        _heading(outcome),
        _text(
            "A small policy, cloned from a scripted expert, sees the joints and the cube and gives chunks of"
            " joint positions to an SO-101. The gate limits velocity, acceleration and jerk of every joint"
            " and keeps the tool inside the workspace."
        ),
        _failure(outcome),
        _film("arm", media),
    ]
    if run.arm is not None and run.arm_figures is not None:
        parts.append(f"<h3>What happened</h3>{_text(tell_arm(run.arm, run.arm_figures))}")
        if run.arm_figures.wilson is not None:
            low, high = run.arm_figures.wilson.lower, run.arm_figures.wilson.upper
            text = (
                f"95 % interval of the success rate (Wilson): {low:.0%} to {high:.0%}. So few attempts show"
                " it, they do not prove it; reflexarc eval counts many more."
            )
            parts.append(_text(text, "small"))
    parts += [
        _table(outcome.checks),
        _plot("cubes", "Numbers: the order of the attempts. Green: picked, red: not.", media),
        _plot("joints", "Blue: what the gate let through. Green line: held long enough.", media),
    ]
    return "".join(parts) + "</section>\n"


def _timing(summary: Mapping[str, Any], media: Media) -> str:
    timing = summary["photon_to_motor_ms"]
    if not timing["samples"]:
        return ""
    text = (
        "How old the data behind a command is when the motors get it: capture in the twin, a message to the"
        " policy, the network, a message to the gate, its judgement, a message to the robot."
        f" {timing['samples']} commands of the quadrotor; {summary['deadline_misses']} periods of the"
        " robots' loops were missed."
    )
    return f"<section><h2>Timing</h2>{_text(text)}{_plot('latency', '', media)}</section>\n"


def _gate(summary: Mapping[str, Any]) -> str:
    rows = [
        [title, *(str(counts[key]) for key in ("passed", "limited", "refused", "safe_actions"))]
        for name, title in (("quadrotor", "Quadrotor"), ("arm", "Arm"))
        if (counts := summary["gate"][name]) is not None
    ]
    if not rows:
        return ""
    text = (
        "What it did with the commands of the policies. That it keeps a robot in its safe action until the"
        " first command comes is not counted."
    )
    return (
        f"<section><h2>Command gate</h2>{_text(text)}"
        + _grid(("Robot", "Passed", "Limited", "Refused", "Safe actions taken"), rows)
        + "</section>\n"
    )


def _circumstances(summary: Mapping[str, Any]) -> str:
    machine = summary["machine"]
    rows = {
        "Processor": f"{machine['processor']}, {machine['cores']:g} core(s)",
        "Load": f"{machine['load_1min']:.2f} in the last minute, the demo's own processes included",
        "Memory": f"{machine['memory_bytes'] / 2**30:.1f} GiB",
        "System": f"Linux {machine['kernel']}, Python {machine['python']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in summary["versions"].items()),
    }
    inner = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items())
    seconds = "" if summary["seconds"] is None else f" --seconds {summary['seconds']:g}"
    text = (
        "All figures for machines are in summary.json beside this page, traces and logs in the folder data."
    )
    return (
        f"<section><h2>Where it ran</h2><dl>{inner}</dl><h3>Do it again</h3>"
        f"<pre>reflexarc demo --headless{seconds}</pre>{_text(text, 'small after')}</section>\n"
    )


# --- pieces -------------------------------------------------------------------------------------


def _heading(outcome: Outcome) -> str:
    return f"<section><h2>{escape(outcome.title)} {_badge(outcome.passed)}</h2>"


def _text(text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def _table(checks: Sequence[Check]) -> str:
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
    return "<h3>Figures</h3>" + _grid(titles, rows)


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str | bool | None]]) -> str:
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
    return escape(cell) if isinstance(cell, str) else _badge(cell)


def _badge(verdict: bool | None) -> str:
    kind, text = _BADGES[verdict]
    return f'<span class="badge {kind}">{text}</span>'


def _failure(outcome: Outcome) -> str:
    if outcome.error is None:
        return ""
    log = escape("\n".join(outcome.log))
    return (
        f'<div class="failure"><strong>This stage stopped early:</strong> {escape(outcome.error)}.'
        + (f"<pre>{log}</pre>" if log else "")
        + "</div>"
    )


def _film(name: str, media: Media) -> str:
    path = media.films.get(name)
    if path is None:
        return ""
    picture = poster_path(path)
    poster = f' poster="{_data("image/jpeg", picture)}"' if picture.exists() else ""
    return (
        f'<video controls muted playsinline preload="metadata"{poster}>'
        f'<source type="video/mp4" src="{_data("video/mp4", path)}"></video>'
        + _text("Rendered afterwards from the recorded states.", "small")
    )


def _data(kind: str, path: Path) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _plot(name: str, caption: str, media: Media) -> str:
    svg = media.plots.get(name)
    if svg is None:
        return ""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{text}</figure>"
