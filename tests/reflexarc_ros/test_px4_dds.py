"""Protects the node side of PX4's topics, with stand-in messages made from the table of fields."""

import math
import types
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="quality of service is rclpy's")

from reflexarc_ros.px4_dds import PX4TopicsVehicle, load_messages  # noqa: E402

from hardware.cards import load_robot_card  # noqa: E402
from hardware.command import Command, CommandKind  # noqa: E402
from hardware.drones import px4_topics  # noqa: E402
from hardware.drones.px4_modes import Mode  # noqa: E402
from hardware.drones.state import REFERENCE_NAMES  # noqa: E402
from hardware.drones.vehicle import FlightVehicle  # noqa: E402
from hardware.errors import ConfigError, Refusal  # noqa: E402

pytestmark = pytest.mark.ros


def message_class(name, fields):
    return type(name, (), {"__slots__": fields, "__init__": lambda self: None})


MESSAGES = types.SimpleNamespace(**{n: message_class(n, f) for n, f in px4_topics.MESSAGES.items()})


class Node:
    """As much of a node as the driver uses; what is published is kept."""

    def __init__(self, topics):
        self.topics, self.published, self.callbacks = topics, [], {}

    def create_publisher(self, kind, topic, qos):
        return types.SimpleNamespace(publish=lambda message: self.published.append((topic, message)))

    def create_subscription(self, kind, topic, callback, qos):
        assert qos.reliability.name == "BEST_EFFORT"
        self.callbacks[topic] = (kind, callback)
        return object()

    def get_topic_names_and_types(self):
        return [(topic, []) for topic in self.topics]

    def tell(self, topic, **fields):
        kind, callback = self.callbacks[topic]
        message = kind()
        for name in kind.__slots__:
            setattr(message, name, fields.get(name, 0))
        callback(message)


def card(**parameters):
    loaded = load_robot_card("px4")
    return replace(loaded, parameters={"hover_thrust": 0.55} | parameters)


def connected(now):
    topics = [f"/fmu/out/{n}" for n in px4_topics.SUBSCRIBED if n != "vehicle_status"]
    node = Node([*topics, "/fmu/out/vehicle_status_v4"])
    vehicle = PX4TopicsVehicle(
        card(), node=node, messages=MESSAGES, steady_clock=lambda: now[0], data_clock=lambda: now[0]
    )
    # Without threads: the test is the clock.
    vehicle._start = lambda loop, name: None
    vehicle._session.state = object()
    vehicle._session._heard_ns = 0
    vehicle.connect()
    vehicle._session.state = None
    vehicle.discover()
    return vehicle, node


def test_it_subscribes_to_the_version_that_is_there_and_publishes_what_was_decided():
    now = [10**9]
    vehicle, node = connected(now)
    assert isinstance(vehicle, FlightVehicle)
    assert "/fmu/out/vehicle_status_v4" in node.callbacks
    with pytest.raises(Refusal, match="no observation yet"):
        vehicle.read()
    node.tell(
        "/fmu/out/vehicle_odometry",
        pose_frame=1, velocity_frame=1, position=[2.0, 1.0, -3.0], q=[1.0, 0.0, 0.0, 0.0],
        velocity=np.zeros(3), angular_velocity=np.zeros(3), timestamp_sample=999_990,
    )  # fmt: skip
    assert vehicle.read().values["position"].tolist() == [1.0, 2.0, 3.0]
    assert vehicle.read().stamp_ns == 999_990_000
    node.tell(
        "/fmu/out/vehicle_status_v4",
        arming_state=1,
        nav_state=Mode.HOLD.nav_state,
        pre_flight_checks_pass=True,
    )
    vehicle.arm()
    vehicle.tick()
    ((topic, message),) = node.published
    assert topic == "/fmu/in/vehicle_command"
    assert (message.command, message.param1, message.from_external) == (400, 1.0, True)
    node.tell("/fmu/out/vehicle_status_v4", arming_state=2, nav_state=Mode.HOLD.nav_state)
    assert vehicle.status.armed
    assert vehicle.status.mode == "AUTO.HOLD"


def test_bad_commands_and_bad_cards_are_refused_in_words():
    vehicle, _ = connected([10**9])
    numbers = np.array([0.0, 0.0, math.nan, 0.0, 0.0, 0.0, 0.0])
    with pytest.raises(Refusal, match="z is not finite"):
        vehicle.command(Command(CommandKind.REFERENCE, REFERENCE_NAMES, numbers, 0, 0))
    with pytest.raises(ConfigError, match="MPC_THR_HOVER as hover_thrust"):
        PX4TopicsVehicle(load_robot_card("px4"), messages=MESSAGES)


def test_missing_messages_are_told_in_words():
    with pytest.raises(ConfigError, match="px4_msgs cannot be imported.*driver px4, which speaks MAVLink"):
        load_messages()
