"""How a device's controls move a robot: frozen dataclasses, loaded from YAML files, bound by name."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from hardware.teleop.reading import Event

MAPPING_SCHEMA = "reflexarc/teleop/1"
# Elements of a part that moves in space.
LINEAR = ("x", "y", "z")
ANGULAR = ("roll", "pitch", "yaw")
_DIRECTIONS = {
    "x": ("forward", "back"),
    "y": ("left", "right"),
    "z": ("up", "down"),
    "roll": ("roll right", "roll left"),
    "pitch": ("tilt down", "tilt up"),
    "yaw": ("turn left", "turn right"),
}
_FOLDER = Path(__file__).parent / "mappings"


class Frame(enum.StrEnum):
    """The frame in which an operator's motion is meant."""

    # The robot's base, or a vehicle's world.
    BASE = "base"
    # The base turned about the vertical: forward is from the arm's first joint towards the tool, or where a
    # vehicle looks.
    HEADING = "heading"
    # The tool itself.
    TOOL = "tool"


class PartMode(enum.StrEnum):
    """How a part of a robot is moved."""

    # A tool in space, through inverse kinematics; its other joints (a gripper) by themselves.
    CARTESIAN = "cartesian"
    # Joints, each by its own control.
    JOINTS = "joints"
    # A vehicle's reference: position, velocity and heading.
    REFERENCE = "reference"


@dataclass(frozen=True)
class Axis:
    """Moves one element at a speed, while a control is deflected."""

    # Speed at full deflection: m/s for x, y, z, else rad/s.
    scale: float
    # The control that moves it up, and the one that moves it down; a stick needs only the first.
    control: str
    negative: str = ""
    # Deflections below this share of the full one count as none; above it they grow from zero again.
    dead_zone: float = 0.0
    # 1: speed in proportion to the deflection; 2: finer near the middle.
    exponent: float = 1.0
    # The frame of this axis where it differs from that of its part (x, y, z, roll, pitch and yaw).
    frame: Frame | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: a dead zone outside 0 to below 1, an exponent below 1, or no control.
        """
        if not (0.0 <= self.dead_zone < 1.0 and self.exponent >= 1.0 and self.control):
            raise ConfigError(
                f"control {self.control!r}, dead_zone {self.dead_zone}, exponent {self.exponent}",
                where="axis",
                expected="a control, a dead zone from 0 to below 1, an exponent of at least 1",
                mend="correct the axis",
            )

    def speed(self, controls: Mapping[str, float]) -> float:
        """The wanted speed.

        Args:
            controls: of the device; what is missing or no number counts as not deflected.

        Returns:
            In the element's unit a second.
        """
        raw = _deflection(controls, self.control) - _deflection(controls, self.negative)
        size = (min(abs(raw), 1.0) - self.dead_zone) / (1.0 - self.dead_zone)
        return math.copysign(self.scale * max(size, 0.0) ** self.exponent, raw * self.scale)


def _deflection(controls: Mapping[str, float], name: str) -> float:
    value = controls.get(name, 0.0) if name else 0.0
    return value if math.isfinite(value) else 0.0


@dataclass(frozen=True)
class Follow:
    """Lets one joint follow a joint of a leader."""

    # The device's control that gives the leader's joint.
    control: str
    # The joint in radians is `scale` times the control plus `offset_rad`.
    scale: float = 1.0
    offset_rad: float = 0.0

    def position(self, controls: Mapping[str, float]) -> float:
        """Give where the leader's joint is.

        Args:
            controls: of the device.

        Returns:
            Radians; not finite where the device gives no number.
        """
        return self.scale * controls.get(self.control, math.nan) + self.offset_rad


@dataclass(frozen=True)
class Part:
    """One part of a robot that moves as a whole: an arm, a hand, a head, a vehicle."""

    # How it is moved.
    mode: PartMode
    # The control without which this part stays; the operator has authority while any such control is held.
    # Empty: the part moves whenever the operator has authority.
    engage: str = ""
    # The frame of x, y, z, roll, pitch and yaw, and of a pose that is followed.
    frame: Frame = Frame.BASE
    # Where the operator looks, about the vertical from the frame's x axis, radians: an operator who faces
    # the robot has pi.
    operator_yaw_rad: float = 0.0
    # What moves at a speed: x, y, z, roll, pitch, yaw, or an element of the robot's command.
    axes: Mapping[str, Axis] = field(default_factory=dict)
    # The device's pose that the tool follows, from wherever both are when the operator engages or lets go
    # of the clutch; empty: none.
    pose: str = ""
    # How far the tool moves and turns for a metre and a radian of that pose.
    translation_scale: float = 1.0
    rotation_scale: float = 1.0
    # What follows a leader, by element of the robot's command.
    follow: Mapping[str, Follow] = field(default_factory=dict)
    # Whether followers go to where the leader is (true), or only follow its motion from where they are.
    absolute: bool = True
    # How fast followers close a gap to their leader when the operator engages, rad/s.
    approach_rad_s: float = 0.6
    # How far the target may be ahead of where the robot is measured: joints, and a tool or vehicle.
    lead_rad: float = 0.35
    lead_m: float = 0.05
    # Fastest turn and motion of a followed pose, and of a reference.
    max_speed_m_s: float = 0.5
    max_speed_rad_s: float = 2.0


@dataclass(frozen=True)
class TeleopMapping:
    """What one device does to one kind of robot."""

    # The version of this format.
    schema: str
    # A short name.
    name: str
    # The device: a key of `hardware.teleop.devices.DEVICES`.
    device: str
    # The kind of robot: arm, humanoid or quadrotor.
    robot_kind: str
    # The control that gives the operator authority; see `hold`. Empty: those of the parts do.
    engage: str
    # The parts by name; one that moves in space is the tool of that name on the robot card.
    parts: Mapping[str, Part]
    # One sentence for people.
    description: str = ""
    # Deadman: authority lasts while the control is held (true), or from one press to the next (false).
    hold: bool = True
    # The control that, while held, lets the operator move without the robot; empty: none.
    clutch: str = ""
    # The controls of events.
    events: Mapping[str, str] = field(default_factory=dict)
    # Without a sign of life from the device for this long, the robot holds.
    lost_after_s: float = 0.5
    # Settings of the device.
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what single fields cannot.

        Raises:
            ConfigError: another schema, no part, no way to engage, an unknown event, or a time that is none.
        """
        if self.schema != MAPPING_SCHEMA:
            raise ConfigError(
                f"schema {self.schema!r}",
                where="schema",
                expected=repr(MAPPING_SCHEMA),
                mend="use a mapping of this version",
            )
        if not self.parts or not self.engages:
            raise ConfigError(
                "no part" if not self.parts else "no control engages",
                where=f"mapping {self.name!r}",
                expected="at least one part, and a control to engage, for all or for some",
                mend="add it",
            )
        if not self.hold and any(part.engage for part in self.parts.values()):
            raise ConfigError(
                "a part engages by itself, and one press of a control takes over",
                where=f"mapping {self.name!r}",
                expected="hold: true, where parts have controls to engage",
                mend="leave one of them out",
            )
        known = {event.value for event in Event}
        for name in self.events:
            if name not in known:
                raise ConfigError(
                    f"unknown event {name!r}",
                    where=f"mapping {self.name!r}: events",
                    expected="some of " + ", ".join(sorted(known)),
                    mend="correct the name",
                )
        if not 0.05 <= self.lost_after_s <= 5.0:
            raise ConfigError(
                f"lost_after_s is {self.lost_after_s}",
                where=f"mapping {self.name!r}",
                expected="0.05 to 5 seconds",
                mend="correct lost_after_s",
            )

    @property
    def engages(self) -> tuple[str, ...]:
        """The controls that give authority."""
        return tuple(name for name in (self.engage, *(p.engage for p in self.parts.values())) if name)


def mapping_names() -> tuple[str, ...]:
    """The names of the mappings that come with Reflexarc."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_mapping(name_or_path: str | Path) -> TeleopMapping:
    """Load a mapping.

    Args:
        name_or_path: a name from `mapping_names`, or the path of a YAML file.

    Returns:
        The mapping, validated.

    Raises:
        ConfigError: there is no such mapping, or it has faults (all are listed).
    """
    path = Path(name_or_path)
    if path.suffix != ".yaml":
        path = _FOLDER / f"{name_or_path}.yaml"
        if not path.exists():
            raise ConfigError(
                f"there is no mapping {str(name_or_path)!r}",
                where="teleoperation",
                expected="one of " + ", ".join(mapping_names()) + ", or the path of a mapping",
                mend="correct the name",
            )
    return schema.load(TeleopMapping, path)


def mapping_name(device: str, card: RobotCard) -> str:
    """Find the mapping of a device to a robot.

    Args:
        device: what the operator holds, or the path of a mapping's YAML file.
        card: the robot.

    Returns:
        The name of the mapping DEVICE_KIND, or DEVICE_pair where the robot has two arms; a path as it is.

    Raises:
        ConfigError: there is none.
    """
    if device.endswith(".yaml"):
        return device
    kind = "pair" if card.kind == "arm" and len(card.tools) == 2 else card.kind
    name = f"{device}_{kind}"
    if name not in mapping_names():
        fitting = [m.removesuffix(f"_{kind}") for m in mapping_names() if m.endswith(f"_{kind}")]
        robots = "two arms" if kind == "pair" else f"robots of kind {kind!r}"
        raise ConfigError(
            f"there is no mapping of {device!r} to {robots}",
            where="teleoperation",
            expected="one of " + ", ".join(fitting) + ", or the path of a mapping",
            mend="choose another device, or write a mapping",
        )
    return name


def legend(mapping: TeleopMapping) -> dict[str, str]:
    """Say what each control does.

    Args:
        mapping: what a device does.

    Returns:
        Controls to words, in the order of the mapping; a control that goes both ways has two, with a slash.
    """
    words = {mapping.engage: "take over (hold)" if mapping.hold else "take over, give back"}
    words |= {part.engage: f"move {name} (hold)" for name, part in mapping.parts.items()}
    words.pop("", None)
    if mapping.clutch:
        words[mapping.clutch] = "clutch (hold)"
    # What a control does, by part: the same for all of them needs no name.
    moves: dict[str, dict[str, str]] = {}
    for name, part in mapping.parts.items():
        for element, axis in part.axes.items():
            up, down = _directions(element, axis.frame or part.frame)
            if axis.scale < 0:
                up, down = down, up
            if axis.negative:
                moves.setdefault(axis.control, {})[name] = up
                moves.setdefault(axis.negative, {})[name] = down
            else:
                moves.setdefault(axis.control, {})[name] = f"{up} / {down}"
        if part.pose:
            moves.setdefault(part.pose, {})[name] = "pose"
    for control, by_part in moves.items():
        is_shared = len(by_part) == len(mapping.parts)
        told = [w if is_shared or f"{p}_" in w else f"{p}: {w}" for p, w in by_part.items()]
        words[control] = ", ".join(dict.fromkeys(told))
    words |= {control: name.replace("_", " ") for name, control in mapping.events.items()}
    return words


def _directions(element: str, frame: Frame) -> tuple[str, str]:
    """What a positive and a negative speed of an element look like to a person."""
    if element == "yaw" and frame is Frame.TOOL:
        # About the tool itself, which mostly points down.
        return "turn right", "turn left"
    if "gripper" in element:
        return f"open {element}", f"close {element}"
    return _DIRECTIONS.get(element, (f"{element} +", f"{element} -"))
