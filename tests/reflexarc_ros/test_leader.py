"""Protects drift against a leader arm, from its servos to the finding in the file.

The leader is an emulated servo bus on a pseudo terminal; the arm that follows, its gate and the recorder are
the running system.
"""

import json
import math
import time

import pytest
from lifecycle_msgs.msg import Transition
from reflexarc_ros import qos
from reflexarc_ros.bringup import nodes
from reflexarc_ros.leader_publisher import LeaderPublisher
from reflexarc_ros.messages import to_ns
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from teleop_stand import PATIENCE_S, Stand

from hardware.teleop import Reading, load_mapping
from hardware.teleop.so101_leader import JOINTS, load_calibration
from recording import Episode
from recording.folder import finished
from recording.quality import judge
from tests.hardware.teleop.servo_bus import ServoBus
from tests.reflexarc_ros.conftest import wait_for

pytestmark = pytest.mark.ros
FOLLOW = load_mapping("so101_leader_arm").parts["arm"].follow
LEADER = "/so101/leader/joint_states"
# 0.1 rad in counts of the encoder.
SHIFT = round(0.1 * 4096 / math.tau)


@pytest.fixture
def bus():
    made = ServoBus()
    yield made
    made.unplug()


def write_calibration(path, **shifts):
    """A calibration file, with the zero of some joints shifted by so many counts."""
    ranges = {name: 1000 + shifts.get(name, 0) for name in JOINTS}
    data = {
        name: {"id": i + 1, "drive_mode": 0, "homing_offset": 0, "range_min": low, "range_max": low + 2000}
        for i, (name, low) in enumerate(ranges.items())
    }
    path.write_text(json.dumps(data))
    return path


def put(bus, servos, **joints):
    """Move the leader's servos to where the robot's joints are, as a true calibration has it."""
    for name, angle in joints.items():
        servo = servos[name]
        if name == "gripper":
            share = (angle - FOLLOW[name].offset_rad) / FOLLOW[name].scale
            count = servo.range_min + share * (servo.range_max - servo.range_min)
        else:
            count = (servo.range_min + servo.range_max) / 2 + angle * 4096 / math.tau
        bus.place(servo.id, round(count))


class Led:
    """The arm in the twin with a leader, and its recorder."""

    def __init__(self, domain_id, bus, calibration, folder):
        options = {"port": bus.port, "calibration": str(calibration), "timeout_s": 0.2}
        self.stand = Stand(
            domain_id,
            teleop="so101_leader",
            teleop_options=json.dumps(options),
            record=str(folder),
        )
        self.folder, self.leads, self.status = folder, [], {}
        node = self.stand.client.node
        node.create_subscription(JointState, "leader/joint_states", self.leads.append, qos.SENSOR)
        node.create_subscription(String, "recorder_node/status", self._on_status, qos.LATCHED)

    def _on_status(self, message):
        self.status = json.loads(message.data)

    def leader(self):
        last = self.leads[-1]
        return dict(zip(last.name, last.position, strict=True))

    def call(self, name):
        answer = self.stand.client.call(Trigger, name, Trigger.Request())
        assert answer.success, answer.message

    def engage(self):
        request = SetBool.Request(data=True)
        assert self.stand.client.call(SetBool, "teleop_node/engage", request).success

    def drift(self, name):
        found = self.status.get("quality", {}).get("joints", {}).get(name, {}).get("drift")
        return None if found is None else (found["rad"], found["against"])


def test_every_measurement_is_said_once_with_the_stamp_of_its_capture(client):
    said = []
    client.node.create_subscription(JointState, "leader/joint_states", said.append, qos.SENSOR)
    publisher = LeaderPublisher(client.node, load_mapping("so101_leader_arm"))
    assert wait_for(lambda: client.node.count_publishers("/robot/leader/joint_states"), PATIENCE_S)
    controls = dict.fromkeys(JOINTS, 0.5)
    ms = 1_000_000

    def say(heard_ms, *, steady_ms, data_ms, connected=True, wait_s=0.5):
        """What comes of a reading; None: nothing."""
        count = len(said)
        reading = Reading(connected, heard_ms * ms, controls)
        publisher.publish(reading, steady_ns=steady_ms * ms, data_ns=data_ms * ms)
        if not wait_for(lambda: len(said) > count, wait_s):
            return None
        return to_ns(said[-1].header.stamp) / ms

    # The first may come before the two have found each other.
    assert any(say(i, steady_ms=i, data_ms=100) for i in range(1, 20))
    assert say(20, steady_ms=23, data_ms=120, wait_s=20.0) == 117.0
    assert say(20, steady_ms=40, data_ms=140) is None, "the servos did not answer: nothing new"
    assert say(50, steady_ms=55, data_ms=120, wait_s=20.0) == 117.0, (
        "a twin's clock stands still between its ticks"
    )
    assert say(60, steady_ms=61, data_ms=30, wait_s=20.0) == 29.0, "a new episode: the clock begins anew"
    assert say(70, steady_ms=71, data_ms=40, connected=False) is None
    assert say(80, steady_ms=81, data_ms=0) is None, "there is no clock yet"
    assert said[-1].name == list(JOINTS)
    publisher.close()


def test_a_teleop_node_that_was_never_configured_ends_in_order(start, client):
    node = start("teleop_node", card="so101_twin", mapping="theremin_arm")
    assert not client.change("teleop_node", Transition.TRANSITION_CONFIGURE)
    assert wait_for(lambda: "there is no mapping 'theremin_arm'" in node.output, PATIENCE_S), node.output
    assert client.state("teleop_node") == "unconfigured"
    assert node.end() == 0
    assert "Traceback" not in node.output


def test_a_leader_is_recorded_and_a_follower_that_keeps_up_does_not_drift(domain_id, bus, tmp_path):
    calibration = write_calibration(tmp_path / "leader.json")
    servos = load_calibration(calibration)
    led = Led(domain_id, bus, calibration, tmp_path / "out")
    with led.stand as stand:
        home = dict(stand.joints)
        put(bus, servos, **home)
        # Nobody has engaged, and still it is known where the leader is.
        assert wait_for(lambda: led.leads and led.leader() == pytest.approx(home, abs=0.01), PATIENCE_S)
        assert stand.state == "ready"
        count, began_s = len(led.leads), time.monotonic()
        time.sleep(2.0)
        assert 20.0 < (len(led.leads) - count) / (time.monotonic() - began_s) < 60.0
        led.call("recorder_node/start")
        goal = {**home, "shoulder_pan": home["shoulder_pan"] + 0.4}
        put(bus, servos, **goal)
        led.engage()
        near = lambda: abs(stand.joints["shoulder_pan"] - goal["shoulder_pan"]) < 0.03  # noqa: E731
        assert wait_for(near, PATIENCE_S), stand.log
        assert wait_for(lambda: led.drift("shoulder_pan") is not None, PATIENCE_S), led.status
        led.call("recorder_node/stop")
    episode = Episode.open(finished(tmp_path / "out")[0])
    report = judge(episode)
    assert {joint.drift.against for joint in report.joints.values() if joint.drift} == {"leader"}
    assert abs(report.joints["shoulder_pan"].drift.rad) < 0.03
    assert [mark.text for mark in report.marks if mark.figure in ("drift", "missing")] == []
    stamps = [message.stamp_ns for message in episode.messages("leader/joint_states")]
    assert stamps == sorted(stamps)
    # Stamps of the twin's clock, as those of the robot.
    measured = [message.stamp_ns for message in episode.messages("joint_states")]
    assert measured[0] - 10**9 < stamps[0] <= stamps[-1] < measured[-1] + 10**9


def test_a_leader_whose_calibration_is_shifted_is_a_finding_live_and_in_the_file(domain_id, bus, tmp_path):
    """Both arms lie in one pose, and one of them says something else."""
    servos = load_calibration(write_calibration(tmp_path / "true.json"))
    shifted = write_calibration(tmp_path / "leader.json", elbow_flex=SHIFT)
    led = Led(domain_id, bus, shifted, tmp_path / "out")
    with led.stand as stand:
        put(bus, servos, **stand.joints)
        led.call("recorder_node/start")
        words = "elbow_flex: +0.10"
        found = lambda: [f for f in led.status.get("findings", ()) if "from the leader" in f]  # noqa: E731
        assert wait_for(found, PATIENCE_S), led.status
        assert [f for f in found() if not f.startswith(words)] == []
        led.call("recorder_node/stop")
    quality = Episode.open(finished(tmp_path / "out")[0]).metadata.quality
    drifted = [mark["subject"] for mark in quality["marks"] if mark["figure"] == "drift"]
    assert drifted == ["elbow_flex"]
    assert quality["joints"]["elbow_flex"]["drift"]["rad"] == pytest.approx(0.1, abs=0.01)


def test_a_leader_is_expected_where_the_robot_goes_to_where_it_is(tmp_path):
    def expected(**arguments):
        specs = nodes("arm", {"record": str(tmp_path), "policy": "none", **arguments})
        return next(s for s in specs if s.name == "recorder_node").parameters["expected"]

    assert expected(teleop="so101_leader") == ["gate/command", "leader/joint_states"]
    assert expected(teleop="gamepad") == ["gate/command"]
