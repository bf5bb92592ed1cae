"""What a controller's journal takes down: everything that its answers depend on, and the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hardware.chunk import ActionChunk
from hardware.robot import Observation
from policies.runtime.inference import Poll


@dataclass(slots=True)
class JournalStep:
    """One control step. The controller fills it in as it goes."""

    # What it was asked about, as it came in.
    observation: Observation
    # The ROS clock, in nanoseconds.
    now_ns: int
    # What it was told to do, in words.
    instruction: str = ""
    # The requests whose answers had arrived by then, by number.
    arrived: tuple[int, ...] = ()
    # What the policy was busy with; see `Poll`.
    under_way_ns: int | None = None
    is_waiting: bool = False
    # What it answered, or None.
    chunk: ActionChunk | None = None
    # Why it did not answer; empty when it did.
    refusal: str = ""

    def note(self, poll: Poll) -> None:
        """Take down how things stood."""
        self.arrived = tuple(answer.request.number for answer in poll.answers)
        self.under_way_ns, self.is_waiting = poll.under_way_ns, poll.is_waiting


class Journal(Protocol):
    """Takes down what a controller does. It must not block and not raise."""

    def reset(self, seed: int | None) -> None:
        """Note that the controller began anew."""

    def enable(self, layer: str, *, on: bool) -> None:
        """Note that a layer was switched."""

    def step(self, step: JournalStep) -> None:
        """Note one control step; what is to be kept of its arrays has to be copied."""
