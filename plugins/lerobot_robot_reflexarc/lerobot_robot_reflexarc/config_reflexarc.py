"""What LeRobot's command line can say about a robot of ours."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from lerobot.robots.config import RobotConfig


class Link(enum.StrEnum):
    """How the robot is reached."""

    # The twin in this process; every loop of LeRobot moves its time on by `step_s`, however long it takes.
    LOCKSTEP = "lockstep"
    # The twin in this process; its time is that of the wall.
    REAL_TIME = "real_time"
    # A system that `reflexarc up` or a launch file has brought up, twin or hardware.
    ROS2 = "ros2"


@RobotConfig.register_subclass("reflexarc")
@dataclass(kw_only=True)
class ReflexarcRobotConfig(RobotConfig):
    """A robot of ours."""

    # Its card: a name from hardware/cards or the path of a YAML file.
    card: str = "so101_twin"
    # How it is reached. Commands go through the command gate in every case.
    link: Link = Link.LOCKSTEP
    # The terms that LeRobot sees; none: all of the card.
    terms: list[str] = field(default_factory=list)
    # The cameras that LeRobot sees.
    camera_names: list[str] = field(default_factory=list)
    # Time between two actions, seconds: 1 / --dataset.fps.
    step_s: float = 0.04
    # Seed of the twin's start and latency.
    seed: int = 0
    # Over ROS 2: the robot's namespace; empty: the card's name.
    namespace: str = ""
    # Over ROS 2: how long to wait for the first observation, seconds.
    connect_s: float = 10.0
