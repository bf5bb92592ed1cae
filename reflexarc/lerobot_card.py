"""`reflexarc export lerobot-card`: make a folder that LeRobot saved a policy folder of ours, by its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hardware.errors import ConfigError, ConfigErrors
from reflexarc.output import Output

if TYPE_CHECKING:
    from hardware.robot import RobotCard
    from policies.lerobot.contract import Feature

_WHERE = "reflexarc export lerobot-card"
_CAMERA = "camera:"
_STATE_TERM = "joint_position"


@dataclass(frozen=True)
class LeRobotCardExport:
    """Which folder, for which robot."""

    # What LeRobot's save_pretrained wrote (checkpoints/*/pretrained_model).
    folder: Annotated[Path, tyro.conf.Positional]
    # The robot whose terms, names and units the policy speaks: a card's name or file.
    robot: str
    # Steps a second that it was trained on.
    fps: float
    # What an input of the policy holds, as NAME=TERM,TERM or NAME=camera:CAMERA. Inputs that are not named:
    # images are the camera of their name, numbers as many as there are joints are the joints' positions.
    feature: tuple[str, ...] = ()
    # The policy counts angles in degrees.
    degrees: bool = False
    # What it is to do, in words, where nobody says anything else.
    instruction: str = ""
    # Steps of a chunk that are carried out; as LeRobot's configuration says when absent.
    execute: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: as LeRobot's file)")] = None
    # The policy's name on its card; its type when absent.
    name: Annotated[str | None, tyro.conf.arg(help_behavior_hint="(default: its type)")] = None

    def __post_init__(self) -> None:
        """Refuse a rate that is none.

        Raises:
            ConfigError: `fps` or `execute` is not positive.
        """
        if not (0.0 < self.fps < math.inf) or (self.execute is not None and self.execute < 1):
            raise ConfigError(
                f"fps {self.fps}, execute {self.execute}",
                where=_WHERE,
                expected="positive numbers",
                mend="give the rate of the training data, and at least one step",
            )


def export_lerobot_card(config: LeRobotCardExport, output: Output) -> int:
    """Write the card, and let the policy answer once to prove that it fits.

    Args:
        config: which folder, for which robot.
        output: where the result goes.

    Returns:
        0.

    Raises:
        ConfigError: there is no such folder or robot, or the policy cannot be loaded; the folder is then left
            as it was.
        ConfigErrors: card and network disagree; likewise.
    """
    from hardware.cards.library import load_robot_card
    from policies.lerobot import LeRobotPolicy, describe
    from policies.lerobot.folder import read_config

    robot = load_robot_card(config.robot)
    inputs = read_config(config.folder)["input_features"]
    said = dict(_parse(word) for word in config.feature)
    features = {
        name: said.pop(name) if name in said else _guess(name, spec, robot) for name, spec in inputs.items()
    }
    features |= said
    path = config.folder / "card.yaml"
    before = path.read_bytes() if path.exists() else None
    try:
        with output.progress("loading the policy"):
            card = describe(
                config.folder,
                robot,
                features=_in_degrees(features, robot) if config.degrees else features,
                fps=config.fps,
                action=_action(robot) if config.degrees else None,
                task=config.instruction,
                name=config.name or "",
                execute=config.execute or 0,
            )
            LeRobotPolicy.load(config.folder)
    except (ConfigError, ConfigErrors):
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
        raise
    holds = {name: _CAMERA + f.camera if f.camera else ",".join(f.terms) for name, f in features.items()}
    output.result({"file": path, "name": card.name, "features": holds, "horizon": card.action.horizon})
    if not output.json:
        output.console.print(f"{path}: {card.name}, {card.action.horizon} steps a chunk", soft_wrap=True)
        for name, what in holds.items():
            output.console.print(f"  {name} = {what}", markup=False, soft_wrap=True)
    return 0


def _parse(word: str) -> tuple[str, Feature]:
    from policies.lerobot.contract import Feature

    name, equals, value = word.partition("=")
    if not (name and equals and value.removeprefix(_CAMERA)):
        raise ConfigError(
            f"the feature {word!r}",
            where=_WHERE,
            expected="NAME=TERM,TERM or NAME=camera:CAMERA",
            mend="write it like observation.state=joint_position,joint_velocity",
        )
    if value.startswith(_CAMERA):
        return name, Feature(camera=value.removeprefix(_CAMERA))
    return name, Feature(terms=tuple(value.split(",")))


def _guess(name: str, spec: Mapping[str, Any], robot: RobotCard) -> Feature:
    """What an input that nobody named holds."""
    from policies.lerobot.contract import Feature

    camera, shape = name.rpartition(".")[2], tuple(spec["shape"])
    if spec["type"] == "VISUAL" and camera in robot.cameras:
        return Feature(camera=camera)
    joints = robot.observations.get(_STATE_TERM)
    if spec["type"] == "STATE" and joints is not None and shape == (len(joints.names),):
        return Feature(terms=(_STATE_TERM,))
    known = ", ".join(_CAMERA + n for n in robot.cameras) if spec["type"] == "VISUAL" else ", ".join(
        f"{n} ({len(o.names)})" for n, o in robot.observations.items()
    )  # fmt: skip
    raise ConfigError(
        f"nobody says what the input {name!r} of shape {shape} holds",
        where=_WHERE,
        expected=f"some of what the robot {robot.name!r} has: {known or 'nothing of this kind'}",
        mend=f"add --feature {name}=...",
    )


def _in_degrees(features: Mapping[str, Feature], robot: RobotCard) -> dict[str, Feature]:
    """The same features, where radians (and radians a second) of ours are degrees there."""
    from policies.lerobot.contract import Feature

    found = {}
    for name, feature in features.items():
        specs = [robot.observations[term] for term in feature.terms if term in robot.observations]
        scale = tuple(_scale(spec.unit) for spec in specs for _ in spec.names)
        found[name] = Feature(feature.terms, feature.camera, scale if set(scale) - {1.0} else ())
    return found


def _action(robot: RobotCard) -> Feature:
    from policies.lerobot.contract import Feature

    command = next(iter(robot.commands.values()))
    return Feature(scale=(_scale(command.unit),) * len(command.names))


def _scale(unit: str) -> float:
    return 180.0 / math.pi if unit.startswith("rad") else 1.0
