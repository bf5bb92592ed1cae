"""What the demo came to, as one document for machines: summary.json."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from reflexarc.demos.judge import ArmFigures, FlightFigures, passed
from reflexarc.demos.records import ArmRecord, FlightRecord, GateCounts
from reflexarc.demos.stage import Check
from reflexarc.machine import describe_machine

SCHEMA = "reflexarc/demo-summary/1"
# What a reader must know the version of, where it is installed.
_DISTRIBUTIONS = (
    "reflexarc",
    "mujoco",
    "numpy",
    "onnxruntime",
    "torch",
    "foundation-policy",
    "ros-jazzy-rclpy",
    "ros-kilted-rclpy",
)


@dataclass(frozen=True)
class Outcome:
    """How one stage went."""

    # A word for machines, and a title for people.
    name: str
    title: str
    # Its figures against their bounds.
    checks: tuple[Check, ...] = ()
    # Why it could not be shown to its end, and what the nodes last printed; None: it was.
    error: str | None = None
    log: tuple[str, ...] = ()
    # Wall time, seconds.
    wall_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it was shown to its end and missed no bound."""
        return self.error is None and passed(self.checks)


@dataclass(frozen=True)
class Run:
    """The whole demo: what was asked for and what came out."""

    # Seconds a stage that were asked for; None: everything.
    seconds: float | None
    # When it began, ISO 8601 with the offset from UTC, and how long it took.
    started: str
    duration_s: float
    # The stages that were shown.
    outcomes: tuple[Outcome, ...]
    # What they left behind; None: not shown, or not to its end.
    flight: FlightRecord | None = None
    flight_figures: FlightFigures | None = None
    arm: ArmRecord | None = None
    arm_figures: ArmFigures | None = None

    @property
    def passed(self) -> bool:
        """Whether all stages passed."""
        return all(outcome.passed for outcome in self.outcomes)


def summarise(run: Run) -> dict[str, Any]:
    """Write a run down; what was not flown is None.

    Args:
        run: what was shown.

    Returns:
        A document of plain types, see `SCHEMA`.
    """
    flight, arm = run.flight_figures, run.arm_figures
    gate = (run.flight.gate if run.flight else GateCounts()) + (run.arm.gate if run.arm else GateCounts())
    timing = flight.photon_to_motor_ms if flight else None
    return {
        "schema": SCHEMA,
        "passed": run.passed,
        "started": run.started,
        "duration_s": round(run.duration_s, 1),
        "seconds": run.seconds,
        "first_motion_s": None if run.flight is None else round(run.flight.first_motion_s, 2),
        "quadrotor": _quadrotor(run),
        "arm": {
            "successes": None if arm is None else arm.successes,
            "episodes": None if arm is None else arm.episodes,
            "wilson": None if arm is None or arm.wilson is None else [arm.wilson.lower, arm.wilson.upper],
            "picked_s": None if arm is None else list(arm.picked_s),
        },
        "photon_to_motor_ms": {
            "p50": None if timing is None else timing.p50,
            "p95": None if timing is None else timing.p95,
            "p99": None if timing is None else timing.p99,
            "samples": 0 if timing is None else timing.samples,
        },
        "deadline_misses": None
        if flight is None and arm is None
        else (flight.deadline_misses if flight else 0) + (arm.deadline_misses if arm else 0),
        "gate": {
            "interventions": None if run.flight is None and run.arm is None else gate.interventions,
            "fault_reaction_ms": None if flight is None else flight.fault.reaction_ms,
            "quadrotor": None if run.flight is None else dataclasses.asdict(run.flight.gate),
            "arm": None if run.arm is None else dataclasses.asdict(run.arm.gate),
        },
        "stages": {outcome.name: _stage(outcome) for outcome in run.outcomes},
        "machine": dataclasses.asdict(describe_machine()),
        "git": git_state(Path(__file__).parents[2]),
        "versions": versions(_DISTRIBUTIONS),
    }


def versions(distributions: Sequence[str]) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """The commit of a clone, and whether files differ from it; None each where there is no clone."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = None if commit is None else _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit or None, "modified": None if changes is None else bool(changes)}


def now_iso() -> str:
    """The wall clock, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _quadrotor(run: Run) -> dict[str, Any]:
    record, figures = run.flight, run.flight_figures
    names = ("hover_error_m", "figure_eight_10s_rmse_m", "figure_eight_5_5s_rmse_m")
    if record is None or figures is None:
        return dict.fromkeys(names)
    return {
        **{name: getattr(figures, name) for name in names},
        "hover_window_s": figures.hover_window_s,
        "gust": None if figures.gust is None else dataclasses.asdict(figures.gust),
        "fault": dataclasses.asdict(figures.fault),
        "height_m": record.plan.height_m,
        "program": list(record.plan.program),
    }


def _stage(outcome: Outcome) -> Mapping[str, Any]:
    return {
        "passed": outcome.passed,
        "error": outcome.error,
        "wall_s": round(outcome.wall_s, 1),
        "checks": [{**dataclasses.asdict(check), "passed": check.passed} for check in outcome.checks],
    }


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
