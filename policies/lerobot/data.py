"""The dataset that a training of LeRobot reads: a given one, or one written from other demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.demonstrations import DemonstrationSet, ImitationConfig
from policies.demonstrations.source import get_demonstrations
from policies.lerobot.config import ActTrainConfig
from policies.lerobot.contract import Feature
from recording.card_diff import check_card
from recording.frames import Frames
from recording.lerobot_features import IMAGES, FeatureMap, feature_map_of
from recording.lerobot_set import is_set, read_card, read_info, write_set


@dataclass(frozen=True)
class TrainingSet:
    """A LeRobot dataset to train on."""

    # Its folder.
    root: Path
    # Which of our terms and cameras it holds where.
    layout: FeatureMap
    # Height and width of every camera's images.
    image_sizes: Mapping[str, tuple[int, int]]
    # Episodes and moments in it.
    episodes: int
    frames: int

    @property
    def features(self) -> dict[str, Feature]:
        """What each input of a policy that was trained on it holds."""
        found = {name: Feature(terms=terms) for name, terms in self.layout.vectors.items()}
        return found | {IMAGES + camera: Feature(camera=camera) for camera in self.layout.cameras}


def training_set(config: ActTrainConfig, robot: RobotCard, folder: Path) -> TrainingSet:
    """Find the dataset, or write it.

    Args:
        config: names the data.
        robot: the robot that the policy is made for.
        folder: where the dataset goes if it must be written; one that is there already is used.

    Returns:
        The dataset.

    Raises:
        ConfigError: no such data, another robot, another rate, other terms, or too few episodes.
    """
    root = Path(config.data) if config.data and is_set(config.data) else folder
    if not is_set(root):
        found = get_demonstrations(_imitation(config), robot)
        write_set(folder, robot, _frames(config, found), fps=_fps(config))
    info = read_info(root)
    if round(float(info["fps"]) * config.step_s, 6) != 1.0:
        raise ConfigError(
            f"the dataset has {info['fps']} moments a second",
            where=str(root),
            expected=f"one every step_s = {config.step_s:g} s",
            mend=f"give --step-s {1.0 / float(info['fps']):g}, or export the recordings at another rate",
        )
    card = read_card(root)
    if card is not None:
        check_card(card, robot, where=str(root))
    layout = feature_map_of(info["features"], where=str(root))
    if config.observation and set(layout.terms) != set(config.observation):
        raise ConfigError(
            f"the dataset holds the terms {', '.join(layout.terms)}",
            where=str(root),
            expected=f"exactly the terms of the observation: {', '.join(config.observation)}",
            mend="export the dataset with these --terms, or give --observation as the dataset has it",
        )
    episodes = int(info["total_episodes"])
    if episodes < 2:
        raise ConfigError(
            f"{episodes} demonstration(s)",
            where=str(root),
            expected="more than the share that is held out for validation, at least two",
            mend="record more demonstrations",
        )
    shapes = {camera: info["features"][IMAGES + camera]["shape"] for camera in layout.cameras}
    sizes = {camera: (int(shape[0]), int(shape[1])) for camera, shape in shapes.items()}
    return TrainingSet(root, layout, sizes, episodes, int(info["total_frames"]))


def _fps(config: ActTrainConfig) -> int:
    fps = round(1.0 / config.step_s)
    if abs(fps * config.step_s - 1.0) > 1e-6:
        raise ConfigError(
            f"step_s is {config.step_s:g}",
            where="training config",
            expected="a whole number of steps a second, as LeRobot's datasets have",
            mend=f"give --step-s {1.0 / fps:g}" if fps else "give at most one second",
        )
    return fps


def _imitation(config: ActTrainConfig) -> ImitationConfig:
    return ImitationConfig(
        out=config.out,
        data=config.data,
        episodes=config.episodes,
        demonstration_seed=config.demonstration_seed,
        noise_std_rad=config.noise_std_rad,
        robot=config.robot,
        task=config.task,
        observation=config.observation,
        step_s=config.step_s,
        horizon=config.horizon,
        execute=config.execute,
    )


def _frames(config: ActTrainConfig, found: DemonstrationSet) -> Iterator[Frames]:
    """Demonstrations have no stamps of their own: they were made step by step."""
    for number, episode in enumerate(found.episodes):
        stamps_ns = np.arange(len(episode.actions), dtype=np.int64) * found.period_ns
        terms = config.observation or tuple(episode.observations)
        absent = [name for name in terms if name not in episode.observations]
        if absent:
            raise ConfigError(
                f"the terms {', '.join(absent)} are missing",
                where=f"{found.source}: demonstration {number}",
                expected=", ".join(terms),
                mend="record the terms or leave them out of the policy's observation",
            )
        yield Frames(
            stamps_ns=stamps_ns,
            terms={name: episode.observations[name] for name in terms},
            term_stamps_ns=dict.fromkeys(terms, stamps_ns),
            actions=episode.actions,
            action_stamps_ns=stamps_ns,
            action_names=found.action_names,
            images={name: list(images) for name, images in episode.images.items()},
            image_stamps_ns=dict.fromkeys(episode.images, stamps_ns),
            task=config.instruction,
            success=True,
            source=f"{found.source}: {number}",
        )
