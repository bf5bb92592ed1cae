"""How a robot moved, measurement by measurement: ranges, jerk, rest, and drift from what was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recording.quality_report import Drift
from recording.writer import TopicSpec

FloatArray = NDArray[np.float64]
# Below these speeds a robot rests: joints in rad/s, a body in m/s.
_REST_SPEED = 0.02
# How long both have to rest before what is left between them is drift, nanoseconds; and how far a leader may
# move while it rests, radians.
_REST_NS, _REST_RAD = 500_000_000, 0.002
# A leader that nobody commands with counts where it lies in the pose of the robot, each joint within so much
# (radians); further away it was put aside.
_SAME_POSE_RAD = 0.3
# The elements of a body's position.
AXES = ("x", "y", "z")
# What asks a robot to be somewhere.
_LEADER, _COMMAND = "leader", "command"


class _Trail:
    """The last positions of one topic, and what follows from them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.lower = np.full(len(names), np.inf)
        self.upper = np.full(len(names), -np.inf)
        self.jerk_squares = np.zeros(len(names))
        self.jerks = 0
        self.last: deque[tuple[int, FloatArray]] = deque(maxlen=4)

    def add(self, stamp_ns: int, position: FloatArray) -> tuple[float, float]:
        """Take a measurement; gives how far the robot moved since the last one, and how long ago that was."""
        self.lower = np.minimum(self.lower, position)
        self.upper = np.maximum(self.upper, position)
        if self.last and stamp_ns <= self.last[-1][0]:
            # The clock went back: what was before says nothing about what comes.
            self.last.clear()
        moved, passed_s = 0.0, 0.0
        if self.last:
            before_ns, before = self.last[-1]
            moved, passed_s = float(np.abs(position - before).sum()), (stamp_ns - before_ns) * 1e-9
        self.last.append((stamp_ns, position))
        if len(self.last) == 4:
            self._add_jerk()
        return moved, passed_s

    def _add_jerk(self) -> None:
        """Third difference, where the steps are even (a lost message would look like a jerk)."""
        steps = [b[0] - a[0] for a, b in zip(list(self.last)[:-1], list(self.last)[1:], strict=True)]
        if max(steps) > 1.5 * min(steps):
            return
        a, b, c, d = (position for _, position in self.last)
        step_s = sum(steps) / 3e9
        self.jerk_squares += ((d - 3 * c + 3 * b - a) / step_s**3) ** 2
        self.jerks += 1


class _Asked:
    """Where a robot is asked to be, and since when that rests."""

    def __init__(self) -> None:
        self.position: Mapping[str, float] = {}
        self.since_ns: int | None = None

    def set(self, position: Mapping[str, float], stamp_ns: int) -> None:
        """Take what is asked for now."""
        here = self.position
        moved = max((abs(v - here.get(n, np.inf)) for n, v in position.items()), default=np.inf)
        if moved > _REST_RAD:
            self.position, self.since_ns = position, stamp_ns

    def distance(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Measured minus asked for, by the names that both have."""
        return {name: measured[name] - asked for name, asked in self.position.items() if name in measured}


class Motion:
    """How a robot moved."""

    def __init__(self) -> None:
        """Begin at rest, nowhere."""
        self._trails: dict[str, _Trail] = {}
        self._readers: dict[str, Callable[[bytes], tuple[Sequence[str], FloatArray]]] = {}
        # How far it has moved, summed over joints (radians) or over the axes of a body (metres).
        self.path = 0.0
        # Messages with numbers that are not finite.
        self.not_finite = 0
        self._idle_s = self._watched_s = 0.0
        self._resting_since_ns: int | None = None
        self._leader, self._command = _Asked(), _Asked()
        # Whether the leader commands, and since when; nobody said: it does.
        self._is_engaged = True
        self._engaged_since_ns: int | None = None
        # By what asked, whether it commanded, and joint.
        self._drifts: dict[tuple[str, bool, str], list[float]] = {}

    def add_state(self, spec: TopicSpec, data: bytes, stamp_ns: int) -> None:
        """Take a measurement of the robot.

        Args:
            spec: its topic, of type JointState or Odometry.
            data: the message, CDR.
            stamp_ns: when it was captured, nanoseconds.
        """
        names, position = self._read(spec, data)
        if not self._is_finite(position):
            return
        trail = self._trails.get(spec.name)
        if trail is None or trail.names != tuple(names):
            trail = self._trails[spec.name] = _Trail(names)
        moved, passed_s = trail.add(stamp_ns, position)
        self.path += moved
        self._watched_s += passed_s
        if not passed_s or moved > _REST_SPEED * passed_s:
            self._resting_since_ns = None
        else:
            self._idle_s += passed_s
            if self._resting_since_ns is None:
                self._resting_since_ns = stamp_ns
            self._compare(dict(zip(names, position.tolist(), strict=True)), stamp_ns)

    def add_leader(self, spec: TopicSpec, data: bytes, stamp_ns: int) -> None:
        """Take where a leader is.

        Args:
            spec: its topic, of type JointState.
            data: the message, CDR.
            stamp_ns: when it was captured, nanoseconds.
        """
        self._ask(self._leader, spec, data, stamp_ns)

    def add_command(self, spec: TopicSpec, data: bytes, stamp_ns: int) -> None:
        """Take what the gate let through.

        Args:
            spec: its topic, of type JointTrajectory.
            data: the message, CDR.
            stamp_ns: when it was said, nanoseconds.
        """
        self._ask(self._command, spec, data, stamp_ns)

    def set_engaged(self, stamp_ns: int, *, is_engaged: bool) -> None:
        """Take whether the leader commands.

        Args:
            stamp_ns: since when, nanoseconds.
            is_engaged: whether it does.
        """
        self._is_engaged, self._engaged_since_ns = is_engaged, stamp_ns

    def _ask(self, asked: _Asked, spec: TopicSpec, data: bytes, stamp_ns: int) -> None:
        names, position = self._read(spec, data)
        if self._is_finite(position):
            asked.set(dict(zip(names, position.tolist(), strict=True)), stamp_ns)

    def _compare(self, measured: Mapping[str, float], stamp_ns: int) -> None:
        """Keep what is left between what was asked for and what was measured, where both rest."""
        if not _rests(stamp_ns, self._resting_since_ns):
            return
        leader_rests = _rests(stamp_ns, self._leader.since_ns)
        apart = self._leader.distance(measured)
        if apart and self._is_engaged:
            # Before the robot sets out to where the leader is, its distance says nothing.
            if leader_rests and _rests(stamp_ns, self._engaged_since_ns or 0):
                self._keep(_LEADER, apart, is_engaged=True)
            return
        if apart and leader_rests and max(map(abs, apart.values())) <= _SAME_POSE_RAD:
            self._keep(_LEADER, apart, is_engaged=False)
        if _rests(stamp_ns, self._command.since_ns):
            self._keep(_COMMAND, self._command.distance(measured), is_engaged=False)

    def _keep(self, against: str, apart: Mapping[str, float], *, is_engaged: bool) -> None:
        for name, distance in apart.items():
            self._drifts.setdefault((against, is_engaged, name), []).append(distance)

    # --- what came of it ---------------------------------------------------------------------

    @property
    def idle_share(self) -> float:
        """Share of the time in which the robot rested; 0 where nothing was measured."""
        return self._idle_s / self._watched_s if self._watched_s else 0.0

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest position by joint or axis."""
        return {
            name: (float(low), float(high))
            for trail in self._trails.values()
            for name, low, high in zip(trail.names, trail.lower, trail.upper, strict=True)
        }

    def jerk(self) -> dict[str, float]:
        """Root mean square of the jerk by joint or axis, in its unit per cubic second."""
        return {
            name: float(np.sqrt(square / trail.jerks))
            for trail in self._trails.values()
            if trail.jerks
            for name, square in zip(trail.names, trail.jerk_squares, strict=True)
        }

    def drift(self) -> dict[str, Drift]:
        """Median of measured minus asked for while both rested, by joint; of what asked, the worst."""
        worst: dict[str, Drift] = {}
        for (against, _, name), values in self._drifts.items():
            found = Drift(float(np.median(values)), against)
            if name not in worst or abs(found.rad) > abs(worst[name].rad):
                worst[name] = found
        return worst

    # --- reading -----------------------------------------------------------------------------

    def _is_finite(self, position: FloatArray) -> bool:
        if np.isfinite(position).all() and len(position):
            return True
        self.not_finite += bool(len(position))
        return False

    def _read(self, spec: TopicSpec, data: bytes) -> tuple[Sequence[str], FloatArray]:
        reader = self._readers.get(spec.name)
        if reader is None:
            reader = self._readers[spec.name] = _make_reader(spec)
        return reader(data)


def _rests(now_ns: int, since_ns: int | None) -> bool:
    return since_ns is not None and now_ns - since_ns >= _REST_NS


def _make_reader(spec: TopicSpec) -> Callable[[bytes], tuple[Sequence[str], FloatArray]]:
    """Make what reads names and positions from a message; unreadable ones have none."""
    from mcap.records import Schema
    from mcap_ros2.decoder import DecoderFactory

    definition = Schema(1, spec.schema.encode(), "ros2msg", spec.type)
    decode: Any = DecoderFactory().decoder_for("cdr", definition)
    pick = {"JointState": _joints, "Odometry": _body, "JointTrajectory": _trajectory}[
        spec.type.split("/")[-1]
    ]

    def read(data: bytes) -> tuple[Sequence[str], FloatArray]:
        try:
            names, numbers = pick(decode(data))
        except Exception:
            # A message that does not fit its definition says nothing about motion; `verify` tells of it.
            return (), np.zeros(0)
        return names, np.array(numbers, dtype=np.float64)

    return read


def _joints(message: Any) -> tuple[Sequence[str], Any]:  # noqa: ANN401
    return (message.name, message.position) if len(message.name) == len(message.position) else ((), ())


def _body(message: Any) -> tuple[Sequence[str], Any]:  # noqa: ANN401
    place = message.pose.pose.position
    return AXES, (place.x, place.y, place.z)


def _trajectory(message: Any) -> tuple[Sequence[str], Any]:  # noqa: ANN401
    if not message.points or len(message.points[0].positions) != len(message.joint_names):
        return (), ()
    return message.joint_names, message.points[0].positions
