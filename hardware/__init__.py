"""Robots, their cards, commands, chunks and the command gate. Needs numpy and PyYAML alone."""

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.command import Command, CommandKind, SafeAction
from hardware.errors import ConfigError, ConfigErrors
from hardware.gate import CommandGate, GateAction, GateConfig, Verdict
from hardware.robot import Observation, Robot, RobotCard

__all__ = [
    "ActionChunk",
    "Command",
    "CommandGate",
    "CommandKind",
    "ConfigError",
    "ConfigErrors",
    "GateAction",
    "GateConfig",
    "Interpolation",
    "Observation",
    "Robot",
    "RobotCard",
    "SafeAction",
    "Schedule",
    "Verdict",
    "load_robot_card",
]
