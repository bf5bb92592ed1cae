"""Reflexarc's robots in LeRobot's commands: `--robot.type=reflexarc`."""

from lerobot_robot_reflexarc.config_reflexarc import Link, ReflexarcRobotConfig
from lerobot_robot_reflexarc.robot import ReflexarcRobot, current_robot

__all__ = ["Link", "ReflexarcRobot", "ReflexarcRobotConfig", "current_robot"]
