"""Protects /tf: the body's frame where tf2_msgs is installed, and a word on /diagnostics where it is not."""

import sys
import time
import types

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from reflexarc_ros import body_frame, qos
from reflexarc_ros.body_frame import NOT_INSTALLED, BodyFrame, find_messages, has_body

from hardware import Observation, load_robot_card

CARD = load_robot_card("quadrotor_twin")
MS = 1_000_000


class TFMessage:
    """In place of tf2_msgs, which is no wheel."""

    def __init__(self, *, transforms):
        self.transforms = transforms


class Node:
    """Keeps what is published."""

    def __init__(self):
        self.sent, self.advertised = [], []

    def create_publisher(self, kind, topic, profile):
        self.advertised.append((kind, topic, profile))
        return self

    def publish(self, message):
        self.sent.append(message)


def observation(stamp_ns, position=(1.0, 2.0, 3.0), orientation=(0.5, -0.5, 0.5, 0.5)):
    values = {n: np.zeros(len(t.names)) for n, t in CARD.observations.items()}
    values |= {"position": np.array(position), "orientation": np.array(orientation)}
    return Observation(values, stamp_ns, 0)


def test_the_body_is_where_the_observation_says():
    node = Node()
    BodyFrame(node, CARD, TFMessage).publish(observation(3_000_000_007))
    assert node.advertised == [(TFMessage, "/tf", qos.FRAMES)]
    (message,) = node.sent
    (frame,) = message.transforms
    assert (frame.header.frame_id, frame.child_frame_id) == ("world", "base_link")
    assert (frame.header.stamp.sec, frame.header.stamp.nanosec) == (3, 7)
    place, turn = frame.transform.translation, frame.transform.rotation
    assert (place.x, place.y, place.z) == (1.0, 2.0, 3.0)
    assert (turn.w, turn.x, turn.y, turn.z) == (0.5, -0.5, 0.5, 0.5)


def test_it_is_told_fifty_times_a_second_and_anew_after_a_clock_that_went_back():
    node = Node()
    frame = BodyFrame(node, CARD, TFMessage)
    for i in range(100):
        frame.publish(observation(10**9 + i * 10 * MS))
    assert len(node.sent) == 50
    frame.publish(observation(10**9))
    assert len(node.sent) == 51


@pytest.mark.parametrize(
    ("name", "expected"), [("quadrotor_twin", True), ("px4", True), ("so101_twin", False)]
)
def test_a_robot_has_a_body_when_it_measures_where_that_is(name, expected):
    assert has_body(load_robot_card(name)) is expected


def test_the_messages_are_looked_for_when_they_are_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2_msgs", None)
    assert find_messages() is None
    package, messages = types.ModuleType("tf2_msgs"), types.ModuleType("tf2_msgs.msg")
    messages.TFMessage = TFMessage
    monkeypatch.setitem(sys.modules, "tf2_msgs", package)
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", messages)
    assert find_messages() is TFMessage


@pytest.mark.ros
def test_the_robot_tells_of_its_frames_on_diagnostics(start, client):
    seen = {}

    def on_diagnostics(message):
        seen.update(
            {v.key: v.value for s in message.status for v in s.values if s.name.endswith("robot_node")}
        )

    client.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos.DIAGNOSTICS)
    node = start("robot_node")
    assert client.change("robot_node", Transition.TRANSITION_CONFIGURE), node.output
    # This test runs with the wheels, and within a distribution too.
    expected = NOT_INSTALLED if find_messages() is None else body_frame.TF_TOPIC
    deadline_s = time.monotonic() + 90.0
    while seen.get("tf") != expected and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert seen.get("tf") == expected, seen
