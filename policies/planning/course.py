"""A minimum-snap flight through waypoints that a user names; what the vehicle cannot fly is refused before.

The path says which thrust and which tilt its acceleration takes of a multirotor (it is differentially flat:
Mellinger and Kumar, "Minimum snap trajectory generation and control for quadrotors", 2011). A share of both
is left to the policy, which has to correct and to turn with the same motors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware import schema
from hardware.command import CommandKind, FloatArray
from hardware.errors import ConfigError
from hardware.reference import Hover, Trajectory, sequence, take_off
from hardware.robot import RobotCard
from policies.planning.minimum_snap import MinimumSnap, PolynomialTrajectory
from policies.planning.time_allocation import smoothest
from sim.quadrotor.airframes import GRAVITY_M_S2, load_airframe

# Share of thrust and of tilt that the path itself may take.
_SHARE = 0.8
# Places in every segment at which the path is judged.
_PLACES = 100
_AXES = "xyz"


@dataclass(frozen=True)
class Course:
    """Waypoints in a file."""

    # x, y, z of each waypoint, metres, world frame (ENU); the first is where the path begins.
    waypoints: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a waypoint that is none.

        Raises:
            ConfigError: one has not three numbers.
        """
        for i, point in enumerate(self.waypoints):
            if len(point) != 3:
                raise ConfigError(
                    f"waypoint {i} has {len(point)} numbers",
                    where="waypoints",
                    expected="x, y, z in metres",
                    mend="give three numbers a point",
                )


def load_course(path: Path | str) -> Course:
    """Read waypoints from a YAML file: `waypoints: [[0, 0, 1], [2, 0, 1.5]]`.

    Args:
        path: the file.

    Returns:
        The waypoints.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    return schema.load(Course, path)


@dataclass(frozen=True)
class Ability:
    """What a vehicle may be asked for. What is absent is not judged."""

    # Thrust of all motors over weight.
    thrust_to_weight: float = math.inf
    # Steepest angle between the body's up axis and the world's, radians.
    max_tilt_rad: float = math.pi / 2.0
    # Bounds of the velocity along x, y, z, metres a second, world frame.
    velocity_m_s: tuple[tuple[float, float], ...] = ((-math.inf, math.inf),) * 3
    # Bounds of the position along x, y, z, metres, world frame.
    position_m: tuple[tuple[float, float], ...] = ((-math.inf, math.inf),) * 3

    @classmethod
    def of(cls, card: RobotCard, airframe: str = "") -> Ability:
        """Gather what is known of a vehicle.

        Args:
            card: its card: geofence, tilt, altitude, the limits of references, its airframe.
            airframe: a named airframe that takes the place of the card's; empty: the card's, if it names one.

        Returns:
            What it may be asked for.

        Raises:
            ConfigError: there is no such airframe.
        """
        known: dict[str, Any] = {}
        name = airframe or str(card.parameters.get("airframe", ""))
        if name:
            known["thrust_to_weight"] = load_airframe(name).thrust_to_weight
        bounds = [(-math.inf, math.inf)] * 3
        if card.geofence is not None:
            bounds = list(zip(card.geofence.lower_m, card.geofence.upper_m, strict=True))
        if card.flight is not None and card.flight.max_tilt_rad is not None:
            known["max_tilt_rad"] = card.flight.max_tilt_rad
        if card.flight is not None and card.flight.max_altitude_m is not None:
            bounds[2] = (bounds[2][0], min(bounds[2][1], card.flight.max_altitude_m))
        for spec in card.commands.values():
            names = [f"velocity_{axis}" for axis in _AXES]
            if spec.kind is CommandKind.REFERENCE and all(name in spec.limits for name in names):
                limits = [spec.limits[name] for name in names]
                known["velocity_m_s"] = tuple((limit.lower, limit.upper) for limit in limits)
        return cls(position_m=tuple(bounds), **known)


def plan_course(
    waypoints_m: Sequence[Sequence[float]],
    *,
    speed_m_s: float,
    ability: Ability = Ability(),  # noqa: B008, frozen
    yaw_rad: float = 0.0,
) -> PolynomialTrajectory:
    """Find the smoothest path through waypoints, from rest to rest, at a mean speed.

    Args:
        waypoints_m: at least two, x, y, z each, metres, world frame.
        speed_m_s: length of the straight lines between them over the time of flight.
        ability: what the vehicle may be asked for.
        yaw_rad: heading that is kept.

    Returns:
        The path.

    Raises:
        ConfigError: fewer than two waypoints, two in a row at one place, numbers that are not finite, a path
            that leaves the vehicle's bounds, or one that is too fast for it.
    """
    points = np.asarray(waypoints_m, np.float64)
    if len(points) < 2:
        raise ConfigError(
            f"{len(points)} waypoint(s)",
            where="minimum snap",
            expected="at least two, the first of which is where the path begins",
            mend="add waypoints",
        )
    path = smoothest(MinimumSnap(points, np.full(len(points), yaw_rad)))
    _check_bounds(path, ability)
    _check_pace(path, speed_m_s, ability)
    return path.scaled(1.0 / speed_m_s)


def make_course(
    waypoints_m: Sequence[Sequence[float]],
    *,
    speed_m_s: float,
    height_m: float,
    ability: Ability = Ability(),  # noqa: B008, frozen
    start_m: tuple[float, ...] = (0.0, 0.0, 0.0),
    yaw_rad: float = 0.0,
) -> Trajectory:
    """Climb, go to the first waypoint, fly the smoothest path through the others, and stay at the last.

    Args:
        waypoints_m: as in `plan_course`.
        speed_m_s: as in `plan_course`.
        height_m: where to climb to, metres above the world's zero.
        ability: what the vehicle may be asked for.
        start_m: where the vehicle is at the beginning.
        yaw_rad: heading that is kept.

    Returns:
        The reference; it begins at the start.

    Raises:
        ConfigError: as in `plan_course`.
    """
    path = plan_course(waypoints_m, speed_m_s=speed_m_s, ability=ability, yaw_rad=yaw_rad)
    climb = take_off(start_m, height_m=height_m, yaw_rad=yaw_rad)
    first = tuple(float(x) for x in waypoints_m[0])
    way_s = math.dist(climb.position_m, first) / Hover.speed_m_s
    approach = Hover(first, start_m=climb.position_m, duration_s=way_s + 2.0, yaw_rad=yaw_rad)
    return sequence([climb, approach, path] if way_s else [climb, path])


def _check_bounds(path: PolynomialTrajectory, ability: Ability) -> None:
    place = path.derivatives(_times(path), 0)[0][0]
    for axis, (lower, upper) in enumerate(ability.position_m):
        least, most = float(place[:, axis].min()), float(place[:, axis].max())
        if least < lower or most > upper:
            raise ConfigError(
                f"the path reaches from {least:.2f} m to {most:.2f} m along {_AXES[axis]}",
                where="minimum snap",
                expected=f"{lower:g} m to {upper:g} m, as the robot card says (geofence, altitude)",
                mend="move the waypoints: between them the path swings beyond their straight lines",
            )


def _check_pace(path: PolynomialTrajectory, speed_m_s: float, ability: Ability) -> None:
    """Refuse what is too fast; `path` is at 1 m/s, and derivatives go with the powers of the speed."""
    (_, velocity, acceleration), _ = path.derivatives(_times(path), 2)
    found = _too_fast(velocity, acceleration, speed_m_s, ability)
    if found is None:
        return
    # All demands are met in an interval of speeds that begins at zero.
    slow, fast = 0.0, speed_m_s
    for _ in range(30):
        middle = 0.5 * (slow + fast)
        if _too_fast(velocity, acceleration, middle, ability) is None:
            slow = middle
        else:
            fast = middle
    raise ConfigError(
        f"at a mean of {speed_m_s:g} m/s the path is too fast for the vehicle: {found[0]}",
        where="minimum snap",
        expected=found[1],
        mend=f"fly it at {math.floor(100.0 * slow) / 100.0:g} m/s or less, or move the waypoints apart",
    )


def _too_fast(
    velocity: FloatArray, acceleration: FloatArray, speed_m_s: float, ability: Ability
) -> tuple[str, str] | None:
    """What is asked for and what would be possible, or None where all is possible."""
    force = acceleration * speed_m_s**2 + np.array([0.0, 0.0, GRAVITY_M_S2])
    thrust = float(np.linalg.norm(force, axis=1).max()) / GRAVITY_M_S2
    if thrust > (most := _SHARE * ability.thrust_to_weight):
        return (
            f"it takes a thrust of {thrust:.2f} times the weight",
            f"at most {most:.2f} ({_SHARE:.0%} of what the airframe has)",
        )
    tilt = float(np.arctan2(np.linalg.norm(force[:, :2], axis=1), force[:, 2]).max())
    if tilt > (steepest := _SHARE * ability.max_tilt_rad):
        return (
            f"it takes a tilt of {math.degrees(tilt):.0f} degrees",
            f"at most {math.degrees(steepest):.0f} degrees ({_SHARE:.0%} of the vehicle's limit)",
        )
    for axis, (lower, upper) in enumerate(ability.velocity_m_s):
        along = velocity[:, axis] * speed_m_s
        if along.min() < lower or along.max() > upper:
            return (
                f"its velocity along {_AXES[axis]} reaches from {along.min():.2f} to {along.max():.2f} m/s",
                f"{lower:g} to {upper:g} m/s, the robot card's limits of a reference",
            )
    return None


def _times(path: PolynomialTrajectory) -> FloatArray:
    ends = np.concatenate([[0.0], np.cumsum(path.times_s)])
    shares = np.arange(_PLACES) / _PLACES
    inside = (ends[:-1, None] + path.times_s[:, None] * shares).ravel()
    times: FloatArray = np.concatenate([inside, ends[-1:]])
    return times
