"""What strangers, broken publishers and operators do to a running node must not move a robot nor end it."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from reflexarc_ros import qos
from reflexarc_ros.assembler import Assembler
from reflexarc_ros.bringup import nodes
from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec, SafeStop
from reflexarc_ros.messages import ObservationTopic, observation_topics
from reflexarc_ros.runner import SystemRunner
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from hardware import ActionChunk, CommandKind, ConfigError, Observation, load_robot_card

CARD = load_robot_card("quadrotor_twin")
ARM = load_robot_card("so101_twin")
MOTORS = CARD.commands["motors"].names
CODEC = ChunkCodec(CommandKind.MOTOR, MOTORS)


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def motors(effort, stamp_ns, *, steps=1, step_ns=10_000_000, valid_for_s=0.2):
    values = np.full((steps, 4), effort)
    return CODEC.encode(ActionChunk(CommandKind.MOTOR, MOTORS, values, stamp_ns, step_ns, valid_for_s))


class Robot:
    """robot_node by itself, with the test as its gate."""

    def __init__(self, start, client, **parameters):
        self.process = start("robot_node", **parameters)
        self.client = client
        self.gate = client.node.create_publisher(CODEC.message_type, GATE_TOPIC, qos.command(None, None))
        self.heights, self.stamps = [], []
        client.node.create_subscription(Odometry, "odom", self._on_odometry, qos.SENSOR)

    def _on_odometry(self, message):
        self.heights.append(message.pose.pose.position.z)
        self.stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)

    def activate(self):
        assert self.client.change("robot_node", Transition.TRANSITION_CONFIGURE)
        assert wait_for(lambda: self.client.change("robot_node", Transition.TRANSITION_ACTIVATE))
        assert wait_for(lambda: len(self.stamps) > 5)

    def is_alive(self):
        """Whether observations still come."""
        count = len(self.stamps)
        return self.process.process.poll() is None and wait_for(lambda: len(self.stamps) > count + 20, 30.0)


@pytest.mark.ros
def test_bad_messages_on_the_gate_topic_neither_end_the_robot_nor_move_it(start, client):
    robot = Robot(start, client)
    robot.activate()
    wrong_field = JointTrajectory(
        joint_names=list(MOTORS), points=[JointTrajectoryPoint(positions=[1.0] * 4)] * 2
    )
    wrong_field.header.stamp.sec = robot.stamps[-1] // 10**9
    foreign = JointTrajectory(joint_names=["a", "b"], points=[JointTrajectoryPoint(effort=[1.0, 1.0])] * 2)
    for raw in (
        bytes(serialize_message(wrong_field)),
        bytes(serialize_message(foreign)),
        b"\x00\x01\x00\x00oops",
    ):
        for _ in range(5):
            robot.gate.publish(raw)
            time.sleep(0.01)
    for _ in range(20):
        robot.gate.publish(motors(np.nan, robot.stamps[-1]))
        time.sleep(0.01)
    assert robot.is_alive(), robot.process.output
    assert max(robot.heights) < 0.16
    assert "Traceback" not in robot.process.output


@pytest.mark.ros
def test_expired_commands_do_not_reach_the_motors(start, client):
    robot = Robot(start, client)
    robot.activate()
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        robot.gate.publish(motors(1.0, robot.stamps[-1] - 10_000_000_000))
        time.sleep(0.01)
    assert robot.is_alive()
    assert max(robot.heights) < 0.16


@pytest.mark.ros
def test_a_node_can_be_configured_activated_and_cleaned_up_again_and_refuses_other_transitions(start, client):
    robot = Robot(start, client)
    for _ in range(2):
        robot.activate()
        assert not client.change("robot_node", Transition.TRANSITION_CONFIGURE)
        assert client.state("robot_node") == "active"
        assert robot.is_alive()
        assert client.change("robot_node", Transition.TRANSITION_DEACTIVATE)
        assert client.change("robot_node", Transition.TRANSITION_CLEANUP)
    assert robot.process.end() == 0, robot.process.output


@pytest.mark.ros
def test_a_lockstep_run_that_nobody_answers_ends_with_an_error(start, client):
    robot = Robot(start, client, pace="lockstep", liveness_s=1.0)
    assert client.change("robot_node", Transition.TRANSITION_CONFIGURE)
    assert wait_for(lambda: client.change("robot_node", Transition.TRANSITION_ACTIVATE))
    assert robot.process.process.wait(90) == 3
    assert wait_for(lambda: "lockstep ended: no command for step 0" in robot.process.output)


@pytest.mark.ros
def test_the_gate_plays_a_chunk_of_many_steps_at_the_rate_of_the_card(start, client):
    start("gate_node")
    topic = ObservationTopic(CARD, "odom")
    state = client.node.create_publisher(topic.message_type, "odom", qos.SENSOR)
    source = client.node.create_publisher(CODEC.message_type, "command/operator", qos.command(None, None))
    outputs = []
    client.node.create_subscription(
        CODEC.message_type,
        GATE_TOPIC,
        lambda raw: outputs.append(CODEC.decode(raw, source="gate")),
        qos.command(None, None),
        raw=True,
    )
    assert client.change("gate_node", Transition.TRANSITION_CONFIGURE)
    assert client.change("gate_node", Transition.TRANSITION_ACTIVATE)
    running = threading.Event()
    running.set()

    def publish_state():
        rng = np.random.default_rng(0)
        while running.is_set():
            values = {n: rng.normal(size=len(s.names)) for n, s in CARD.observations.items()}
            state.publish(topic.encode(Observation(values, time.time_ns(), 0)))
            time.sleep(0.01)

    ramp = np.linspace(0.2, 0.6, 100)[:, None] * np.ones(4)

    def play():
        """Send the ramp, wait until it is over, and return the steps of it that arrived."""
        begun_ns = time.time_ns()
        source.publish(CODEC.encode(ActionChunk(CommandKind.MOTOR, MOTORS, ramp, begun_ns, 10_000_000, 1.0)))
        time.sleep(2.2)
        return [c.values[0, 0] for c in outputs if isinstance(c, ActionChunk) and c.start_ns >= begun_ns]

    thread = threading.Thread(target=publish_state)
    thread.start()
    try:
        # On a busy machine this process is late, and of what it has not read the newest alone is kept.
        for _ in range(10):
            steps = play()
            assert np.all(np.diff(steps) >= 0.0)
            if len(steps) > 75 and steps[-1] > 0.57:
                return
    finally:
        running.clear()
        thread.join()
    pytest.fail(f"{len(steps)} of 100 steps arrived, the last of them {steps[-1:]}")


@pytest.mark.ros
def test_an_emergency_stop_outlives_the_gate_that_took_it(domain_id, client):
    lines, heights = [], []
    client.node.create_subscription(
        Odometry, "/quadrotor/odom", lambda m: heights.append(m.pose.pose.position.z), qos.SENSOR
    )
    stop = client.node.create_publisher(Bool, "/quadrotor/estop", qos.ESTOP)
    with SystemRunner(
        "quadrotor", {}, on_line=lambda n, line: lines.append(f"[{n}] {line}"), domain_id=domain_id
    ) as runner:
        assert wait_for(lambda: heights and heights[-1] > 0.8), "\n".join(lines)
        stop.publish(Bool(data=True))
        assert wait_for(lambda: heights[-1] < 0.3), heights[-1]
        os.kill(runner.pid("gate_node"), signal.SIGKILL)
        assert wait_for(lambda: runner.restarts("gate_node") == 1)
        time.sleep(5.0)
        assert heights[-1] < 0.2, "a new gate must not release what the old one stopped"
        assert wait_for(
            lambda: client.call(Trigger, "/quadrotor/gate_node/reset_estop", Trigger.Request()).success
        )
        assert wait_for(lambda: heights[-1] > 0.8), "\n".join(lines)


def joint_state(names, *, position, velocity):
    message = JointState(name=names, position=position, velocity=velocity)
    message.header.stamp.sec = 5
    return bytes(serialize_message(message))


def test_joints_are_bound_by_name_not_by_place():
    names = ARM.observations["joint_position"].names
    numbers = np.arange(6.0)
    topic = ObservationTopic(ARM, "joint_states")
    _, straight = topic.decode(joint_state(list(names), position=list(numbers), velocity=list(numbers + 10)))
    for _ in range(2):
        _, turned = topic.decode(
            joint_state(
                list(reversed(names)), position=list(numbers[::-1]), velocity=list(numbers[::-1] + 10)
            )
        )
        assert np.array_equal(turned["joint_position"], straight["joint_position"])
        assert np.array_equal(turned["joint_velocity"], straight["joint_velocity"])
    more = ["extra", *names]
    _, wider = topic.decode(joint_state(more, position=[9.0, *numbers], velocity=[9.0, *(numbers + 10)]))
    assert np.array_equal(wider["joint_velocity"], numbers + 10)


@pytest.mark.parametrize(
    ("names", "position", "velocity", "text"),
    [
        (["shoulder_pan"], [1.0], [1.0], "the message lacks shoulder_lift"),
        (list(ARM.observations["joint_position"].names), [1.0] * 6, [], "the message lacks velocity"),
        (list(ARM.observations["joint_position"].names), [1.0] * 3, [0.0] * 6, "the message lacks position"),
    ],
)
def test_joint_states_of_another_arm_are_refused_in_words(names, position, velocity, text):
    topic = ObservationTopic(ARM, "joint_states")
    with pytest.raises(ConfigError, match=text):
        topic.decode(joint_state(names, position=position, velocity=velocity))


def test_a_topic_that_stopped_is_not_used_as_if_it_were_fresh():
    assembler = Assembler(ARM, ARM.observations, exact=False)
    terms = {
        t.topic: {n: np.zeros(len(ARM.observations[n].names)) for n in t.slices}
        for t in observation_topics(ARM)
    }
    now_ns = 10**12
    assert assembler.push("joint_states", now_ns, terms["joint_states"], steady_ns=0) is None
    assert assembler.missing == "cube_pose"
    assembler.push("cube_pose", now_ns, terms["cube_pose"], steady_ns=0)
    assert assembler.push("joint_states", now_ns + 20_000_000, terms["joint_states"], steady_ns=0) is not None
    assert assembler.push("joint_states", now_ns + 10**9, terms["joint_states"], steady_ns=0) is None
    assert assembler.missing == "cube_pose"
    assembler.clear()
    assert assembler.push("joint_states", now_ns, terms["joint_states"], steady_ns=0) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"gust": "1,2,3"}, "five numbers"),
        ({"rate": "-5"}, "a number from 0 to 2000"),
        ({"height": "nan"}, "a number"),
        ({"period": "0"}, "a number from 1 to 120"),
        ({"seed": "1.7"}, "a whole number"),
        ({"seed": "nan"}, "a number"),
        ({"program": "hover -5"}, "'hover -5' cannot be read"),
        ({"program": "figure_eight 0 10"}, "'figure_eight 0 10' cannot be read"),
        ({"program": "figure_eight nan 10"}, "'figure_eight nan 10' cannot be read"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_starts(arguments, text):
    with pytest.raises(ConfigError) as raised:
        nodes("quadrotor", arguments)
    assert text in str(raised.value)


def test_an_opengl_library_that_is_missing_is_named_before_anything_starts(monkeypatch):
    def cannot_load(name):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr("reflexarc_ros.system.importlib.import_module", cannot_load)
    with pytest.raises(ConfigError, match="MUJOCO_GL is 'osmesa', and that OpenGL library cannot be loaded"):
        nodes("arm", {})


@pytest.mark.ros
def test_in_lockstep_the_gate_gives_one_answer_to_a_step_however_often_it_is_asked(start, client):
    """The robot may not hear the first answer of a run; it asks again, and must not get another one."""
    start("gate_node", pace="lockstep")
    topic = ObservationTopic(CARD, "odom")
    state = client.node.create_publisher(topic.message_type, "odom", qos.LOCKSTEP)
    source = client.node.create_publisher(CODEC.message_type, "command/policy", qos.command(None, None))
    estop = client.node.create_publisher(Bool, "estop", qos.ESTOP)
    outputs = []
    client.node.create_subscription(
        CODEC.message_type, GATE_TOPIC, outputs.append, qos.command(None, None), raw=True
    )
    assert client.change("gate_node", Transition.TRANSITION_CONFIGURE)
    assert client.change("gate_node", Transition.TRANSITION_ACTIVATE)
    values = {n: np.full(len(s.names), 0.5) for n, s in CARD.observations.items()}
    values["orientation"] = np.array([1.0, 0.0, 0.0, 0.0])

    def ask(step):
        """Ask for a step once more; returns every answer to it so far."""
        stamp_ns = 1_000_000_000 + step * 10_000_000
        state.publish(topic.encode(Observation(values, stamp_ns, 0)))
        chunk = ActionChunk(CommandKind.MOTOR, MOTORS, np.full((1, 4), 0.5), stamp_ns, 10_000_000, 1.0)
        source.publish(CODEC.encode(chunk))
        answers = [CODEC.decode(bytes(raw), source="gate") for raw in list(outputs)]
        return [answer for answer in answers if answer.start_ns == stamp_ns]

    # A source that takes over motors is heard after a few good commands; asking again is not one more.
    for step in range(50):
        assert wait_for(lambda step=step: len(ask(step)) >= 5)
        kinds = {type(answer) for answer in ask(step)}
        assert len(kinds) == 1
        if kinds == {ActionChunk}:
            break
    assert step > 1
    assert kinds == {ActionChunk}

    # A stop in between is heard, also while the same step is asked for.
    def stop():
        estop.publish(Bool(data=True))
        return isinstance(ask(step)[-1], SafeStop)

    assert wait_for(stop)
