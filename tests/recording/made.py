"""Makes messages in CDR without ROS, and episodes of them."""

import itertools
from types import SimpleNamespace

from mcap_ros2._dynamic import serialize_dynamic

from recording import EpisodeInfo, EpisodeWriter, TopicSpec, WriterConfig

HEADER = "\n".join(
    (
        "=" * 80,
        "MSG: std_msgs/Header",
        "builtin_interfaces/Time stamp",
        "string frame_id",
        "=" * 80,
        "MSG: builtin_interfaces/Time",
        "int32 sec",
        "uint32 nanosec",
        "",
    )
)
JOINT_STATE = "\n".join(
    (
        "std_msgs/Header header",
        "string[] name",
        "float64[] position",
        "float64[] velocity",
        "float64[] effort",
        HEADER,
    )
)
IMAGE = "\n".join(
    (
        "std_msgs/Header header",
        "uint32 height",
        "uint32 width",
        "string encoding",
        "uint8 is_bigendian",
        "uint32 step",
        "uint8[] data",
        HEADER,
    )
)
TRAJECTORY = "\n".join(
    (
        "std_msgs/Header header",
        "string[] joint_names",
        "trajectory_msgs/JointTrajectoryPoint[] points",
        "=" * 80,
        "MSG: trajectory_msgs/JointTrajectoryPoint",
        "float64[] positions",
        "float64[] velocities",
        "float64[] accelerations",
        "float64[] effort",
        "builtin_interfaces/Duration time_from_start",
        "=" * 80,
        "MSG: builtin_interfaces/Duration",
        "int32 sec",
        "uint32 nanosec",
        HEADER,
    )
)
STRING = "string data"
# A header by itself.
HEADER_ALONE = "\n".join(("builtin_interfaces/Time stamp", "string frame_id", *HEADER.splitlines()[4:], ""))
JOINTS = TopicSpec("/arm/joint_states", "sensor_msgs/msg/JointState", JOINT_STATE)
CAMERA = TopicSpec("/arm/front/image", "sensor_msgs/msg/Image", IMAGE)
WRIST = TopicSpec("/arm/wrist/image", "sensor_msgs/msg/Image", IMAGE)
COMMAND = TopicSpec("/arm/gate/command", "trajectory_msgs/msg/JointTrajectory", TRAJECTORY)
NOTE = TopicSpec("/arm/note", "std_msgs/msg/String", STRING)
ENGAGED = TopicSpec("/arm/teleop/engaged", "std_msgs/msg/Bool", "bool data")
SOURCE = TopicSpec("/arm/gate/source", "std_msgs/msg/Header", HEADER_ALONE)
_ENCODERS = {
    spec.type: serialize_dynamic(spec.type, spec.schema)[spec.type]
    for spec in (JOINTS, CAMERA, COMMAND, NOTE, ENGAGED, SOURCE)
}
NS = 1_000_000_000


def header(stamp_ns):
    sec, nanosec = divmod(stamp_ns, NS)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="base")


def joints(stamp_ns, positions, velocities=(), names=("a", "b")):
    message = SimpleNamespace(
        header=header(stamp_ns),
        name=list(names),
        position=list(positions),
        velocity=list(velocities),
        effort=[],
    )
    return _ENCODERS[JOINTS.type](message)


def image(stamp_ns, pixels, width=4, height=2):
    message = SimpleNamespace(
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=bytes(pixels),
    )
    return _ENCODERS[CAMERA.type](message)


def command(stamp_ns, positions, names=("a", "b")):
    zero = SimpleNamespace(sec=0, nanosec=0)
    point = SimpleNamespace(
        positions=list(positions), velocities=[], accelerations=[], effort=[], time_from_start=zero
    )
    message = SimpleNamespace(header=header(stamp_ns), joint_names=list(names), points=[point])
    return _ENCODERS[COMMAND.type](message)


def source(stamp_ns, name):
    return _ENCODERS[SOURCE.type](SimpleNamespace(stamp=header(stamp_ns).stamp, frame_id=name))


def engaged(*, value):
    return _ENCODERS[ENGAGED.type](SimpleNamespace(data=value))


def string(text):
    return _ENCODERS[NOTE.type](SimpleNamespace(data=text))


class Clock:
    """A clock that a test moves."""

    def __init__(self, now_ns=0):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns


_ids = itertools.count(1)


def info(number=0, **more):
    return EpisodeInfo(f"id-{next(_ids)}", number, namespace="/arm", robot="arm", **more)


def open_writer(path, clock=None, attachments=None, config=None, topics=(JOINTS, CAMERA), **more):
    writer = EpisodeWriter(
        path,
        info(**more),
        steady_clock=clock or Clock(),
        attachments=attachments,
        config=config or WriterConfig(),
    )
    for spec in topics:
        writer.add_topic(spec)
    return writer


def write_joints(writer, numbers, *, start_ns=0, step_ns=20_000_000, delay_ns=1_000_000):
    """Messages whose position is their number."""
    for number in numbers:
        stamp_ns = start_ns + number * step_ns
        writer.write(
            JOINTS.name,
            joints(stamp_ns, (float(number), 0.0)),
            stamp_ns=stamp_ns,
            receive_ns=stamp_ns + delay_ns,
        )


def numbers(episode, topic="joint_states"):
    return [int(message.data.position[0]) for message in episode.messages(topic)]
