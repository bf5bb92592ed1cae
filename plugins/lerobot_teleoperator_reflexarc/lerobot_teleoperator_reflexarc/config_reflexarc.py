"""What LeRobot's command line can say about a teleoperator of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.teleoperators.config import TeleoperatorConfig


@TeleoperatorConfig.register_subclass("reflexarc")
@dataclass(kw_only=True)
class ReflexarcTeleopConfig(TeleoperatorConfig):
    """A device that a person moves, or a task's expert."""

    # The robot's card, as --robot.card.
    card: str = "so101_twin"
    # How the device's controls move the robot: the name of a mapping or the path of one (keyboard_arm,
    # gamepad_arm, browser_arm, spacemouse_arm, so101_leader_arm, ...).
    mapping: str = ""
    # Options of that device; they win over those of the mapping.
    options: dict[str, Any] = field(default_factory=dict)
    # The task whose scripted expert acts in place of a person, by its Gymnasium name.
    expert: str = ""
    # Seed of the expert.
    seed: int = 0
