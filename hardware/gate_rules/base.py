"""What a rule is, when it works and what it sees."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hardware.command import Command
from hardware.gate_rules.config import GateConfig
from hardware.limiter import Workspace
from hardware.robot import CommandSpec, Observation, RobotCard


class Stage(enum.Enum):
    """Where a rule works in the gate."""

    # Judges the situation at every tick: whether it asks for the safe action.
    SITUATION = "situation"
    # Judges whether somebody still commands: whether the engagement has ended.
    LIVENESS = "liveness"
    # Judges one command: whether it is refused.
    ADMISSION = "admission"
    # Changes set-points in place: tells whether it did.
    SHAPE = "shape"
    # Tightens what the motion limiter keeps to, once, when the gate is made.
    MOTION = "motion"


@dataclass(slots=True)
class Situation:
    """What the gate knows at a tick; rules read it."""

    # The newest observation, and whether it came with this tick.
    state: Observation | None = None
    state_is_new: bool = False
    # Both clocks, in nanoseconds.
    data_now_ns: int = 0
    steady_now_ns: int = 0
    # The steady clock went back: nothing that was measured on it counts.
    steady_went_back: bool = False
    # Whether a source has authority, which one, and when its newest command was accepted.
    engaged: bool = False
    holder: str = ""
    accepted_steady_ns: int = 0
    # Candidates for motors: how many acceptable commands in a row, and when the last one came.
    streaks: dict[str, tuple[int, int]] = field(default_factory=dict)
    # Why the emergency stop is latched; empty: it is not.
    estop_reason: str = ""
    # The operator link: whether it is engaged, whether it holds the stop, and when it was heard last
    # (None: count from the next tick on).
    operator_engaged: bool = False
    operator_pressed: bool = False
    operator_heard_ns: int | None = None
    # Sources that more than one publisher claims to be.
    crowded: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class MotionSettings:
    """What the motion limiter keeps to; every rule of the stage `MOTION` tightens it."""

    # Range of each axis, shape (D,).
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    # The part of it that the workspace leaves, for axes that *are* workspace coordinates, shape (D,).
    inner_lower: tuple[float, ...]
    inner_upper: tuple[float, ...]
    # Largest absolute derivatives, shape (D,).
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]
    # Where each tool may be, for axes that move it through kinematics.
    workspaces: tuple[Workspace, ...] = ()
    # How long authority takes to grow.
    authority_ramp_s: float = 0.0

    @classmethod
    def unlimited(cls, count: int) -> MotionSettings:
        """No limit at all, for a number of axes."""
        free = (math.inf,) * count
        return cls((-math.inf,) * count, free, (-math.inf,) * count, free, free, free, free)


@dataclass(frozen=True)
class Binding:
    """What a rule is built from."""

    card: RobotCard
    spec: CommandSpec
    config: GateConfig
    situation: Situation

    @property
    def lease_ns(self) -> int:
        """How long a silent source keeps its place, in nanoseconds."""
        lease_s = self.config.lease_s
        return to_ns(0.5 * self.spec.timeout_s if lease_s is None else lease_s)

    @property
    def state_terms(self) -> tuple[str, ...]:
        """The terms that a state must have."""
        return self.config.state_terms or tuple(self.card.observations)


SituationCheck = Callable[[Situation], bool]
AdmissionCheck = Callable[[Command, Situation], bool]
Shaper = Callable[[list[float], Situation], bool]
Tightener = Callable[[MotionSettings], MotionSettings]


@dataclass(frozen=True)
class Rule:
    """One rule."""

    # Its name, which is also the reason that a verdict gives.
    name: str
    # Where it works.
    stage: Stage
    # Builds it for one gate: a `SituationCheck`, `AdmissionCheck`, `Shaper` or `Tightener`, by stage.
    make: Callable[[Binding], Callable[..., Any]]


def to_ns(seconds: float) -> int:
    """Convert seconds to whole nanoseconds."""
    return round(seconds * 1e9)
