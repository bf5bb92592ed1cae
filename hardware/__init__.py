"""Robots, their cards, commands, chunks and the command gate. Needs numpy and PyYAML alone."""

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.command import Command, CommandKind, SafeAction
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation, Robot, RobotCard

__all__ = [
    "ActionChunk",
    "Command",
    "CommandKind",
    "ConfigError",
    "ConfigErrors",
    "Interpolation",
    "Observation",
    "Robot",
    "RobotCard",
    "SafeAction",
    "Schedule",
    "load_robot_card",
]
