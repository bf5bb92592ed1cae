"""Protects recorder_node: what is published is in the file, by services, words, a page, and after a fault."""

import dataclasses
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from reflexarc_ros import qos
from reflexarc_ros.bringup import SYSTEMS, nodes
from reflexarc_ros.chunks import GATE_TOPIC
from reflexarc_ros.definitions import definition, has_header, message_class, topic_spec
from reflexarc_ros.recorder_page import RecorderPage
from reflexarc_ros.recorder_system import with_recorder
from reflexarc_ros.recorder_topics import TopicRecorder, read_stamp
from reflexarc_ros.system import Robot
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from hardware import ConfigError, load_robot_card
from recording import Episode, Outcome
from recording.folder import finished
from recording.quality import judge
from recording.repair import verify
from tests.recording.reports import FRONT, REPORT, SIDE, WRIST

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
JOINTS = load_robot_card("so101_twin").commands["joints"].names


# --- definitions -------------------------------------------------------------------------------


def test_a_definition_carries_those_of_the_messages_in_it_once_each():
    text = definition("trajectory_msgs/msg/JointTrajectory")
    assert text.count("MSG: ") == text.count("=" * 80) == 4
    for inner in ("std_msgs/Header", "builtin_interfaces/Time", "builtin_interfaces/Duration"):
        assert text.count(f"MSG: {inner}\n") == 1
    assert "float64[] positions" in text


@pytest.mark.parametrize(
    "name",
    [
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
        "nav_msgs/msg/Odometry",
        "diagnostic_msgs/msg/DiagnosticArray",
        "trajectory_msgs/msg/MultiDOFJointTrajectory",
        "geometry_msgs/msg/PoseStamped",
        "std_msgs/msg/String",
    ],
)
def test_what_rclpy_serialises_is_decoded_by_the_definition(name):
    from mcap.records import Schema
    from mcap_ros2.decoder import DecoderFactory
    from rclpy.serialization import serialize_message

    decode = DecoderFactory().decoder_for("cdr", Schema(1, definition(name).encode(), "ros2msg", name))
    message = message_class(name)()
    decoded = decode(bytes(serialize_message(message)))
    for field in message.get_fields_and_field_types():
        assert hasattr(decoded, field)


def test_messages_that_are_not_here_are_told():
    with pytest.raises(ConfigError, match="no definition of px4_msgs/msg/VehicleOdometry"):
        topic_spec("/x", "px4_msgs/msg/VehicleOdometry")
    with pytest.raises(ConfigError, match="the message std_msgs/msg/Nothing is not here"):
        message_class("std_msgs/msg/Nothing")
    assert has_header(Image)
    assert has_header(Header)
    assert not has_header(String)


# --- bring-up ----------------------------------------------------------------------------------


def test_a_folder_adds_the_recorder_before_everything_that_moves(tmp_path):
    specs = {s.name: s for s in nodes("arm", {"record": str(tmp_path), "task": "PickCube"})}
    own = specs["recorder_node"].parameters
    assert specs["supervisor_node"].parameters["managed"][0] == "recorder_node"
    assert own["folder"] == str(tmp_path)
    assert own["use_sim_time"]
    assert json.loads(own["parameters"])["nodes"]["gate_node"]["interface"] == "joints"
    assert "recorder_node" not in {s.name for s in nodes("quadrotor", {})}
    with pytest.raises(ConfigError, match="record_seconds is '-1'"):
        nodes("arm", {"record": str(tmp_path), "record_seconds": "-1"})


def parameters_of(**arguments):
    specs = nodes("arm", arguments)
    return next(s for s in specs if s.name == "recorder_node").parameters


def test_what_a_person_says_about_a_recording_reaches_the_recorder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("eye.yaml", "hand.yaml"):
        (tmp_path / name).write_text("zero: 0\n")
    own = parameters_of(
        record="out",
        record_thresholds='{"max_idle_share": 0.5}',
        record_calibration="eye.yaml, hand.yaml",
        record_exclude="front/image,/tf",
        operator="Ada",
        teleop="gamepad",
    )
    assert own["thresholds"] == '{"max_idle_share": 0.5}'
    assert own["calibration"] == [str(tmp_path / "eye.yaml"), str(tmp_path / "hand.yaml")]
    assert own["exclude"] == ["front/image", "/tf"]
    assert own["operator"] == "Ada"
    assert parameters_of(record="out", teleop="gamepad")["operator"] == "gamepad"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"record_thresholds": "half"}, "argument 'record_thresholds': the thresholds are 'half'"),
        ({"record_thresholds": '{"idle": 1}'}, "argument 'record_thresholds': unknown field 'idle'"),
        ({"record_calibration": "/none.yaml"}, "argument 'record_calibration': /none.yaml cannot be read"),
        ({"record_calibration": f"{__file__},{__file__}"}, "two calibration files are called test_recorder"),
        ({"record_exclude": "front image"}, "argument 'record_exclude': 'front image' is not a topic"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(tmp_path, arguments, text):
    with pytest.raises(ConfigError) as raised:
        nodes("arm", {"record": str(tmp_path), **arguments})
    assert text in str(raised.value)


def test_cameras_are_expected_where_somebody_runs_them(tmp_path):
    here = {"record": str(tmp_path)}
    images = ["front/image", "wrist/image"]
    assert parameters_of(**here)["expected"] == ["gate/command"]
    assert parameters_of(**here, cameras="true")["expected"] == ["gate/command", *images]
    card = dataclasses.replace(load_robot_card("so101_twin"), driver="serial")
    robot = Robot(card, "arm.yaml", "/arm", {})
    arguments = {argument.name: argument.default for argument in SYSTEMS["arm"].arguments} | here
    _, made = with_recorder(robot, ["robot_node"], {"robot_node": {"cameras": False}}, arguments)
    assert made["recorder_node"]["expected"] == ["gate/command", *images]


# --- topics ------------------------------------------------------------------------------------


def test_latched_messages_that_arrive_while_they_are_repeated_wait_for_their_turn():
    """The page begins an episode in a thread of its own."""
    topics, offered = TopicRecorder.__new__(TopicRecorder), []

    class Busy:
        def offer(self, topic, raw, *, stamp_ns, receive_ns):
            offered.append((topic, raw, stamp_ns, receive_ns))
            topics._latched[f"/late/{len(offered)}"] = b"late"

    topics._session, topics._now_ns = Busy(), lambda: 7
    topics._latched = {"/robot_description": b"a", "/tf_static": b"b"}
    topics.repeat_latched()
    assert offered == [("/robot_description", b"a", 7, 7), ("/tf_static", b"b", 7, 7)]


def test_a_message_too_short_for_a_stamp_has_none():
    """Bytes are recorded as they came, and nobody's bytes end the recorder."""
    stamp = b"\x00\x01\x00\x00" + (3).to_bytes(4, "little") + (5).to_bytes(4, "little")
    assert read_stamp(stamp) == 3_000_000_005
    assert [read_stamp(stamp[:length]) for length in (0, 4, 11)] == [0, 0, 0]


# --- the page ----------------------------------------------------------------------------------


@pytest.fixture
def page():
    said = []

    def fail(text):
        raise ConfigError("no episode is open", where="here", expected="an open episode", mend="start one")

    status = {
        "state": "recording",
        "message": "recording",
        "episode": 12,
        "duration_s": 3.25,
        "messages": 812,
        "size_bytes": 4_200_000,
        "dropped": 0,
        "finished": 12,
        "time_left_s": 7200.0,
        "outcome": "unknown",
        "instruction": "pick <the> cube",
        "findings": ["/so101/wrist/image: silent for 2.00 s, longer than 0.27 s"],
        "quality": REPORT.to_document(),
    }
    made = RecorderPage(
        0,
        status=lambda: status,
        requests={
            "success": lambda text: said.append(("success", text)) or "success",
            "stop": fail,
            "note": lambda text: said.append(("note", text)) or "noted",
        },
    )
    made.said, made.status = said, status
    yield made
    made.close()


def fetch(page, path, *, token="", method="GET", host=None, body=None, length=None):
    headers = {"X-Token": token, **({"Host": host} if host else {})}
    headers |= {"Content-Length": length} if length else {}
    request = urllib.request.Request(
        f"http://127.0.0.1:{page.port}{path}", headers=headers, method=method, data=body
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_page_answers_whoever_knows_the_token(page):
    token = page.address.split("token=")[1]
    assert fetch(page, f"/?token={token}")[1].startswith("<!doctype html>")
    assert json.loads(fetch(page, "/status", token=token)[1])["episode"] == 12
    assert fetch(page, "/note", token=token, method="POST", body=b"a fly")[0] == 200
    assert page.said == [("note", "a fly")]
    code, text = fetch(page, "/stop", token=token, method="POST")
    assert (code, "no episode is open" in text) == (409, True)
    assert fetch(page, "/else", token=token)[0] == 404
    assert fetch(page, "/else", token=token, method="POST")[0] == 400
    assert fetch(page, "/note", token=token, method="POST", body=b"x" * 5000)[0] == 400
    for length in ("many", "-1", "5000"):
        assert fetch(page, "/note", token=token, method="POST", length=length)[0] == 400


@pytest.mark.parametrize("path", ["/", "/status", "/?token=wrong"])
def test_the_page_answers_nobody_else(page, path):
    code, text = fetch(page, path)
    assert (code, "the token is missing or wrong" in text) == (403, True)
    token = page.address.split("token=")[1]
    assert fetch(page, "/success?token=" + token, method="POST")[0] == 403
    assert fetch(page, "/status", token=token, host="evil.example")[0] == 403
    assert page.said == []


def test_a_taken_port_is_told(page):
    with pytest.raises(ConfigError, match="port .* is taken"):
        RecorderPage(page.port, status=dict, requests={})


@pytest.fixture(scope="module")
def browser():
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("needs /usr/bin/chromium: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def view(browser):
    made = browser.new_page()
    made.errors = []
    made.on("pageerror", lambda error: made.errors.append(str(error)))
    yield made
    made.close()
    assert made.errors == []


def expect(locator):
    from playwright.sync_api import expect as wait

    return wait(locator)


def test_a_browser_shows_the_status_and_takes_keys(page, view):
    view.goto(page.address)
    expect(view.locator("#state")).to_have_text("recording", timeout=60_000)
    for place, text in (
        ("#episode", "12"),
        ("#instruction", "pick <the> cube"),
        ("#findings", "silent for 2.00 s"),
        ("#topics", "/so101/joint_states"),
    ):
        expect(view.locator(place)).to_contain_text(text, timeout=60_000)
    expect(view.locator("button[data-request=start]")).to_be_disabled(timeout=60_000)
    view.keyboard.press("y")
    expect(view.locator("#answer")).to_have_text("success", timeout=60_000)
    # Keys in the field are words, not requests.
    view.fill("#text", "yes, sir")
    view.click("button[data-request=note]")
    expect(view.locator("#answer")).to_have_text("noted", timeout=60_000)
    view.click("button[data-request=stop]")
    expect(view.locator("#answer")).to_contain_text("no episode is open", timeout=60_000)
    assert page.said == [("success", ""), ("note", "yes, sir")]


def row(view, table, name):
    """The cells of a row, with a mark at those that are beyond their limit."""
    cells = view.locator(f"#{table} tr", has_text=name).locator("td")
    expect(cells.first).to_be_visible(timeout=60_000)
    return [("! " if "bad" in (c.get_attribute("class") or "") else "") + c.inner_text() for c in cells.all()]


@pytest.mark.parametrize("width", [1100, 390])
def test_the_page_shows_every_figure_with_its_unit_and_marks_what_is_beyond_its_limit(
    page, view, width, tmp_path
):
    view.set_viewport_size({"width": width, "height": 900})
    view.goto(page.address)
    wrist = [WRIST, "21 ms", "! 87 ms", "141 ms", "67 ms", "! 1.4 s"]
    assert row(view, "cameras", WRIST) == wrist
    assert row(view, "cameras", FRONT) == [FRONT, "4 ms", "11 ms", "19 ms", "67 ms", "0.0 s"]
    pan = ["shoulder_pan", "812 rad/s³", "3000", "31 %", "! +0.103 rad", "leader"]
    assert row(view, "joints", "shoulder_pan") == pan
    lift = ["shoulder_lift", "! 3457 rad/s³", "3000", "44 %", "-0.004 rad", "leader"]
    assert row(view, "joints", "shoulder_lift") == lift
    assert row(view, "joints", "gripper") == ["gripper", "12 rad/s³", "–", "–", "–", "–"]
    gate = ["/so101/gate/command", "162", "49.6", "–", "–", "20 ms", "1.0 ms"]
    assert row(view, "topics", "/so101/gate/command") == gate
    assert row(view, "topics", SIDE)[:2] == [f"! {SIDE}", "0"]
    joints = ["/so101/joint_states", "! 162 (2 back)", "! 43.9", "50", "! 12.3 %", "! 621 ms", "1.8 ms"]
    assert row(view, "topics", "/so101/joint_states") == joints
    for place, text, is_bad in (
        ("idle", "86 %", True),
        ("idle-limit", "limit 80 %", False),
        ("coverage", "44 %", False),
        ("frozen", "1.4 s", True),
        ("frozen-limit", "limit 0.5 s", False),
        ("drift", "+0.103 rad", True),
        ("broken", "1", True),
    ):
        expect(view.locator(f"#{place}")).to_have_text(text, timeout=60_000)
        assert view.locator(f"#{place}.bad").count() == is_bad
    # A phone scrolls wide tables, never the page.
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.screenshot(path=str(tmp_path / "recorder.png"), full_page=True)


def test_the_page_without_a_report_shows_no_figures(page, view):
    page.status["quality"] = {"findings": ["it cannot be judged"]}
    page.status["findings"] = ["it cannot be judged"]
    view.goto(page.address)
    expect(view.locator("#findings")).to_have_text("it cannot be judged", timeout=60_000)
    assert not view.locator("#figures").is_visible()


# --- the node ----------------------------------------------------------------------------------


class Recorder:
    """A recorder_node, and somebody who publishes beside it."""

    def __init__(self, start, client, folder, **parameters):
        self.client, self.folder = client, folder
        self.status = {}
        node = client.node
        self.joints = node.create_publisher(JointState, "joint_states", 50)
        self.images = node.create_publisher(Image, "front/image", 50)
        # Deeper than the gate's own: these come in bursts.
        self.gate = node.create_publisher(JointTrajectory, GATE_TOPIC, 50)
        self.latched = node.create_publisher(String, "robot_description", qos.LATCHED)
        self.latched.publish(String(data="<robot/>"))
        self.words = {
            name: node.create_publisher(String, f"recorder_node/{name}", qos.EVENTS)
            for name in ("note", "instruction", "failure_reason")
        }
        self.operator = node.create_publisher(String, "teleop/event", qos.EVENTS)
        node.create_subscription(String, "recorder_node/status", self._on_status, qos.LATCHED)
        self.process = start(
            "recorder_node", card="so101_twin", folder=str(folder), reserve_mb=0.0, **parameters
        )
        self.sent = 0

    def _on_status(self, message):
        self.status = json.loads(message.data)

    def bring_up(self, wait_for):
        assert self.client.change("recorder_node", CONFIGURE), self.process.output
        assert self.client.change("recorder_node", ACTIVATE), self.process.output
        publishers = (self.joints, self.images, self.gate, self.operator, *self.words.values())
        assert wait_for(lambda: all(p.get_subscription_count() for p in publishers), 60.0)

    def call(self, request):
        answer = self.client.call(Trigger, f"recorder_node/{request}", Trigger.Request())
        return answer.success, answer.message

    def publish(self, count):
        for _ in range(count):
            stamp = self.client.node.get_clock().now().to_msg()
            message = JointState(name=list(JOINTS), position=[0.001 * self.sent] * 6)
            message.header.stamp = stamp
            self.joints.publish(message)
            point = JointTrajectoryPoint(positions=[0.001 * self.sent] * 6)
            trajectory = JointTrajectory(joint_names=list(JOINTS), points=[point])
            trajectory.header.stamp = stamp
            self.gate.publish(trajectory)
            image = Image(width=2, height=2, encoding="rgb8", step=6, data=bytes([self.sent % 256] * 12))
            image.header.stamp = stamp
            self.images.publish(image)
            self.sent += 1


def wait_for(condition, timeout_s=60.0):
    from tests.reflexarc_ros.conftest import wait_for as wait

    return wait(condition, timeout_s)


@pytest.mark.ros
def test_what_is_published_is_in_the_file(start, client, tmp_path):
    """Start, words, success; then an episode that is discarded and one that an operator ends."""
    notes = tmp_path / "calibration.yaml"
    notes.write_text("zero: [0, 0]\n")
    recorder = Recorder(
        start, client, tmp_path / "out", task="PickCube", calibration=[str(notes)], page_port=0, chunk_s=0.05
    )
    recorder.bring_up(wait_for)
    assert wait_for(lambda: "status page: http://127.0.0.1:" in recorder.process.output)
    recorder.publish(3)
    recorder.words["instruction"].publish(String(data="pick the cube"))
    assert wait_for(lambda: recorder.status.get("instruction") == "pick the cube")
    # The policy is told, also one that begins to listen later; what somebody tells the policy is heard.
    heard = []
    client.node.create_subscription(String, "instruction", lambda m: heard.append(m.data), qos.LATCHED)
    assert wait_for(lambda: heard == ["pick the cube"])
    said = client.node.create_publisher(String, "instruction", qos.LATCHED)
    said.publish(String(data="push left"))
    assert wait_for(lambda: recorder.status.get("instruction") == "push left")
    recorder.words["instruction"].publish(String(data="pick the cube"))
    assert wait_for(lambda: recorder.status.get("instruction") == "pick the cube")
    assert recorder.call("stop")[0] is False
    assert recorder.call("start") == (True, "episode 0")
    first = recorder.sent
    recorder.publish(20)
    recorder.words["note"].publish(String(data="a fly"))
    assert wait_for(lambda: recorder.status["durable_messages"] >= 60), recorder.status
    (part,) = (tmp_path / "out").glob("*.part")
    assert wait_for(lambda: b"a fly" in part.read_bytes())
    assert recorder.call("start")[0] is False
    done, message = recorder.call("success")
    assert done, message
    assert message == "success; episode_000000.mcap is on the disk"

    (path,) = finished(tmp_path / "out")
    assert verify(path).is_ok
    episode = Episode.open(path)
    wanted = [pytest.approx(0.001 * i) for i in range(first, first + 20)]
    assert [m.data.position[0] for m in episode.messages("joint_states")] == wanted
    assert [m.data.points[0].positions[5] for m in episode.messages("gate/command")] == wanted
    assert [bytes(m.data.data)[0] for m in episode.messages("front/image")] == list(range(first, first + 20))
    # What was said once, before the episode, belongs to it all the same.
    assert [m.data.data for m in episode.messages("robot_description")] == ["<robot/>"]
    for message in episode.messages("joint_states"):
        assert 0 <= message.receive_ns - message.stamp_ns < 60 * 10**9
    metadata = episode.metadata
    assert (metadata.outcome, metadata.instruction, metadata.notes) == (
        Outcome.SUCCESS,
        "pick the cube",
        ("a fly",),
    )
    assert (metadata.info.task, metadata.info.robot, metadata.info.namespace) == (
        "PickCube",
        "so101",
        "/robot",
    )
    assert metadata.info.versions["python"].startswith("3.12")
    assert len(metadata.info.git_commit) >= 7
    assert episode.attachments["calibration/calibration.yaml"] == b"zero: [0, 0]\n"
    assert yaml.safe_load(episode.attachments["robot_card.yaml"])["name"] == "so101"
    assert episode.robot_card == load_robot_card("so101_twin")
    assert "/robot/cube_pose: no message" in metadata.quality["findings"]

    assert recorder.call("start") == (True, "episode 1")
    recorder.publish(5)
    assert recorder.call("discard") == (True, "episode 1 is thrown away")
    assert recorder.call("rerecord") == (True, "episode 1")
    recorder.publish(5)
    assert recorder.call("rerecord") == (True, "episode 1")
    recorder.publish(5)
    recorder.words["failure_reason"].publish(String(data="dropped it"))
    assert wait_for(lambda: len(finished(tmp_path / "out")) == 2)
    second = Episode.open(finished(tmp_path / "out")[1])
    assert (second.metadata.outcome, second.metadata.reason) == (Outcome.FAILURE, "dropped it")
    assert [m.data.position[0] for m in second.messages("joint_states")] == [
        pytest.approx(0.001 * i) for i in range(recorder.sent - 5, recorder.sent)
    ]

    assert recorder.call("start")[0]
    recorder.operator.publish(String(data="success"))
    assert wait_for(lambda: len(finished(tmp_path / "out")) == 3)
    assert recorder.call("start")[0]
    recorder.publish(2)
    assert client.change("recorder_node", DEACTIVATE)
    assert len(finished(tmp_path / "out")) == 4
    assert recorder.call("start")[0] is False
    assert recorder.process.end() == 0
    assert "Traceback" not in recorder.process.output


@pytest.mark.ros
def test_what_never_arrives_is_a_finding_while_it_is_recorded_and_in_the_file(start, client, tmp_path):
    """A camera that is dead from the start; the file is judged by the thresholds of its recorder."""
    recorder = Recorder(
        start,
        client,
        tmp_path,
        expected=["side/image"],
        exclude=["cube_pose"],
        thresholds='{"max_gap_s": 100.0, "min_duration_s": 1e3}',
    )
    recorder.bring_up(wait_for)
    assert recorder.call("start")[0]
    recorder.publish(10)
    text = "/robot/side/image: no message"
    assert wait_for(lambda: text in recorder.status["findings"]), recorder.status
    assert {"figure": "missing", "subject": "/robot/side/image"} in recorder.status["quality"]["marks"]
    assert recorder.call("stop")[0]
    (path,) = finished(tmp_path)
    episode = Episode.open(path)
    report = judge(episode)
    findings = episode.metadata.quality["findings"]
    assert list(report.findings) == findings
    assert text in findings
    assert not any("cube_pose" in finding for finding in findings), "nobody asked for what is left out"
    assert any(re.fullmatch(r"it lasts .* s, less than 1000 s", finding) for finding in findings)
    assert report.thresholds.max_gap_s == 100.0


@pytest.mark.ros
def test_every_activation_is_an_episode_and_control_c_keeps_the_last_one(start, client, tmp_path):
    recorder = Recorder(start, client, tmp_path, begin="activation")
    recorder.bring_up(wait_for)
    assert not list(tmp_path.glob("episode*"))
    for number in (0, 1):
        assert wait_for(lambda: recorder.publish(1) or recorder.status.get("state") == "recording")
        assert wait_for(lambda n=number: recorder.status["episode"] == n)
        if number == 0:
            assert client.change("recorder_node", DEACTIVATE)
            assert client.change("recorder_node", ACTIVATE)
    assert wait_for(lambda: recorder.publish(1) or recorder.status["messages"] > 3)
    assert recorder.process.end() == 0
    first, second = finished(tmp_path)
    assert verify(first).is_ok
    assert verify(second).is_ok
    positions = [m.data.position[0] for m in Episode.open(second).messages("joint_states")]
    assert len(positions) > 1
    assert positions == [pytest.approx(positions[0] + 0.001 * i) for i in range(len(positions))]


@pytest.mark.ros
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "no folder. Expected a folder for the episodes"),
        ({"folder": "/proc/none"}, "the folder cannot be made"),
        ({"folder": "/tmp", "card": "no_such_robot"}, "there is no robot card 'no_such_robot'"),
        ({"folder": "/tmp", "thresholds": "{1}"}, "parameter 'thresholds': the thresholds are '{1}'"),
        ({"folder": "/tmp", "calibration": ["/none.yaml"]}, "/none.yaml cannot be read"),
        (
            {"folder": "/tmp", "calibration": [__file__, __file__]},
            "two calibration files are called test_rec",
        ),
    ],
)
def test_wrong_parameters_keep_the_node_unconfigured_and_say_why(start, client, parameters, text):
    node = start("recorder_node", **{"card": "so101_twin", **parameters})
    assert not client.change("recorder_node", CONFIGURE)
    assert wait_for(lambda: text in node.output), node.output
    assert client.state("recorder_node") == "unconfigured"
    assert node.end() == 0


@pytest.mark.ros
def test_a_disk_without_room_refuses_to_start_and_says_how_much_there_is(start, client, tmp_path):
    recorder = Recorder.__new__(Recorder)
    recorder.client = client
    node = start("recorder_node", card="so101_twin", folder=str(tmp_path), reserve_mb=1e6)
    assert client.change("recorder_node", CONFIGURE), node.output
    assert client.change("recorder_node", ACTIVATE)
    done, message = recorder.call("start")
    assert not done
    assert "GB free" in message
    assert "kept in reserve" in message
    assert node.end() == 0
