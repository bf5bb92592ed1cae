"""What robot cards are made of: terms, cameras, command interfaces with their limits, bounds, delays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware.command import CommandKind, FloatArray, SafeAction
from hardware.errors import ConfigError
from hardware.ranges import FASTEST_HZ, LONGEST_S, check_positive, check_time, is_ros_name

UNITS = ("rad", "rad/s", "rad/s^2", "m", "m/s", "m/s^2", "N", "N.m", "effort", "quaternion", "1")

_NEEDS: dict[CommandKind, tuple[str, ...]] = {
    CommandKind.JOINT_POSITION: ("velocity", "acceleration", "jerk"),
    CommandKind.CARTESIAN_POSITION: ("velocity", "acceleration", "jerk"),
    CommandKind.RATES_THRUST: ("slew",),
    CommandKind.REFERENCE: ("slew",),
    CommandKind.MOTOR: (),
}


@dataclass(frozen=True)
class TermSpec:
    """One named array that a robot measures."""

    # The names of the elements, in order: joints, axes or quaternion components.
    names: tuple[str, ...]
    # The unit of every element, one of `UNITS`.
    unit: str
    # The frame in which the numbers are expressed; empty where none applies (joints).
    frame: str = ""
    # The relative ROS topic that carries the term.
    topic: str = ""
    # How often the robot measures it.
    rate_hz: float = 100.0

    def __post_init__(self) -> None:
        """Refuse a unit that nobody can check, a topic that ROS does not take, a rate that is none.

        Raises:
            ConfigError: the unit is not one of `UNITS`, the topic has other characters, or the rate is not
                a positive number of at most `FASTEST_HZ`.
        """
        if self.unit not in UNITS:
            raise _unknown_unit(self.unit)
        if self.topic and not is_ros_name(self.topic):
            raise ConfigError(
                f"the topic {self.topic!r} is not a ROS name",
                where="topic",
                expected="letters, digits and underscores, in parts that begin with no digit and are joined"
                " by /, such as odom or imu/data",
                mend="rename it",
            )
        check_positive("rate_hz", self.rate_hz, where="observations", most=FASTEST_HZ)


def _unknown_unit(unit: str) -> ConfigError:
    return ConfigError(
        f"unknown unit {unit!r}",
        where="unit",
        expected="one of " + ", ".join(UNITS),
        mend="convert to SI and name the unit",
    )


@dataclass(frozen=True)
class CameraSpec:
    """One camera of a robot."""

    # Image size in pixels.
    width: int
    height: int
    # Frames a second.
    rate_hz: float
    # The optical frame (z forward, x right).
    frame: str
    # Vertical field of view in degrees.
    fovy_deg: float = 60.0

    def __post_init__(self) -> None:
        """Refuse an image that cannot be.

        Raises:
            ConfigError: a size, the rate or the field of view is not positive, or too large.
        """
        for name, most in (("width", 16384), ("height", 16384), ("rate_hz", FASTEST_HZ), ("fovy_deg", 179)):
            check_positive(name, getattr(self, name), where="cameras", most=most)


@dataclass(frozen=True)
class Limit:
    """What one element of a command may do. Absent entries do not apply to the command's kind."""

    # Smallest and largest value.
    lower: float
    upper: float
    # Largest absolute first, second and third derivative (joint and Cartesian kinds).
    velocity: float | None = None
    acceleration: float | None = None
    jerk: float | None = None
    # Largest absolute change a second (rates + thrust, references).
    slew: float | None = None

    def __post_init__(self) -> None:
        """Refuse an empty range or a limit that is not positive.

        Raises:
            ConfigError: `lower` is not below `upper`, or a derivative limit is not positive.
        """
        if not self.lower < self.upper:
            raise ConfigError(
                f"lower {self.lower} is not below upper {self.upper}",
                where="limits",
                expected="lower < upper",
                mend="swap or correct them",
            )
        for name in ("velocity", "acceleration", "jerk", "slew"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(
                    f"{name} {value} is not positive",
                    where="limits",
                    expected="a positive number",
                    mend=f"correct {name}",
                )


@dataclass(frozen=True)
class CommandSpec:
    """One way in which a robot can be commanded."""

    # What the numbers mean.
    kind: CommandKind
    # The unit of every element, one of `UNITS`.
    unit: str
    # How often the robot wants a command.
    rate_hz: float
    # A command older than this is refused, judged on data stamps.
    max_age_s: float
    # Without an accepted command for this long, judged on the steady clock, the gate takes the safe action.
    timeout_s: float
    # Without a gated command for this long the robot itself takes the safe action.
    robot_timeout_s: float
    # What happens then.
    safe_action: SafeAction
    # The limits by element name; the order of the mapping is the order on the wire.
    limits: Mapping[str, Limit]
    # How long authority takes to grow from the present posture to the command (0: at once).
    authority_ramp_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits against the kind.

        Raises:
            ConfigError: a limit that the kind needs is missing, a time is not positive, there is no
                element, or the unit is not one of `UNITS`.
        """
        if self.unit not in UNITS:
            raise _unknown_unit(self.unit)
        if not self.limits:
            raise ConfigError(
                "no element",
                where="commands: limits",
                expected="the limits of at least one joint, motor or axis",
                mend="add them",
            )
        check_time("authority_ramp_s", self.authority_ramp_s, where="commands")
        check_positive("rate_hz", self.rate_hz, where="commands", most=FASTEST_HZ)
        for name in ("max_age_s", "timeout_s", "robot_timeout_s"):
            check_positive(name, getattr(self, name), where="commands", most=LONGEST_S)
        for element, limit in self.limits.items():
            for name in _NEEDS[self.kind]:
                if getattr(limit, name) is None:
                    raise ConfigError(
                        f"the limit {name!r} of {element!r} is missing",
                        where=f"commands of kind {self.kind.value}",
                        expected="limits " + ", ".join(("lower", "upper", *_NEEDS[self.kind])),
                        mend=f"add {name!r}",
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """The element names in the order of the wire."""
        return tuple(self.limits)

    @property
    def period_ns(self) -> int:
        """The nominal time between two commands, in nanoseconds."""
        return round(1e9 / self.rate_hz)

    def limit_array(self, name: str) -> FloatArray:
        """Gather one limit over all elements.

        Args:
            name: a field of `Limit`.

        Returns:
            Shape (D,); absent limits are infinite.
        """
        values = [getattr(limit, name) for limit in self.limits.values()]
        return np.array([np.inf if v is None else v for v in values], dtype=np.float64)


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the robot's base or world frame, in metres."""

    # The corner with the smallest coordinates (x, y, z).
    lower_m: tuple[float, ...]
    # The corner with the largest coordinates (x, y, z).
    upper_m: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a box that is none.

        Raises:
            ConfigError: a corner has not three coordinates, or the box is empty.
        """
        corners = (self.lower_m, self.upper_m)
        if any(len(c) != 3 for c in corners) or not all(a < b for a, b in zip(*corners, strict=True)):
            raise ConfigError(
                f"a box from {tuple(self.lower_m)} to {tuple(self.upper_m)}",
                where="box",
                expected="x, y, z in metres, each of lower_m below the same of upper_m",
                mend="correct the corners",
            )


@dataclass(frozen=True)
class FlightLimits:
    """How a vehicle may be measured in flight; beyond it, the safe action. What is absent is not judged."""

    # Steepest angle between the body's up axis and the world's, radians.
    max_tilt_rad: float | None = None
    # Greatest height of the vehicle in the world frame, metres.
    max_altitude_m: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that cannot be meant.

        Raises:
            ConfigError: a limit is not positive, or the tilt is more than upside down.
        """
        for name, largest in (("max_tilt_rad", math.pi), ("max_altitude_m", math.inf)):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= largest:
                raise ConfigError(
                    f"{name} is {value}",
                    where="flight",
                    expected="a positive number" + ("" if largest == math.inf else ", at most pi"),
                    mend=f"correct {name}, or leave it out",
                )


@dataclass(frozen=True)
class JointFrame:
    """One revolute joint of a serial chain, seen from its parent joint's frame."""

    # The joint's name; empty for a fixed offset (the tool).
    name: str
    # Origin in the parent frame, metres (x, y, z).
    origin_m: tuple[float, ...]
    # Orientation in the parent frame, quaternion (w, x, y, z).
    orientation_wxyz: tuple[float, ...]
    # Rotation axis in the joint's own frame.
    axis: tuple[float, ...] = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class ToolSpec:
    """One tool of a robot: what an arm moves, and where that may be."""

    # The serial chain from the robot's base to the tool: its joints in order, then fixed offsets (without a
    # name), the last of which is the tool. Where an arm stands is in the origin of its first joint.
    chain: tuple[JointFrame, ...]
    # Where the tool may be, base frame; none: where the card's `workspace` says.
    workspace: Box | None = None

    def __post_init__(self) -> None:
        """Refuse a tool that hangs on nothing.

        Raises:
            ConfigError: there is no joint in the chain.
        """
        if not any(frame.name for frame in self.chain):
            raise ConfigError(
                "no joint", where="chain", expected="the joints from the base to the tool", mend="add them"
            )


@dataclass(frozen=True)
class Delay:
    """How late something is: a constant part, a random part and losses."""

    # The part that is always there.
    mean_s: float = 0.0
    # Standard deviation of the part that varies.
    jitter_s: float = 0.0
    # Share of messages that are lost, 0 to 1.
    drop_rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a time is negative, not finite or longer than `LONGEST_S`, or the share is not one.
        """
        for name in ("mean_s", "jitter_s", "drop_rate"):
            value = getattr(self, name)
            if not 0 <= value <= (1 if name == "drop_rate" else LONGEST_S):
                raise ConfigError(
                    f"{name} {value} is out of range",
                    where="latency",
                    expected="0 to 1" if name == "drop_rate" else f"zero or at most {LONGEST_S:g} seconds",
                    mend=f"correct {name}",
                )

    @property
    def p99_s(self) -> float:
        """The delay that 99 in 100 messages do not exceed, in seconds (normal approximation)."""
        return self.mean_s + 2.326 * self.jitter_s


@dataclass(frozen=True)
class LatencyCard:
    """The measured time from photon to motor, without the policy's own computing."""

    # From capture until the stack has the observation.
    observation: Delay
    # From a published command until the actuator acts on it.
    command: Delay
    # Time constant of the actuator's response where the dynamics do not hold it already.
    actuator_lag_s: float = 0.0
    # How this was measured, in words.
    measured: str = ""

    def __post_init__(self) -> None:
        """Refuse a lag that cannot be.

        Raises:
            ConfigError: it is negative, or longer than `LONGEST_S`.
        """
        check_time("actuator_lag_s", self.actuator_lag_s, where="latency")

    @property
    def loop_p99_s(self) -> float:
        """Age of the data behind a command when it acts, 99th percentile, in seconds."""
        return self.observation.p99_s + self.command.p99_s
