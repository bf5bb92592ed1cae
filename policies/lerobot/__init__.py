"""Policies that LeRobot trained and saved, as base policies of our controller: black boxes behind a card."""

from policies.lerobot.describe import describe
from policies.lerobot.policy import LeRobotOptions, LeRobotPolicy

__all__ = ["LeRobotOptions", "LeRobotPolicy", "describe"]
