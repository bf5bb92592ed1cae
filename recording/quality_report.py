"""What is said about the quality of an episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recording.criteria import Thresholds


@dataclass(frozen=True)
class TopicQuality:
    """How regularly a topic arrived."""

    # Messages.
    count: int
    # Messages per second by their capture stamps, and what the robot card promises (0: nothing).
    rate_hz: float
    nominal_hz: float
    # Messages that are missing, told by gaps between capture stamps, as a share of all.
    drop_share: float
    # Longest time without a message, seconds, the beginning and the end of the episode included.
    max_gap_s: float
    # From capture to arrival, median and largest, seconds.
    latency_p50_s: float
    latency_max_s: float
    # How often a stamp was older than the one before it.
    backward: int


@dataclass(frozen=True)
class CameraQuality:
    """How well a camera's images fit the others and the world."""

    # Distance in time from the images of the reference camera (the one with the most) to the nearest image of
    # this one, or, for the reference itself, to the nearest measurement of the robot; seconds.
    skew_p50_s: float
    skew_p95_s: float
    skew_max_s: float
    # From where on the 95th percentile is a finding, seconds.
    skew_limit_s: float
    # Longest time for which it showed the same image while the robot moved, seconds.
    frozen_s: float


@dataclass(frozen=True)
class Drift:
    """What is left between what was asked for and what was measured, both at rest."""

    # Median of measured minus asked for, radians.
    rad: float
    # What asked: the leader or the command.
    against: str


@dataclass(frozen=True)
class JointQuality:
    """How a joint moved, or a body along an axis."""

    # The unit of its position.
    unit: str
    # Root mean square of the measured jerk in that unit per cubic second (None: too few measurements), and
    # from where on it is a finding (None: the robot card has no limit).
    jerk: float | None
    jerk_limit: float | None
    # Share of its range (robot card) that was covered; None: it has no range there.
    coverage: float | None
    # None: what is asked for and what is measured never rested both.
    drift: Drift | None


@dataclass(frozen=True)
class Finding:
    """One thing that is below its threshold."""

    # Which figure, as the report calls it.
    figure: str
    # Of which topic, camera or joint; empty: of the episode.
    subject: str
    # In words.
    text: str


@dataclass(frozen=True)
class QualityReport:
    """What was found out about an episode."""

    # How long it is, seconds, and how many messages it has.
    duration_s: float
    messages: int
    # By absolute topic, and by camera topic.
    topics: Mapping[str, TopicQuality]
    cameras: Mapping[str, CameraQuality]
    # Topics that have to arrive, and of which there is no message.
    missing: tuple[str, ...]
    # By joint, or axis of a body.
    joints: Mapping[str, JointQuality]
    # Share of the time in which the robot rested.
    idle_share: float
    # Messages with numbers that are not finite.
    not_finite: int
    # From where on something is a finding.
    thresholds: Thresholds
    # What is below a threshold.
    marks: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[str, ...]:
        """What is below a threshold, in words."""
        return tuple(mark.text for mark in self.marks)

    @property
    def is_good(self) -> bool:
        """Whether nothing is below a threshold."""
        return not self.marks

    def to_document(self) -> dict[str, Any]:
        """As plain lists, mappings and numbers; `findings` has the words of `marks`, in the same order."""
        document = dataclasses.asdict(self)
        marks = [{"figure": mark.figure, "subject": mark.subject} for mark in self.marks]
        return {**document, "missing": list(self.missing), "marks": marks, "findings": list(self.findings)}
