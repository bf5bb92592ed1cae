"""Commands: what a robot can be told, in what kind, and from when until when it holds."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class CommandKind(enum.StrEnum):
    """What the numbers of a command mean. The gate's rules are written per kind."""

    JOINT_POSITION = "joint_position"
    CARTESIAN_POSITION = "cartesian_position"
    RATES_THRUST = "rates_thrust"
    REFERENCE = "reference"
    MOTOR = "motor"


class SafeAction(enum.StrEnum):
    """What a robot does when nobody who may command it does so any more."""

    HOLD = "hold"
    DAMP = "damp"
    RAMP_TO_ZERO = "ramp_to_zero"
    LAND = "land"


@dataclass(frozen=True, slots=True)
class Command:
    """One step for one robot.

    Raises nothing: the gate judges it.
    """

    # What the numbers mean.
    kind: CommandKind
    # The joints, motors or axes, in the order of `values`.
    names: tuple[str, ...]
    # The set-points, shape (D,), in the unit of the robot card.
    values: FloatArray
    # Absolute start of the step, ROS clock, in nanoseconds; for a reactive policy the capture
    # stamp of the observation that it answers.
    stamp_ns: int
    # When the receiver got it, steady clock, in nanoseconds.
    received_steady_ns: int
    # Who sent it: a name that the gate's arbitration knows.
    source: str = "policy"
