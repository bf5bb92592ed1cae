"""Who commanded the robot, out of a recording: a policy, or a person who took over from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.gate import GATE_SOURCE
from recording.episode import Episode

StampArray = NDArray[np.int64]
# On change: the source whose commands the gate lets through, and the stamp of the first of them.
SOURCE_TOPIC = "gate/source"
# The source of a person's commands; and where a dataset only knows that it was not a person.
OPERATOR, OTHER = "operator", "other"


@dataclass(frozen=True, eq=False)
class Authority:
    """Whose commands the gate let through."""

    # From when on, ROS clock, nanoseconds, rising, (N,).
    stamps_ns: StampArray
    # From each of these stamps on, until the next, the source; `gate` where it was nobody's command.
    sources: tuple[str, ...]

    def is_operator(self, stamps_ns: StampArray) -> NDArray[np.bool_]:
        """Say which commands were a person's: the per-frame flag of an intervention.

        Args:
            stamps_ns: of commands behind the gate, (T,).

        Returns:
            Shape (T,). Before the first stamp of ours nobody commanded.
        """
        rows = np.searchsorted(self.stamps_ns, stamps_ns, side="right") - 1
        flags = np.array([source == OPERATOR for source in self.sources], np.bool_)
        return np.asarray((rows >= 0) & flags[np.maximum(rows, 0)], np.bool_)

    def shares(self, end_ns: int) -> Mapping[str, float]:
        """Say how much of the time each source had authority.

        Args:
            end_ns: the end of the recording, ROS clock, nanoseconds.

        Returns:
            Source to share of the time from the first stamp on, 0 to 1.
        """
        ends = np.maximum(np.append(self.stamps_ns[1:], end_ns), self.stamps_ns)
        lasted = ends - self.stamps_ns
        total = max(int(lasted.sum()), 1)
        shares = dict.fromkeys(self.sources, 0.0)
        for source, duration in zip(self.sources, lasted, strict=True):
            shares[source] += int(duration) / total
        return shares

    @property
    def interventions(self) -> int:
        """How often a person took over."""
        return sum(
            source == OPERATOR and before != OPERATOR
            for before, source in zip((GATE_SOURCE, *self.sources), self.sources, strict=False)
        )


def read_authority(episode: Episode) -> Authority | None:
    """Read who commanded.

    Args:
        episode: the recording.

    Returns:
        The sources in order; None: nothing was recorded of it, so nobody knows.

    Raises:
        ConfigError: its messages cannot be decoded, or a chunk is damaged.
    """
    try:
        messages = list(episode.messages(episode.resolve(SOURCE_TOPIC)))
    except ConfigError:
        if f"{episode.metadata.info.namespace.rstrip('/')}/{SOURCE_TOPIC}" in episode.topics:
            raise
        return None
    if not messages:
        return None
    # What held when the episode began was written with the stamp of its beginning.
    order = np.argsort([message.stamp_ns for message in messages], kind="stable")
    return Authority(
        np.array([messages[i].stamp_ns for i in order], np.int64),
        tuple(str(messages[i].data.frame_id) for i in order),
    )
