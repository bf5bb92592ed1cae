"""How a robot moved, measurement by measurement: ranges, jerk, rest, and drift from what was asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recording.writer import TopicSpec

FloatArray = NDArray[np.float64]
# Below these speeds a robot rests: joints in rad/s, a body in m/s.
_REST_SPEED = 0.02
# How long both have to rest before what is left between them is drift, nanoseconds; and how far a leader may
# move while it rests, radians.
_REST_NS, _REST_RAD = 500_000_000, 0.002
_AXES = ("x", "y", "z")


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
        self._leader: dict[str, float] = {}
        self._leader_since_ns: int | None = None
        self._has_device = False
        self._drifts: dict[str, list[float]] = {}

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

    def add_leader(self, spec: TopicSpec, data: bytes, stamp_ns: int, *, is_device: bool) -> None:
        """Take what was asked for: of a device that leads, or, where there is none, the gated command.

        Args:
            spec: its topic, of type JointState or JointTrajectory.
            data: the message, CDR.
            stamp_ns: when it was captured, nanoseconds.
            is_device: whether a device measured it.
        """
        names, position = self._read(spec, data)
        if not self._is_finite(position) or (self._has_device and not is_device):
            return
        self._has_device = is_device
        asked = dict(zip(names, position.tolist(), strict=True))
        moved = max((abs(v - self._leader.get(n, np.inf)) for n, v in asked.items()), default=np.inf)
        if moved > _REST_RAD:
            self._leader, self._leader_since_ns = asked, stamp_ns

    def _compare(self, measured: Mapping[str, float], stamp_ns: int) -> None:
        since = (self._resting_since_ns, self._leader_since_ns)
        if any(begin is None or stamp_ns - begin < _REST_NS for begin in since):
            return
        for name, asked in self._leader.items():
            if name in measured:
                self._drifts.setdefault(name, []).append(measured[name] - asked)

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

    def drift(self) -> dict[str, float]:
        """Median of measured minus asked for while both rested, by joint, radians."""
        return {name: float(np.median(values)) for name, values in self._drifts.items()}

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
    return _AXES, (place.x, place.y, place.z)


def _trajectory(message: Any) -> tuple[Sequence[str], Any]:  # noqa: ANN401
    if not message.points or len(message.points[0].positions) != len(message.joint_names):
        return (), ()
    return message.joint_names, message.points[0].positions
