"""From the terms, images and commands of a robot card to the ROS messages of its nodes, without ROS.

The way back of `recording.decoding`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from hardware.robot_parts import CommandSpec
from recording.decoding import POINT_FIELD, WXYZ, XYZ
from recording.writer import TopicSpec

Stamped = tuple[TopicSpec, Callable[[int, Mapping[str, NDArray[np.float64]]], bytes]]
_NS = 1_000_000_000
_JOINT_FIELDS = ("position", "velocity", "effort")
_UNKNOWN = float("nan")
# Definitions by type, of the fields alone; what is in them stands behind them in a recording.
_DEFINITIONS: Mapping[str, str] = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec\n",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Quaternion": "float64 x 0\nfloat64 y 0\nfloat64 z 0\nfloat64 w 1\n",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance\n",
    "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n",
    "geometry_msgs/TwistWithCovariance": "geometry_msgs/Twist twist\nfloat64[36] covariance\n",
    "geometry_msgs/PoseStamped": "std_msgs/Header header\ngeometry_msgs/Pose pose\n",
    "nav_msgs/Odometry": (
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/PoseWithCovariance pose\n"
        "geometry_msgs/TwistWithCovariance twist\n"
    ),
    "sensor_msgs/Imu": (
        "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
        "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
        "geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n"
    ),
    "sensor_msgs/JointState": (
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n"
    ),
    "sensor_msgs/Image": (
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
        "uint32 step\nuint8[] data\n"
    ),
    "trajectory_msgs/JointTrajectoryPoint": (
        "float64[] positions\nfloat64[] velocities\nfloat64[] accelerations\nfloat64[] effort\n"
        "builtin_interfaces/Duration time_from_start\n"
    ),
    "trajectory_msgs/JointTrajectory": (
        "std_msgs/Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint[] points\n"
    ),
}


def term_encoder(card: RobotCard, topic: str, terms: Sequence[str], *, root: str) -> Stamped:
    """Say how terms of one topic become its messages.

    Args:
        card: the robot.
        topic: relative, as the card names it.
        terms: those that are known. Numbers of a message that belong to none of them are NaN: never a zero
            that nobody measured.
        root: the robot's namespace.

    Returns:
        The topic, and what makes a message of a capture stamp in nanoseconds and of the terms' values.

    Raises:
        ConfigError: no message carries such terms on such a topic.
    """
    specs = {term: card.observations[term] for term in terms}
    frames = [spec.frame for spec in specs.values() if spec.frame not in ("", "body")]
    frame = frames[0] if frames else ""
    if topic == "joint_states":
        return _joint_encoder(card, specs, root)
    kind, fields = _carrier(card, topic)
    places: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    for term, spec in specs.items():
        ending = next((e for e in sorted(fields, key=len, reverse=True) if term.endswith(e)), None)
        if ending is None or not set(spec.names) <= set(fields[ending][1]):
            raise _no_place(card, term, topic)
        places.append((term, fields[ending][0], spec.names))
    described = topic_spec(f"{root}/{topic}", kind)
    encode = _encoder(described)
    fixed: dict[str, Any] = {"child_frame_id": "base_link"} if topic == "odom" else {}
    if topic == "imu" and not any(term.endswith("orientation") for term in terms):
        # As the message's definition has it: no orientation is measured.
        fixed["orientation_covariance"] = [-1.0, *[0.0] * 8]
    header_frame = "base_link" if topic == "imu" else frame

    def message(stamp_ns: int, values: Mapping[str, NDArray[np.float64]]) -> bytes:
        made = {"header": _header(stamp_ns, header_frame), **fixed, **_empty(fields)}
        for term, path, names in places:
            _at(made, path).update(zip(names, values[term].tolist(), strict=True))
        return encode(made)

    return described, message


def command_encoder(
    interface: CommandSpec, names: Sequence[str], topic: str, *, root: str, valid_ns: int
) -> tuple[TopicSpec, Callable[[int, NDArray[np.float64]], bytes]]:
    """Say how the commands of an interface become messages: chunks of one step.

    Args:
        interface: the one on the robot's card.
        names: the elements, in the order of the values.
        topic: relative.
        root: the robot's namespace.
        valid_ns: how long each of them holds, nanoseconds.

    Returns:
        The topic, and what makes a message of the moment a command is for, in nanoseconds, and of its values.
    """
    spec = topic_spec(f"{root}/{topic}", "trajectory_msgs/msg/JointTrajectory")
    encode, field, joints = _encoder(spec), POINT_FIELD[interface.kind], list(names)

    def message(stamp_ns: int, values: NDArray[np.float64]) -> bytes:
        # The closing point says until when it holds (architecture, section 5).
        points = [{field: values.tolist(), "time_from_start": time} for time in (_time(0), _time(valid_ns))]
        return encode({"header": _header(stamp_ns, ""), "joint_names": joints, "points": points})

    return spec, message


def image_encoder(
    card: RobotCard, camera: str, topic: str, *, root: str
) -> tuple[TopicSpec, Callable[[int, NDArray[np.uint8]], bytes]]:
    """Say how the images of a camera become messages.

    Args:
        card: the robot.
        camera: its name on the card.
        topic: relative.
        root: the robot's namespace.

    Returns:
        The topic, and what makes a message of a capture stamp in nanoseconds and an RGB image, (H, W, 3).
    """
    spec = topic_spec(f"{root}/{topic}", "sensor_msgs/msg/Image")
    encode, frame = _encoder(spec), card.cameras[camera].frame

    def message(stamp_ns: int, image: NDArray[np.uint8]) -> bytes:
        height, width = image.shape[:2]
        return encode(
            {
                "header": _header(stamp_ns, frame),
                "height": height,
                "width": width,
                "encoding": "rgb8",
                "is_bigendian": 0,
                "step": 3 * width,
                "data": np.ascontiguousarray(image).tobytes(),
            }
        )

    return spec, message


def header_encoder(topic: str, *, root: str) -> tuple[TopicSpec, Callable[[int, str], bytes]]:
    """Say how stamps with a word become messages.

    Args:
        topic: relative.
        root: the robot's namespace.

    Returns:
        The topic, and what makes a message of a stamp in nanoseconds and of what is said, which may be empty.
    """
    spec = topic_spec(f"{root}/{topic}", "std_msgs/msg/Header")
    encode = _encoder(spec)
    return spec, lambda stamp_ns, word: encode(_header(stamp_ns, word))


def topic_spec(name: str, kind: str) -> TopicSpec:
    """Describe a topic of one of the types that a robot card can ask for.

    Args:
        name: absolute.
        kind: such as sensor_msgs/msg/JointState.

    Returns:
        The description, definitions included.
    """
    short = kind.replace("/msg/", "/")
    inner: list[str] = []
    _collect(short, inner)
    parts = [_DEFINITIONS[short], *(f"{'=' * 80}\nMSG: {one}\n{_DEFINITIONS[one]}" for one in inner)]
    return TopicSpec(name, kind, "".join(parts))


def sendable(card: RobotCard, names: Sequence[str]) -> CommandSpec | None:
    """Find the command interface with these elements, in any order; None where the card has none."""
    for interface in card.commands.values():
        if interface.kind in POINT_FIELD and sorted(interface.names) == sorted(names):
            return interface
    return None


# --- helpers ---------------------------------------------------------------------------------


def _collect(kind: str, found: list[str]) -> None:
    for line in _DEFINITIONS[kind].splitlines():
        inner = line.split()[0].partition("[")[0]
        if inner in _DEFINITIONS and inner not in found:
            found.append(inner)
            _collect(inner, found)


def _encoder(spec: TopicSpec) -> Callable[[Mapping[str, Any]], bytes]:
    # What mcap_ros2's own Writer calls; that one wants to own the file, which ours must not leave to it.
    from mcap_ros2._dynamic import serialize_dynamic

    encode: Callable[[Mapping[str, Any]], bytes] = serialize_dynamic(spec.type, spec.schema)[spec.type]
    return encode


def _header(stamp_ns: int, frame: str) -> dict[str, Any]:
    return {"stamp": _time(stamp_ns), "frame_id": frame}


def _time(stamp_ns: int) -> dict[str, int]:
    sec, nanosec = divmod(stamp_ns, _NS)
    return {"sec": sec, "nanosec": nanosec}


def _joint_encoder(card: RobotCard, specs: Mapping[str, Any], root: str) -> Stamped:
    names = next(iter(specs.values())).names
    places: list[tuple[str, str]] = []
    for term, spec in specs.items():
        field = next((f for f in _JOINT_FIELDS if term.endswith(f)), None)
        if field is None or spec.names != names:
            raise _no_place(card, term, "joint_states")
        places.append((term, field))
    topic = topic_spec(f"{root}/joint_states", "sensor_msgs/msg/JointState")
    encode = _encoder(topic)

    def message(stamp_ns: int, values: Mapping[str, NDArray[np.float64]]) -> bytes:
        fields = {field: values[term].tolist() for term, field in places}
        return encode({"header": _header(stamp_ns, ""), "name": list(names), **fields})

    return topic, message


_Field = tuple[tuple[str, ...], tuple[str, ...]]


def _carrier(card: RobotCard, topic: str) -> tuple[str, Mapping[str, _Field]]:
    """The type of a topic's messages; where in them each ending of a term's name lies, and its elements."""
    if topic == "odom":
        return "nav_msgs/msg/Odometry", {
            "position": (("pose", "pose", "position"), XYZ),
            "orientation": (("pose", "pose", "orientation"), WXYZ),
            "linear_velocity": (("twist", "twist", "linear"), XYZ),
            "angular_velocity": (("twist", "twist", "angular"), XYZ),
        }
    if topic == "imu":
        return "sensor_msgs/msg/Imu", {
            "orientation": (("orientation",), WXYZ),
            "angular_velocity": (("angular_velocity",), XYZ),
            "linear_acceleration": (("linear_acceleration",), XYZ),
        }
    if topic.endswith("pose"):
        return "geometry_msgs/msg/PoseStamped", {
            "position": (("pose", "position"), XYZ),
            "orientation": (("pose", "orientation"), WXYZ),
        }
    raise ConfigError(
        f"no message type is known for the topic {topic!r}",
        where=f"robot card {card.name!r}",
        expected="odom, joint_states, imu or a name that ends in pose",
        mend="rename the topic on the card",
    )


def _empty(fields: Mapping[str, _Field]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, names in fields.values():
        _at(made, path).update(dict.fromkeys(names, _UNKNOWN))
    return made


def _at(message: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for name in path:
        message = message.setdefault(name, {})
    return message


def _no_place(card: RobotCard, term: str, topic: str) -> ConfigError:
    return ConfigError(
        f"the term {term!r} does not fit into the messages of {topic!r}",
        where=f"robot card {card.name!r}",
        expected="a name that ends in a field of the message, and elements that it has",
        mend="rename the term, or choose another topic on the card",
    )
