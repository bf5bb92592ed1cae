"""Robots: what one has (the card), what it measures (the observation) and how it is driven (the protocol)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hardware.command import Command, CommandKind, FloatArray
from hardware.errors import ConfigError
from hardware.ranges import check_time, is_ros_name
from hardware.robot_parts import (
    UNITS,
    Box,
    CameraSpec,
    CommandSpec,
    Delay,
    FlightLimits,
    JointFrame,
    LatencyCard,
    Limit,
    TermSpec,
    ToolSpec,
)

ROBOT_CARD_SCHEMA = "reflexarc/robot-card/1"

__all__ = [
    "ROBOT_CARD_SCHEMA",
    "UNITS",
    "Box",
    "CameraSpec",
    "CommandSpec",
    "Delay",
    "FlightLimits",
    "JointFrame",
    "LatencyCard",
    "Limit",
    "Observation",
    "Robot",
    "RobotCard",
    "TermSpec",
    "ToolSpec",
    "with_rate",
]


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
    # What its arms move, by a name of choice (`arm` for the only one, `left` and `right` for two).
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    # Where its tools may be, base frame (joint and Cartesian kinds); a tool may have a workspace of its own.
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
            ConfigError: another schema, no command, a kind nobody knows, a camera whose name is none of a
                topic, or a time that cannot be.
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
        for name in self.cameras:
            if not is_ros_name(name) or "/" in name:
                raise ConfigError(
                    f"the camera {name!r}",
                    where="cameras",
                    expected="letters, digits and underscores: its topics begin with its name",
                    mend="rename it",
                )
        check_time("frozen_after_s", self.frozen_after_s, where="frozen_after_s")

    @staticmethod
    def from_earlier(data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read what earlier versions wrote: they knew one tool, whose chain was the field `kinematics`.

        Args:
            data: a card as YAML gives it.

        Returns:
            The same card in the words of this version; `data` itself where there is nothing to change.
        """
        if "kinematics" not in data or "tools" in data:
            return data
        rest = {name: value for name, value in data.items() if name != "kinematics"}
        chain = data["kinematics"]
        return {**rest, "tools": {"arm": {"chain": chain}}} if chain else rest

    def workspace_of(self, tool: str) -> Box | None:
        """Where a tool may be.

        Args:
            tool: a key of `tools`.

        Returns:
            Its own workspace, or else that of all tools; None: anywhere.
        """
        own = self.tools[tool].workspace
        return self.workspace if own is None else own

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
    # When each image was captured, ROS clock, in nanoseconds, by camera name: a camera is slower than joints.
    # Those that are missing were captured with the values.
    image_stamps_ns: Mapping[str, int] = field(default_factory=dict)

    @property
    def oldest_ns(self) -> int:
        """When the oldest of it was captured, images included, ROS clock, in nanoseconds."""
        return min(self.stamp_ns, *self.image_stamps_ns.values()) if self.image_stamps_ns else self.stamp_ns

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
