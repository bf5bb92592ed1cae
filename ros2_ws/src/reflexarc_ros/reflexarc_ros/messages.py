"""Observations and images as standard ROS messages (architecture, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, Imu, JointState

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard
from reflexarc_ros.wire import Layout, Reader

# What is to be done, in words, latched: a std_msgs/String. Where there is a recorder, it speaks for all.
INSTRUCTION_TOPIC = "instruction"
_NS = 1_000_000_000


def to_time(stamp_ns: int) -> Time:
    """Turn nanoseconds into a ROS time."""
    sec, nanosec = divmod(stamp_ns, _NS)
    return Time(sec=sec, nanosec=nanosec)


def to_ns(time: Time) -> int:
    """Turn a ROS time into nanoseconds."""
    return int(time.sec) * _NS + int(time.nanosec)


def _odometry_get(m: Odometry) -> list[float]:
    p, q = m.pose.pose.position, m.pose.pose.orientation
    v, w = m.twist.twist.linear, m.twist.twist.angular
    return [p.x, p.y, p.z, q.w, q.x, q.y, q.z, v.x, v.y, v.z, w.x, w.y, w.z]


def _odometry_set(m: Odometry, n: list[float]) -> None:
    p, q = m.pose.pose.position, m.pose.pose.orientation
    v, w = m.twist.twist.linear, m.twist.twist.angular
    p.x, p.y, p.z, q.w, q.x, q.y, q.z, v.x, v.y, v.z, w.x, w.y, w.z = n


def _pose_get(m: PoseStamped) -> list[float]:
    p, q = m.pose.position, m.pose.orientation
    return [p.x, p.y, p.z, q.w, q.x, q.y, q.z]


def _pose_set(m: PoseStamped, n: list[float]) -> None:
    p, q = m.pose.position, m.pose.orientation
    p.x, p.y, p.z, q.w, q.x, q.y, q.z = n


def _imu_get(m: Imu) -> list[float]:
    q, w, a = m.orientation, m.angular_velocity, m.linear_acceleration
    return [q.w, q.x, q.y, q.z, w.x, w.y, w.z, a.x, a.y, a.z]


def _imu_set(m: Imu, n: list[float]) -> None:
    q, w, a = m.orientation, m.angular_velocity, m.linear_acceleration
    q.w, q.x, q.y, q.z, w.x, w.y, w.z, a.x, a.y, a.z = n


def _joints_get(m: JointState) -> list[float]:
    return [*m.position, *m.velocity, *m.effort]


def _joints_set(m: JointState, n: list[float]) -> None:
    a, b = len(m.position), len(m.position) + len(m.velocity)
    m.position, m.velocity, m.effort = n[:a], n[a:b], n[b:]


@dataclass(frozen=True)
class _Carrier:
    """A message type that carries terms: which field holds how many numbers, in flat order."""

    message_type: type
    get: Any
    set: Any
    # Field (the ending of a term's name) to its place in the flat order; empty: sized by the card.
    fields: Mapping[str, slice]


_ODOMETRY = _Carrier(
    Odometry,
    _odometry_get,
    _odometry_set,
    {
        "position": slice(0, 3),
        "orientation": slice(3, 7),
        "linear_velocity": slice(7, 10),
        "angular_velocity": slice(10, 13),
    },
)
_POSE = _Carrier(PoseStamped, _pose_get, _pose_set, {"position": slice(0, 3), "orientation": slice(3, 7)})
_IMU = _Carrier(
    Imu,
    _imu_get,
    _imu_set,
    {"orientation": slice(0, 4), "angular_velocity": slice(4, 7), "linear_acceleration": slice(7, 10)},
)
_JOINTS = _Carrier(JointState, _joints_get, _joints_set, {})
_JOINT_FIELDS = ("position", "velocity", "effort")


def odometry_layout(frame: str, child_frame: str) -> Layout:
    """The layout of an Odometry: position, quaternion (w, x, y, z), linear and angular velocity (body).

    Args:
        frame: of the pose.
        child_frame: of the velocities.

    Returns:
        The layout of 13 numbers.
    """
    message = Odometry(child_frame_id=child_frame)
    message.header.frame_id = frame
    return Layout(message, 13, _odometry_set)


class ObservationTopic:
    """One topic of a robot and the terms that it carries.

    Args:
        card: the robot's card.
        topic: the relative topic, as the card's terms name it.

    Raises:
        ConfigError: no message type is known for the topic, or a term does not fit into it.
    """

    def __init__(self, card: RobotCard, topic: str) -> None:
        """Learn the layout."""
        self.topic = topic
        terms = {n: s for n, s in card.observations.items() if s.topic == topic}
        carrier = _carrier_of(card, topic)
        self.message_type = carrier.message_type
        message = carrier.message_type()
        if carrier is _JOINTS:
            fields, total, names = self._size_joints(card, terms)
            message.name = list(names)
            message.position = [0.0] * (fields["position"].stop - fields["position"].start)
            message.velocity = [0.0] * (fields["velocity"].stop - fields["velocity"].start)
            message.effort = [0.0] * (fields["effort"].stop - fields["effort"].start)
        else:
            fields, total = dict(carrier.fields), max(s.stop for s in carrier.fields.values())
            frames = [s.frame for s in terms.values() if s.frame not in ("", "body")]
            message.header.frame_id = frames[0] if frames else ""
        if carrier is _ODOMETRY:
            message.child_frame_id = "base_link"
        if carrier is _IMU:
            message.header.frame_id = "base_link"
            if not any(name.endswith("orientation") for name in terms):
                # As the message's definition has it: no orientation is measured.
                message.orientation_covariance[0] = -1.0
        self.slices = {name: self._slice(card, name, fields) for name in terms}
        self._count = total
        # Names that every message must list; a message in another order is put into this one.
        self._names = tuple(message.name) if carrier is _JOINTS else ()
        self._shape: Any = None
        self._order: list[int] | None = None
        self._layout = Layout(message, total, carrier.set)
        self._reader = Reader(carrier.message_type, carrier.get, carrier.set)

    def encode(self, observation: Observation) -> bytes:
        """Serialise the topic's terms of an observation."""
        numbers = np.zeros(self._count)
        for name, place in self.slices.items():
            numbers[place] = observation.values[name]
        return self._layout.encode(observation.stamp_ns, numbers)

    def decode(self, raw: bytes) -> tuple[int, dict[str, FloatArray]]:
        """Deserialise: capture stamp in nanoseconds and the terms by name.

        Raises:
            ConfigError: the message does not measure the joints of the card.
        """
        stamp_ns, numbers, shape = self._reader.read(raw)
        if self._names:
            if shape is not self._shape:
                self._order = self._joint_order(shape)
                self._shape = shape
            if self._order is not None:
                numbers = numbers[self._order]
        return stamp_ns, {name: numbers[place] for name, place in self.slices.items()}

    def _joint_order(self, message: JointState) -> list[int] | None:
        """Where each number of the card stands in messages of this shape; None: in the same place."""
        self._shape = None
        names = list(message.name)
        sizes = [len(message.position), len(message.velocity), len(message.effort)]
        measured = {field for name in self.slices for field in _JOINT_FIELDS if name.endswith(field)}
        missing = [n for n in self._names if n not in names]
        short = [f for f, n in zip(_JOINT_FIELDS, sizes, strict=True) if f in measured and n != len(names)]
        if missing or short:
            raise ConfigError(
                "the message lacks " + ", ".join([*missing, *short]),
                where=f"topic {self.topic!r}",
                expected="each of " + ", ".join(self._names) + " with " + ", ".join(sorted(measured)),
                mend="correct the publisher or the robot card",
            )
        order, begin = [], 0
        for field, size in zip(_JOINT_FIELDS, sizes, strict=True):
            if field in measured:
                order += [begin + names.index(n) for n in self._names]
            begin += size
        return None if order == list(range(begin)) else order

    @staticmethod
    def _size_joints(
        card: RobotCard, terms: Mapping[str, Any]
    ) -> tuple[dict[str, slice], int, tuple[str, ...]]:
        fields, begin, names = {}, 0, ()
        for field in _JOINT_FIELDS:
            spec = next((s for n, s in terms.items() if n.endswith(field)), None)
            size = 0 if spec is None else len(spec.names)
            if spec is not None and names and spec.names != names:
                raise ConfigError(
                    "the terms of joint_states list different joints",
                    where=f"robot card {card.name!r}",
                    expected="the same names in the same order for position, velocity and effort",
                    mend="correct the names",
                )
            names = spec.names if spec is not None else names
            fields[field] = slice(begin, begin + size)
            begin += size
        return fields, begin, names

    @staticmethod
    def _slice(card: RobotCard, name: str, fields: Mapping[str, slice]) -> slice:
        for field in sorted(fields, key=len, reverse=True):
            if name.endswith(field):
                return fields[field]
        raise ConfigError(
            f"the term {name!r} does not fit into its topic {card.observations[name].topic!r}",
            where=f"robot card {card.name!r}",
            expected="a name that ends in one of " + ", ".join(fields),
            mend="rename the term or choose another topic",
        )


def _carrier_of(card: RobotCard, topic: str) -> _Carrier:
    if topic == "odom":
        return _ODOMETRY
    if topic == "joint_states":
        return _JOINTS
    if topic == "imu":
        return _IMU
    if topic.endswith("pose"):
        return _POSE
    raise ConfigError(
        f"no message type is known for the topic {topic!r}",
        where=f"robot card {card.name!r}",
        expected="odom, joint_states, imu or a name that ends in pose",
        mend="rename the topic on the card",
    )


def observation_topics(card: RobotCard) -> tuple[ObservationTopic, ...]:
    """All topics of a robot's terms; the first one, which paces the loops, comes last.

    It is published last, so that the others of the same instant are there when it arrives.
    """
    names = list(dict.fromkeys(spec.topic for spec in card.observations.values()))
    return tuple(ObservationTopic(card, name) for name in reversed(names))


def image_message(image: np.ndarray, stamp_ns: int, frame: str) -> Image:
    """Wrap an image.

    Args:
        image: shape (H, W, 3), uint8, RGB.
        stamp_ns: capture, ROS clock, in nanoseconds.
        frame: the optical frame.

    Returns:
        The message.
    """
    message = Image()
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    message.height, message.width = int(image.shape[0]), int(image.shape[1])
    message.encoding, message.step = "rgb8", 3 * int(image.shape[1])
    message.data = np.ascontiguousarray(image).tobytes()
    return message
