"""Demonstrations out of recordings and LeRobot datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from hardware.images import fit_image
from hardware.robot import RobotCard
from policies.demonstrations.episode import DemonstrationSet, Episode
from recording.card_diff import check_card
from recording.frames import Frames
from recording.lerobot_export import sample_recordings
from recording.lerobot_import import read_frames
from recording.lerobot_set import is_set, read_card, read_info
from recording.sampling import SamplingConfig


def load_recorded(
    folder: Path | str,
    robot: RobotCard,
    *,
    step_s: float,
    terms: Sequence[str],
    cameras: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
) -> DemonstrationSet:
    """Read demonstrations from a folder of recordings, or from a LeRobot dataset.

    Recordings are sampled as for an export; those that failed are left out. What was sent to the robot,
    behind the gate, is what was done.

    Args:
        folder: recordings (`*.mcap`) or a dataset, v3.
        robot: the card that they must fit.
        step_s: time between two steps; a dataset must have been written at that rate.
        terms: what is observed.
        cameras: whose images are.
        image_size: height and width of the images, as `hardware.images.fit_image` makes them; None: as they
            were recorded.

    Returns:
        The episodes.

    Raises:
        ConfigError: nothing is there, another rate, a term or camera that was not recorded, or images smaller
            than wanted.
        ConfigErrors: data of a robot with another card; every difference is listed.
    """
    folder = Path(folder)
    if is_set(folder):
        episodes = _of_set(folder, robot, step_s, terms, cameras)
    else:
        fps = round(1.0 / step_s)
        if abs(fps * step_s - 1.0) > 1e-6:
            raise ConfigError(
                f"step_s is {step_s:g}",
                where="training config",
                expected="a whole number of steps a second, to sample recordings at",
                mend=f"give --step-s {1.0 / max(fps, 1):g}",
            )
        config = SamplingConfig(fps=fps, terms=tuple(terms), cameras=tuple(cameras))
        episodes = sample_recordings(folder, config, card=robot)
    found = [
        (frames.action_names, _episode(frames, terms, cameras, image_size, str(folder)))
        for frames in episodes
    ]
    names = {action_names for action_names, _ in found}
    if len(names) != 1:
        raise ConfigError(
            "no demonstrations" if not names else f"actions of {len(names)} kinds",
            where=str(folder),
            expected="at least one successful episode, all with the same action",
            mend="record some, or mark those that went well (`reflexarc data list` shows their outcome)",
        )
    return DemonstrationSet(
        tuple(episode for _, episode in found), names.pop(), round(step_s * 1e9), folder.name
    )


def _of_set(
    folder: Path, robot: RobotCard, step_s: float, terms: Sequence[str], cameras: Sequence[str]
) -> Iterator[Frames]:
    fps = float(read_info(folder)["fps"])
    if abs(fps * step_s - 1.0) > 1e-6:
        raise ConfigError(
            f"the dataset has {fps:g} moments a second",
            where=str(folder),
            expected=f"one every step_s = {step_s:g} s",
            mend=f"give --step-s {1.0 / fps:g}, or export the recordings at another rate",
        )
    card = read_card(folder)
    if card is not None:
        check_card(card, robot, where=str(folder))
    for frames in read_frames(folder):
        absent = [name for name in terms if name not in frames.terms]
        absent += [name for name in cameras if name not in frames.images]
        if absent:
            raise ConfigError(
                f"the dataset lacks {', '.join(absent)}",
                where=str(folder),
                expected="the terms and cameras that the policy sees; it holds "
                + ", ".join([*frames.terms, *frames.images]),
                mend="export the recordings with them, or leave them out of the policy's observation",
            )
        yield frames


def _episode(
    frames: Frames,
    terms: Sequence[str],
    cameras: Sequence[str],
    size: tuple[int, int] | None,
    where: str,
) -> Episode:
    images = {}
    for name in cameras:
        seen: Iterable[NDArray[np.uint8]] = frames.images[name]
        if size is not None:
            there = f"{where}: camera {name!r}"
            seen = (fit_image(image, height=size[0], width=size[1], where=there) for image in seen)
        images[name] = np.stack(list(seen))
    observations = {name: frames.terms[name] for name in terms}
    return Episode(observations, frames.actions, images, expert=frames.interventions)
