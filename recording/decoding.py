"""From recorded ROS messages to the terms, images and commands of a robot card, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording.episode import Episode, Message

FloatArray = NDArray[np.float64]
StampArray = NDArray[np.int64]
# What the gate let through, and what was asked for by a source.
SENT_TOPIC = "gate/command"
IMAGE_TOPIC = "{camera}/image"
# The moments at which an imported episode had been sampled: one stamp each, and nothing else.
MOMENT_TOPIC = "dataset/moment"
# The field of a trajectory point that holds the numbers of a kind.
POINT_FIELD = {
    CommandKind.JOINT_POSITION: "positions",
    CommandKind.RATES_THRUST: "velocities",
    CommandKind.MOTOR: "effort",
}


@dataclass(frozen=True, eq=False)
class Stream:
    """N values in the order of their capture."""

    # When each was captured, ROS clock, nanoseconds, rising, (N,).
    stamps_ns: StampArray
    # The values, (N, d).
    values: FloatArray


@dataclass(frozen=True, eq=False)
class ImageStream:
    """N images in the order of their capture, decoded when they are asked for."""

    # When each was captured, ROS clock, nanoseconds, rising, (N,).
    stamps_ns: StampArray
    # The messages.
    messages: Sequence[Any]
    # The camera, for errors.
    where: str

    def image(self, index: int) -> NDArray[np.uint8]:
        """Decode one image, (H, W, 3), RGB.

        Raises:
            ConfigError: it is packed in a way that nobody here can read, or shorter than it says.
        """
        return decode_image(self.messages[index], self.where)


def read_terms(episode: Episode, card: RobotCard, names: Sequence[str]) -> dict[str, Stream]:
    """Read terms of the robot card.

    Args:
        episode: the recording.
        card: says which topic carries a term and what its elements are.
        names: the terms.

    Returns:
        A stream for each.

    Raises:
        ConfigError: the topic was not recorded, its messages do not carry the term, or its clock went back.
    """
    found: dict[str, Stream] = {}
    by_topic: dict[str, list[str]] = {}
    for name in names:
        if name not in card.observations:
            raise ConfigError(
                f"there is no term {name!r}",
                where=f"robot card {card.name!r}",
                expected="one of " + ", ".join(card.observations),
                mend="correct the name",
            )
        by_topic.setdefault(card.observations[name].topic, []).append(name)
    for topic, terms in by_topic.items():
        kind = _type_of(episode, topic)
        readers = {term: _reader(kind, term, card, topic) for term in terms}
        stamps: list[int] = []
        rows: dict[str, list[Sequence[float]]] = {term: [] for term in terms}
        for message in _in_order(episode, topic):
            stamps.append(message.stamp_ns)
            for term, read in readers.items():
                rows[term].append(read(message.data))
        for term, values in rows.items():
            width = len(card.observations[term].names)
            found[term] = Stream(
                np.array(stamps, np.int64), np.array(values, np.float64).reshape(len(stamps), width)
            )
    return found


def read_images(episode: Episode, camera: str) -> ImageStream:
    """Read the images of a camera.

    Args:
        episode: the recording.
        camera: its name on the card.

    Returns:
        The stream; images are decoded one by one.

    Raises:
        ConfigError: they were not recorded, or the clock went back.
    """
    topic = IMAGE_TOPIC.format(camera=camera)
    messages = list(_in_order(episode, topic))
    stamps = np.array([message.stamp_ns for message in messages], np.int64)
    return ImageStream(stamps, [message.data for message in messages], f"{episode.path}: camera {camera!r}")


def read_commands(
    episode: Episode, card: RobotCard, topic: str = SENT_TOPIC
) -> tuple[Stream, tuple[str, ...]]:
    """Read the commands on a topic; of a chunk, its first step.

    Args:
        episode: the recording.
        card: whose command interface they are for.
        topic: the gated ones, or those of a source (`command/policy`).

    Returns:
        The commands and their elements. Orders to stop hold no numbers and are left out.

    Raises:
        ConfigError: there is no such topic, a message does not fit the card, or the clock went back.
    """
    kind, names = _interface(episode, card, topic)
    field = POINT_FIELD.get(kind)
    stamps: list[int] = []
    rows: list[list[float]] = []
    for message in _in_order(episode, topic):
        if not message.data.points:
            continue
        given = list(message.data.joint_names)
        numbers = list(getattr(message.data.points[0], field)) if field else None
        if numbers is None or len(numbers) != len(given) or sorted(given) != sorted(names):
            raise ConfigError(
                f"a command for {', '.join(given)}",
                where=f"{episode.path}: {topic}",
                expected=", ".join(names),
                mend="export it with the card of the robot that it was recorded with",
            )
        stamps.append(message.stamp_ns)
        rows.append([numbers[given.index(name)] for name in names])
    return Stream(
        np.array(stamps, np.int64), np.array(rows, np.float64).reshape(len(rows), len(names))
    ), names


def read_moments(episode: Episode) -> StampArray:
    """Read the moments at which an imported episode had been sampled, nanoseconds, (N,); others have none."""
    root = episode.metadata.info.namespace.rstrip("/")
    if f"{root}/{MOMENT_TOPIC}" not in episode.topics:
        return np.zeros(0, np.int64)
    return np.array([message.stamp_ns for message in _in_order(episode, MOMENT_TOPIC)], np.int64)


def _interface(episode: Episode, card: RobotCard, topic: str) -> tuple[CommandKind, tuple[str, ...]]:
    """Find the command interface of the card that the messages are for: the one with their elements."""
    first = next((m.data for m in episode.messages(topic) if m.data.points), None)
    for spec in card.commands.values():
        if spec.kind not in POINT_FIELD:
            continue
        if first is None or sorted(first.joint_names) == sorted(spec.names):
            return spec.kind, spec.names
    raise ConfigError(
        "no command interface with " + (", ".join(first.joint_names) if first is not None else "joints"),
        where=f"{episode.path}: {topic}",
        expected="one of " + "; ".join(f"{name}: {', '.join(s.names)}" for name, s in card.commands.items()),
        mend="export it with the card of the robot that it was recorded with; references and Cartesian"
        " commands are not exported",
    )


def _in_order(episode: Episode, topic: str) -> list[Message]:
    """The messages of a topic, whose stamps must not go back; a second one of the same instant replaces."""
    found: list[Message] = []
    for message in episode.messages(topic):
        if found and message.stamp_ns < found[-1].stamp_ns:
            raise ConfigError(
                f"the clock went back by {(found[-1].stamp_ns - message.stamp_ns) * 1e-9:.3f} s on {topic}",
                where=str(episode.path),
                expected="stamps that rise",
                mend="leave the episode out (--skip-faulty); `reflexarc data verify` says more",
            )
        if found and message.stamp_ns == found[-1].stamp_ns:
            found.pop()
        found.append(message)
    return found


def _type_of(episode: Episode, topic: str) -> str:
    return episode.topics[episode.resolve(topic)].type


def _reader(kind: str, term: str, card: RobotCard, topic: str) -> Callable[[Any], Sequence[float]]:
    """Find how a term is read from a message of a type: by the ending of its name, as on the wire."""
    if kind == "sensor_msgs/msg/JointState":
        for field in ("position", "velocity", "effort"):
            if term.endswith(field):
                return _joints(field, card.observations[term].names, topic)
    parts = _PARTS.get(kind, {})
    for ending in sorted(parts, key=len, reverse=True):
        if term.endswith(ending):
            part, elements = parts[ending]
            names = card.observations[term].names
            if set(names) <= set(elements):
                return lambda data: [getattr(part(data), name) for name in names]
    raise ConfigError(
        f"the term {term!r} cannot be read from {kind} on {topic!r}",
        where=f"robot card {card.name!r}",
        expected="JointState, Odometry, PoseStamped or Imu, and a term named after one of their fields",
        mend="rename the term, or leave it out with --terms",
    )


def _joints(field: str, names: Sequence[str], topic: str) -> Callable[[Any], Sequence[float]]:
    order: Mapping[tuple[str, ...], list[int]] = {}

    def read(data: Any) -> Sequence[float]:  # noqa: ANN401
        nonlocal order
        given = tuple(data.name)
        if given not in order:
            absent = [name for name in names if name not in given]
            if absent:
                raise ConfigError(
                    f"a message lacks {', '.join(absent)}",
                    where=f"topic {topic!r}",
                    expected=", ".join(names),
                    mend="export it with the card of the robot that it was recorded with",
                )
            order = {given: [given.index(name) for name in names]}
        values = getattr(data, field)
        if len(values) != len(given):
            raise ConfigError(
                f"a message has {len(values)} numbers in {field!r} for {len(given)} joints",
                where=f"topic {topic!r}",
                expected="one number a joint",
                mend="leave the term out with --terms, or correct the driver",
            )
        return [values[i] for i in order[given]]

    return read


_Part = tuple[Callable[[Any], Any], tuple[str, ...]]
XYZ, WXYZ = ("x", "y", "z"), ("w", "x", "y", "z")
_PARTS: dict[str, dict[str, _Part]] = {
    "nav_msgs/msg/Odometry": {
        "position": (lambda m: m.pose.pose.position, XYZ),
        "orientation": (lambda m: m.pose.pose.orientation, WXYZ),
        "linear_velocity": (lambda m: m.twist.twist.linear, XYZ),
        "angular_velocity": (lambda m: m.twist.twist.angular, XYZ),
    },
    "geometry_msgs/msg/PoseStamped": {
        "position": (lambda m: m.pose.position, XYZ),
        "orientation": (lambda m: m.pose.orientation, WXYZ),
    },
    "sensor_msgs/msg/Imu": {
        "orientation": (lambda m: m.orientation, WXYZ),
        "angular_velocity": (lambda m: m.angular_velocity, XYZ),
        "linear_acceleration": (lambda m: m.linear_acceleration, XYZ),
    },
}


def decode_image(message: Any, where: str) -> NDArray[np.uint8]:  # noqa: ANN401
    """Decode an image message.

    Args:
        message: what has the fields of sensor_msgs/Image or sensor_msgs/CompressedImage.
        where: the camera, for the error.

    Returns:
        Shape (H, W, 3), RGB.

    Raises:
        ConfigError: it is packed in a way that nobody here can read, or shorter than it says.
    """
    data = np.frombuffer(bytes(message.data), np.uint8)
    if not hasattr(message, "encoding"):
        return _unpacked(data, message.format, where)
    channels = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "mono8": (0, 0, 0)}.get(message.encoding)
    width = {"mono8": 1}.get(message.encoding, 3) * message.width
    if channels is None or message.step < width or len(data) < message.step * message.height:
        raise ConfigError(
            f"an image of {message.width} x {message.height}, {message.encoding!r}, in {len(data)} bytes",
            where=where,
            expected="rgb8, bgr8 or mono8, whole",
            mend="let the camera's driver publish one of these, or leave the camera out with --cameras",
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)[:, :width]
    image: NDArray[np.uint8] = (
        rows.reshape(message.height, message.width, -1)[:, :, list(channels)]
        if (message.encoding != "mono8")
        else np.repeat(rows[:, :, None], 3, axis=2)
    )
    return image


def _unpacked(data: NDArray[np.uint8], form: str, where: str) -> NDArray[np.uint8]:
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        return np.asarray(Image.open(io.BytesIO(data.tobytes())).convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigError(
            f"a compressed image ({form!r}) cannot be read ({error})",
            where=where,
            expected="JPEG or PNG",
            mend="leave the camera out with --cameras, or the episode with --skip-faulty",
        ) from error
