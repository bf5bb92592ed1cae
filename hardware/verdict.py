"""What the command gate answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from hardware.command import Command


class GateAction(enum.StrEnum):
    """What the gate did."""

    # The command goes out as it came in.
    PASS = "pass"
    # A command within the limits goes out in its place.
    LIMITED = "limited"
    # Nothing new goes out; the previous command stays in force.
    KEEP = "keep"
    # Nobody who may command does so, or the situation forbids it: the card's safe action.
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the robot may be told, and why."""

    # What the gate did.
    action: GateAction
    # What to send. PASS: the very command that came in. KEEP: the command in force. SAFE: the holding
    # set-point where the gate can stop the motion itself (joint and Cartesian kinds whose safe action is
    # to hold), else None: the safe action is the robot side's.
    command: Command | None
    # Names of the rules that refused or changed something, and `idle` (nobody has been given authority),
    # `pace` (one set-point a period), `start` (the measured posture is unknown or out of range).
    reasons: tuple[str, ...] = ()


class CommandInForce:
    """The command in force, with set-points of its own: its sender may reuse the array."""

    __slots__ = ("_command", "_template", "_values")

    def __init__(self) -> None:
        """Nothing is in force."""
        self._command: Command | None = None
        self._template: Command | None = None
        self._values: list[float] = []

    def clear(self) -> None:
        """Forget the command."""
        self._command = self._template = None

    def note(self, template: Command, values: list[float]) -> None:
        """Note that a command went out as it came in.

        Args:
            template: the command.
            values: its set-points when they were judged, shape (D,).
        """
        self._command, self._template, self._values = None, template, values

    def set(self, command: Command) -> None:
        """Note that the gate's own command went out."""
        self._command = command

    def make(self, template: Command, values: list[float]) -> Command:
        """Make a command that goes out in the place of another.

        Args:
            template: what it is made from.
            values: its set-points, shape (D,).

        Returns:
            The command, which is in force now.
        """
        self._command = Command(
            template.kind,
            template.names,
            np.array(values),
            template.stamp_ns,
            template.received_steady_ns,
            template.source,
        )
        return self._command

    @property
    def command(self) -> Command | None:
        """The command, or None."""
        if self._command is None and self._template is not None:
            self.make(self._template, self._values)
        return self._command
