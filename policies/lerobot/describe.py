"""Our card for a folder that LeRobot saved: what its features are called here, and in which units."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.card import POLICY_CARD_SCHEMA, PolicyAction, PolicyCard, PolicyTerm
from policies.lerobot.contract import (
    CONFIG_FILE,
    METHOD,
    POSTPROCESSOR_FILE,
    PREPROCESSOR_FILE,
    WEIGHTS_FILE,
    Feature,
    LeRobotParameters,
)
from policies.lerobot.folder import read_config

# Configuration keys that hold the number of predicted steps, by how surely they do.
_HORIZON_KEYS = ("chunk_size", "action_chunk_size", "n_action_steps")


def describe(
    folder: Path | str,
    robot: RobotCard,
    *,
    features: Mapping[str, Feature],
    fps: float,
    action: Feature | None = None,
    task: str = "",
    name: str = "",
    execute: int = 0,
    rate_hz: float = 0.0,
    max_loop_age_s: float = 0.08,
    max_open_loop_s: float = 0.12,
) -> PolicyCard:
    """Make the card and write it into the folder as `card.yaml`.

    Args:
        folder: what LeRobot's `save_pretrained` wrote.
        robot: whose terms, names and units the policy speaks.
        features: for every input of the policy, which terms or which camera of the robot it holds.
        fps: how many steps a second the policy was trained on.
        action: how the numbers of the action relate to the robot's; None: they are the same.
        task: the instruction for a language-conditioned policy.
        name: on the card; empty: the type of the policy.
        execute: steps of a chunk that are carried out before the next one; 0: as LeRobot's config says.
        rate_hz: how often the controller acts; 0: as often as the robot wants a command.
        max_loop_age_s: the oldest data with which it still works, seconds.
        max_open_loop_s: how long its last action may be used without a fresh observation, seconds.

    Returns:
        The card, with the hashes of LeRobot's files.

    Raises:
        ConfigError: no LeRobot policy is there, or the robot has not what the features name.
    """
    folder = Path(folder)
    config = read_config(folder)
    terms: dict[str, PolicyTerm] = {}
    for feature_name, feature in features.items():
        if feature.camera and feature.camera not in robot.cameras:
            raise _unknown(f"the camera {feature.camera!r}", feature_name, robot, robot.cameras)
        for term in feature.terms:
            if term not in robot.observations:
                raise _unknown(f"the term {term!r}", feature_name, robot, robot.observations)
            spec = robot.observations[term]
            terms[term] = PolicyTerm(spec.names, spec.unit, spec.frame)
    horizon = next((int(config[key]) for key in _HORIZON_KEYS if config.get(key)), 1)
    history = int(config.get("n_obs_steps") or 1)
    command = next(iter(robot.commands.values()))
    steps = min(horizon, int(config.get("n_action_steps") or horizon))
    parameters = LeRobotParameters(dict(features), action or Feature(), task)
    hashed = [WEIGHTS_FILE, CONFIG_FILE, PREPROCESSOR_FILE, POSTPROCESSOR_FILE]
    hashed += sorted(p.name for p in folder.glob("policy_*processor_*.safetensors"))
    card = PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name=name or str(config["type"]),
        method=METHOD,
        robot_kind=robot.kind,
        observation=terms,
        action=PolicyAction(
            kind=command.kind,
            names=command.names,
            unit=command.unit,
            horizon=horizon,
            step_s=1.0 / fps,
            execute=execute or steps,
        ),
        rate_hz=rate_hz or command.rate_hz,
        max_loop_age_s=max_loop_age_s,
        max_open_loop_s=max_open_loop_s,
        history=history,
        description=f"LeRobot, policy type {config['type']}.",
        files={
            f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in hashed if (folder / f).exists()
        },
        parameters=yaml.safe_load(schema.dump(parameters)),
    )
    (folder / "card.yaml").write_text(schema.dump(card), encoding="utf-8")
    return card


def _unknown(what: str, feature: str, robot: RobotCard, known: Mapping[str, object]) -> ConfigError:
    return ConfigError(
        f"{what} of the feature {feature!r} is not the robot's",
        where=f"robot card {robot.name!r}",
        expected="one of " + ", ".join(known),
        mend="correct the feature, or name the robot that the policy was trained for",
    )
