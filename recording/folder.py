"""A folder of episodes: what is in it, the next number, deleting, merging, and room on the disk."""

from __future__ import annotations

import enum
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording.episode import Episode
from recording.writer import PART_SUFFIX, SUFFIX, is_being_written, sync_folder

_NAME = re.compile(rf"episode_(\d{{6,}})({re.escape(PART_SUFFIX)}|{re.escape(SUFFIX)})")
_IMAGE_CHANNELS = 3
# A message's header, names and framing beside its numbers, bytes, and the size of a number.
_MESSAGE_BYTES, _NUMBER_BYTES = 250, 8


class FileState(enum.Enum):
    """What a file of a folder is."""

    FINISHED = "finished"
    RECORDING = "recording"
    HALF_WRITTEN = "half-written"


@dataclass(frozen=True)
class EpisodeFile:
    """A file of a folder."""

    # The number in its name.
    number: int
    # Where it is.
    path: Path
    # What it is.
    state: FileState

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk."""
        return self.path.stat().st_size


def episode_path(folder: Path, number: int) -> Path:
    """Compose the name of a finished episode."""
    return folder / f"episode_{number:06d}{SUFFIX}"


def list_episodes(folder: Path) -> tuple[EpisodeFile, ...]:
    """Find the episodes of a folder by looking, so that nothing has to be kept beside them.

    Args:
        folder: the folder; one that does not exist holds none.

    Returns:
        The files by number.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        if match[2] == SUFFIX:
            state = FileState.FINISHED
        else:
            state = FileState.RECORDING if is_being_written(path) else FileState.HALF_WRITTEN
        found.append(EpisodeFile(int(match[1]), path, state))
    return tuple(sorted(found, key=lambda file: file.number))


def misnamed(folder: Path) -> tuple[Path, ...]:
    """Find MCAP files whose names are no episode's: nothing that takes a whole folder looks at them."""
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return tuple(p for p in files if p.name.endswith((SUFFIX, PART_SUFFIX)) and not _NAME.fullmatch(p.name))


def next_number(folder: Path) -> int:
    """Give the number after the highest one, half-written episodes included; 0 in an empty folder."""
    return max((file.number for file in list_episodes(folder)), default=-1) + 1


def finished(path: Path) -> tuple[Path, ...]:
    """Find the finished episodes of a folder, or the one episode that a path names.

    Args:
        path: a folder or a file.

    Returns:
        The files by number.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file():
        return (path,)
    found = tuple(file.path for file in list_episodes(path) if file.state is FileState.FINISHED)
    if not found:
        raise ConfigError(
            "there is no finished episode",
            where=str(path),
            expected=f"a folder with files like {episode_path(Path(), 12)}",
            mend="record some, or correct the path; `reflexarc data repair` finishes half-written ones",
        )
    return found


def delete_episodes(folder: Path, numbers: Sequence[int]) -> tuple[Path, ...]:
    """Delete episodes for good; all of them or none.

    Args:
        folder: the folder.
        numbers: of the episodes.

    Returns:
        The files that were deleted.

    Raises:
        ConfigError: a number is not there, or is being recorded; nothing is deleted then.
    """
    found = list_episodes(folder)
    known = {file.number for file in found}
    missing = [number for number in numbers if number not in known]
    chosen = [file for file in found if file.number in numbers]
    busy = [file.number for file in chosen if file.state is FileState.RECORDING]
    if missing or busy:
        raise ConfigError(
            f"episode {busy[0]} is being recorded" if busy else f"there is no episode {missing[0]}",
            where=str(folder),
            expected="numbers of episodes that nobody writes",
            mend="stop the recorder first" if busy else "see `reflexarc data list`",
        )
    for file in chosen:
        file.path.unlink()
    if chosen:
        sync_folder(folder)
    return tuple(file.path for file in chosen)


@dataclass(frozen=True)
class Merged:
    """What a merge did."""

    # Source and copy of every episode.
    copied: tuple[tuple[Path, Path], ...]
    # Episodes that the target had already, by their identity.
    known: tuple[Path, ...]


def merge_folders(
    sources: Sequence[Path], target: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Merged:
    """Copy the finished episodes of folders into one, numbered anew; sources stay as they are.

    Args:
        sources: folders or single episodes, in the order of the new numbers.
        target: the folder, made where it is missing; its own episodes keep their numbers.
        progress: called with episodes done and in all.

    Returns:
        What was copied, and what was there already. Doing it again copies nothing.

    Raises:
        ConfigError: a source without finished episodes, a file that is no episode, robots that differ, a
            disk without room. Nothing is copied in the first three cases.
    """
    paths = [path for source in sources for path in finished(source)]
    _check_same_robot([*paths, *_own(target)])
    target.mkdir(parents=True, exist_ok=True)
    have = {identity for path in _own(target) if (identity := _identity(path))}
    copied, known = [], []
    for done, path in enumerate(paths):
        identity = _identity(path)
        if identity and identity in have:
            known.append(path)
        else:
            copied.append((path, _copy(path, target)))
            have.add(identity)
        progress(done + 1, len(paths))
    sync_folder(target)
    return Merged(tuple(copied), tuple(known))


def _own(folder: Path) -> list[Path]:
    return [file.path for file in list_episodes(folder) if file.state is FileState.FINISHED]


def _identity(path: Path) -> str:
    return Episode.open(path).metadata.info.episode_id


def _check_same_robot(paths: Iterable[Path]) -> None:
    robots: dict[str, Path] = {}
    for path in paths:
        robots.setdefault(Episode.open(path).metadata.info.robot, path)
    if len(robots) > 1:
        raise ConfigError(
            "episodes of several robots: " + ", ".join(f"{n!r} in {p}" for n, p in robots.items()),
            where="merge",
            expected="episodes of one robot",
            mend="merge those of each robot into a folder of their own",
        )


def _copy(path: Path, target: Path) -> Path:
    growing = target / f".{path.name}.{os.getpid()}.copy"
    try:
        shutil.copyfile(path, growing)
        with growing.open("rb") as file:
            os.fsync(file.fileno())
        copy = _name(growing, target)
    except OSError as error:
        raise ConfigError(
            f"{path.name} cannot be copied ({error.strerror})",
            where=str(target),
            expected="room for the episodes",
            mend="free some space and merge again: what was copied stays and is not copied twice",
        ) from error
    finally:
        growing.unlink(missing_ok=True)
    return copy


def _name(growing: Path, target: Path) -> Path:
    """Give a copy the next number that is free, also while somebody records into the folder."""
    while True:
        copy = episode_path(target, next_number(target))
        # Whoever has this file has the number, as a recorder does.
        claim = copy.with_name(copy.name.removesuffix(SUFFIX) + PART_SUFFIX)
        try:
            claim.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            if not copy.exists():
                return growing.rename(copy)
        finally:
            claim.unlink(missing_ok=True)


# --- room ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """Whether a recording fits on the disk."""

    # What is recorded, bytes per second, and where the number comes from.
    bytes_per_s: float
    basis: str
    # How much is free, bytes, and how much of it is left alone.
    free_bytes: int
    reserve_bytes: int
    # How much the planned episodes need, bytes; None: there is no plan.
    needed_bytes: float | None

    @property
    def fits(self) -> bool:
        """Whether the planned episodes fit; without a plan: whether a minute does."""
        needed = 60.0 * self.bytes_per_s if self.needed_bytes is None else self.needed_bytes
        return needed <= self.free_bytes - self.reserve_bytes

    @property
    def time_left_s(self) -> float:
        """How long can be recorded, seconds."""
        return max(self.free_bytes - self.reserve_bytes, 0) / max(self.bytes_per_s, 1.0)

    def check(self, folder: Path) -> None:
        """Refuse a recording that does not fit.

        Raises:
            ConfigError: it does not.
        """
        if not self.fits:
            needed = 60.0 * self.bytes_per_s if self.needed_bytes is None else self.needed_bytes
            raise ConfigError(
                f"the disk has {self.free_bytes * 1e-9:.2f} GB free, {self.reserve_bytes * 1e-9:.2f} GB of it"
                " kept in reserve",
                where=str(folder),
                expected=f"room for {needed * 1e-9:.2f} GB ({self.basis})",
                mend="free some space, record fewer or shorter episodes, or choose a folder on another disk",
            )


def forecast(
    folder: Path,
    card: RobotCard,
    *,
    reserve_bytes: int,
    duration_s: float | None = None,
    with_cameras: bool = True,
) -> Forecast:
    """Say how much a recording will need, from the last episodes of the folder or else from the card.

    Args:
        folder: where it goes; its disk is looked at.
        card: the robot's card.
        reserve_bytes: what is to stay free.
        duration_s: how long all planned episodes take together; None: no plan.
        with_cameras: whether the cameras on the card are recorded (without earlier episodes).

    Returns:
        The forecast.
    """
    measured = _measured_rate(folder)
    rate = measured or _card_rate(card, with_cameras=with_cameras)
    place = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    basis = "as the last episodes here" if measured else "from the robot card, images without compression"
    return Forecast(rate, basis, free, reserve_bytes, None if duration_s is None else rate * duration_s)


def _measured_rate(folder: Path) -> float | None:
    """Bytes per second of the last few episodes."""
    size, duration_s = 0.0, 0.0
    for file in reversed(list_episodes(folder)):
        if file.state is not FileState.FINISHED or duration_s > 30.0:
            continue
        try:
            duration_s += Episode.open(file.path).duration_s
        except ConfigError:
            # One that cannot be read says nothing, and keeps nobody from recording beside it.
            continue
        size += file.size_bytes
    return size / duration_s if duration_s > 1.0 else None


def _card_rate(card: RobotCard, *, with_cameras: bool) -> float:
    terms: dict[str, list[tuple[int, float]]] = {}
    for term in card.observations.values():
        terms.setdefault(term.topic, []).append((len(term.names), term.rate_hz))
    rate = sum(
        max(hz for _, hz in some) * (_MESSAGE_BYTES + _NUMBER_BYTES * sum(n for n, _ in some))
        for some in terms.values()
    )
    for command in card.commands.values():
        # As asked for, by layer, and as the gate let it through.
        rate += 3 * command.rate_hz * (_MESSAGE_BYTES + _NUMBER_BYTES * len(command.names))
    if with_cameras:
        rate += sum(c.rate_hz * c.width * c.height * _IMAGE_CHANNELS for c in card.cameras.values())
    return rate
