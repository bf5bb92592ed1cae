"""Robots: what one has (the card), what it measures (the observation) and how it is driven (the protocol)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hardware.command import Command, CommandKind, FloatArray, SafeAction
from hardware.errors import ConfigError

ROBOT_CARD_SCHEMA = "reflexarc/robot-card/1"
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
        """Refuse a unit that nobody can check.

        Raises:
            ConfigError: the unit is not one of `UNITS`.
        """
        if self.unit not in UNITS:
            raise _unknown_unit(self.unit)


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
        if not self.authority_ramp_s >= 0:
            raise ConfigError(
                f"authority_ramp_s {self.authority_ramp_s} is negative",
                where="commands",
                expected="0 or more",
                mend="correct authority_ramp_s",
            )
        for name in ("rate_hz", "max_age_s", "timeout_s", "robot_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} {getattr(self, name)} is not positive",
                    where="commands",
                    expected="a positive number",
                    mend=f"correct {name}",
                )
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
            ConfigError: a time is negative or not finite, or the share is not one.
        """
        for name in ("mean_s", "jitter_s", "drop_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "drop_rate" and value > 1):
                raise ConfigError(
                    f"{name} {value} is out of range",
                    where="latency",
                    expected="0 to 1" if name == "drop_rate" else "zero or a positive number of seconds",
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

    @property
    def loop_p99_s(self) -> float:
        """Age of the data behind a command when it acts, 99th percentile, in seconds."""
        return self.observation.p99_s + self.command.p99_s


@dataclass(frozen=True)
class RobotCard:
    """What a robot has. Loaded from `hardware/cards/*.yaml`; policies are bound to it by name."""

    # The version of this format.
    schema: str
    # A short name, also the default ROS namespace.
    name: str
    # arm, humanoid or quadrotor.
    kind: str
    # Who moves it: a driver of `hardware.drivers`, or `twin`.
    driver: str
    # The named arrays it measures.
    observations: Mapping[str, TermSpec]
    # The ways to command it, by a name of choice.
    commands: Mapping[str, CommandSpec]
    # Measured delays.
    latency: LatencyCard
    # One sentence for people.
    description: str = ""
    # Its cameras by name.
    cameras: Mapping[str, CameraSpec] = field(default_factory=dict)
    # The serial chain from the base to the tool, for arms.
    kinematics: tuple[JointFrame, ...] = ()
    # Where the tool may be, base frame (joint and Cartesian kinds).
    workspace: Box | None = None
    # Where the vehicle may be, world frame (rates + thrust, references and motors).
    geofence: Box | None = None
    # How far the vehicle may tilt and climb (rates + thrust, references and motors).
    flight: FlightLimits | None = None
    # A state whose values stay bit-identical for this long is a frozen sensor (0: not judged).
    frozen_after_s: float = 0.0
    # Settings of the driver or the twin's world.
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what single fields cannot.

        Raises:
            ConfigError: another schema, no command, or a kind nobody knows.
        """
        if self.schema != ROBOT_CARD_SCHEMA:
            raise ConfigError(
                f"schema {self.schema!r}",
                where="schema",
                expected=repr(ROBOT_CARD_SCHEMA),
                mend="use a robot card of this version",
            )
        if self.kind not in ("arm", "humanoid", "quadrotor"):
            raise ConfigError(
                f"kind {self.kind!r}",
                where="kind",
                expected="arm, humanoid or quadrotor",
                mend="name one of these",
            )
        if not self.commands:
            raise ConfigError(
                "no command interface", where="commands", expected="at least one", mend="add one"
            )

    def command_of_kind(self, kind: CommandKind) -> CommandSpec:
        """Find the interface of a kind.

        Args:
            kind: what the numbers mean.

        Returns:
            The first interface of that kind.

        Raises:
            ConfigError: the robot has none.
        """
        for spec in self.commands.values():
            if spec.kind is kind:
                return spec
        raise ConfigError(
            f"no command interface of kind {kind.value}",
            where=f"robot card {self.name!r}",
            expected="one of " + ", ".join(s.kind.value for s in self.commands.values()),
            mend="choose a policy that commands one of these kinds",
        )


def with_rate(card: RobotCard, rate_hz: float) -> RobotCard:
    """Copy a card with another rate of observations and commands.

    Args:
        card: the card.
        rate_hz: the rate of every term and every command interface.

    Returns:
        The copy.
    """
    return replace(
        card,
        observations={n: replace(s, rate_hz=rate_hz) for n, s in card.observations.items()},
        commands={n: replace(s, rate_hz=rate_hz) for n, s in card.commands.items()},
    )


@dataclass(frozen=True, slots=True)
class Observation:
    """Named arrays as captured together, with both stamps."""

    # Term name to array, shape (len(term.names),), float64, SI units and frames of the card.
    values: Mapping[str, FloatArray]
    # When it was captured, ROS clock, in nanoseconds.
    stamp_ns: int
    # When this process received it, steady clock, in nanoseconds.
    received_steady_ns: int
    # Images by camera name, (H, W, 3) uint8; usually empty in fast loops.
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        # A sum is finite only if every addend is (sums of sensor values do not overflow), and is
        # several times cheaper than looking at each: this runs in every control step.
        return all(math.isfinite(np.add.reduce(value)) for value in self.values.values())

    def age_s(self, now_ns: int) -> float:
        """How old the data is.

        Args:
            now_ns: the ROS clock, in nanoseconds.

        Returns:
            Seconds since capture; negative when the clock went back.
        """
        return (now_ns - self.stamp_ns) * 1e-9


@runtime_checkable
class Robot(Protocol):
    """A robot or its twin. Nothing here blocks or sleeps."""

    card: RobotCard

    def connect(self) -> None:
        """Open the wire. Raises ConfigError when the robot cannot be reached; nothing moves."""

    def read(self) -> Observation:
        """Return the newest observation that has arrived."""

    def command(self, command: Command) -> None:
        """Hand a gated command to the robot."""

    def safe_stop(self, reason: str) -> None:
        """Take the card's safe action, for a reason that is reported."""

    def disconnect(self) -> None:
        """Leave the robot in its safe state and close the wire."""

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
