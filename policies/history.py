"""The observations before the newest one, chosen by time, for policies that want to see some."""

from __future__ import annotations

from collections import deque

from hardware.robot import Observation


class History:
    """Remembers as much as a policy card's `history` asks for.

    Args:
        length: observations that the policy wants to see, the newest included.
        step_ns: time between two of them, in nanoseconds.
    """

    def __init__(self, length: int, step_ns: int) -> None:
        """Start empty."""
        self._length, self._step_ns = length, step_ns
        self._seen: deque[Observation] = deque()

    def clear(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def add(self, observation: Observation) -> None:
        """Take the newest observation; one from before the last shows that a clock was set back.

        Args:
            observation: as the policy wants it.
        """
        if self._length == 1 or (self._seen and observation.stamp_ns == self._seen[-1].stamp_ns):
            return
        if self._seen and observation.stamp_ns < self._seen[-1].stamp_ns:
            self._seen.clear()
        self._seen.append(observation)
        # One beyond the oldest step is kept, because it may be the one that is nearer.
        oldest_ns = observation.stamp_ns - (self._length - 1) * self._step_ns
        while len(self._seen) > 1 and self._seen[1].stamp_ns <= oldest_ns:
            self._seen.popleft()

    def past(self) -> tuple[Observation, ...]:
        """Give what was seen before the newest observation.

        Returns:
            `length - 1` observations, oldest first: for every step back in time the one that is nearest
            to it. Empty before the first observation.
        """
        if not self._seen:
            return ()
        newest_ns = self._seen[-1].stamp_ns
        ages = range(self._length - 1, 0, -1)
        return tuple(self._nearest(newest_ns - age * self._step_ns) for age in ages)

    def _nearest(self, at_ns: int) -> Observation:
        return min(self._seen, key=lambda seen: abs(seen.stamp_ns - at_ns))
