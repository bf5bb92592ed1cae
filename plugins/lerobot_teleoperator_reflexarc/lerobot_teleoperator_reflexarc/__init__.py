"""Reflexarc's teleoperation devices and experts in LeRobot's commands: `--teleop.type=reflexarc`."""

from lerobot_teleoperator_reflexarc.config_reflexarc import ReflexarcTeleopConfig
from lerobot_teleoperator_reflexarc.teleoperator import ReflexarcTeleop

__all__ = ["ReflexarcTeleop", "ReflexarcTeleopConfig"]
