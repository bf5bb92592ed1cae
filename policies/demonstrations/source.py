"""Where demonstrations come from: recordings, a LeRobot dataset, a file, or the task's expert."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.images import fit_image
from hardware.robot import CommandSpec, RobotCard
from policies.demonstrations.config import ImitationConfig
from policies.demonstrations.episode import DemonstrationSet, Episode
from policies.demonstrations.layout import Layout

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
    found = _read(config, robot, config.data) if config.data else _collect(config, robot)
    _check(found, config, robot, where=config.data or "demonstrations")
    if config.retrieve_from:
        found = _retrieve(found, config, robot)
    if not config.interventions:
        return found
    added = [(where, _read(config, robot, where, interventions=True)) for where in config.interventions]
    for where, more in added:
        _check(more, config, robot, where=where)
        if more.action_names != found.action_names:
            raise ConfigError(
                f"actions {', '.join(more.action_names)}",
                where=where,
                expected=f"{', '.join(found.action_names)}, as in the demonstrations, in this order",
                mend="record them with the robot card of the demonstrations",
            )
    sets = [found, *(more for _, more in added)]
    return replace(
        found,
        episodes=tuple(episode for one in sets for episode in one.episodes),
        source=" + ".join(one.source for one in sets),
    )


def _retrieve(task: DemonstrationSet, config: ImitationConfig, robot: RobotCard) -> DemonstrationSet:
    """Add what is like the demonstrations in a large set."""
    from policies.demonstrations.retrieve import retrieve

    prior = _read(config, robot, config.retrieve_from)
    _check(prior, config, robot, where=config.retrieve_from)
    return retrieve(
        task,
        prior,
        Layout.of(robot, config.observation),
        share=config.retrieve_share,
        horizon=config.horizon,
        relative_to=config.relative_to,
        seed=config.seed,
    )


def _check(found: DemonstrationSet, config: ImitationConfig, robot: RobotCard, *, where: str) -> None:
    period_ns = round(config.step_s * 1e9)
    fitting = [sorted(spec.names) for spec in robot.commands.values()]
    if sorted(found.action_names) not in fitting or found.period_ns != period_ns:
        raise ConfigError(
            f"actions {', '.join(found.action_names)} every {found.period_ns * 1e-9:g} s",
            where=where,
            expected=f"{' or '.join(', '.join(names) for names in fitting)} every {config.step_s:g} s",
            mend="record them for this robot, or correct robot or step_s",
        )


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


def _read(
    config: ImitationConfig, robot: RobotCard, path: str, *, interventions: bool = False
) -> DemonstrationSet:
    """Read a folder, a dataset or a file; of interventions, the episodes in which somebody took over."""
    size = _image_size(config)
    if not Path(path).is_dir():
        found = load_demonstrations(path)
        if size is not None:
            found = replace(found, episodes=tuple(_fitted(e, size, where=path) for e in found.episodes))
    else:
        from policies.demonstrations.recorded import load_recorded

        terms = tuple(dict.fromkeys((*config.observation, *config.goal)))
        found = load_recorded(
            path, robot, step_s=config.step_s, terms=terms, cameras=_cameras(config), image_size=size
        )
    if not interventions:
        # Demonstrations are learned whole, whoever gave them.
        return replace(found, episodes=tuple(replace(e, expert=None) for e in found.episodes))
    if any(episode.expert is None for episode in found.episodes):
        raise ConfigError(
            "the data does not say who commanded",
            where=path,
            expected="recordings that tell every step's source, or a dataset with the column `intervention`",
            mend="record them anew beside a policy, or give them as --data: then every step is learned",
        )
    kept = tuple(e for e in found.episodes if e.expert is not None and e.expert.any())
    if not kept:
        raise ConfigError(
            "nobody took over",
            where=path,
            expected="a successful episode with an intervention, at least one",
            mend="take over where the policy fails (docs/teleoperation.md)",
        )
    return replace(found, episodes=kept)


def _collect(config: ImitationConfig, robot: RobotCard) -> DemonstrationSet:
    from sim.experts.collect import ActionNoise, collect

    noise = ActionNoise(std_rad=config.noise_std_rad) if config.noise_std_rad else None
    size = _image_size(config)
    found = collect(
        config.episodes,
        task=config.task,
        first_seed=config.demonstration_seed,
        noise=noise,
        cameras={name: robot.cameras[name] for name in _cameras(config)},
        image_size=None if size is None else (size[1], size[0]),
    )
    return _from_expert(found, source="sim.experts.collect")


def _cameras(config: ImitationConfig) -> tuple[str, ...]:
    """Those whose images a learner sees: only some learners have such a setting."""
    cameras: tuple[str, ...] = getattr(config, "cameras", ())
    return cameras


def _image_size(config: ImitationConfig) -> tuple[int, int] | None:
    """Height and width of the images that the learner sees; None: it sees none."""
    if not _cameras(config):
        return None
    return getattr(config, "image_height"), getattr(config, "image_width")  # noqa: B009


def _fitted(episode: Episode, size: tuple[int, int], *, where: str) -> Episode:
    def fitted(images: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        height, width = size
        there = f"{where}: camera {name!r}"
        return np.stack([fit_image(image, height=height, width=width, where=there) for image in images])

    return replace(episode, images={name: fitted(seen, name) for name, seen in episode.images.items()})


def _from_expert(found: Demonstrations, *, source: str) -> DemonstrationSet:
    found = found.successful()
    cuts = np.flatnonzero(np.diff(found.episode)) + 1
    actions = np.split(found.actions, cuts) if len(found.actions) else []
    parts = {name: np.split(values, cuts) for name, values in found.observations.items()}
    images = {name: np.split(values, cuts) for name, values in found.images.items()}
    flags = None if found.intervention is None else np.split(found.intervention, cuts)
    episodes = [
        Episode(
            {name: values[i] for name, values in parts.items()},
            action,
            {name: values[i] for name, values in images.items()},
            expert=None if flags is None else flags[i],
        )
        for i, action in enumerate(actions)
    ]
    return DemonstrationSet(tuple(episodes), found.action_names, found.period_ns, source)
