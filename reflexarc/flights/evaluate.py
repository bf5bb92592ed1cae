"""`reflexarc eval betaflight` and `reflexarc eval px4`: fly, measure, tell."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware.errors import ConfigError
from reflexarc.demos.stage import StageError
from reflexarc.flights.plan import Course
from reflexarc.output import Output, to_json

if TYPE_CHECKING:
    from reflexarc.flights.pilot import VehicleFlight


@dataclass(frozen=True)
class VehicleEval:
    """What to fly."""

    # Which ways of flying; none: all.
    ways: tuple[str, ...] = ()
    # The policy that flies onboard, METHOD/NAME or a folder; none: the one that the simulated vehicle has.
    policy: str = ""
    # How long to hover, seconds; what counts begins after 5 s.
    hover_s: float = 20.0
    # Time for one loop of the figure eight, seconds: 10 or 5.5.
    period_s: float = 10.0
    # Loops at full speed.
    loops: int = 2
    # Height of flight, metres.
    height_m: float = 1.0
    # Write a page with films and plots, and the traces, to this folder.
    report: Path | None = None
    # Also write the result, JSON, to this file.
    out: Path | None = None


@dataclass(frozen=True)
class Way:
    """One way in which a flight controller is flown."""

    # The robot card.
    robot: str
    # In words, for people.
    title: str


WAYS: Mapping[str, Mapping[str, Way]] = {
    "betaflight": {
        "companion": Way("betaflight_sitl", "Rates and thrust from the companion computer"),
        "onboard": Way("betaflight_onboard_sitl", "RAPTOR compiled into the firmware"),
    },
    "px4": {
        "offboard": Way("px4_peer", "References to PX4's own controllers"),
        "onboard": Way("px4_raptor_peer", "RAPTOR as an external mode"),
    },
}


def evaluate_betaflight(config: VehicleEval, output: Output) -> int:
    """Fly the real Betaflight firmware; see `evaluate`."""
    return evaluate("betaflight", config, output)


def evaluate_px4(config: VehicleEval, output: Output) -> int:
    """Fly the PX4-like vehicle; see `evaluate`."""
    return evaluate("px4", config, output)


def evaluate(controller: str, config: VehicleEval, output: Output) -> int:
    """Fly each way and print what came of it.

    Args:
        controller: a key of `WAYS`.
        config: what to fly.
        output: where progress and result go.

    Returns:
        0 when every flight landed, else 1.

    Raises:
        ConfigError: an unknown way, a course that cannot be flown, or a system that does not fit together.
    """
    from reflexarc.checks.ros import require_rmw

    require_rmw(os.environ)
    from reflexarc.flights.pilot import fly_vehicle

    ways = WAYS[controller]
    unknown = [name for name in config.ways if name not in ways]
    if unknown:
        raise ConfigError(
            f"there is no way {unknown[0]!r}",
            where=f"reflexarc eval {controller}",
            expected="some of " + ", ".join(ways),
            mend="correct the name",
        )
    if config.policy:
        _require_raptor(config.policy, where=f"reflexarc eval {controller}")
    course = Course(config.hover_s, config.period_s, config.loops, config.height_m)
    flights: dict[str, VehicleFlight] = {}
    errors: dict[str, StageError] = {}
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) if config.report is None else config.report / "data"
        for name in config.ways or ways:
            way = ways[name]
            output.log(f"{name}: {way.title.lower()}")
            policy = config.policy if name == "onboard" else ""
            try:
                flights[name] = fly_vehicle(
                    way.robot,
                    course,
                    folder=data / name,
                    policy=policy,
                    say=functools.partial(_log, output, name),
                )
            except StageError as error:
                errors[name] = error
                output.log(f"{name}: {error.what}")
                for line in error.log:
                    output.log(f"  {line}")
        report = None
        if config.report is not None:
            from reflexarc.flights.page import write_report

            output.log("drawing and filming")
            report = write_report(controller, flights, errors, config.report)
    document = _document(controller, course, flights, errors, config)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(to_json(document) + "\n", encoding="utf-8")
    output.result(document)
    if not output.json:
        _show(flights, errors, output)
        if report is not None:
            output.console.print(f"report: {report}", soft_wrap=True)
    return 0 if document["ok"] else 1


def _log(output: Output, name: str, text: str) -> None:
    output.log(f"{name}: {text}")


def _require_raptor(name: str, *, where: str) -> None:
    """Refuse what is no policy for a flight controller before its firmware is built."""
    from policies.card import load_policy_card
    from reflexarc.eval import find_policy

    card = load_policy_card(find_policy(name, where=where))
    if card.method != "raptor":
        raise ConfigError(
            f"the method of policy {card.name!r} is {card.method}",
            where=f"{where} --policy {name}",
            expected="a RAPTOR policy, which the firmware can carry",
            mend="name one, such as raptor/published",
        )


def _document(
    controller: str,
    course: Course,
    flights: Mapping[str, VehicleFlight],
    errors: Mapping[str, StageError],
    config: VehicleEval,
) -> dict[str, Any]:
    from reflexarc.machine import describe_machine

    ways = {
        name: {
            "hover_error_m": flight.hover_error_m,
            "figure_eight_rmse_m": flight.figure_eight_rmse_m,
            "landed": flight.landed,
            "robot": WAYS[controller][name].robot,
            "firmware": flight.firmware,
            "answers": flight.answers,
            "gate": asdict(flight.record.gate),
            "wall_s": round(flight.record.wall_s, 1),
        }
        for name, flight in flights.items()
    }
    failed = {
        name: {
            "hover_error_m": None,
            "figure_eight_rmse_m": None,
            "landed": False,
            "robot": WAYS[controller][name].robot,
            "error": error.what,
        }
        for name, error in errors.items()
    }
    firmware = sorted({flight.firmware for flight in flights.values() if flight.firmware})
    return {
        "ok": not errors and all(flight.landed for flight in flights.values()),
        "firmware": ", ".join(firmware) or None,
        "course": asdict(course),
        "policy": config.policy or None,
        **{name: {**ways, **failed}[name] for name in WAYS[controller] if name in {**ways, **failed}},
        "machine": describe_machine(),
    }


def _show(flights: Mapping[str, VehicleFlight], errors: Mapping[str, StageError], output: Output) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "firmware", "hover, cm", "figure eight, cm", "landed"):
        table.add_column(heading)
    for name, flight in flights.items():
        table.add_row(
            name,
            flight.firmware or "-",
            _cm(flight.hover_error_m),
            _cm(flight.figure_eight_rmse_m),
            "yes" if flight.landed else "[bold red]no[/bold red]",
        )
    for name, error in errors.items():
        table.add_row(name, "-", "-", "-", f"[bold red]no[/bold red]: {error.what}")
    output.console.print(table)


def _cm(metres: float | None) -> str:
    return "-" if metres is None else f"{100 * metres:.1f}"
