"""Which topics a recorder listens to, and how their messages reach the session: as bytes, with two stamps."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from hardware.errors import ConfigError
from recording.session import Session
from recording.writer import TopicSpec
from reflexarc_ros import qos
from reflexarc_ros.definitions import has_header, message_class, topic_spec
from reflexarc_ros.messages import to_time
from reflexarc_ros.node import HEARD_TOPIC, ReflexarcNode, destroy

# Beside everything in the namespace.
_SHARED = ("/tf", "/tf_static", "/diagnostics")
# Plumbing that says nothing about an episode.
_NOISE = ("parameter_events", "transition_event", "rosout")
_STAMP = struct.Struct("<iI")
_STAMP_OFFSET = 4
_NS = 1_000_000_000
# The clock of a twin in real time goes on by itself for so long after a tick, nanoseconds.
_TICK_NS = 40_000_000
_DEPTH = 200
# Lockstep: the twin is told after so many steps, well before it would wait.
_HEARD_STEPS = 10


class TwinClock:
    """The clock of the stamps. A twin's ticks are far apart: between them the steady clock goes on.

    Args:
        node: its ROS clock counts before the first tick.
    """

    def __init__(self, node: ReflexarcNode) -> None:
        """Wait for a tick."""
        self._node = node
        self._tick: tuple[int, int] | None = None

    def on_tick(self, raw: bytes) -> None:
        """Take a message of /clock, CDR."""
        self._tick = (read_stamp(raw), time.monotonic_ns())

    def now_ns(self) -> int:
        """The time now, nanoseconds."""
        tick = self._tick
        if tick is None:
            return self._node.data_now_ns()
        return tick[0] + min(time.monotonic_ns() - tick[1], _TICK_NS)


class TopicRecorder:
    """Subscribes to what a robot's namespace says, and hands it on.

    Args:
        node: subscribes.
        session: takes the messages.
        now_ns: the clock of the stamps.
        exclude: topics that are left out, absolute.
        pacing: the topic whose messages pace the robot, absolute.
        on_pace: is called before a message of that topic is handed on.
    """

    def __init__(
        self,
        node: ReflexarcNode,
        session: Session,
        *,
        now_ns: Callable[[], int],
        exclude: Collection[str],
        pacing: str,
        on_pace: Callable[[], None],
    ) -> None:
        """Listen to nothing yet."""
        self._node, self._session, self._now_ns = node, session, now_ns
        self._exclude, self._pacing, self._on_pace = frozenset(exclude), pacing, on_pace
        self._root = node.get_namespace().rstrip("/")
        self._subscriptions: dict[str, Any] = {}
        self._unknown: set[str] = set()
        self._latched: dict[str, bytes] = {}
        self._heard = node.create_publisher(Header, HEARD_TOPIC, qos.EVENTS) if node.is_lockstep else None
        self._heard_steps = self._last_ns = 0

    def __len__(self) -> int:
        """How many topics are listened to."""
        return len(self._subscriptions)

    def look(self) -> None:
        """Subscribe to what is new on the graph; what cannot be recorded is told once."""
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic in self._subscriptions or topic in self._unknown or not self._is_wanted(topic):
                continue
            offered = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
            if not offered:
                continue
            try:
                spec = topic_spec(topic, kinds[0])
                kind = message_class(kinds[0])
            except ConfigError as error:
                self._unknown.add(topic)
                self._node.get_logger().warning(f"{topic} is not recorded: {error}")
                continue
            self._session.add_topic(spec)
            profile = _matching(offered, keep_all=self._node.is_lockstep)
            self._subscriptions[topic] = self._node.create_subscription(
                kind, topic, self._reader(spec, kind, profile), profile, raw=True
            )

    def repeat_latched(self) -> None:
        """Hand on what was said once and still holds, as if it were said now."""
        now_ns = self._now_ns()
        # A copy: the page asks from a thread of its own, while latched messages arrive.
        for topic, raw in dict(self._latched).items():
            self._session.offer(topic, raw, stamp_ns=now_ns, receive_ns=now_ns)

    def close(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions.values():
            destroy(self._node, subscription)
        self._subscriptions = {}
        if self._heard is not None:
            destroy(self._node, self._heard)
            self._heard = None

    def _is_wanted(self, topic: str) -> bool:
        own = f"{self._root}/{self._node.get_name()}/"
        if topic in self._exclude or topic == f"{self._root}/{HEARD_TOPIC}" or topic.startswith(own):
            return False
        if topic.rsplit("/", 1)[-1] in _NOISE:
            return False
        return topic.startswith(f"{self._root}/") or topic in _SHARED

    def _reader(self, spec: TopicSpec, kind: type, profile: QoSProfile) -> Callable[[bytes], None]:
        """What takes the messages of one topic: bytes in, bytes on."""
        session, topic, is_stamped = self._session, spec.name, has_header(kind)
        is_latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        is_pace = topic == self._pacing

        def read(raw: bytes) -> None:
            if is_pace:
                self._on_pace()
            receive_ns = self._now_ns()
            if is_latched:
                self._latched[topic] = raw
            stamp_ns = read_stamp(raw) if is_stamped else 0
            session.offer(topic, raw, stamp_ns=stamp_ns or receive_ns, receive_ns=receive_ns)
            if is_pace and self._heard is not None:
                self._say_heard(stamp_ns)

        return read

    def _say_heard(self, stamp_ns: int) -> None:
        """Tell the twin which step was taken last, now and then, and where a run begins."""
        assert self._heard is not None
        self._heard_steps = self._heard_steps + 1 if stamp_ns > self._last_ns else 1
        self._last_ns = stamp_ns
        if self._heard_steps % _HEARD_STEPS == 1:
            header = Header(frame_id=self._node.get_fully_qualified_name(), stamp=to_time(stamp_ns))
            self._heard.publish(header)


def read_stamp(raw: bytes) -> int:
    """Read the stamp with which a message begins.

    Args:
        raw: a message that begins with a time or a header, CDR, little endian.

    Returns:
        Nanoseconds; 0: it was not set, or the message is too short for one.
    """
    if len(raw) < _STAMP_OFFSET + _STAMP.size:
        return 0
    sec, nanosec = _STAMP.unpack_from(raw, _STAMP_OFFSET)
    return int(sec) * _NS + int(nanosec)


def _matching(offered: Sequence[QoSProfile], *, keep_all: bool) -> QoSProfile:
    """What suits every publisher, and loses nothing where they allow it.

    In lockstep the publishers wait for those who are behind, so nothing that waits here is ever replaced.
    """
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in offered)
    latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in offered)
    return QoSProfile(
        depth=_DEPTH,
        history=HistoryPolicy.KEEP_ALL if keep_all and reliable else HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
