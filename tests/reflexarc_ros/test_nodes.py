"""Each node by itself: it refuses what is wrong, in words, and always leaves cleanly."""

import signal
import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import DescribeParameters, ListParameters
from reflexarc_ros import qos
from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec
from std_srvs.srv import Trigger

from hardware import ActionChunk, CommandKind, load_robot_card

pytestmark = pytest.mark.ros
MOTORS = load_robot_card("quadrotor_twin").commands["motors"].names
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def publisher(client):
    return client.node.create_publisher(
        ChunkCodec(CommandKind.MOTOR, MOTORS).message_type, GATE_TOPIC, qos.command(None, None)
    )


def command(effort, stamp_ns, valid_for_s=0.2):
    chunk = ActionChunk(CommandKind.MOTOR, MOTORS, np.full((1, 4), effort), stamp_ns, 10_000_000, valid_for_s)
    return ChunkCodec(CommandKind.MOTOR, MOTORS).encode(chunk)


@pytest.mark.parametrize("presses", [1, 3])
@pytest.mark.parametrize("name", ["robot_node", "gate_node", "reference_node", "supervisor_node"])
def test_control_c_once_or_three_times_ends_a_node_with_code_0(start, client, name, presses):
    node = start(name)
    service = f"/robot/{name}/get_parameters"
    assert wait_for(lambda: service in dict(client.node.get_service_names_and_types()))
    for _ in range(presses - 1):
        node.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert node.end(signal.SIGINT) == 0, node.output
    assert "Traceback" not in node.output
    assert "terminate called" not in node.output


def test_robot_refuses_to_activate_without_a_gate_and_with_two(start, client):
    node = start("robot_node")
    assert client.change("robot_node", CONFIGURE)
    assert not client.change("robot_node", ACTIVATE)
    assert wait_for(lambda: "0 publishers on gate/command. Expected exactly one" in node.output)
    first = publisher(client)
    second = publisher(client)
    assert wait_for(lambda: client.node.count_publishers(GATE_TOPIC) == 2)
    time.sleep(0.5)
    assert not client.change("robot_node", ACTIVATE)
    assert wait_for(lambda: "2 publishers on gate/command" in node.output)
    client.node.destroy_publisher(second)
    assert wait_for(lambda: client.change("robot_node", ACTIVATE))
    client.node.destroy_publisher(first)
    assert node.end() == 0


def test_robot_takes_its_safe_action_when_commands_stop(start, client, tmp_path):
    """Without gate and policy: a climb for a moment, then silence. The twin lands by itself."""
    trace = tmp_path / "trace.npz"
    node = start("robot_node", trace_path=str(trace))
    gate = publisher(client)
    heights, stamps = [], []

    def on_odometry(message):
        heights.append(message.pose.pose.position.z)
        stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)

    client.node.create_subscription(Odometry, "odom", on_odometry, qos.SENSOR)
    assert client.change("robot_node", CONFIGURE)
    assert wait_for(lambda: client.change("robot_node", ACTIVATE))
    assert wait_for(lambda: len(stamps) > 5)

    def climbs():
        gate.publish(command(0.65, stamps[-1]))
        return heights[-1] > 0.3

    assert wait_for(climbs)
    assert wait_for(lambda: heights[-1] < 0.2), heights[-1]
    assert client.change("robot_node", DEACTIVATE)
    assert node.end() == 0
    from sim.twin.trace import Trace

    events = Trace.load(trace)
    assert "command timeout" in events.event_details


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("robot_node", {"card": "no_such_robot"}, "there is no robot card 'no_such_robot'"),
        ("gate_node", {"interface": "wheels"}, "no command interface 'wheels'"),
        ("policy_node", {}, "no policy. Expected a policy folder or a controller file"),
        ("reference_node", {"reference": "program", "program": ["loop 3"]}, "'loop 3' cannot be read"),
        ("robot_node", {"airframe": "zeppelin"}, "zeppelin"),
        ("robot_node", {"card": "px4_dds"}, "px4_msgs"),
        ("peer_node", {"card": "px4"}, "the card names no peer. Expected peer: one of betaflight"),
    ],
)
def test_a_wrong_parameter_keeps_a_node_unconfigured_and_says_why(start, client, name, parameters, text):
    node = start(name, **parameters)
    assert not client.change(name, CONFIGURE)
    assert wait_for(lambda: text in node.output), node.output
    assert client.state(name) == "unconfigured"
    assert node.end() == 0


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"pace": "fast"}, "the parameter 'pace' is 'fast'. Expected one of real_time, lockstep"),
        ({"rate_hz": -5.0}, "rate_hz"),
        ({"seed": "seven"}, "seed"),
    ],
)
def test_a_parameter_of_wrong_type_or_value_ends_the_process_with_code_2(start, parameters, text):
    node = start("robot_node", **parameters)
    assert node.process.wait(20) == 2, node.output
    assert wait_for(lambda: text in node.output), node.output
    assert "Traceback" not in node.output


def test_every_parameter_is_described(start, client):
    start("robot_node")
    names = client.call(ListParameters, "robot_node/list_parameters", ListParameters.Request()).result.names
    request = DescribeParameters.Request(
        names=[n for n in names if n not in ("use_sim_time",) and "." not in n]
    )
    described = client.call(DescribeParameters, "robot_node/describe_parameters", request).descriptors
    assert {"card", "pace", "seed", "airframe"} <= {d.name for d in described}
    own = [d for d in described if not d.name.startswith(("qos_overrides", "start_type"))]
    assert all(d.description for d in own), [d.name for d in own if not d.description]


def test_reset_is_refused_while_the_robot_is_active(start, client):
    start("robot_node")
    gate = publisher(client)
    assert client.change("robot_node", CONFIGURE)
    assert wait_for(lambda: client.change("robot_node", ACTIVATE))
    answer = client.call(Trigger, "robot_node/reset", Trigger.Request())
    assert not answer.success
    assert "deactivate the node first" in answer.message
    assert client.change("robot_node", DEACTIVATE)
    assert client.call(Trigger, "robot_node/reset", Trigger.Request()).success
    client.node.destroy_publisher(gate)
