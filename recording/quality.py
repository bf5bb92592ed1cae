"""Judges an episode: while it is recorded and from its file, by the same code.

Everything is counted message by message (`add`); `report` puts it together at any time. Nothing is hidden: an
episode with findings stays where it is, and its findings are written into it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardware.robot import RobotCard
from recording.episode import Episode
from recording.motion import Motion
from recording.streams import CameraStream, Stream, skew_s
from recording.writer import TopicSpec

GATED = "gate/command"
LEADER = "leader/joint_states"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_MOTION = ("sensor_msgs/msg/JointState", "nav_msgs/msg/Odometry")
_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"


@dataclass(frozen=True)
class Thresholds:
    """From where on an episode is marked. Every one is judged by itself."""

    # Shortest episode, seconds.
    min_duration_s: float = 0.5
    # Least share of its nominal rate (robot card) that a topic may have.
    min_rate_share: float = 0.9
    # Largest share of a topic's messages that may be missing, told by its capture stamps.
    max_drop_share: float = 0.02
    # Longest time without a message of a topic, seconds, and in periods of its rate; the longer counts.
    max_gap_s: float = 0.25
    max_gap_periods: float = 4.0
    # Largest distance in time between images of different cameras, 95th percentile, in periods of the camera.
    max_skew_periods: float = 1.0
    # Longest time for which a camera may show the same image while the robot moves, seconds.
    max_frozen_s: float = 0.5
    # Largest share of the time in which the robot may rest.
    max_idle_share: float = 0.8
    # Largest jerk of the measured joints (root mean square), as a share of the limit on the robot card.
    max_jerk_share: float = 1.0
    # Least share of its range that the joint that moves most has to cover.
    min_coverage: float = 0.02
    # Largest distance between what was asked for and what was measured while both rest, radians.
    max_drift_rad: float = 0.05


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
    # Longest time for which it showed the same image while the robot moved, seconds.
    frozen_s: float


@dataclass(frozen=True)
class QualityReport:
    """What was found out about an episode."""

    # How long it is, seconds, and how many messages it has.
    duration_s: float
    messages: int
    # By absolute topic, and by camera topic.
    topics: Mapping[str, TopicQuality]
    cameras: Mapping[str, CameraQuality]
    # Root mean square of the measured jerk by joint, in its unit per cubic second.
    jerk: Mapping[str, float]
    # Share of the time in which the robot rested.
    idle_share: float
    # Share of its range (robot card) that each joint covered.
    coverage: Mapping[str, float]
    # Median distance between what was asked for and what was measured while both rested, by joint, radians.
    drift_rad: Mapping[str, float]
    # Messages with numbers that are not finite.
    not_finite: int
    # What is below a threshold, in words.
    findings: tuple[str, ...] = field(default=())

    @property
    def is_good(self) -> bool:
        """Whether nothing is below a threshold."""
        return not self.findings

    def to_document(self) -> dict[str, Any]:
        """As plain lists, mappings and numbers."""
        document = dataclasses.asdict(self)
        return {**document, "findings": list(self.findings)}


class QualityMonitor:
    """Counts while messages come in.

    Args:
        card: the robot's card; None: rates, ranges and limits are not judged.
        namespace: the ROS namespace of the robot.
        thresholds: from where on the episode is marked.
        start_ns: when the episode began, on the clock of the stamps; None: with its first message.
    """

    def __init__(
        self,
        card: RobotCard | None,
        *,
        namespace: str,
        thresholds: Thresholds | None = None,
        start_ns: int | None = None,
    ) -> None:
        """Begin with nothing."""
        self._card, self._root = card, namespace.rstrip("/")
        self._thresholds = thresholds or Thresholds()
        self._start_ns = start_ns
        self._streams: dict[str, Stream] = {}
        self._cameras: dict[str, CameraStream] = {}
        self._nominal = self._nominal_rates()
        names = () if card is None else tuple(t.topic for t in card.observations.values())
        self._state_topics = {f"{self._root}/{name}" for name in names}
        self._motion = Motion()
        self._last_ns = 0

    def add(self, spec: TopicSpec, data: bytes, *, stamp_ns: int, receive_ns: int) -> None:
        """Look at one message.

        Args:
            spec: its topic.
            data: its bytes, CDR.
            stamp_ns: when it was captured, nanoseconds.
            receive_ns: when it was received, on the same clock, nanoseconds.
        """
        if self._start_ns is None:
            self._start_ns = receive_ns
        self._last_ns = max(self._last_ns, receive_ns)
        stream = self._streams.get(spec.name)
        if stream is None:
            stream = self._streams[spec.name] = Stream()
        stream.add(stamp_ns, receive_ns)
        if spec.type in _IMAGES:
            camera = self._cameras.get(spec.name)
            if camera is None:
                camera = self._cameras[spec.name] = CameraStream()
            camera.add(data, stamp_ns, self._motion.path)
        elif spec.type in _MOTION and self._is_state(spec.name):
            self._motion.add_state(spec, data, stamp_ns)
        elif spec.name == f"{self._root}/{LEADER}" and spec.type == _MOTION[0]:
            self._motion.add_leader(spec, data, stamp_ns, is_device=True)
        elif spec.name == f"{self._root}/{GATED}" and spec.type == _TRAJECTORY:
            self._motion.add_leader(spec, data, stamp_ns, is_device=False)

    def report(self, *, end_ns: int | None = None) -> QualityReport:
        """Put together what is known.

        Args:
            end_ns: when the episode ended, on the clock of the stamps; None: with its last message.

        Returns:
            The report, its findings included.
        """
        start_ns = self._start_ns or 0
        end_ns = max(self._last_ns, end_ns or 0)
        topics = {
            name: self._topic(name, stream, start_ns, end_ns)
            for name, stream in sorted(self._streams.items())
        }
        made = QualityReport(
            duration_s=max(end_ns - start_ns, 0) * 1e-9 if self._streams else 0.0,
            messages=sum(topic.count for topic in topics.values()),
            topics=topics,
            cameras=self._camera_report(),
            jerk=self._motion.jerk(),
            idle_share=self._motion.idle_share,
            coverage=self._coverage(),
            drift_rad=self._motion.drift(),
            not_finite=self._motion.not_finite,
        )
        return dataclasses.replace(made, findings=tuple(self._findings(made)))

    def document(self, *, end_ns: int | None = None) -> dict[str, Any]:
        """The report as a plain document."""
        return self.report(end_ns=end_ns).to_document()

    # --- what is expected --------------------------------------------------------------------

    def _nominal_rates(self) -> dict[str, float]:
        """Rate of each topic that the card promises, Hz."""
        if self._card is None:
            return {}
        rates: dict[str, float] = {}
        for term in self._card.observations.values():
            name = f"{self._root}/{term.topic}"
            rates[name] = max(rates.get(name, 0.0), term.rate_hz)
        for name, camera in self._card.cameras.items():
            rates[f"{self._root}/{name}/image"] = camera.rate_hz
        return rates

    def _is_state(self, name: str) -> bool:
        if self._card is not None:
            return name in self._state_topics
        return name in (f"{self._root}/joint_states", f"{self._root}/odom")

    # --- putting together --------------------------------------------------------------------

    def _topic(self, name: str, stream: Stream, start_ns: int, end_ns: int) -> TopicQuality:
        figures = stream.figures(start_ns, end_ns, self._nominal.get(name, 0.0))
        return TopicQuality(nominal_hz=self._nominal.get(name, 0.0), **figures)

    def _camera_report(self) -> dict[str, CameraQuality]:
        if not self._cameras:
            return {}
        stamps = {name: self._streams[name].stamps for name in self._cameras}
        reference = max(sorted(stamps), key=lambda name: len(stamps[name]))
        states = [self._streams[n].stamps for n in sorted(self._streams) if self._is_state(n)]
        made = {}
        for name, camera in sorted(self._cameras.items()):
            if name != reference:
                skews = skew_s(stamps[reference], stamps[name])
            else:
                skews = skew_s(stamps[name], states[0]) if states else np.zeros(1)
            p50, p95, largest = np.percentile(skews, (50, 95, 100)).tolist()
            made[name] = CameraQuality(p50, p95, largest, camera.frozen_s)
        return made

    def _coverage(self) -> dict[str, float]:
        if self._card is None:
            return {}
        limits = {n: limit for spec in self._card.commands.values() for n, limit in spec.limits.items()}
        return {
            name: float((upper - lower) / (limits[name].upper - limits[name].lower))
            for name, (lower, upper) in self._motion.ranges().items()
            if name in limits
        }

    def _findings(self, made: QualityReport) -> list[str]:
        limit = self._thresholds
        if not made.messages:
            return ["no message arrived"]
        found = []
        if made.duration_s < limit.min_duration_s:
            found.append(f"it lasts {made.duration_s:.2f} s, less than {limit.min_duration_s:g} s")
        for name in self._nominal:
            if name not in made.topics and not name.endswith("/image"):
                found.append(f"{name}: no message")
        for name, topic in made.topics.items():
            found += self._topic_findings(name, topic)
        for name, camera in made.cameras.items():
            period_s = 1.0 / (self._nominal.get(name) or made.topics[name].rate_hz or 1.0)
            if camera.skew_p95_s > limit.max_skew_periods * period_s:
                found.append(
                    f"{name}: skew {camera.skew_p95_s * 1e3:.0f} ms (95th percentile), more than"
                    f" {limit.max_skew_periods * period_s * 1e3:.0f} ms"
                )
            if camera.frozen_s > limit.max_frozen_s:
                found.append(f"{name}: the same image for {camera.frozen_s:.1f} s while the robot moved")
        return found + self._motion_findings(made)

    def _topic_findings(self, name: str, topic: TopicQuality) -> list[str]:
        limit = self._thresholds
        found: list[str] = []
        if not topic.nominal_hz:
            # Nobody said what to expect; several may publish it, each by a clock of its own.
            return found
        if topic.backward:
            found.append(f"{name}: {topic.backward} stamps go back in time")
        if topic.rate_hz < limit.min_rate_share * topic.nominal_hz:
            found.append(f"{name}: {topic.rate_hz:.1f} Hz of {topic.nominal_hz:g} Hz")
        if topic.drop_share > limit.max_drop_share:
            found.append(f"{name}: {topic.drop_share:.1%} of the messages are missing")
        longest_s = max(limit.max_gap_s, limit.max_gap_periods / topic.nominal_hz)
        if topic.max_gap_s > longest_s:
            found.append(f"{name}: silent for {topic.max_gap_s:.2f} s, longer than {longest_s:.2f} s")
        return found

    def _motion_findings(self, made: QualityReport) -> list[str]:
        limit, found = self._thresholds, []
        if made.not_finite:
            found.append(f"{made.not_finite} messages with numbers that are not finite")
        if made.idle_share > limit.max_idle_share:
            found.append(f"the robot rests {made.idle_share:.0%} of the time")
        limits = (
            {}
            if self._card is None
            else {n: x for c in self._card.commands.values() for n, x in c.limits.items()}
        )
        for name, jerk in made.jerk.items():
            allowed = limits[name].jerk if name in limits else None
            if allowed is not None and jerk > limit.max_jerk_share * allowed:
                found.append(f"{name}: jerk {jerk:.0f} (RMS), more than {limit.max_jerk_share * allowed:.0f}")
        if made.coverage and max(made.coverage.values()) < limit.min_coverage:
            found.append(f"no joint covers more than {max(made.coverage.values()):.1%} of its range")
        for name, drift in made.drift_rad.items():
            if abs(drift) > limit.max_drift_rad:
                found.append(f"{name}: {drift:+.3f} rad from what was asked for, at rest")
        return found


def judge(episode: Episode, *, thresholds: Thresholds | None = None) -> QualityReport:
    """Judge an episode from its file, by the card in it.

    Args:
        episode: the episode.
        thresholds: from where on it is marked.

    Returns:
        The report; of a finished episode the same as its recorder made, where the thresholds are the same.

    Raises:
        ConfigError: its card has faults, or a chunk is damaged.
    """
    metadata = episode.metadata
    monitor = QualityMonitor(
        episode.robot_card,
        namespace=metadata.info.namespace,
        thresholds=thresholds,
        start_ns=metadata.info.start_ns,
    )
    specs = {name: topic.spec for name, topic in episode.topics.items()}
    for raw in episode.raw_messages():
        monitor.add(specs[raw.topic], raw.data, stamp_ns=raw.stamp_ns, receive_ns=raw.receive_ns)
    return monitor.report(end_ns=metadata.end.end_ns if metadata.end is not None else None)
