"""Protects references on the wire: headings that wrap, numbers that are none, velocities that are missing."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import Transform, Twist
from rclpy.serialization import deserialize_message, serialize_message
from reflexarc_ros.chunks import ChunkCodec, ReferenceCodec, reference_terms
from trajectory_msgs.msg import MultiDOFJointTrajectory, MultiDOFJointTrajectoryPoint

from hardware import ActionChunk, CommandKind, ConfigError, Interpolation, Schedule
from hardware.reference import Reference, make_program, make_trajectory

STEP_NS = 10_000_000


def points(*yaws):
    return [Reference(np.array([i, 0.0, 1.0]), np.array([0.1, 0.0, 0.0]), yaw) for i, yaw in enumerate(yaws)]


def wire(*yaws):
    return ReferenceCodec().encode(points(*yaws), start_ns=0, step_ns=STEP_NS)


def canonical(raw):
    """The message as another publisher writes it: quaternions with w of zero or more."""
    message = deserialize_message(raw, MultiDOFJointTrajectory)
    for point in message.points:
        q = point.transforms[0].rotation
        if q.w < 0.0:
            q.w, q.z = -q.w, -q.z
    return bytes(serialize_message(message))


def turn(a, b):
    return abs(math.remainder(a - b, 2 * math.pi))


@pytest.mark.parametrize("rewrite", [lambda raw: raw, canonical], ids=["ours", "canonical"])
@pytest.mark.parametrize(
    "yaws",
    [(3.1, 3.2, 3.3), (3.1, -3.1, -3.0), (-3.1, 3.1, 3.0), (0.1, -0.1, 0.0), (6.2, 6.3, 6.4)],
)
def test_a_heading_is_interpolated_the_short_way_round(rewrite, yaws):
    chunk = ReferenceCodec().decode(rewrite(wire(*yaws)))
    schedule = Schedule(interpolation=Interpolation.LINEAR)
    schedule.push(chunk, now_ns=0)
    for i in range(2):
        ends = yaws[i], yaws[i + 1]
        for share in (0.0, 0.25, 0.5, 0.75):
            terms = reference_terms(schedule.sample(i * STEP_NS + round(share * STEP_NS)))
            (yaw,) = terms["reference_yaw"]
            assert -math.pi <= yaw <= math.pi
            # Between the two, and nowhere else.
            assert turn(yaw, ends[0]) + turn(yaw, ends[1]) == pytest.approx(turn(*ends), abs=1e-6)


def test_a_heading_as_a_command_stays_within_half_a_turn():
    names = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "yaw")
    codec = ChunkCodec(CommandKind.REFERENCE, names)
    for yaw in (0.0, 3.1, 3.3, -3.3, 7.0, 100.0):
        values = np.array([[1.0, 2.0, 3.0, 0.1, 0.2, 0.3, yaw]])
        got = codec.decode(codec.encode(ActionChunk(codec.kind, names, values, 1, STEP_NS, 0.1)), source="x")
        assert got.values[0, :6].tolist() == values[0, :6].tolist()
        assert -math.pi <= got.values[0, 6] <= math.pi
        assert turn(got.values[0, 6], yaw) < 1e-9


def edited(edit):
    message = deserialize_message(wire(0.0, 0.0, 0.0), MultiDOFJointTrajectory)
    edit(message)
    return bytes(serialize_message(message))


def forget_velocities(message):
    for point in message.points:
        point.velocities = []


def spoil_position(message):
    message.points[1].transforms[0].translation.y = math.nan


def spoil_velocity(message):
    message.points[2].velocities[0].linear.z = math.inf


def spoil_heading(message):
    message.points[0].transforms[0].rotation.w = 0.0


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (forget_velocities, "a point has no velocity. Expected a transform and a velocity in each point"),
        (spoil_position, "numbers that are not finite"),
        (spoil_velocity, "numbers that are not finite"),
        (spoil_heading, "rotation about another axis than z"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_refused_in_words(edit, text):
    codec = ReferenceCodec()
    with pytest.raises(ConfigError) as raised:
        codec.decode(edited(edit))
    assert text in str(raised.value)
    # The next good one is read.
    assert codec.decode(wire(0.0, 0.1)) is not None


def test_a_reference_without_points_means_nothing():
    assert ReferenceCodec().decode(bytes(serialize_message(MultiDOFJointTrajectory()))) is None


def test_a_foreign_reference_of_one_point_is_read():
    message = MultiDOFJointTrajectory(joint_names=["base"])
    message.header.stamp.sec = 3
    transform = Transform()
    transform.translation.x, transform.rotation.w = 2.0, 1.0
    message.points = [
        MultiDOFJointTrajectoryPoint(transforms=[transform], velocities=[Twist()]) for _ in range(2)
    ]
    message.points[1].time_from_start.sec = 1
    chunk = ReferenceCodec().decode(bytes(serialize_message(message)))
    assert reference_terms(chunk.values[0])["reference_position"].tolist() == [2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda **at: make_program(["hover 4", "figure_eight 5 6"], height_m=1.5, **at),
        lambda **at: make_trajectory("hover", height_m=1.5, period_s=5.0, waypoints=[], **at),
        lambda **at: make_trajectory("figure_eight", height_m=1.5, period_s=5.0, waypoints=[], **at),
    ],
    ids=["program", "hover", "figure_eight"],
)
def test_a_reference_begins_where_the_vehicle_is_and_keeps_its_heading(make):
    start = (2.0, -3.0, 1.4)
    there, home = make(start_m=start, yaw_rad=1.0), make()
    assert there.sample(0.0).position_m.tolist() == list(start)
    for t in (0.0, 0.1, 5.0, 9.0):
        assert there.sample(t).yaw_rad == 1.0
        assert home.sample(t).yaw_rad == 0.0
    # Up there it is flown above the vehicle's own place.
    path = np.array([there.sample(t).position_m for t in np.linspace(20.0, 60.0, 400)])
    assert path.mean(axis=0) == pytest.approx([2.0, -3.0, 1.5], abs=0.02)
    assert np.ptp(path[:, 2]) == 0.0
