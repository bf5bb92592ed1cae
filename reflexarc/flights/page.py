"""The report of vehicles' flights: films, plots and figures on one page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from reflexarc.demos.stage import StageError
from reflexarc.flights.evaluate import WAYS
from reflexarc.flights.pilot import VehicleFlight
from reflexarc.report import flight_plots
from reflexarc.report.flight_film import render_flight
from reflexarc.report.pieces import Media, badge, document, figure_text, film, grid, paragraph, plot
from reflexarc.report.style import save

_NAMES = {"betaflight": "Betaflight", "px4": "PX4"}
_LEAD = (
    "The policy, the command gate, the reference and the driver are processes of their own over ROS 2, in"
    " real time. The flight controller is reached over its own protocol; its vehicle is simulated, and what"
    " is judged is what that vehicle truly did."
)


def write_report(
    controller: str,
    flights: Mapping[str, VehicleFlight],
    errors: Mapping[str, StageError],
    folder: Path,
) -> Path:
    """Draw, film and write.

    Args:
        controller: a key of `WAYS`.
        flights: by the way they were flown.
        errors: the flights that were not flown to their end.
        folder: where everything goes.

    Returns:
        The page.

    Raises:
        ConfigError: no OpenGL library can be loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{_NAMES[controller]}, flown by Reflexarc"
    is_ok = not errors and all(flight.landed for flight in flights.values())
    parts = [f"<header><h1>{escape(title)} {badge(is_ok)}</h1>{paragraph(_LEAD, 'lead')}</header>\n"]
    rows: list[list[str | bool | None]] = [
        [
            name,
            flight.firmware or "–",
            figure_text(flight.hover_error_m, "m"),
            figure_text(flight.figure_eight_rmse_m, "m"),
            flight.landed,
        ]
        for name, flight in flights.items()
    ]
    parts.append(grid(("Flown", "Firmware", "Hover, RMS", "Figure eight, RMSE", "Landed"), rows))
    for name, flight in flights.items():
        media = _draw(name, flight, folder)
        told = "".join(f"<li>{escape(answer)}</li>" for answer in flight.answers)
        parts.append(
            f"<section><h2>{escape(WAYS[controller][name].title)} {badge(flight.landed)}</h2>"
            + film(name, media)
            + f"<h3>What the vehicle answered</h3><ul>{told}</ul>"
            + plot(
                "timeline",
                "Motors: the set-points of the firmware. Red: the gate takes the safe action.",
                media,
            )
            + plot("top_views", "From above, at full speed.", media)
            + plot("latency", "", media)
            + "</section>\n"
        )
    for name, error in errors.items():
        log = escape("\n".join(error.log))
        parts.append(
            f"<section><h2>{escape(WAYS[controller][name].title)} {badge(False)}</h2>"
            f'<div class="failure">{escape(error.what)}<pre>{log}</pre></div></section>\n'
        )
    report = folder / "report.html"
    report.write_text(document(title, parts), encoding="utf-8")
    return report


def _draw(name: str, flight: VehicleFlight, folder: Path) -> Media:
    record = flight.record
    figures = {
        "timeline": flight_plots.timeline(record, motors_title="Motor commands of the firmware"),
        "top_views": flight_plots.top_views(record),
        "latency": flight_plots.latency_histogram(record),
    }
    plots = {
        kind: save(figure, folder / "plots", f"{name}_{kind}")
        for kind, figure in figures.items()
        if figure is not None
    }
    path = folder / f"{name}.mp4"
    render_flight(record, path, lambda done, total: None)
    return Media(plots, {name: path})
