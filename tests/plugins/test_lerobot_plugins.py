"""Protects the plug-ins: LeRobot finds them by name, and records the twin in lockstep through the gate."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from lerobot.robots.config import RobotConfig
from lerobot.robots.utils import make_robot_from_config
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.utils import make_teleoperator_from_config
from lerobot.utils.import_utils import register_third_party_plugins

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from recording.lerobot_import import read_frames

register_third_party_plugins()

EXPERT = "reflexarc/PickCube-v0"


@pytest.fixture
def calibration(tmp_path, monkeypatch):
    """LeRobot makes a folder for every device, by default in the user's home."""
    return tmp_path / "calibration"


@pytest.fixture
def make_robot(calibration):
    made = []

    def make(**changes):
        config = RobotConfig.get_choice_class("reflexarc")(id="arm", calibration_dir=calibration, **changes)
        robot = make_robot_from_config(config)
        made.append(robot)
        return robot

    yield make
    for robot in made:
        robot.disconnect()


@pytest.fixture
def make_teleop(calibration):
    made = []

    def make(**changes):
        config = TeleoperatorConfig.get_choice_class("reflexarc")(
            id="operator", calibration_dir=calibration, **changes
        )
        teleop = make_teleoperator_from_config(config)
        made.append(teleop)
        return teleop

    yield make
    for teleop in made:
        teleop.disconnect()


def test_lerobots_own_factory_makes_the_robot_and_it_is_driven_for_a_second(make_robot):
    robot = make_robot()
    assert robot.action_features == dict.fromkeys(
        load_robot_card("so101_twin").commands["joints"].names, float
    )
    robot.connect()
    first = robot.get_observation()
    assert first.keys() == robot.observation_features.keys()
    goal = {name: first[f"joint_position.{name}"] for name in robot.action_features}
    goal["shoulder_pan"] += 0.3
    for _ in range(25):
        sent = robot.send_action(goal)
        assert sent.keys() == goal.keys()
    last = robot.get_observation()
    assert robot.observe().stamp_ns == 1_000_000_000
    assert abs(last["joint_position.shoulder_pan"] - goal["shoulder_pan"]) < 0.03
    assert abs(last["joint_position.elbow_flex"] - goal["elbow_flex"]) < 0.05


def test_actions_pass_the_gate(make_robot):
    robot = make_robot()
    robot.connect()
    before = robot.get_observation()
    goal = {name: before[f"joint_position.{name}"] for name in robot.action_features}
    limits = load_robot_card("so101_twin").commands["joints"].limits["shoulder_pan"]
    previous = goal["shoulder_pan"]
    for _ in range(30):
        sent = robot.send_action(goal | {"shoulder_pan": 100.0})["shoulder_pan"]
        # In 40 ms no set-point moves farther than the joint's speed on the card, nor beyond its range.
        assert sent - previous <= limits.velocity * 0.04 + 1e-9
        assert sent <= limits.upper + 1e-9
        previous = sent
    # It went as far as the workspace lets it, and not one bit of the 100 rad farther.
    assert 0.5 < previous < limits.upper
    robot.send_action(goal | {"shoulder_pan": float("nan")})
    assert np.isfinite(robot.get_observation()["joint_position.shoulder_pan"])


def test_the_expert_picks_the_cube_as_a_teleoperator(make_robot, make_teleop):
    robot, teleop = make_robot(seed=3), make_teleop(expert=EXPERT)
    teleop.connect()
    robot.connect()
    begin = robot.get_observation()["cube_position.z"]
    for _ in range(150):
        robot.send_action(teleop.get_action())
    assert robot.get_observation()["cube_position.z"] > begin + 0.05


def test_the_same_seed_gives_the_same_run(make_robot, make_teleop):
    ends = []
    for _ in range(2):
        robot, teleop = make_robot(seed=5), make_teleop(expert=EXPERT)
        teleop.connect()
        robot.connect()
        for _ in range(20):
            robot.send_action(teleop.get_action())
        ends.append(robot.get_observation())
        robot.disconnect()
    assert ends[0] == ends[1]


def test_in_real_time_the_twin_lives_by_the_walls_clock(make_robot):
    robot = make_robot(link="real_time")
    robot.connect()
    begin = robot.get_observation()
    goal = {name: begin[f"joint_position.{name}"] for name in robot.action_features}
    goal["shoulder_pan"] += 0.2
    deadline_s = time.monotonic() + 30.0
    while time.monotonic() < deadline_s:
        robot.send_action(goal)
        now = robot.get_observation()["joint_position.shoulder_pan"]
        if abs(now - goal["shoulder_pan"]) < 0.03:
            break
        time.sleep(0.01)
    assert now == pytest.approx(goal["shoulder_pan"], abs=0.03)


def test_a_device_that_nobody_engages_holds_the_robot(make_robot, make_teleop):
    robot = make_robot()
    teleop = make_teleop(mapping="browser_arm", options={"port": 0})
    teleop.connect()
    robot.connect()
    begin = robot.get_observation()
    for _ in range(25):
        action = teleop.get_action()
        robot.send_action(action)
    end = robot.get_observation()
    for name in robot.action_features:
        assert action[name] == pytest.approx(begin[f"joint_position.{name}"], abs=1e-6)
        assert end[f"joint_position.{name}"] == pytest.approx(begin[f"joint_position.{name}"], abs=0.06)


def test_lerobot_record_finds_both_and_writes_a_set_that_we_read(tmp_path, calibration):
    root = tmp_path / "set"
    words = [
        "--robot.type=reflexarc", "--robot.id=arm", f"--robot.calibration_dir={calibration}",
        "--robot.link=lockstep", "--robot.seed=3",
        "--teleop.type=reflexarc", "--teleop.id=expert", f"--teleop.calibration_dir={calibration}",
        f"--teleop.expert={EXPERT}",
        "--dataset.repo_id=local/cubes", f"--dataset.root={root}", "--dataset.single_task=pick up the cube",
        "--dataset.fps=25", "--dataset.episode_time_s=1", "--dataset.num_episodes=1",
        "--dataset.push_to_hub=false", "--play_sounds=false", "--display_data=false",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "lerobot.scripts.lerobot_record", *words],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (frames,) = read_frames(root)
    # As many as LeRobot's loop managed in its second of wall time; each is one step of the twin.
    assert 2 <= len(frames.stamps_ns) <= 26
    assert frames.terms.keys() == {"joint_position", "joint_velocity", "cube_position", "cube_orientation"}
    assert frames.action_names == load_robot_card("so101_twin").commands["joints"].names
    assert frames.task == "pick up the cube"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"card": "quadrotor_twin"}, "bring the robot up with `reflexarc up` and give --robot.link=ros2"),
        ({"terms": ["tail"]}, "there is no term 'tail'"),
        ({"camera_names": ["tail"]}, "there is no camera 'tail'"),
        ({"card": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_driven_is_refused_before_anything_moves(make_robot, changes, text):
    # LeRobot wraps errors of a plug-in's constructor into one of its own.
    with pytest.raises((ConfigError, ValueError), match=text):
        make_robot(**changes).connect()


def test_a_teleoperator_alone_says_what_it_misses(make_teleop):
    for changes in ({}, {"expert": EXPERT, "mapping": "browser_arm"}):
        with pytest.raises(Exception, match="give --teleop.mapping=browser_arm"):
            make_teleop(**changes)
    teleop = make_teleop(expert="reflexarc/PegInsert-v0", card="panda_twin")
    teleop.connect()
    with pytest.raises(ConfigError, match="no connected robot 'panda' of type reflexarc"):
        teleop.get_action()


def test_an_unconnected_robot_and_an_incomplete_action_are_refused(make_robot):
    robot = make_robot()
    with pytest.raises(ConfigError, match="not connected"):
        robot.get_observation()
    robot.connect()
    with pytest.raises(ConfigError, match="the action lacks shoulder_lift, elbow_flex"):
        robot.send_action({"shoulder_pan": 0.0})
