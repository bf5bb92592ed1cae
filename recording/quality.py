"""Judges an episode: while it is recorded and from its file, by the same code.

Everything is counted message by message (`add`); `report` puts it together at any time. Nothing is hidden: an
episode with findings stays where it is, and its findings are written into it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hardware.robot import RobotCard
from hardware.teleop.leader import ENGAGED_TOPIC, LEADER_TOPIC
from recording.criteria import CRITERIA_FILE, Criteria, measured_topics, parse_criteria
from recording.episode import Episode
from recording.motion import AXES, Motion
from recording.quality_report import CameraQuality, Finding, JointQuality, QualityReport, TopicQuality
from recording.streams import CameraStream, Stream, skew_s
from recording.writer import TopicSpec

GATED = "gate/command"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_MOTION = ("sensor_msgs/msg/JointState", "nav_msgs/msg/Odometry")
_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
_BOOL = "std_msgs/msg/Bool"


class QualityMonitor:
    """Counts while messages come in.

    Args:
        card: the robot's card; None: rates, ranges and limits are not judged.
        namespace: the ROS namespace of the robot.
        criteria: by what the episode is judged; None: the defaults.
        start_ns: when the episode began, on the clock of the stamps; None: with its first message.
    """

    def __init__(
        self,
        card: RobotCard | None,
        *,
        namespace: str,
        criteria: Criteria | None = None,
        start_ns: int | None = None,
    ) -> None:
        """Begin with nothing."""
        self._card, self._root = card, namespace.rstrip("/")
        criteria = criteria or Criteria()
        self._thresholds = criteria.thresholds
        self._start_ns = start_ns
        self._streams: dict[str, Stream] = {}
        self._cameras: dict[str, CameraStream] = {}
        self._nominal = self._nominal_rates()
        measured = () if card is None else measured_topics(card, self._root)
        self._state_topics = frozenset(measured)
        self._expected = measured if criteria.expected is None else criteria.expected
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
        elif spec.name == f"{self._root}/{LEADER_TOPIC}" and spec.type == _MOTION[0]:
            self._motion.add_leader(spec, data, stamp_ns)
        elif spec.name == f"{self._root}/{GATED}" and spec.type == _TRAJECTORY:
            self._motion.add_command(spec, data, stamp_ns)
        elif spec.name == f"{self._root}/{ENGAGED_TOPIC}" and spec.type == _BOOL:
            # After the encapsulation, one byte.
            self._motion.set_engaged(stamp_ns, is_engaged=data[4:5] == b"\x01")

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
            cameras=self._camera_report(topics),
            missing=tuple(name for name in self._expected if name not in topics),
            joints=self._joint_report(),
            idle_share=self._motion.idle_share,
            not_finite=self._motion.not_finite,
            thresholds=self._thresholds,
        )
        return dataclasses.replace(made, marks=tuple(self._findings(made)))

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

    def _camera_report(self, topics: Mapping[str, TopicQuality]) -> dict[str, CameraQuality]:
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
            period_s = 1.0 / (topics[name].nominal_hz or topics[name].rate_hz or 1.0)
            limit_s = self._thresholds.max_skew_periods * period_s
            made[name] = CameraQuality(p50, p95, largest, limit_s, camera.frozen_s)
        return made

    def _joint_report(self) -> dict[str, JointQuality]:
        card = self._card
        limits = {} if card is None else {n: x for c in card.commands.values() for n, x in c.limits.items()}
        measured = () if card is None else card.observations.values()
        units = {n: t.unit for t in measured for n in t.names if t.unit in ("rad", "m")}
        jerks, drifts = self._motion.jerk(), self._motion.drift()
        made = {}
        for name, (lower, upper) in self._motion.ranges().items():
            limit = limits.get(name)
            jerk = None if limit is None else limit.jerk
            made[name] = JointQuality(
                unit=units.get(name, "m" if name in AXES else "rad"),
                jerk=jerks.get(name),
                jerk_limit=None if jerk is None else self._thresholds.max_jerk_share * jerk,
                coverage=None if limit is None else float((upper - lower) / (limit.upper - limit.lower)),
                drift=drifts.get(name),
            )
        return made

    def _findings(self, made: QualityReport) -> Iterator[Finding]:
        limit = self._thresholds
        if not made.messages:
            yield Finding("messages", "", "no message arrived")
            return
        if made.duration_s < limit.min_duration_s:
            text = f"it lasts {made.duration_s:.2f} s, less than {limit.min_duration_s:g} s"
            yield Finding("duration_s", "", text)
        for name in made.missing:
            yield Finding("missing", name, f"{name}: no message")
        for name, topic in made.topics.items():
            # Where nobody said what to expect, several may publish it, each by a clock of its own.
            if topic.nominal_hz:
                yield from self._topic_findings(name, topic)
        for name, camera in made.cameras.items():
            if camera.skew_p95_s > camera.skew_limit_s:
                text = (
                    f"{name}: skew {camera.skew_p95_s * 1e3:.0f} ms (95th percentile), more than"
                    f" {camera.skew_limit_s * 1e3:.0f} ms"
                )
                yield Finding("skew_p95_s", name, text)
            if camera.frozen_s > limit.max_frozen_s:
                text = f"{name}: the same image for {camera.frozen_s:.1f} s while the robot moved"
                yield Finding("frozen_s", name, text)
        yield from self._motion_findings(made)

    def _topic_findings(self, name: str, topic: TopicQuality) -> Iterator[Finding]:
        limit = self._thresholds
        if topic.backward:
            yield Finding("backward", name, f"{name}: {topic.backward} stamps go back in time")
        if topic.rate_hz < limit.min_rate_share * topic.nominal_hz:
            yield Finding("rate_hz", name, f"{name}: {topic.rate_hz:.1f} Hz of {topic.nominal_hz:g} Hz")
        if topic.drop_share > limit.max_drop_share:
            text = f"{name}: {topic.drop_share:.1%} of the messages are missing"
            yield Finding("drop_share", name, text)
        longest_s = max(limit.max_gap_s, limit.max_gap_periods / topic.nominal_hz)
        if topic.max_gap_s > longest_s:
            text = f"{name}: silent for {topic.max_gap_s:.2f} s, longer than {longest_s:.2f} s"
            yield Finding("max_gap_s", name, text)

    def _motion_findings(self, made: QualityReport) -> Iterator[Finding]:
        limit = self._thresholds
        if made.not_finite:
            text = f"{made.not_finite} messages with numbers that are not finite"
            yield Finding("not_finite", "", text)
        if made.idle_share > limit.max_idle_share:
            yield Finding("idle_share", "", f"the robot rests {made.idle_share:.0%} of the time")
        for name, joint in made.joints.items():
            if joint.jerk and joint.jerk_limit is not None and joint.jerk > joint.jerk_limit:
                text = f"{name}: jerk {joint.jerk:.0f} (RMS), more than {joint.jerk_limit:.0f}"
                yield Finding("jerk", name, text)
        covered = [joint.coverage for joint in made.joints.values() if joint.coverage is not None]
        if covered and max(covered) < limit.min_coverage:
            text = f"no joint covers more than {max(covered):.1%} of its range"
            yield Finding("coverage", "", text)
        for name, joint in made.joints.items():
            if joint.drift is not None and abs(joint.drift.rad) > limit.max_drift_rad:
                text = f"{name}: {joint.drift.rad:+.3f} rad from the {joint.drift.against}, at rest"
                yield Finding("drift", name, text)


def judge(episode: Episode, *, criteria: Criteria | None = None) -> QualityReport:
    """Judge an episode from its file, by the card and the criteria in it.

    Args:
        episode: the episode.
        criteria: by what it is judged; None: by those in the file, or the defaults.

    Returns:
        The report; of a finished episode the same as its recorder made, where the criteria are the same.

    Raises:
        ConfigError: its card or its criteria have faults, or a chunk is damaged.
    """
    metadata = episode.metadata
    if criteria is None and CRITERIA_FILE in episode.attachments:
        criteria = parse_criteria(episode.attachments[CRITERIA_FILE], str(episode.path))
    monitor = QualityMonitor(
        episode.robot_card,
        namespace=metadata.info.namespace,
        criteria=criteria,
        start_ns=metadata.info.start_ns,
    )
    specs = {name: topic.spec for name, topic in episode.topics.items()}
    for raw in episode.raw_messages():
        monitor.add(specs[raw.topic], raw.data, stamp_ns=raw.stamp_ns, receive_ns=raw.receive_ns)
    return monitor.report(end_ns=metadata.end.end_ns if metadata.end is not None else None)
