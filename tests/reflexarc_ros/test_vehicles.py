"""Protects flights through robot_node: arming, take-off, commands, faults, landing, each with its reason."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from reflexarc_ros import qos
from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec
from sensor_msgs.msg import BatteryState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from vehicle_cards import NAMES, write_card

from hardware import ActionChunk, CommandKind
from sim.twin.trace import Trace

pytestmark = pytest.mark.ros
SCRIPT = [str(Path(__file__).parent / "fake_vehicle.py"), "robot_node"]
CODEC = ChunkCodec(CommandKind.REFERENCE, NAMES)


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


class Flight:
    """robot_node with the fake vehicle; the test is its gate, its motion capture and its operator."""

    def __init__(self, start, client, folder, *, card=None, **parameters):
        self.folder, self.client = folder, client
        self.process = start(
            "robot_node", script=SCRIPT, card=write_card(folder, **(card or {})), **parameters
        )
        node = client.node
        self.gate = node.create_publisher(CODEC.message_type, GATE_TOPIC, qos.command(None, None))
        self.pose = node.create_publisher(Odometry, "mocap/odom", qos.SENSOR)
        self.estop = node.create_publisher(Bool, "estop", qos.ESTOP)
        self.airborne, self.battery, self.positions, self.status = [], [], [], {}
        node.create_subscription(Bool, "airborne", lambda m: self.airborne.append(m.data), qos.LATCHED)
        node.create_subscription(BatteryState, "battery", self.battery.append, qos.SENSOR)
        node.create_subscription(Odometry, "odom", self._on_odometry, qos.SENSOR)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_status, qos.DIAGNOSTICS)

    def _on_odometry(self, message):
        p = message.pose.pose.position
        self.positions.append((p.x, p.y, p.z))

    def _on_status(self, message):
        for status in message.status:
            if status.name.endswith("robot_node"):
                self.status = {v.key: v.value for v in status.values} | {"message": status.message}

    def activate(self):
        assert self.client.change("robot_node", Transition.TRANSITION_CONFIGURE), self.process.output
        assert wait_for(lambda: self.client.change("robot_node", Transition.TRANSITION_ACTIVATE))
        assert wait_for(lambda: self.positions), self.process.output
        return self

    def ask(self, service, *, on=None):
        if on is None:
            return self.client.call(Trigger, f"robot_node/{service}", Trigger.Request(), timeout_s=90.0)
        return self.client.call(SetBool, f"robot_node/{service}", SetBool.Request(data=on), timeout_s=90.0)

    def send(self, place):
        values = np.array([[*place, 0.0, 0.0, 0.0, 0.0]])
        chunk = ActionChunk(CommandKind.REFERENCE, NAMES, values, time.time_ns(), 20_000_000, 0.5)
        self.gate.publish(CODEC.encode(chunk))

    def stop(self):
        self.gate.publish(CODEC.encode_stop(time.time_ns()))

    def until(self, condition, *, send=None, timeout_s=90.0):
        """Send a place, over and over, until something holds."""

        def turn():
            if send is not None:
                self.send(send)
            return condition()

        return wait_for(turn, timeout_s)

    def set(self, fault):
        (self.folder / fault).touch()

    def clear(self, fault):
        (self.folder / fault).unlink()

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def height_m(self):
        return self.positions[-1][2]

    def take_off(self):
        assert self.ask("arm", on=True).success
        answer = self.ask("take_off")
        assert answer.success, answer.message
        return answer.message


def near(flight, place):
    return lambda: math.dist(flight.positions[-1], place) < 0.05


@pytest.fixture
def flight(start, client, tmp_path):
    return Flight(start, client, tmp_path, card={"external_pose": "mocap/odom"}, take_off_height_m=1.2)


def test_a_whole_flight_with_a_fault_of_the_commander_in_it(start, client, tmp_path):
    trace = tmp_path / "trace.npz"
    card = {"battery_warn_share": 0.3, "battery_land_share": 0.2}
    flight = Flight(start, client, tmp_path, card=card, take_off_height_m=1.2, trace_path=str(trace))
    flight.activate()
    assert wait_for(lambda: flight.airborne == [False])
    # Commands move nothing on the ground, and a gate that has nothing to say lands nobody.
    assert flight.until(lambda: len(flight.positions) > 25, send=(2.0, 0.0, 1.0))
    assert flight.height_m < 0.01
    flight.stop()
    assert flight.take_off().startswith("1.2 m up after")
    assert wait_for(lambda: flight.airborne == [False, True])
    assert flight.height_m == pytest.approx(1.2, abs=0.1)
    flight.stop()
    time.sleep(0.3)
    assert not [call for call in flight.calls if call.startswith("safe_stop")]
    assert flight.until(near(flight, (1.0, 0.5, 1.5)), send=(1.0, 0.5, 1.5))
    assert wait_for(lambda: flight.status.get("phase") == "following commands")
    assert flight.status["armed"] == "true"
    assert flight.status["battery_share"] == "0.9"
    assert (flight.battery[-1].percentage, flight.battery[-1].present) == (pytest.approx(0.9), True)
    # The gate gives up: the vehicle comes down; a command that passes again ends that.
    flight.stop()
    assert wait_for(lambda: flight.height_m < 1.35)
    assert "safe_stop the gate takes the safe action" in flight.calls
    assert flight.airborne == [False, True]
    assert flight.until(near(flight, (0.0, 0.0, 1.5)), send=(0.0, 0.0, 1.5))
    assert "resumed" in flight.calls
    answer = flight.ask("land")
    assert answer.success, answer.message
    assert answer.message.startswith("landed and disarmed after")
    assert wait_for(lambda: flight.airborne == [False, True, False])
    assert client.change("robot_node", Transition.TRANSITION_DEACTIVATE)
    recorded = Trace.load(trace)
    assert recorded.qpos.shape[1:] == (7,)
    assert recorded.qpos[:, 2].max() > 1.4
    assert recorded.command_names == NAMES
    assert len(recorded.command_values) > 10
    assert {"take_off", "phase", "safe_stop", "released", "land"} <= set(recorded.event_names)
    assert flight.process.end() == 0, flight.process.output
    assert "Traceback" not in flight.process.output


def test_what_is_asked_for_at_the_wrong_time_is_refused_with_the_reason(flight):
    flight.activate()

    def refused(service, **on):
        answer = flight.ask(service, **on)
        assert not answer.success
        return answer.message

    assert refused("take_off") == "the vehicle is not armed: arm it first (~/arm)"
    assert refused("land") == "the vehicle is not armed"
    flight.set("blocked")
    assert refused("arm", on=True) == "will not arm: the throttle is not at its lowest"
    assert wait_for(lambda: flight.status.get("arming_blockers") == "the throttle is not at its lowest")
    flight.clear("blocked")
    flight.set("deaf")
    assert refused("arm", on=True) == "the firmware did not arm within 5 s: mode HOLD"
    flight.clear("deaf")
    # Firmware that stands armed for a while disarms by itself.
    assert flight.ask("arm", on=True).success
    flight.set("idles_out")
    assert wait_for(lambda: flight.status.get("armed") == "false")
    assert refused("take_off").startswith("the vehicle has disarmed itself")
    assert "arm it again (~/arm)" in refused("take_off")
    flight.clear("idles_out")
    flight.take_off()
    assert refused("take_off") == "the vehicle is holding, ready for commands"
    assert refused("arm", on=True) == "the vehicle is holding, ready for commands"
    assert "land it (~/land)" in refused("arm", on=False)
    assert "only a twin can be reset" not in refused("reset")
    assert flight.ask("land").success
    assert flight.ask("arm", on=False).success


def test_a_low_battery_is_warned_of_and_then_lands_the_vehicle_whoever_commands(start, client, tmp_path):
    card = {"battery_warn_v": 15.0, "battery_land_v": 14.5}
    flight = Flight(start, client, tmp_path, card=card).activate()
    flight.take_off()
    assert flight.until(near(flight, (0.0, 0.0, 2.0)), send=(0.0, 0.0, 2.0))
    flight.set("low_battery")
    assert flight.until(
        lambda: "low battery: 10 %, 14.00 V" in flight.status["message"], send=(0.0, 0.0, 2.0)
    )
    assert flight.until(lambda: flight.status["armed"] == "false", send=(0.0, 0.0, 2.0))
    assert "land" in flight.calls
    assert flight.airborne[-1] is False
    assert flight.ask("arm", on=True).success
    answer = flight.ask("take_off")
    assert (answer.success, answer.message) == (False, "the battery is too low: 10 %, 14.00 V")


def test_an_emergency_stop_lands_and_a_reset_does_not_take_off_again(start, client, tmp_path):
    flight = Flight(start, client, tmp_path).activate()
    released = client.node.create_publisher(Bool, "gate/estop", qos.LATCHED)
    flight.take_off()
    assert flight.until(near(flight, (0.0, 0.0, 2.0)), send=(0.0, 0.0, 2.0))
    flight.estop.publish(Bool(data=True))
    assert flight.until(lambda: flight.height_m < 1.9, send=(0.0, 0.0, 2.0))
    assert "safe_stop emergency stop" in flight.calls
    released.publish(Bool(data=False))
    assert flight.until(lambda: flight.status["armed"] == "false", send=(0.0, 0.0, 2.0))
    assert "resumed" not in flight.calls


def test_poses_from_outside_reach_the_vehicle_and_are_missed_when_they_stop(flight):
    flight.activate()
    assert wait_for(lambda: "no external pose on mocap/odom yet" in flight.status.get("message", ""))
    message = Odometry()
    message.pose.pose.position.x = 1.25
    # Turned left by a quarter; 0.5 m/s to its left is 0.5 m/s backwards in the world.
    message.pose.pose.orientation.w = message.pose.pose.orientation.z = math.sqrt(0.5)
    message.twist.twist.linear.y = 0.5

    def send():
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        flight.pose.publish(message)
        time.sleep(0.01)

    def arrives():
        send()
        return "pose 1.25 -0.50" in flight.calls and "disarmed" in flight.status["message"]

    assert wait_for(arrives), flight.status
    assert wait_for(lambda: "the external pose on mocap/odom is" in flight.status["message"])


def test_control_c_in_flight_lands_before_the_wire_is_closed(start, client, tmp_path):
    flight = Flight(start, client, tmp_path).activate()
    flight.take_off()
    assert flight.process.end(timeout_s=90.0) == 0, flight.process.output
    assert flight.height_m < 0.05
    assert flight.calls.index("safe_stop deactivated") < flight.calls.index("disconnect")


def test_a_vehicle_that_nobody_commands_after_its_take_off_lands(start, client, tmp_path):
    flight = Flight(start, client, tmp_path, card={"hold_timeout_s": 0.5}).activate()
    flight.take_off()
    assert wait_for(lambda: flight.status.get("armed") == "false" and flight.airborne[-1] is False)
    assert "safe_stop no command within 0.5 s after the take-off" in flight.calls


@pytest.mark.parametrize(
    ("card", "parameters", "text"),
    [
        ({}, {"pace": "lockstep"}, "the driver 'px4' cannot run in lockstep"),
        ({}, {"interface": "rates"}, "no command interface 'rates'. Expected one of reference"),
        ({}, {"cameras": True}, "the robot has no cameras"),
        ({"battery_warn_v": "full"}, {}, "battery_warn_v is 'full'. Expected a positive number"),
        ({"external_pose": "odom"}, {}, "external_pose is 'odom'. Expected one of mocap/odom, mocap/pose"),
    ],
)
def test_what_does_not_suit_a_vehicle_is_refused_in_words(start, client, tmp_path, card, parameters, text):
    node = start("robot_node", script=SCRIPT, card=write_card(tmp_path, **card), **parameters)
    assert not client.change("robot_node", Transition.TRANSITION_CONFIGURE)
    assert wait_for(lambda: text in node.output), node.output
    assert node.end() == 0
