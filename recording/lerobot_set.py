"""LeRobot datasets (v3): written through LeRobot's own writer, read through its own reader."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording.frames import Frames
from recording.lerobot_features import (
    ACTION,
    IMAGES,
    INTERVENTION,
    STAMP,
    STAMP_OF,
    FeatureMap,
    feature_map,
)

EXPORT_SCHEMA = "reflexarc/lerobot-export/1"
# What LeRobot says about a set.
INFO_FILE = "meta/info.json"
# Beside LeRobot's own files: the robot's card, and what the set was made from.
CARD_FILE = "meta/reflexarc/robot.yaml"
RECORD_FILE = "meta/reflexarc/export.yaml"
_LOCAL = "local/"
# The AV1 encoder ends the whole process with a division by zero on smaller images.
_SMALLEST_VIDEO = 64


@dataclass(frozen=True)
class EpisodeRecord:
    """What became of one episode."""

    # Where it came from.
    source: str
    # Moments in the dataset, and moments that were left out because something was not known.
    frames: int
    dropped: int
    # The instruction.
    task: str
    # Whether it succeeded; None: nobody said.
    success: bool | None = None


@dataclass(frozen=True)
class ExportRecord:
    """What a dataset was made from and with: `meta/reflexarc/export.yaml`."""

    # The version of this format.
    schema: str
    # Moments a second.
    fps: int
    # The robot's name.
    robot: str
    # Versions of what wrote it.
    versions: Mapping[str, str]
    # The episodes in order.
    episodes: tuple[EpisodeRecord, ...]
    # SHA-256 of every table, by path in the set.
    tables: Mapping[str, str] = field(default_factory=dict)


def write_set(
    root: Path | str,
    card: RobotCard,
    episodes: Iterable[Frames],
    *,
    fps: int,
    video: bool = True,
    progress: Callable[[int], None] | None = None,
) -> ExportRecord:
    """Write a dataset that LeRobot loads. The same episodes give the same tables, byte for byte.

    Nothing is left behind when it fails: the set grows in a folder beside its own and is moved when whole.

    Args:
        root: the folder to write; must not exist yet.
        card: the robot that the episodes were recorded with.
        episodes: at least one; all with the same terms, cameras and image sizes.
        fps: moments a second.
        video: whether images become videos (AV1) or image files, which are lossless and larger.
        progress: is told how many episodes are written.

    Returns:
        What was written.

    Raises:
        ConfigError: the folder exists, there is no episode, an episode differs from the first in what it
            holds or does not keep to the rate, or LeRobot is not installed.
    """
    root = Path(root)
    if root.exists():
        raise ConfigError(
            "the folder exists",
            where=str(root),
            expected="a folder that is not there yet",
            mend="choose another one or remove it",
        )
    growing = root.with_name(f".{root.name}.growing")
    shutil.rmtree(growing, ignore_errors=True)
    growing.parent.mkdir(parents=True, exist_ok=True)
    try:
        records = _write(growing, root.name, card, episodes, fps=fps, video=video, progress=progress)
        record = ExportRecord(
            schema=EXPORT_SCHEMA,
            fps=fps,
            robot=card.name,
            versions={name: importlib.metadata.version(name) for name in ("lerobot", "pyarrow", "av")},
            episodes=tuple(records),
            tables=table_hashes(growing),
        )
        (growing / CARD_FILE).parent.mkdir(parents=True)
        (growing / CARD_FILE).write_text(schema.dump(card), encoding="utf-8")
        (growing / RECORD_FILE).write_text(schema.dump(record), encoding="utf-8")
        growing.rename(root)
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the dataset cannot be written ({type(error).__name__}: {str(error)[:300]})",
            where=str(root),
            expected="room on the disk, and images that the encoder takes",
            mend="free some space, or keep images as files with --image-files",
        ) from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return record


def table_hashes(root: Path) -> dict[str, str]:
    """SHA-256 of every table of a dataset, by its path in the set, in order."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.parquet"))
    }


def open_set(root: Path | str, *, episodes: Sequence[int] | None = None) -> Any:  # noqa: ANN401
    """Open a dataset with LeRobot's reader, from this folder alone.

    Args:
        root: the dataset's folder.
        episodes: some of them; None: all.

    Returns:
        A `lerobot.datasets.LeRobotDataset`; its videos are read with PyAV, which needs no system library.

    Raises:
        ConfigError: no dataset of this version is there, or LeRobot is not installed.
    """
    root = Path(root)
    read_info(root)
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise _no_lerobot(error) from error
    try:
        with quiet():
            return LeRobotDataset(
                _LOCAL + root.name,
                root=root,
                episodes=None if episodes is None else list(episodes),
                video_backend="pyav",
            )
    except Exception as error:
        # A damaged set ends in whatever error pyarrow, datasets or the hub client happens to raise.
        raise ConfigError(
            f"LeRobot cannot read the dataset ({type(error).__name__}: {str(error)[:300]})",
            where=str(root),
            expected="a whole LeRobot dataset, v3, that was finalized",
            mend="export it again; a set whose recording was cut off lacks the end of its tables",
        ) from error


def read_info(root: Path) -> Mapping[str, Any]:
    """Read LeRobot's `meta/info.json`.

    Args:
        root: the dataset's folder.

    Returns:
        Its contents.

    Raises:
        ConfigError: it is missing, damaged or of another version.
    """
    path = root / INFO_FILE
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = str(info["codebase_version"])
        problem = "" if version.startswith("v3.") else f"the version is {version}"
        if not problem and not {"fps", "features", "total_episodes"} <= info.keys():
            problem = "fps, features or total_episodes are missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise ConfigError(
            f"no LeRobot dataset ({problem})",
            where=str(path),
            expected="a dataset of version v3.x",
            mend="give the folder that holds meta/info.json; convert an older set with LeRobot's own script",
        )
    found: Mapping[str, Any] = info
    return found


def is_set(root: Path | str) -> bool:
    """Whether a folder holds a LeRobot dataset, of any version."""
    return (Path(root) / INFO_FILE).exists()


def read_card(root: Path | str) -> RobotCard | None:
    """The card of the robot that a dataset was recorded with; None where nobody put it in.

    Raises:
        ConfigError: there is one, with faults.
    """
    path = Path(root) / CARD_FILE
    return schema.load(RobotCard, path) if path.exists() else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep LeRobot, its encoders and its progress bars from writing to our terminal, and from the network."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    before = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "SVT_LOG")}
    had_bar = is_progress_bar_enabled()
    level = logging.root.manager.disable
    os.environ.update({"HF_HUB_OFFLINE": "1", "SVT_LOG": "1"})
    logging.disable(logging.WARNING)
    disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(level)
        if had_bar:
            enable_progress_bar()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _write(
    root: Path,
    name: str,
    card: RobotCard,
    episodes: Iterable[Frames],
    *,
    fps: int,
    video: bool,
    progress: Callable[[int], None] | None,
) -> list[EpisodeRecord]:
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise _no_lerobot(error) from error
    records: list[EpisodeRecord] = []
    dataset: Any = None
    layout: FeatureMap | None = None
    sizes: dict[str, tuple[int, int]] = {}
    with quiet():
        for frames in episodes:
            found = {c: (images[0].shape[0], images[0].shape[1]) for c, images in frames.images.items()}
            if layout is None:
                layout = feature_map(
                    card, terms=tuple(frames.terms), cameras=tuple(frames.images), action=frames.action_names
                )
                layout = replace(layout, has_interventions=frames.interventions is not None)
                sizes = found
                if video:
                    _check_sizes(sizes)
                dataset = LeRobotDataset.create(
                    repo_id=_LOCAL + name,
                    fps=fps,
                    root=root,
                    robot_type=card.name,
                    features=layout.features(sizes, video=video),
                    use_videos=video,
                )
            _check_like_first(frames, layout, sizes, found)
            _check_rate(frames, fps)
            for row in range(len(frames.stamps_ns)):
                dataset.add_frame(_row(frames, layout, row))
            dataset.save_episode()
            records.append(
                EpisodeRecord(
                    frames.source, len(frames.stamps_ns), frames.dropped, frames.task, frames.success
                )
            )
            if progress is not None:
                progress(len(records))
        if dataset is None:
            raise ConfigError(
                "no episode",
                where="export to LeRobot",
                expected="at least one",
                mend="record some, or accept more of those that were recorded",
            )
        dataset.finalize()
        _drop_fingerprints(root)
    return records


def _drop_fingerprints(root: Path) -> None:
    """Take out of tables with images what depends on nothing but the folder that they were written in."""
    import pyarrow.parquet as parquet

    for path in sorted(root.glob("data/**/*.parquet")):
        with parquet.ParquetFile(path) as table:
            said = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
            if said.pop("fingerprint", None) is None:
                continue
            described = table.schema_arrow.with_metadata({"huggingface": json.dumps(said)})
            part = path.with_suffix(".part")
            with parquet.ParquetWriter(part, described, compression="snappy", use_dictionary=True) as writer:
                for group in range(table.num_row_groups):
                    writer.write_table(table.read_row_group(group).cast(described))
        part.replace(path)


def _row(frames: Frames, layout: FeatureMap, row: int) -> dict[str, Any]:
    values: dict[str, Any] = {"task": frames.task}
    for name, terms in layout.vectors.items():
        values[name] = np.concatenate([frames.terms[term][row] for term in terms]).astype(np.float32)
    values[ACTION] = frames.actions[row].astype(np.float32)
    stamps = {term: frames.term_stamps_ns[term] for term in layout.terms}
    stamps |= {ACTION: frames.action_stamps_ns}
    for camera in layout.cameras:
        values[IMAGES + camera] = frames.images[camera][row]
        stamps[camera] = frames.image_stamps_ns[camera]
    values[STAMP] = frames.stamps_ns[row : row + 1]
    if frames.interventions is not None:
        values[INTERVENTION] = frames.interventions[row : row + 1]
    return values | {STAMP_OF + name: column[row : row + 1] for name, column in stamps.items()}


def _check_like_first(
    frames: Frames,
    layout: FeatureMap,
    sizes: Mapping[str, tuple[int, int]],
    found: Mapping[str, tuple[int, int]],
) -> None:
    shapes = {name: (values.shape[1],) for name, values in frames.terms.items()}
    wanted = {name: (len(layout.elements[name]),) for name in layout.terms}
    if shapes != wanted or frames.action_names != layout.action or found != sizes:
        raise ConfigError(
            f"terms {shapes}, actions {', '.join(frames.action_names)}, images {dict(found)}",
            where=frames.source or "episode",
            expected=f"terms {wanted}, actions {', '.join(layout.action)}, images {dict(sizes)}",
            mend="export episodes of one robot and one setting together",
        )
    if layout.has_interventions != (frames.interventions is not None):
        without = frames.interventions is None
        raise ConfigError(
            "nothing says who commanded" if without else "it says who commanded",
            where=frames.source or "episode",
            expected=f"the same as of the first episode, of which {'it' if without else 'nothing'} is known",
            mend="export recordings of an earlier version apart from newer ones",
        )


def _check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    for camera, size in sizes.items():
        if min(size) < _SMALLEST_VIDEO:
            raise ConfigError(
                f"images of {size[1]} x {size[0]} pixels",
                where=f"camera {camera!r}",
                expected=f"at least {_SMALLEST_VIDEO} x {_SMALLEST_VIDEO} for a video",
                mend="keep images as files with --image-files",
            )


def _check_rate(frames: Frames, fps: int) -> None:
    """Gaps are allowed (something was dropped there), but every gap is a whole number of periods."""
    periods = np.diff(frames.stamps_ns) * (fps * 1e-9)
    off = np.flatnonzero(np.abs(periods - np.round(periods)) > 0.02 * np.maximum(1.0, np.round(periods)))
    if len(off):
        raise ConfigError(
            f"moment {off[0] + 1} comes {periods[off[0]] / fps * 1e3:.2f} ms after the one before",
            where=frames.source or "episode",
            expected=f"whole periods of {1e3 / fps:.2f} ms ({fps} moments a second)",
            mend="sample the episode at the rate of the dataset",
        )


def _no_lerobot(error: ImportError) -> ConfigError:
    return ConfigError(
        f"LeRobot cannot be loaded ({error})",
        where="LeRobot dataset",
        expected="the package lerobot with its extra dataset",
        mend="install the extra reflexarc[recording]",
    )
