"""Protects a policy that sees over ROS 2: as-of images of its cameras, no command without them, none when one
dies, and the same images in every lockstep run."""

import contextlib
import hashlib
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rclpy.serialization import serialize_message
from reflexarc_ros import qos
from reflexarc_ros.chunks import ChunkCodec
from reflexarc_ros.messages import image_message
from reflexarc_ros.runner import SystemRunner
from reflexarc_ros.sight import Sight
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from hardware import schema
from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.cameras import CameraInput
from policies.card import POLICY_CARD_SCHEMA, PolicyAction, PolicyCard, PolicyTerm
from policies.demonstrations import Normalisation
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.onnx_model import onnx_model
from policies.diffusion.settings import CameraSettings, ModelSettings, NoiseSettings, UnetSettings
from policies.policy import PolicyError
from policies.runtime.journal_file import JournalReader
from policies.runtime.replay import load_for, replay
from tests.reflexarc_ros.conftest import Client, wait_for

pytestmark = pytest.mark.ros
ROBOT = load_robot_card("so101_twin")
JOINTS = ROBOT.commands["joints"]
MS = 1_000_000
HORIZON, ELEMENTS = 8, 6
# How old an image may be: long enough for a busy machine.
OLDEST_S = 3.0


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A policy folder: tiny random weights that look at both cameras."""
    settings = ModelSettings(
        unet=UnetSettings(channels=(16, 32), kernel=3, step_embedding=16),
        noise=NoiseSettings(training_steps=50, inference_steps=1),
        observation_steps=1,
        horizon=HORIZON,
        relative_to="joint_position",
        cameras={name: CameraSettings(48, 48) for name in ("front", "wrist")},
        keypoints=4,
        image_channels=16,
        image_stages=1,
    )
    normalisation = Normalisation(
        observation_size=ELEMENTS,
        plain=np.arange(ELEMENTS),
        pairs=np.zeros((2, 0), np.int64),
        feature_mean=np.zeros(ELEMENTS, np.float32),
        feature_scale=np.ones(ELEMENTS, np.float32),
        action_scale=np.full((HORIZON, ELEMENTS), 0.01, np.float32),
        action_mean=np.zeros((HORIZON, ELEMENTS), np.float32),
        base=np.arange(ELEMENTS),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DiffusionNetwork(settings, normalisation).eval()
    folder = tmp_path_factory.mktemp("policy") / "seeing"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(onnx_model(network))
    card = PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name="seeing",
        method="diffusion",
        robot_kind="arm",
        observation={"joint_position": PolicyTerm(JOINTS.names, "rad")},
        action=PolicyAction(JOINTS.kind, JOINTS.names, "rad", horizon=HORIZON, step_s=0.04, execute=4),
        rate_hz=50.0,
        max_loop_age_s=OLDEST_S,
        max_open_loop_s=1.0,
        files={"model.onnx": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()},
        parameters=settings.as_parameters(),
    )
    (folder / "card.yaml").write_text(schema.dump(card))
    return folder


# --- what is seen ----------------------------------------------------------------------------------


def raw(stamp_ns, shade=0, size=(240, 320), encoding="rgb8"):
    message = image_message(np.full((*size, 3), shade, np.uint8), stamp_ns, "optical")
    message.encoding = encoding
    return bytes(serialize_message(message))


def sight(*, exact=False, wanted=None):
    return Sight(ROBOT, {"front": wanted or CameraInput(48, 48)}, exact=exact)


def at(stamp_ns):
    return Observation({}, stamp_ns, 0)


def test_the_newest_image_that_is_not_from_the_future_is_seen():
    eye = sight()
    with pytest.raises(PolicyError, match=r"no image of the camera 'front' has come \(topic front/image\)"):
        eye.see(at(0))
    for index in range(20):
        eye.push("front", raw(index * 66 * MS, shade=index))
    seen = eye.see(at(15 * 66 * MS + 5 * MS))
    assert seen.image_stamps_ns == {"front": 15 * 66 * MS}
    assert seen.images["front"].shape == (48, 48, 3)
    assert (seen.images["front"] == 15).all()
    # A robot that was started anew: what was seen before is of another time.
    eye.push("front", raw(10 * MS, shade=99))
    assert eye.see(at(20 * MS)).image_stamps_ns == {"front": 10 * MS}
    with pytest.raises(PolicyError, match="no image of the camera 'front'"):
        eye.see(at(0))


def test_colours_come_in_the_order_of_the_encoding_and_in_the_size_of_the_camera():
    image = np.zeros((240, 320, 3), np.uint8)
    image[..., 0] = 200
    message = image_message(image, 0, "optical")
    message.encoding = "bgr8"
    eye = sight(wanted=CameraInput())
    eye.push("front", bytes(serialize_message(message)))
    seen = eye.see(at(0)).images["front"]
    assert seen.shape == (240, 320, 3)
    assert (seen[0, 0] == [0, 0, 200]).all()


def test_an_image_that_is_not_as_the_card_says_is_refused_and_told():
    eye = sight()
    with pytest.raises(
        ConfigError, match="camera 'front': an image of 64 x 48 pixels. Expected 320 x 240, as on the robot"
    ):
        eye.push("front", raw(0, size=(48, 64)))
    with pytest.raises(PolicyError, match="no image of the camera 'front': .*an image of 64 x 48 pixels"):
        eye.see(at(0))
    with pytest.raises(ConfigError, match="'16UC1'.*Expected rgb8, bgr8 or mono8"):
        eye.push("front", raw(0, encoding="16UC1"))


def test_in_lockstep_an_observation_waits_for_the_image_that_is_due():
    eye = sight(exact=True)
    assert eye.see(at(0)) is None
    eye.push("front", raw(0))
    # 15 images a second, captured with the joints every 20 ms: due at 66.7 ms, captured at 80 ms.
    assert eye.see(at(60 * MS)).image_stamps_ns == {"front": 0}
    assert eye.see(at(80 * MS)) is None
    eye.push("front", raw(80 * MS))
    assert eye.see(at(120 * MS)).image_stamps_ns == {"front": 80 * MS}
    assert eye.see(at(140 * MS)) is None


# --- over ROS 2 ------------------------------------------------------------------------------------


class Fake:
    """A robot's topics, fed from a thread: joints at 50 Hz, cameras that can be switched."""

    def __init__(self, client):
        self.on, self.size = set(), (240, 320)
        self._joints = client.node.create_publisher(JointState, "joint_states", qos.SENSOR)
        self._images = {
            n: client.node.create_publisher(Image, f"{n}/image", qos.SENSOR) for n in ROBOT.cameras
        }
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._running = False
        self._thread.join(10)

    def _run(self):
        index = 0
        while self._running:
            now_ns = time.time_ns()
            if index % 3 == 0:
                for name in sorted(self.on):
                    image = np.full((*self.size, 3), index % 200, np.uint8)
                    self._images[name].publish(image_message(image, now_ns, "optical"))
            message = JointState(name=list(JOINTS.names), position=[0.0] * 6, velocity=[0.0] * 6)
            message.header.stamp = Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)
            self._joints.publish(message)
            index += 1
            time.sleep(0.02)


def test_no_command_goes_out_without_every_camera_and_none_when_one_dies(start, client, seeing):
    commands, told = [], []
    client.node.create_subscription(
        JointTrajectory, "command/policy", commands.append, qos.command(None, None), raw=True
    )
    client.node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda m: told.extend(s.message for s in m.status if "policy_node" in s.name),
        qos.DIAGNOSTICS,
    )

    def is_told(text):
        return wait_for(lambda: any(text in message for message in told[-20:])), told[-20:]

    def flows():
        before = len(commands)
        return wait_for(lambda: len(commands) > before + 20), (node.output, told[-5:])

    fake = Fake(client)
    with contextlib.closing(fake):
        node = start("policy_node", card="so101_twin", policy=str(seeing))
        assert client.change("policy_node", Transition.TRANSITION_CONFIGURE), node.output
        assert client.change("policy_node", Transition.TRANSITION_ACTIVATE), node.output
        fake.on = {"front"}
        assert all(is_told("no image of the camera 'wrist' has come (topic wrist/image)"))
        assert not commands
        fake.on = {"front", "wrist"}
        assert all(flows())
        # The cable is pulled: the last picture grows old, and no more commands go out.
        fake.on = {"front"}
        assert all(is_told("the image of the camera 'wrist' is "))
        at_rest = len(commands)
        time.sleep(0.5)
        assert len(commands) == at_rest
        fake.on = {"front", "wrist"}
        assert all(flows())
        # Somebody sets the camera to another size.
        fake.size = (48, 64)
        assert all(is_told("an image of 64 x 48 pixels"))
        assert all(is_told("s old, max_loop_age_s is"))
    assert node.end() == 0, node.output
    assert "Traceback" not in node.output


@contextlib.contextmanager
def arm(arguments, domain_id):
    lines = []
    with SystemRunner(
        "arm", arguments, on_line=lambda name, line: lines.append(f"[{name}] {line}"), domain_id=domain_id
    ) as runner:
        runner.lines = lines
        yield runner
    assert not any("Traceback" in line for line in lines), "\n".join(lines)


def first_commands(domain_id, arguments, count):
    """The first commands of the policy in a run of the arm's system."""
    found, codec = {}, ChunkCodec(JOINTS.kind, JOINTS.names)

    def note(message):
        chunk = codec.decode(message, source="policy")
        if chunk is not None:
            found.setdefault(chunk.start_ns, chunk.values.tobytes())

    client = Client(domain_id, "/so101")
    try:
        profile = qos.LOCKSTEP if arguments.get("pace") == "lockstep" else qos.command(None, None)
        client.node.create_subscription(JointTrajectory, "command/policy", note, profile, raw=True)
        with arm(arguments, domain_id) as runner:
            assert wait_for(lambda: len(found) >= count), "\n".join(runner.lines)
    finally:
        client.close()
    return found


def test_the_arm_looks_through_its_cameras_without_being_asked_and_does_it_again(domain_id, seeing, tmp_path):
    arguments = {"policy": str(seeing), "journal": str(tmp_path), "inference": "thread"}
    assert len(first_commands(domain_id, arguments, 60)) >= 60
    # The journal holds what was seen, as small as the policy takes it, and gives the same commands again.
    (path,) = tmp_path.glob("policy_*.mcap")
    journal = JournalReader(path)
    controller = load_for(journal, None, steady_clock=time.monotonic_ns)
    report = replay(journal, controller)
    controller.close()
    assert report.is_identical, report.first_difference
    assert report.commands >= 50


def test_two_lockstep_runs_see_and_do_the_same(domain_id, seeing):
    arguments = {"policy": str(seeing), "pace": "lockstep", "seed": "4"}
    runs = [first_commands(domain_id, arguments, 60) for _ in range(2)]
    both = sorted(set(runs[0]) & set(runs[1]))
    assert len(both) >= 50
    assert [runs[0][at_ns] for at_ns in both] == [runs[1][at_ns] for at_ns in both]
    # They are no constant: what is compared can differ.
    assert len({runs[0][at_ns] for at_ns in both}) > 10


def test_a_camera_that_is_too_small_is_refused_before_anything_moves(start, client, seeing, tmp_path):
    cameras = {**ROBOT.cameras, "front": replace(ROBOT.cameras["front"], width=40, height=30)}
    (tmp_path / "robot.yaml").write_text(schema.dump(replace(ROBOT, cameras=cameras)))
    node = start("policy_node", card=str(tmp_path / "robot.yaml"), policy=str(seeing))
    assert not client.change("policy_node", Transition.TRANSITION_CONFIGURE)
    assert wait_for(lambda: "the images of camera 'front' have 30 x 40 pixels" in node.output), node.output
