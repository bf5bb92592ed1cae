"""The report: one HTML page that holds everything, plots and films included."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from reflexarc.demos.pilots import PILOT
from reflexarc.demos.summary import Outcome, Run
from reflexarc.report.pieces import (
    Media,
    badge,
    checks_table,
    document,
    failure,
    figure_text,
    film,
    grid,
    heading,
    paragraph,
    plot,
)
from reflexarc.report.story import not_flown, tell_arm, tell_flight, unplanned_safe_actions


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
    return document("Reflexarc demo", parts)


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
        f"<header><h1>Reflexarc demo {badge(run.passed)}</h1>"
        + paragraph(
            "Learned policies move two robots of the digital twin over ROS 2, in real time. Every command"
            " passes a gate, a process of its own, before it reaches a motor.",
            "lead",
        )
        + paragraph(", ".join(words), "small")
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
        heading(outcome),
        paragraph(
            f"{PILOT.introduction} sees position, attitude and velocities 100 times a second and commands"
            " the four motors of a two-kilogram x500 directly; there is no other controller between them. The"
            " world is simulated; the processes, the messages and their delays are real."
        ),
        failure(outcome),
        film("quadrotor", media),
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
            parts.append(paragraph(text, "small"))
        left_out = not_flown(run.flight)
        if left_out:
            parts.append(paragraph(f"Not flown in this short demo: {', '.join(left_out)}.", "small"))
    if outcome.checks:
        parts += [
            checks_table(outcome.checks),
            paragraph(PILOT.reference_note, "small"),
        ]
    parts += [
        plot(
            "timeline",
            "Red: the safe action (waiting for the first command, policy killed, landing). Yellow: the gust.",
            media,
        ),
        plot(
            "top_views",
            "From above, at full speed. The policy knows its reference only at this very instant, so it"
            " swings wide where the reference turns.",
            media,
        ),
    ]
    return "".join(parts) + "</section>\n"


def _arm(run: Run, outcome: Outcome, media: Media) -> str:
    parts = [
        heading(outcome),
        paragraph(
            "A small policy, cloned from a scripted expert, sees the joints and the cube and gives chunks of"
            " joint positions to an SO-101. The gate limits velocity, acceleration and jerk of every joint"
            " and keeps the tool inside the workspace."
        ),
        failure(outcome),
        film("arm", media),
    ]
    if run.arm is not None and run.arm_figures is not None:
        parts.append(f"<h3>What happened</h3>{paragraph(tell_arm(run.arm, run.arm_figures))}")
        if run.arm_figures.wilson is not None:
            low, high = run.arm_figures.wilson.lower, run.arm_figures.wilson.upper
            text = (
                f"95 % interval of the success rate (Wilson): {low:.0%} to {high:.0%}. So few attempts show"
                " it, they do not prove it; reflexarc eval counts many more."
            )
            parts.append(paragraph(text, "small"))
    parts += [
        checks_table(outcome.checks),
        plot("cubes", "Numbers: the order of the attempts. Green: picked, red: not.", media),
        plot("joints", "Blue: what the gate let through. Green line: held long enough.", media),
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
    return f"<section><h2>Timing</h2>{paragraph(text)}{plot('latency', '', media)}</section>\n"


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
        f"<section><h2>Command gate</h2>{paragraph(text)}"
        + grid(("Robot", "Passed", "Limited", "Refused", "Safe actions taken"), rows)
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
        f"<pre>reflexarc demo --headless{seconds}</pre>{paragraph(text, 'small after')}</section>\n"
    )
