"""Protects LeRobot's way to a running robot: over ROS 2, as an operator whom the gate lets through."""

from __future__ import annotations

import time

import pytest
from lerobot.robots.config import RobotConfig
from lerobot.robots.utils import make_robot_from_config
from lerobot.utils.import_utils import register_third_party_plugins
from reflexarc_ros.domain import OwnDomain
from reflexarc_ros.runner import SystemRunner

from hardware.errors import ConfigError

pytestmark = pytest.mark.ros
register_third_party_plugins()


@pytest.fixture
def make_robot(tmp_path, monkeypatch):
    made = []

    def make(domain_id, **changes):
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
        kind = RobotConfig.get_choice_class("reflexarc")
        made.append(make_robot_from_config(kind(id="arm", calibration_dir=tmp_path, link="ros2", **changes)))
        return made[-1]

    yield make
    for robot in made:
        robot.disconnect()


def test_lerobot_drives_a_running_twin_through_its_gate(make_robot, monkeypatch):
    with OwnDomain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain.id))
        with SystemRunner("arm", {"policy": "none"}, on_line=lambda node, line: None):
            robot = make_robot(domain.id, connect_s=90.0)
            robot.connect()
            begin = robot.get_observation()
            goal = {name: begin[f"joint_position.{name}"] for name in robot.action_features}
            goal["shoulder_pan"] += 0.2
            deadline_s = time.monotonic() + 60.0
            while time.monotonic() < deadline_s:
                sent = robot.send_action(goal)
                now = robot.get_observation()["joint_position.shoulder_pan"]
                if abs(now - goal["shoulder_pan"]) < 0.03:
                    break
                time.sleep(0.02)
            assert now == pytest.approx(goal["shoulder_pan"], abs=0.03)
            assert sent["shoulder_pan"] == pytest.approx(goal["shoulder_pan"], abs=0.02)
            robot.disconnect()
            assert not robot.is_connected


def test_a_robot_that_is_not_there_is_said_to_be_missing(make_robot):
    with OwnDomain() as domain:
        robot = make_robot(domain.id, connect_s=0.5)
        with pytest.raises(
            ConfigError, match=r"no observations within 0\.5 s.*reflexarc up arm policy:=none"
        ):
            robot.connect()
        assert not robot.is_connected
