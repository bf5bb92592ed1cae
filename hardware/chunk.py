"""Action chunks and their schedule: steps at absolute times, trimmed and blended by time."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

import numpy as np

from hardware.command import Command, CommandKind, FloatArray
from hardware.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """One or more steps at absolute times.

    Step i holds from `start_ns + i * step_ns`. After the last step's start the chunk may still be
    used until `end_ns`.
    """

    # What the numbers mean.
    kind: CommandKind
    # The joints, motors or axes, in the order of the last axis of `values`.
    names: tuple[str, ...]
    # Set-points, shape (T, D), unit of the robot card.
    values: FloatArray
    # Absolute time of the first step, ROS clock, in nanoseconds.
    start_ns: int
    # Time between two steps, in nanoseconds.
    step_ns: int
    # How long after `start_ns` the chunk may be used, in seconds.
    valid_for_s: float
    # Who made it.
    source: str = "policy"
    # Further proposals of the same shape, (P, T, D), for steering to choose from.
    proposals: FloatArray | None = None
    # Capture stamp of the observation that it answers, ROS clock, in nanoseconds; None: its own start.
    observed_ns: int | None = None

    def __post_init__(self) -> None:
        """Refuse what has no place in time or does not fit its names.

        Raises:
            ConfigError: the shape is not (T, D) with a step at least, or a duration is not positive.
        """
        shape = self.values.shape
        if len(shape) != 2 or shape[0] < 1 or shape[1] != len(self.names):
            raise ConfigError(
                f"values of shape {shape} for {len(self.names)} name(s)",
                where=f"chunk of {self.source}",
                expected=f"(T, {len(self.names)}) with T at least 1",
                mend="give one row a step and one column a name",
            )
        if self.step_ns < 1 or not 0.0 < self.valid_for_s < math.inf:
            raise ConfigError(
                f"step_ns {self.step_ns}, valid_for_s {self.valid_for_s}",
                where=f"chunk of {self.source}",
                expected="positive and finite durations",
                mend="give the time between steps and how long the chunk may be used",
            )

    @property
    def end_ns(self) -> int:
        """The time from which the chunk must not be used any more."""
        return self.start_ns + round(self.valid_for_s * 1e9)

    def age_s(self, now_ns: int) -> float:
        """How old the observation behind it is at a time of the ROS clock (nanoseconds), in seconds."""
        return (now_ns - (self.start_ns if self.observed_ns is None else self.observed_ns)) * 1e-9

    @property
    def is_finite(self) -> bool:
        """Whether every step is finite."""
        return bool(np.isfinite(self.values).all())

    def with_values(self, values: FloatArray) -> ActionChunk:
        """Copy the chunk with other set-points, shape (T, D), and without proposals."""
        return replace(self, values=values, proposals=None)

    def command_at(self, index: int, *, received_steady_ns: int) -> Command:
        """Take one step out as a command.

        Args:
            index: the step.
            received_steady_ns: when the chunk was received, steady clock.

        Returns:
            The step, stamped with its own start.
        """
        return Command(
            kind=self.kind,
            names=self.names,
            values=self.values[index],
            stamp_ns=self.start_ns + index * self.step_ns,
            received_steady_ns=received_steady_ns,
            source=self.source,
        )


class Interpolation(enum.StrEnum):
    """What a schedule gives between two steps."""

    # The step that has begun, until the next one.
    HOLD = "hold"
    # The straight line between two steps.
    LINEAR = "linear"


class Schedule:
    """The action at any time, out of chunks that arrive late, early or not at all.

    A newer chunk replaces the older ones from its own start on (or from the moment it arrived, if
    that is later: steps in the past are trimmed by time, never counted). From there on, during
    `blend_s`, it is faded in linearly by time, out of whatever was given before, an unfinished fade
    included: the action makes no step. A chunk that is no longer valid gives nothing.

    Args:
        blend_s: length of the cross-fade from the old chunks to the new one, in seconds.
        interpolation: what to give between steps.
    """

    def __init__(self, *, blend_s: float = 0.0, interpolation: Interpolation = Interpolation.HOLD) -> None:
        """Start empty."""
        self._blend_ns = round(blend_s * 1e9)
        self._interpolation = interpolation
        # Chunks in the order of the times from which they replace the ones before.
        self._queue: list[tuple[int, ActionChunk]] = []
        self._current: ActionChunk | None = None

    @property
    def end_ns(self) -> int | None:
        """Until when there is an action, or None when empty."""
        return None if self._current is None else self._current.end_ns

    @property
    def current(self) -> ActionChunk | None:
        """The chunk that was accepted last."""
        return self._current

    def remaining_s(self, now_ns: int) -> float:
        """Time for which the present chunk still holds, in seconds; 0 when there is none."""
        return 0.0 if self._current is None else max(0.0, (self._current.end_ns - now_ns) * 1e-9)

    def clear(self) -> None:
        """Forget every chunk."""
        self._queue.clear()
        self._current = None

    def push(self, chunk: ActionChunk, *, now_ns: int) -> bool:
        """Take a new chunk.

        Args:
            chunk: the chunk; a non-finite one must be refused before.
            now_ns: the ROS clock, in nanoseconds.

        Returns:
            False when nothing of it lies in the future any more: it is dropped, the old ones stay.
        """
        if chunk.end_ns <= now_ns:
            return False
        self._forget(now_ns)
        switch_ns = max(now_ns, chunk.start_ns)
        # Those that would have begun later are replaced before they begin.
        self._queue = [entry for entry in self._queue if entry[0] < switch_ns or entry[0] <= now_ns]
        self._queue.append((switch_ns, chunk))
        self._current = chunk
        return True

    def sample(self, now_ns: int) -> FloatArray | None:
        """Give the action at a time.

        Args:
            now_ns: the ROS clock, in nanoseconds.

        Returns:
            Shape (D,), or None when no chunk is valid at that time.
        """
        self._forget(now_ns)
        return self._at(now_ns)

    def preview(self, start_ns: int, step_ns: int, count: int) -> FloatArray | None:
        """Give what would be carried out if no further chunk came; changes nothing.

        Args:
            start_ns: the first time, not before the last `sample`; ROS clock, in nanoseconds.
            step_ns: time between two steps, in nanoseconds.
            count: how many steps.

        Returns:
            Shape (K, D), K at most `count`: it ends where no chunk is valid any more. None: K is 0.
        """
        steps: list[FloatArray] = []
        for index in range(count):
            value = self._at(start_ns + index * step_ns)
            if value is None:
                break
            steps.append(value)
        return np.array(steps) if steps else None

    def _at(self, now_ns: int) -> FloatArray | None:
        given: FloatArray | None = None
        for switch_ns, chunk in self._queue:
            if now_ns < switch_ns:
                break
            value = self._value(chunk, now_ns)
            if value is None or given is None:
                given = value
            else:
                share = 1.0 if now_ns - switch_ns >= self._blend_ns else (now_ns - switch_ns) / self._blend_ns
                given = (1.0 - share) * given + share * value
        return given

    def _forget(self, now_ns: int) -> None:
        """Drop what lies before the newest chunk that is faded in wholly."""
        faded = [i for i, (switch_ns, _) in enumerate(self._queue) if now_ns - switch_ns >= self._blend_ns]
        if faded:
            del self._queue[: faded[-1]]

    def _value(self, chunk: ActionChunk, now_ns: int) -> FloatArray | None:
        if not chunk.start_ns <= now_ns < chunk.end_ns:
            return None
        last = len(chunk.values) - 1
        index, rest_ns = divmod(now_ns - chunk.start_ns, chunk.step_ns)
        step: FloatArray = chunk.values[min(index, last)]
        if index >= last or self._interpolation is Interpolation.HOLD:
            return step
        alpha = rest_ns / chunk.step_ns
        following: FloatArray = chunk.values[index + 1]
        return (1.0 - alpha) * step + alpha * following
