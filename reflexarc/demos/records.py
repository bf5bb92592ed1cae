"""What the stages leave behind: traces, the robot's timing and the gate's counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hardware.reference import Trajectory
from reflexarc.demos.plan import AIRFRAME, GUST_DURATION_S, ArmPlan, FlightPlan
from sim.twin.trace import Trace

SUCCESS_EVENT = "success"


@dataclass(frozen=True)
class Timing:
    """What robot_node measured in a run."""

    # Age of the data behind each command when the motors got it, milliseconds.
    photon_to_motor_ms: tuple[float, ...]
    # Periods that the robot's loop missed.
    deadline_misses: int
    # The same instant on the robot's clock and on the steady clock, nanoseconds.
    origin_ns: int
    origin_steady_ns: int

    @staticmethod
    def load(trace_path: Path) -> Timing:
        """Read the file that robot_node writes beside its trace."""
        data = json.loads(trace_path.with_suffix(".timing.json").read_text(encoding="utf-8"))
        return Timing(
            tuple(data["photon_to_motor_ms"]),
            int(data["deadline_misses"]),
            int(data["origin_ns"]),
            int(data["origin_steady_ns"]),
        )

    def data_ns(self, steady_ns: int) -> int:
        """A moment of the steady clock on the robot's clock."""
        return self.origin_ns + steady_ns - self.origin_steady_ns


@dataclass(frozen=True)
class GateCounts:
    """What the gate did in a run."""

    # Commands that went out as they came in, that were limited, and that were refused.
    passed: int = 0
    limited: int = 0
    refused: int = 0
    # How often it went over to the safe action after commands had passed.
    safe_actions: int = 0

    @property
    def interventions(self) -> int:
        """How often it did anything but pass a command on."""
        return self.limited + self.refused + self.safe_actions

    def __add__(self, other: GateCounts) -> GateCounts:
        """The sum of two runs."""
        return GateCounts(
            self.passed + other.passed,
            self.limited + other.limited,
            self.refused + other.refused,
            self.safe_actions + other.safe_actions,
        )


@dataclass(frozen=True)
class FlightRecord:
    """What a flight left behind."""

    plan: FlightPlan
    trajectory: Trajectory
    trace: Trace
    timing: Timing
    gate: GateCounts
    # When the reference began, ROS clock.
    start_ns: int
    # When the policy was killed, seconds since the reference began.
    kill_s: float
    # Wall time from the kill to the gate's safe action, and until commands passed again.
    reaction_ms: float
    commands_back_s: float
    # From the start of the whole program until the vehicle left the ground, seconds.
    first_motion_s: float
    # When the emergency stop was pressed, seconds since the reference began; None: it was not.
    estop_s: float | None = None
    # Wall time of the stage, seconds.
    wall_s: float = 0.0
    # What flew, and what its landing is called.
    airframe: str = AIRFRAME
    landing_title: str = "Emergency stop: landing"

    def title_at(self, time_s: float) -> str:
        """What happens at a time since the reference began, for people."""
        if self.estop_s is not None and time_s >= self.estop_s:
            return self.landing_title
        if time_s >= self.kill_s + self.commands_back_s:
            return "Recovery"
        return "Policy killed" if time_s >= self.kill_s else self.plan.at(time_s).title

    @property
    def gust_s(self) -> tuple[float, float] | None:
        """When the gust blew, begin and end, seconds since the reference began; None: it did not.

        The twin counts from its first row, the reference from the first observation that it got.
        """
        if self.plan.gust_s is None:
            return None
        begin_s = self.plan.gust_s + (int(self.trace.time_ns[0]) - self.start_ns) * 1e-9
        return begin_s, begin_s + GUST_DURATION_S


@dataclass(frozen=True)
class Episode:
    """One attempt."""

    # What the twin did.
    trace: Trace
    # What robot_node measured.
    timing: Timing

    @property
    def picked_s(self) -> float | None:
        """From the start until the cube had been lifted and held for long enough; None: never."""
        for time_ns, name in zip(self.trace.event_time_ns.tolist(), self.trace.event_names, strict=True):
            if name == SUCCESS_EVENT:
                return float(time_ns - self.trace.time_ns[0]) * 1e-9
        return None


@dataclass(frozen=True)
class ArmRecord:
    """What the attempts left behind."""

    plan: ArmPlan
    episodes: tuple[Episode, ...]
    gate: GateCounts
    # Wall time of the stage, seconds.
    wall_s: float

    @property
    def successes(self) -> int:
        """How many cubes were picked."""
        return sum(episode.picked_s is not None for episode in self.episodes)
