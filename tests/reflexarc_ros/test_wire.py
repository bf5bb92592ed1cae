"""The fast path must give exactly what rclpy gives, and lose nothing when it does not apply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message
from reflexarc_ros.chunks import ChunkCodec, Nothing, ReferenceCodec, SafeStop, reference_terms
from reflexarc_ros.messages import ObservationTopic, observation_topics
from sensor_msgs.msg import Imu, JointState
from trajectory_msgs.msg import JointTrajectory

from hardware import ActionChunk, CommandKind, ConfigError, Observation, load_robot_card
from hardware.reference import Reference

CARD = load_robot_card("quadrotor_twin")
FINITE = st.floats(allow_nan=False, width=64)


def observation(numbers, stamp_ns=1_234_567_890_123):
    values, begin = {}, 0
    for name, spec in CARD.observations.items():
        values[name] = np.array(numbers[begin : begin + len(spec.names)])
        begin += len(spec.names)
    return Observation(values, stamp_ns, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(FINITE, min_size=13, max_size=13), st.integers(0, 2**31 * 10**9 - 1))
def test_odometry_bytes_mean_the_same_to_rclpy(numbers, stamp_ns):
    topic = ObservationTopic(CARD, "odom")
    given_observation = observation(numbers, stamp_ns)
    message = deserialize_message(topic.encode(given_observation), Odometry)
    position, orientation = message.pose.pose.position, message.pose.pose.orientation
    assert [position.x, position.y, position.z] == numbers[:3]
    assert [orientation.w, orientation.x, orientation.y, orientation.z] == numbers[3:7]
    assert message.twist.twist.angular.z == numbers[12]
    assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns
    assert (message.header.frame_id, message.child_frame_id) == ("world", "base_link")


def test_decoding_the_second_message_takes_the_learnt_layout_and_agrees():
    topic = ObservationTopic(CARD, "odom")
    rng = np.random.default_rng(0)
    for k in range(5):
        sent = observation(list(rng.normal(size=13)), stamp_ns=k * 7 + 1)
        stamp_ns, terms = topic.decode(
            bytes(serialize_message(deserialize_message(topic.encode(sent), Odometry)))
        )
        assert stamp_ns == sent.stamp_ns
        assert all(np.array_equal(terms[name], sent.values[name]) for name in terms)


def test_a_message_of_another_layout_is_still_read():
    topic = ObservationTopic(CARD, "odom")
    topic.decode(topic.encode(observation([0.0] * 13)))
    foreign = Odometry()
    foreign.header.frame_id, foreign.child_frame_id = "some_other_frame", "body"
    foreign.pose.pose.position.x = 3.5
    foreign.pose.covariance[0] = 0.1
    _, terms = topic.decode(bytes(serialize_message(foreign)))
    assert terms["position"].tolist() == [3.5, 0.0, 0.0]


@pytest.mark.parametrize("kind", [CommandKind.MOTOR, CommandKind.JOINT_POSITION, CommandKind.RATES_THRUST])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_chunks_survive_the_wire_bit_for_bit(kind, steps):
    rng = np.random.default_rng(steps)
    codec = ChunkCodec(kind, ("a", "b", "c"))
    for start_ns in (5_000_000_001, 6_000_000_002):
        sent = ActionChunk(
            kind, codec.names, rng.normal(size=(steps, 3)), start_ns, 20_000_000, 0.5, "policy"
        )
        got = codec.decode(codec.encode(sent), source="policy")
        assert got.names == sent.names
        assert np.array_equal(got.values, sent.values)
        assert (got.start_ns, got.end_ns) == (sent.start_ns, sent.end_ns)
        assert steps == 1 or got.step_ns == sent.step_ns


def test_motor_efforts_stand_in_the_effort_field():
    codec = ChunkCodec(CommandKind.MOTOR, ("a", "b"))
    raw = codec.encode(ActionChunk(CommandKind.MOTOR, ("a", "b"), np.array([[0.25, 0.75]]), 1, 10, 0.1))
    message = deserialize_message(raw, JointTrajectory)
    assert list(message.points[0].effort) == [0.25, 0.75]
    assert list(message.joint_names) == ["a", "b"]
    assert len(message.points[0].positions) == 0


def test_a_trajectory_without_points_is_the_safe_action_and_one_without_names_nothing_new():
    codec = ChunkCodec(CommandKind.MOTOR, ("a", "b"))
    assert codec.decode(codec.encode_stop(123_456_789_012), source="gate") == SafeStop(123_456_789_012)
    assert codec.decode(codec.encode_nothing(123_456_789_013), source="gate") == Nothing(123_456_789_013)


def test_numbers_in_the_wrong_field_are_refused_in_words():
    codec = ChunkCodec(CommandKind.MOTOR, ("a", "b"))
    other = ChunkCodec(CommandKind.JOINT_POSITION, ("a", "b"))
    raw = other.encode(ActionChunk(CommandKind.JOINT_POSITION, ("a", "b"), np.zeros((1, 2)), 1, 10, 0.1))
    with pytest.raises(ConfigError, match="0 numbers in a point for 2 names"):
        codec.decode(raw, source="policy")


def test_references_survive_the_wire():
    codec = ReferenceCodec()
    points = [Reference(np.array([i, 2.0, 3.0]), np.array([0.1, 0.2, i]), 0.7) for i in range(3)]
    chunk = codec.decode(codec.encode(points, start_ns=9, step_ns=10_000_000))
    terms = reference_terms(chunk.values[2])
    assert terms["reference_position"].tolist() == [2.0, 2.0, 3.0]
    assert terms["reference_velocity"].tolist() == [0.1, 0.2, 2.0]
    assert terms["reference_yaw"] == pytest.approx(0.7)


def test_the_pacing_topic_is_published_last():
    assert observation_topics(CARD)[-1].topic == "odom"


def test_an_inertial_unit_and_motor_speeds_have_messages_of_their_own():
    card = load_robot_card("quadrotor_twin_sensors")
    rng = np.random.default_rng(0)
    seen = Observation(
        {n: rng.normal(size=len(s.names)) for n, s in card.observations.items()}, 7_000_000_001, 0
    )
    topics = {t.topic: t for t in observation_topics(card)}
    assert list(topics)[-1] == "odom"
    imu = deserialize_message(topics["imu"].encode(seen), Imu)
    assert imu.linear_acceleration.z == seen.values["imu_linear_acceleration"][2]
    assert imu.angular_velocity.x == seen.values["imu_angular_velocity"][0]
    # No orientation is measured, and the message says so.
    assert imu.orientation_covariance[0] == -1.0
    assert imu.header.frame_id == "base_link"
    motors = deserialize_message(topics["joint_states"].encode(seen), JointState)
    assert list(motors.name) == ["front_right", "back_right", "back_left", "front_left"]
    assert list(motors.effort) == seen.values["motor_effort"].tolist()
    for topic in topics.values():
        stamp_ns, terms = topic.decode(topic.encode(seen))
        assert stamp_ns == 7_000_000_001
        assert all(np.array_equal(terms[name], seen.values[name]) for name in terms)
