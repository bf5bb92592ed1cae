"""Chunks, commands and references as trajectories (architecture, section 5).

A chunk travels as a trajectory with an absolute header stamp. Its points are its steps; one more,
closing point repeats the last step at the time until which the chunk may be used. A trajectory
without points from the gate means: take the safe action; one without names either: there is nothing
new (in lockstep every step is answered). A source that commands gives its authority up with the first
of the two; an emergency stop has its own topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Transform, Twist
from rclpy.serialization import serialize_message
from trajectory_msgs.msg import (
    JointTrajectory,
    JointTrajectoryPoint,
    MultiDOFJointTrajectory,
    MultiDOFJointTrajectoryPoint,
)

from hardware.chunk import ActionChunk
from hardware.command import CommandKind, FloatArray
from hardware.errors import ConfigError
from hardware.reference import Reference
from reflexarc_ros.messages import to_time
from reflexarc_ros.wire import Layout, Reader

# What the gate lets through.
GATE_TOPIC = "gate/command"
# The gate's emergency latch, latched on the wire too.
GATE_ESTOP_TOPIC = "gate/estop"
# Whose commands the gate lets through, latched: a std_msgs/Header with the stamp of the first one and the
# source as its `frame_id`; `hardware.gate.GATE_SOURCE` while nobody's.
GATE_SOURCE_TOPIC = "gate/source"
_NS = 1_000_000_000
# How far from one the length of a heading's quaternion may be.
_UNIT_TOLERANCE = 0.01
# The field of a trajectory point that holds the numbers of a kind.
_FIELD = {
    CommandKind.JOINT_POSITION: "positions",
    CommandKind.RATES_THRUST: "velocities",
    CommandKind.MOTOR: "effort",
}


def _duration(duration_ns: int) -> Duration:
    sec, nanosec = divmod(duration_ns, _NS)
    return Duration(sec=sec, nanosec=nanosec)


@dataclass(frozen=True, slots=True)
class SafeStop:
    """A trajectory without points: take the safe action."""

    # The step that it answers, ROS clock, nanoseconds.
    start_ns: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """A trajectory without names and points: nothing new for this step."""

    # The step that it answers, ROS clock, nanoseconds.
    start_ns: int


class ChunkCodec:
    """Chunks and commands of one kind as trajectories.

    Args:
        kind: what the numbers mean.
        names: the elements in the order of the wire.
    """

    def __init__(self, kind: CommandKind, names: tuple[str, ...]) -> None:
        """Start without layouts; they are learnt per shape."""
        self.kind, self.names = kind, names
        # A heading travels as a rotation about z.
        self._yaw = names.index("yaw") if kind not in _FIELD and "yaw" in names else None
        self._wire_names = tuple(n for n in names if n != "yaw" or kind in _FIELD)
        if self._yaw is not None:
            self._wire_names += ("orientation_w", "orientation_z")
        self.is_multi_dof = kind not in _FIELD
        self.message_type = MultiDOFJointTrajectory if self.is_multi_dof else JointTrajectory
        self._layouts: dict[tuple[int, int, int], Layout] = {}
        self._checked: Any = None
        self._reader = Reader(self.message_type, self._get, self._set)

    def encode(self, chunk: ActionChunk) -> bytes:
        """Serialise a chunk, values of shape (T, D)."""
        valid_ns = chunk.end_ns - chunk.start_ns
        shape = (len(chunk.values), chunk.step_ns, valid_ns)
        layout = self._layouts.get(shape)
        if layout is None:
            count = (shape[0] + 1) * len(self._wire_names)
            layout = self._layouts[shape] = Layout(self._prototype(*shape), count, self._set)
        values = chunk.values if self._yaw is None else self._with_rotation(chunk.values, self._yaw)
        numbers = np.concatenate((values.ravel(), values[-1]))
        return layout.encode(chunk.start_ns, numbers)

    def encode_stop(self, stamp_ns: int) -> bytes:
        """Serialise «take the safe action»."""
        return self._encode_bare(stamp_ns, list(self.names))

    def encode_nothing(self, stamp_ns: int) -> bytes:
        """Serialise «nothing new for this step»."""
        return self._encode_bare(stamp_ns, [])

    def _encode_bare(self, stamp_ns: int, names: list[str]) -> bytes:
        message = self.message_type()
        message.header.stamp = to_time(stamp_ns)
        message.joint_names = names
        return bytes(serialize_message(message))

    def decode(self, raw: bytes, *, source: str) -> ActionChunk | SafeStop | Nothing:
        """Deserialise.

        Args:
            raw: the bytes of a message.
            source: who sent it (the topic says so).

        Returns:
            The chunk, or what a trajectory without points means.

        Raises:
            ConfigError: the points do not hold one number for each name.
        """
        stamp_ns, numbers, shape = self._reader.read(raw)
        points = len(shape.points)
        if points == 0:
            return SafeStop(stamp_ns) if shape.joint_names else Nothing(stamp_ns)
        names = tuple(shape.joint_names) if not self.is_multi_dof else self.names
        width = len(names) if not self.is_multi_dof else len(self._wire_names)
        if shape is not self._checked:
            self._check_shape(shape, names, source)
            self._checked = shape
        if len(numbers) != points * width:
            raise ConfigError(
                f"{len(numbers)} numbers in {points} points for {len(names)} names",
                where=f"command of {source!r}",
                expected=f"one number a name and point in the field for {self.kind.value}",
                mend="correct the publisher",
            )
        values = numbers.reshape(points, width)
        if self._yaw is not None:
            values = self._with_yaw(values, self._yaw)
        times = [t.sec * _NS + t.nanosec for t in (p.time_from_start for p in shape.points)]
        valid_ns = times[-1]
        if points > 1:
            values = values[:-1]
        step_ns = times[1] - times[0] if points > 2 else max(valid_ns, 1)
        return ActionChunk(self.kind, names, values, stamp_ns, step_ns, valid_ns * 1e-9, source)

    def _check_shape(self, message: Any, names: tuple[str, ...], source: str) -> None:  # noqa: ANN401
        """Refuse points that do not hold one number a name, or that do not lie evenly in time."""
        times = [t.sec * _NS + t.nanosec for t in (p.time_from_start for p in message.points)]
        steps = [b - a for a, b in zip(times[:-2], times[1:-1], strict=True)]
        if not self.is_multi_dof:
            sizes = {len(getattr(point, _FIELD[self.kind])) for point in message.points}
        else:
            sizes = {len(names) if p.transforms and p.velocities else 0 for p in message.points}
            if not all(p.velocities for p in message.points):
                raise ConfigError(
                    "a point has no velocity",
                    where=f"command of {source!r}",
                    expected="a transform and a velocity in each point: without it a vehicle lags far behind",
                    mend="publish the velocity of the reference, zero where it stays",
                )
        if sizes != {len(names)}:
            raise ConfigError(
                f"{', '.join(map(str, sorted(sizes)))} numbers in a point for {len(names)} names",
                where=f"command of {source!r}",
                expected=f"one number a name in each point, in the field for {self.kind.value}",
                mend="correct the publisher",
            )
        if (len(times) > 1 and times[0] != 0) or any(s <= 0 for s in steps) or len(set(steps)) > 1:
            raise ConfigError(
                "the points do not lie evenly in time",
                where=f"command of {source!r}",
                expected="a first point at 0, equal steps, and a closing point",
                mend="correct time_from_start",
            )

    def _prototype(self, steps: int, step_ns: int, valid_ns: int) -> Any:  # noqa: ANN401
        message = self.message_type()
        message.joint_names = list(self.names)
        times = [i * step_ns for i in range(steps)] + [valid_ns]
        for time_ns in times:
            if self.is_multi_dof:
                point = MultiDOFJointTrajectoryPoint(transforms=[Transform()], velocities=[Twist()])
            else:
                point = JointTrajectoryPoint()
                setattr(point, _FIELD[self.kind], [0.0] * len(self.names))
            point.time_from_start = _duration(time_ns)
            message.points.append(point)
        return message

    def _get(self, message: Any) -> list[float]:  # noqa: ANN401
        if not self.is_multi_dof:
            return [v for p in message.points for v in getattr(p, _FIELD[self.kind])]
        return [v for p in message.points if p.transforms and p.velocities for v in self._multi_dof_values(p)]

    def _set(self, message: Any, numbers: list[float]) -> None:  # noqa: ANN401
        begin = 0
        for point in message.points:
            if self.is_multi_dof:
                if not (point.transforms and point.velocities):
                    continue
                part = numbers[begin : begin + len(self._wire_names)]
                self._set_multi_dof(point, part)
                begin += len(self._wire_names)
            else:
                size = len(getattr(point, _FIELD[self.kind]))
                setattr(point, _FIELD[self.kind], numbers[begin : begin + size])
                begin += size

    def _multi_dof_values(self, point: Any) -> list[float]:  # noqa: ANN401
        return [float(getattr(*self._place(point, name))) for name in self._wire_names]

    def _set_multi_dof(self, point: Any, numbers: list[float]) -> None:  # noqa: ANN401
        for name, number in zip(self._wire_names, numbers, strict=True):
            owner, attribute = self._place(point, name)
            setattr(owner, attribute, number)

    @staticmethod
    def _with_rotation(values: FloatArray, yaw: int) -> FloatArray:
        half = values[:, yaw] / 2
        rest = np.delete(values, yaw, axis=1)
        return np.column_stack((rest, np.cos(half), np.sin(half)))

    @staticmethod
    def _with_yaw(values: FloatArray, yaw: int) -> FloatArray:
        return np.insert(values[:, :-2], yaw, heading(values[:, -2], values[:, -1]), axis=1)

    @staticmethod
    def _place(point: Any, name: str) -> tuple[Any, str]:  # noqa: ANN401
        """Where a name of a Cartesian or reference command lives in its point."""
        if name in ("x", "y", "z"):
            return point.transforms[0].translation, name
        if name in ("velocity_x", "velocity_y", "velocity_z"):
            return point.velocities[0].linear, name[-1]
        if name in ("orientation_w", "orientation_x", "orientation_y", "orientation_z"):
            return point.transforms[0].rotation, name[-1]
        raise ConfigError(
            f"a Cartesian command has no element {name!r}",
            where="command names",
            expected="x, y, z, yaw, velocity_x, ..., orientation_w, ...",
            mend="rename the element on the robot card",
        )


_REFERENCE_NAMES = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "orientation_w", "orientation_z")


class ReferenceCodec:
    """References over time as a MultiDOFJointTrajectory; heading as a rotation about z."""

    def __init__(self) -> None:
        """Start with the layouts of `ChunkCodec`."""
        self._codec = ChunkCodec(CommandKind.REFERENCE, _REFERENCE_NAMES)
        self.message_type = self._codec.message_type

    def encode(self, points: list[Reference], *, start_ns: int, step_ns: int) -> bytes:
        """Serialise points at equal distances in time."""
        values = np.array(
            [(*p.position_m, *p.velocity_m_s, np.cos(p.yaw_rad / 2), np.sin(p.yaw_rad / 2)) for p in points]
        )
        valid_s = len(points) * step_ns * 1e-9
        chunk = ActionChunk(
            CommandKind.REFERENCE, _REFERENCE_NAMES, values, start_ns, step_ns, valid_s, "reference"
        )
        return self._codec.encode(chunk)

    def decode(self, raw: bytes) -> ActionChunk | None:
        """Deserialise; None for a trajectory without points.

        Raises:
            ConfigError: a number is not finite, a rotation is none, or a point has no velocity.
        """
        chunk = self._codec.decode(raw, source="reference")
        if not isinstance(chunk, ActionChunk):
            return None
        turn = chunk.values[:, 6:]
        if not (
            chunk.is_finite and np.all(np.abs(np.hypot(turn[:, 0], turn[:, 1]) - 1.0) <= _UNIT_TOLERANCE)
        ):
            raise ConfigError(
                "a reference with numbers that are not finite, or with a rotation about another axis than z",
                where="reference",
                expected="finite positions and velocities, and headings as unit quaternions (w, 0, 0, z)",
                mend="correct the publisher",
            )
        # q and -q are the same heading; between two points only the short way round may be interpolated.
        same = np.where(np.einsum("ij,ij->i", turn[1:], turn[:-1]) < 0.0, -1.0, 1.0)
        signs = np.concatenate(([1.0], np.cumprod(same)))
        if np.all(signs > 0.0):
            return chunk
        values = chunk.values.copy()
        values[:, 6:] *= signs[:, None]
        return chunk.with_values(values)


def heading(w: FloatArray, z: FloatArray) -> FloatArray:
    """The rotation about z of a quaternion (w, 0, 0, z) of any length but zero, -pi to pi, radians."""
    return np.asarray(np.arctan2(2.0 * w * z, w * w - z * z))


def reference_terms(values: FloatArray) -> dict[str, FloatArray]:
    """Turn one point of a reference chunk into the observation terms that policies name.

    Args:
        values: shape (8,), in the order of the codec.

    Returns:
        reference_position (3,), reference_velocity (3,), reference_yaw (1,).
    """
    yaw = heading(values[6], values[7])
    return {
        "reference_position": values[0:3],
        "reference_velocity": values[3:6],
        "reference_yaw": np.array([yaw]),
    }
