"""What an operator's device says, what the stack answers, and what a device is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hardware.command import FloatArray


class Event(enum.StrEnum):
    """What an operator says beside where to go."""

    # The episode ended well, ended badly, or is to be forgotten and recorded again.
    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    # Everything stops at once and stays stopped until somebody releases it on purpose.
    EMERGENCY_STOP = "emergency_stop"


@dataclass(frozen=True, slots=True)
class Pose:
    """Where something is, in a frame that its owner chose."""

    # Metres, shape (3,).
    position_m: FloatArray
    # Unit quaternion (w, x, y, z), shape (4,).
    orientation_wxyz: FloatArray


@dataclass(frozen=True)
class Reading:
    """The state of a device at one moment."""

    # Whether the device is there; what it said last counts for nothing while it is not.
    connected: bool
    # When it last gave a sign of life, steady clock, nanoseconds.
    heard_ns: int
    # Buttons and keys (0 or 1), sticks (-1 to 1), triggers (0 to 1), joints of a leader (its own unit).
    controls: Mapping[str, float] = field(default_factory=dict)
    # Tracked hands, phones or controllers by name.
    poses: Mapping[str, Pose] = field(default_factory=dict)
    # Controls that were pressed since the last reading, and may be up again already.
    pressed: frozenset[str] = frozenset()
    # What is wrong, for people; empty: nothing.
    problem: str = ""


class LinkState(enum.StrEnum):
    """What there is between the operator and the robot."""

    # No device.
    LOST = "lost"
    # A device; nobody commands.
    READY = "ready"
    # The operator commands.
    ENGAGED = "engaged"
    # The emergency stop was pressed, and the gate has not been released.
    STOPPED = "stopped"


@dataclass(frozen=True)
class Status:
    """What an operator should see."""

    # What there is between operator and robot.
    state: LinkState
    # The name of the mapping, and of the robot.
    mapping: str
    robot: str
    # Time since the device's last sign of life, seconds; infinite when there was none.
    link_age_s: float = np.inf
    # One sentence for people.
    message: str = ""
    # Where the parts are: element names to numbers, SI units.
    values: Mapping[str, float] = field(default_factory=dict)
    # What each control does: controls to words.
    legend: Mapping[str, str] = field(default_factory=dict)


class Device(Protocol):
    """A device that an operator holds. `open`, `read`, `show` and `close` are called from one thread.

    Nothing but `open` may take longer than a few milliseconds, and nothing sleeps.
    """

    @property
    def address(self) -> str:
        """Where an operator finds the device, where that has to be told (a page's address); else empty."""

    def open(self) -> None:
        """Find the device. Raises Refusal while it is not there; it may be asked for again."""

    def read(self, now_ns: int) -> Reading:
        """Give the present state; a device that has gone says so with `connected` false.

        Args:
            now_ns: the steady clock, nanoseconds.
        """

    def show(self, status: Status) -> None:
        """Show the operator what the stack does, where the device can show anything."""

    def close(self) -> None:
        """Let go of the device; may be called at any time and more than once."""


def lost(problem: str) -> Reading:
    """A reading of a device that is not there.

    Args:
        problem: what is wrong, for people.

    Returns:
        The reading.
    """
    return Reading(connected=False, heard_ns=0, problem=problem)
