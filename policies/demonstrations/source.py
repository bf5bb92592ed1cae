"""Where demonstrations come from: recordings, a LeRobot dataset, a file, or the task's expert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hardware.errors import ConfigError
from hardware.robot import CommandSpec, RobotCard
from policies.demonstrations.config import ImitationConfig
from policies.demonstrations.episode import DemonstrationSet, Episode

if TYPE_CHECKING:
    from sim.experts.demonstrations import Demonstrations


def get_demonstrations(config: ImitationConfig, robot: RobotCard) -> DemonstrationSet:
    """Read or collect what a training config asks for.

    Args:
        config: names a folder or a file, or how many episodes the expert gives.
        robot: the card that they must fit.

    Returns:
        The successful episodes.

    Raises:
        ConfigError: there are no demonstrations, or they do not fit the robot or the rate.
    """
    found = _find(config, robot)
    where = config.data or "demonstrations"
    period_ns = round(config.step_s * 1e9)
    fitting = [sorted(spec.names) for spec in robot.commands.values()]
    if sorted(found.action_names) not in fitting or found.period_ns != period_ns:
        raise ConfigError(
            f"actions {', '.join(found.action_names)} every {found.period_ns * 1e-9:g} s",
            where=where,
            expected=f"{' or '.join(', '.join(names) for names in fitting)} every {config.step_s:g} s",
            mend="record them for this robot, or correct robot or step_s",
        )
    return found


def load_demonstrations(path: Path | str) -> DemonstrationSet:
    """Read demonstrations.

    Args:
        path: an .npz file that `sim.experts.demonstrations.Demonstrations.save` wrote.

    Returns:
        The successful episodes.

    Raises:
        ConfigError: the file is missing, holds something else, or is damaged.
    """
    from sim.experts.demonstrations import Demonstrations

    return _from_expert(Demonstrations.load(path), source=Path(path).name)


def command_of(robot: RobotCard, action_names: tuple[str, ...]) -> CommandSpec:
    """Find the robot's command whose elements the demonstrations have."""
    return next(spec for spec in robot.commands.values() if sorted(spec.names) == sorted(action_names))


def _find(config: ImitationConfig, robot: RobotCard) -> DemonstrationSet:
    if not config.data:
        return _collect(config)
    if not Path(config.data).is_dir():
        return load_demonstrations(config.data)
    from policies.demonstrations.recorded import load_recorded

    # Those learners that see images name their cameras.
    cameras: tuple[str, ...] = getattr(config, "cameras", ())
    terms = tuple(dict.fromkeys((*config.observation, *config.goal)))
    return load_recorded(config.data, robot, step_s=config.step_s, terms=terms, cameras=cameras)


def _collect(config: ImitationConfig) -> DemonstrationSet:
    from sim.experts.collect import ActionNoise, collect

    noise = ActionNoise(std_rad=config.noise_std_rad) if config.noise_std_rad else None
    found = collect(config.episodes, task=config.task, first_seed=config.demonstration_seed, noise=noise)
    return _from_expert(found, source="sim.experts.collect")


def _from_expert(found: Demonstrations, *, source: str) -> DemonstrationSet:
    found = found.successful()
    cuts = np.flatnonzero(np.diff(found.episode)) + 1
    actions = np.split(found.actions, cuts) if len(found.actions) else []
    parts = {name: np.split(values, cuts) for name, values in found.observations.items()}
    episodes = [
        Episode({name: values[i] for name, values in parts.items()}, action)
        for i, action in enumerate(actions)
    ]
    return DemonstrationSet(tuple(episodes), found.action_names, found.period_ns, source)
