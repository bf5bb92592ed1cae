"""Recordings as a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard
from recording.card_diff import check_card
from recording.episode import Episode
from recording.folder import finished
from recording.frames import Frames
from recording.lerobot_set import ExportRecord, write_set
from recording.metadata import Outcome
from recording.sampling import SamplingConfig, sample_episode


@dataclass(frozen=True)
class Selection:
    """Which episodes of a folder are wanted."""

    # How they must have gone; none: however they went.
    outcomes: tuple[Outcome, ...] = (Outcome.SUCCESS, Outcome.UNKNOWN)
    # Whether those that cannot be sampled are left out instead of ending the export.
    skip_faulty: bool = False


@dataclass(frozen=True)
class Skipped:
    """An episode that is not in the dataset."""

    # The file.
    source: str
    # Why.
    reason: str


def export_recordings(
    source: Path,
    target: Path,
    config: SamplingConfig,
    *,
    card: RobotCard | None = None,
    selection: Selection | None = None,
    video: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ExportRecord, tuple[Skipped, ...]]:
    """Write the episodes of a folder as a LeRobot dataset, v3.

    Args:
        source: a folder of recordings, or one of them.
        target: the folder of the dataset; must not exist.
        config: the rate, terms and cameras.
        card: the robot that the dataset is for; None: the one in the first recording.
        selection: which episodes.
        video: whether images become videos or image files.
        progress: is told episodes done and in all.

    Returns:
        What was written and what was left out.

    Raises:
        ConfigError: no episode, no card, or the target exists.
        ConfigErrors: recordings of another robot (every difference of the cards), or, unless they are to be
            skipped, everything that is wrong with any episode.
    """
    selection = selection or Selection()
    skipped: list[Skipped] = []
    paths = _readable(source, selection, skipped)
    robot = card or card_of(Episode.open(paths[0]))
    for path in paths:
        check_card(card_of(Episode.open(path)), robot, where=str(path))
    chosen = _select(paths, selection, skipped)
    if not selection.skip_faulty:
        _check_all(chosen, robot, config)

    def frames() -> Iterator[Frames]:
        for done, path in enumerate(chosen):
            try:
                pieces = sample_episode(Episode.open(path), robot, config)
            except ConfigError as error:
                if not selection.skip_faulty:
                    raise
                skipped.append(Skipped(path.name, error.what))
                pieces = []
            yield from pieces
            if progress is not None:
                progress(done + 1, len(chosen))

    record = write_set(target, robot, frames(), fps=config.fps, video=video)
    return record, tuple(skipped)


def sample_recordings(
    source: Path, config: SamplingConfig, *, card: RobotCard, selection: Selection | None = None
) -> Iterator[Frames]:
    """Sample the episodes of a folder, for learners that need no dataset on the disk.

    Args:
        source: a folder of recordings, or one of them.
        config: the rate, terms and cameras.
        card: the robot that they must be of.
        selection: which episodes.

    Yields:
        The pieces, episode by episode.

    Raises:
        ConfigError: as `export_recordings`.
    """
    selection = selection or Selection()
    for path in _select(_readable(source, selection, []), selection, []):
        episode = Episode.open(path)
        check_card(card_of(episode), card, where=str(path))
        try:
            pieces = sample_episode(episode, card, config)
        except ConfigError:
            if not selection.skip_faulty:
                raise
            continue
        yield from pieces


def recorded_card(source: Path, *, selection: Selection | None = None) -> RobotCard:
    """Give the robot card inside the first recording of a folder.

    Args:
        source: a folder of recordings, or one of them.
        selection: whether those that cannot be read are left out.

    Raises:
        ConfigError: no episode, or a recording that cannot be read or holds no card.
    """
    return card_of(Episode.open(_readable(source, selection or Selection(), [])[0]))


def _readable(source: Path, selection: Selection, skipped: list[Skipped]) -> list[Path]:
    """The finished episodes that can be opened and hold a card."""
    paths = finished(source)
    found: list[Path] = []
    faults: list[ConfigError] = []
    for path in paths:
        try:
            card_of(Episode.open(path))
        except ConfigError as error:
            faults.append(error)
            skipped.append(Skipped(path.name, error.what))
        else:
            found.append(path)
    if faults and not (selection.skip_faulty and found):
        if len(faults) == 1:
            raise faults[0]
        raise ConfigErrors(faults, where=f"{len(faults)} of {len(paths)} episodes cannot be read")
    return found


def _select(paths: Sequence[Path], selection: Selection, skipped: list[Skipped]) -> list[Path]:
    chosen = []
    for path in paths:
        outcome = Episode.open(path).metadata.outcome
        if selection.outcomes and outcome not in selection.outcomes:
            skipped.append(Skipped(path.name, f"its outcome is {outcome.value}"))
        else:
            chosen.append(path)
    return chosen


def _check_all(paths: Sequence[Path], card: RobotCard, config: SamplingConfig) -> None:
    findings: list[ConfigError] = []
    for path in paths:
        try:
            sample_episode(Episode.open(path), card, config)
        except ConfigError as error:
            findings.append(error)
    if findings:
        raise ConfigErrors(findings, where=f"{len(findings)} of {len(paths)} episodes cannot be exported")


def card_of(episode: Episode) -> RobotCard:
    """Give the robot card inside a recording.

    Raises:
        ConfigError: there is none, or it has faults.
    """
    card = episode.robot_card
    if card is None:
        raise ConfigError(
            "the recording holds no robot card",
            where=str(episode.path),
            expected="the card of its robot, which the recorder puts in",
            mend="record with `reflexarc record`",
        )
    return card
