"""References for vehicles: where to be, how fast and which way to look, at any time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError

_ORIGIN = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Reference:
    """One point of a reference, world frame (ENU)."""

    # Position in metres, shape (3,).
    position_m: FloatArray
    # Velocity in metres a second, shape (3,).
    velocity_m_s: FloatArray
    # Heading in radians.
    yaw_rad: float = 0.0


class Trajectory(Protocol):
    """A reference over time."""

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds; infinite where it does not end."""

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""


@dataclass(frozen=True)
class Hover:
    """Stay at one point, reached from `start_m` along a straight line without a step in position."""

    # Where to stay, metres, world frame.
    position_m: tuple[float, ...]
    # How long, seconds.
    duration_s: float = math.inf
    # Where the ramp begins; None: already there.
    start_m: tuple[float, ...] | None = None
    # Speed of the ramp, metres a second.
    speed_m_s: float = 0.5
    # Heading, radians.
    yaw_rad: float = 0.0

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        goal = np.asarray(self.position_m, dtype=np.float64)
        if self.start_m is None:
            return Reference(goal, np.zeros(3), self.yaw_rad)
        start = np.asarray(self.start_m, dtype=np.float64)
        way = goal - start
        distance = float(np.linalg.norm(way))
        travelled = self.speed_m_s * max(0.0, t_s)
        if travelled >= distance:
            return Reference(goal, np.zeros(3), self.yaw_rad)
        direction = way / distance
        return Reference(start + travelled * direction, self.speed_m_s * direction, self.yaw_rad)


@dataclass(frozen=True)
class FigureEight:
    """The Lissajous figure of the RAPTOR paper: x = A sin(s), y = B sin(2 s), ramped in linearly.

    A flight that ends is ramped out in the same way: a duration of whole periods plus `ramp_s` ends at
    the centre, at rest. Source: specs of RAPTOR, section 3.1 (A 1 m, B 0.5 m, 1 s ramp from hover) and
    section 5b.3; the ramp at the end is ours.
    """

    # The middle of the figure, metres, world frame.
    centre_m: tuple[float, ...]
    # Time for one loop, seconds.
    period_s: float
    # How long to fly it, seconds.
    duration_s: float = math.inf
    # Half width and half height, metres.
    half_width_m: float = 1.0
    half_height_m: float = 0.5
    # Time over which the speed grows from zero, and over which it falls to zero at the end.
    ramp_s: float = 1.0
    # Heading, radians.
    yaw_rad: float = 0.0

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        rate = 2.0 * math.pi / self.period_s
        travelled_s, gain = self._progress(t_s)
        phase, speed = rate * travelled_s, rate * gain
        a, b = self.half_width_m, self.half_height_m
        offset = np.array([a * math.sin(phase), b * math.sin(2.0 * phase), 0.0])
        velocity = np.array([a * math.cos(phase), 2.0 * b * math.cos(2.0 * phase), 0.0]) * speed
        return Reference(np.asarray(self.centre_m, dtype=np.float64) + offset, velocity, self.yaw_rad)

    def _progress(self, t_s: float) -> tuple[float, float]:
        """How far along the figure, in seconds of full speed, and the speed as a share of it."""
        t = min(max(0.0, t_s), self.duration_s)
        ramp = min(self.ramp_s, self.duration_s / 2.0)
        if ramp == 0.0:
            return t, 1.0
        rising, rest = min(t, ramp), self.duration_s - t
        travelled, gain = rising * rising / (2.0 * ramp) + max(0.0, t - ramp), min(1.0, t / ramp)
        if rest < ramp:
            travelled -= (ramp - rest) ** 2 / (2.0 * ramp)
            gain = rest / ramp
        return travelled, gain


@dataclass(frozen=True)
class Waypoints:
    """Straight lines through points at one speed, with a stop at each."""

    # The points, metres, world frame; the first is the start.
    points_m: tuple[tuple[float, ...], ...]
    # Cruise speed, metres a second.
    speed_m_s: float = 1.0
    # Time to stay at each point, seconds.
    dwell_s: float = 1.0
    # Heading, radians.
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an empty list.

        Raises:
            ConfigError: there is no point.
        """
        if not self.points_m:
            raise ConfigError(
                "no waypoints", where="points_m", expected="at least one point", mend="add points"
            )

    @property
    def duration_s(self) -> float:
        """Time to visit all points, in seconds."""
        return sum(self._leg_s(i) for i in range(len(self.points_m) - 1)) + self.dwell_s

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        t = max(0.0, t_s)
        for i in range(len(self.points_m) - 1):
            leg = self._leg_s(i)
            if t < leg:
                start = np.asarray(self.points_m[i], dtype=np.float64)
                way = np.asarray(self.points_m[i + 1], dtype=np.float64) - start
                moving = t - self.dwell_s
                if moving <= 0.0:
                    return Reference(start, np.zeros(3), self.yaw_rad)
                direction = way / float(np.linalg.norm(way))
                return Reference(
                    start + direction * (self.speed_m_s * moving), direction * self.speed_m_s, self.yaw_rad
                )
            t -= leg
        return Reference(np.asarray(self.points_m[-1], dtype=np.float64), np.zeros(3), self.yaw_rad)

    def _leg_s(self, index: int) -> float:
        start, end = (np.asarray(p, dtype=np.float64) for p in self.points_m[index : index + 2])
        return self.dwell_s + float(np.linalg.norm(end - start)) / self.speed_m_s


@dataclass(frozen=True)
class TrajectorySequence:
    """One trajectory after the other; the last one goes on for ever."""

    # The parts, flown in order.
    parts: tuple[Trajectory, ...]

    @property
    def duration_s(self) -> float:
        """The sum of the parts, in seconds."""
        return sum(part.duration_s for part in self.parts)

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        rest = max(0.0, t_s)
        for part in self.parts[:-1]:
            if rest < part.duration_s:
                return part.sample(rest)
            rest -= part.duration_s
        return self.parts[-1].sample(rest)


def sequence(parts: Sequence[Trajectory]) -> Trajectory:
    """Fly several trajectories one after the other.

    Args:
        parts: at least one trajectory; all but the last must end.

    Returns:
        The trajectory of all parts.

    Raises:
        ConfigError: there is no part, or one before the last never ends.
    """
    if not parts or not all(math.isfinite(part.duration_s) for part in parts[:-1]):
        raise ConfigError(
            f"{len(parts)} part(s), or one that never ends before the last",
            where="reference sequence",
            expected="at least one part, all but the last of finite duration",
            mend="give each part a duration",
        )
    return TrajectorySequence(tuple(parts))


def make_trajectory(
    name: str,
    *,
    height_m: float,
    period_s: float,
    waypoints: Sequence[float],
    start_m: tuple[float, ...] = _ORIGIN,
    yaw_rad: float = 0.0,
) -> Trajectory:
    """Make a named reference.

    Args:
        name: hover, figure_eight or waypoints.
        height_m: where to hover, metres above the world's zero.
        period_s: time for one loop of the figure eight.
        waypoints: x, y, z of each point in turn, metres, world frame.
        start_m: where the vehicle is at the beginning; hover and figure eight stay above this place.
        yaw_rad: heading that is kept.

    Returns:
        The reference; it begins at the start.

    Raises:
        ConfigError: an unknown name, or waypoints that are not triples.
    """
    climb = take_off(start_m, height_m=height_m, yaw_rad=yaw_rad)
    centre = climb.position_m
    if name == "hover":
        return Hover(centre, start_m=start_m, yaw_rad=yaw_rad)
    if name == "figure_eight":
        return sequence([climb, FigureEight(centre, period_s, yaw_rad=yaw_rad)])
    if name == "waypoints":
        return sequence([climb, Waypoints((centre, *as_points(waypoints)), yaw_rad=yaw_rad)])
    raise ConfigError(
        f"no reference {name!r}",
        where="reference",
        expected="hover, figure_eight, waypoints, minimum_snap or program",
        mend="choose one of these",
    )


def take_off(start_m: tuple[float, ...], *, height_m: float, yaw_rad: float = 0.0) -> Hover:
    """Climb straight up to a height, or down to it, and settle there for three seconds.

    Args:
        start_m: where the vehicle is, metres, world frame.
        height_m: where to go, metres above the world's zero.
        yaw_rad: heading that is kept.

    Returns:
        The climb; it ends.
    """
    above = (start_m[0], start_m[1], height_m)
    climb_s = math.dist(start_m, above) / Hover.speed_m_s + 3.0
    return Hover(above, start_m=start_m, duration_s=climb_s, yaw_rad=yaw_rad)


def as_points(numbers: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Read a plain list of numbers as points, which is how nodes are given waypoints.

    Args:
        numbers: x, y, z of each point in turn, metres.

    Returns:
        The points.

    Raises:
        ConfigError: not three numbers a point, no point, or a number that is not finite.
    """
    if len(numbers) < 3 or len(numbers) % 3 or not all(math.isfinite(n) for n in numbers):
        told = f"{len(numbers)} numbers"
        if not all(math.isfinite(n) for n in numbers):
            told = f"a number that is not finite ({', '.join(f'{n:g}' for n in numbers)})"
        raise ConfigError(
            told,
            where="waypoints",
            expected="x, y, z of each point in turn, in metres",
            mend="give three finite numbers a point",
        )
    return tuple(tuple(numbers[i : i + 3]) for i in range(0, len(numbers), 3))


def make_program(
    program: Sequence[str],
    *,
    height_m: float,
    start_m: tuple[float, ...] = _ORIGIN,
    yaw_rad: float = 0.0,
) -> Trajectory:
    """Make a reference out of parts, such as `hover 12`, `figure_eight 10 20`.

    Args:
        program: parts of a name and its numbers: `hover SECONDS`, `figure_eight PERIOD SECONDS` (the
            whole number of loops that comes nearest to SECONDS, so that it ends where it began).
        height_m: where to fly, metres above the world's zero.
        start_m: where the vehicle is at the beginning; everything is flown above this place.
        yaw_rad: heading that is kept.

    Returns:
        The reference; a first hover begins at the start, and the last point is held.

    Raises:
        ConfigError: a part that cannot be read.
    """
    centre = (start_m[0], start_m[1], height_m)
    parts: list[Trajectory] = []
    for part in program:
        words = part.split()
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError:
            numbers = []
        if not all(math.isfinite(n) and n > 0 for n in numbers):
            numbers = []
        if words[:1] == ["hover"] and len(numbers) == 1:
            start = None if parts else start_m
            parts.append(Hover(centre, duration_s=numbers[0], start_m=start, yaw_rad=yaw_rad))
        elif words[:1] == ["figure_eight"] and len(numbers) == 2:
            duration_s = whole_loops_s(*numbers)
            parts.append(FigureEight(centre, numbers[0], duration_s=duration_s, yaw_rad=yaw_rad))
        else:
            raise ConfigError(
                f"{part!r} cannot be read",
                where="program",
                expected="'hover SECONDS' or 'figure_eight PERIOD SECONDS'",
                mend="correct the part",
            )
    return sequence([*parts, Hover(centre, yaw_rad=yaw_rad)])


def whole_loops_s(period_s: float, duration_s: float) -> float:
    """Time for whole loops of a figure eight, its ramps included.

    Args:
        period_s: time for one loop at full speed.
        duration_s: how long it should last, about.

    Returns:
        The duration with at least one loop, in seconds, that comes nearest.
    """
    ramp_s = FigureEight.ramp_s
    return max(1, round((duration_s - ramp_s) / period_s)) * period_s + ramp_s
