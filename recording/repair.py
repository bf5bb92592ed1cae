"""Verifies episodes, and makes readable files of half-written and damaged ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError
from recording.episode import Episode
from recording.metadata import Event, EventKind
from recording.writer import (
    PART_SUFFIX,
    SUFFIX,
    EpisodeWriter,
    WriterConfig,
    is_being_written,
    sync_folder,
)

DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True)
class Verification:
    """What a look at every byte of an episode found."""

    # The file.
    path: Path
    # Whether its recorder finished it.
    is_complete: bool
    # Messages that can be read, and how long they span, seconds.
    messages: int
    duration_s: float
    # What is wrong with the file, in words; empty: nothing.
    findings: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing is wrong with the file."""
        return not self.findings


def verify(path: Path) -> Verification:
    """Look at every byte of an episode: records, checksums, counts, definitions.

    Args:
        path: a finished or half-written episode.

    Returns:
        What was found; a file that cannot be opened has a finding, too.
    """
    try:
        episode = Episode.open(path, scan_all=True)
    except ConfigError as error:
        return Verification(path, False, 0, 0.0, (error.what,))
    findings = [str(damage) for damage in episode.damages]
    if not episode.is_complete:
        busy = is_being_written(path)
        findings.append("it is being recorded" if busy else "its recorder did not finish it")
    metadata = episode.metadata
    if not metadata.info.episode_id:
        findings.append("it does not say which episode it is")
    if metadata.end is not None and metadata.end.messages != episode.message_count:
        findings.append(f"{episode.message_count} messages of {metadata.end.messages}")
    if not episode.message_count:
        findings.append("it holds no message")
    for name, topic in episode.topics.items():
        if topic.count:
            try:
                next(episode.messages(name))
            except ConfigError as error:
                findings.append(error.what)
    return Verification(path, episode.is_complete, episode.message_count, episode.duration_s, tuple(findings))


def is_damaged(path: Path) -> bool:
    """Whether a finished episode has stretches that cannot be read, and others that can."""
    try:
        episode = Episode.open(path, scan_all=True)
    except ConfigError:
        return False
    return bool(episode.damages) or not episode.is_complete


@dataclass(frozen=True)
class Repaired:
    """What a repair made."""

    # The file that was there, and the one that there is now; None: nothing had been written.
    source: Path
    path: Path | None
    # Messages in it, and what could not be read, in words.
    messages: int
    lost: tuple[str, ...]


def repair(path: Path, *, steady_clock: Callable[[], int]) -> Repaired:
    """Make a finished episode of the whole chunks of a half-written or damaged one.

    A half-written file goes when the finished one is on the disk; one without a single byte, whose recorder
    was stopped right after it had made it, just goes. A damaged file keeps its bytes under the name
    `*.mcap.damaged`. The new file says that it was repaired; everything else in it stays.

    Args:
        path: `*.mcap.part`, or `*.mcap` with damage.
        steady_clock: gives the steady clock in nanoseconds.

    Returns:
        What was made.

    Raises:
        ConfigError: nothing is wrong with the file, it is being recorded, or its name is taken.
    """
    is_part = path.name.endswith(PART_SUFFIX)
    if is_being_written(path):
        raise _refusal(path, "it is being recorded", "a file that nobody writes", "stop the recorder first")
    if is_part and path.exists() and not path.stat().st_size:
        path.unlink()
        sync_folder(path.parent)
        return Repaired(path, None, 0, ())
    episode = Episode.open(path, scan_all=True)
    if episode.is_complete and not episode.damages and not is_part:
        raise _refusal(path, "nothing is wrong with it", "a half-written or damaged file", "nothing to do")
    target = path.with_name(path.name.removesuffix(PART_SUFFIX).removesuffix(SUFFIX) + SUFFIX)
    if is_part and target.exists():
        raise _refusal(path, f"{target.name} exists", "a free name", "delete one of the two")
    lost = tuple(map(str, episode.damages))
    made, count = _rewrite(episode, path, steady_clock)
    if is_part:
        os.rename(made, target)
        path.unlink()
    else:
        os.rename(path, path.with_name(path.name + DAMAGED_SUFFIX))
        os.rename(made, target)
    sync_folder(path.parent)
    return Repaired(path, target, count, lost)


def _rewrite(episode: Episode, path: Path, steady_clock: Callable[[], int]) -> tuple[Path, int]:
    """Write what can be read into a new file beside the old one."""
    beside = path.with_name(path.name.split(".")[0] + f".repair{SUFFIX}")
    for left in (beside, beside.with_name(beside.name.removesuffix(SUFFIX) + PART_SUFFIX)):
        if not is_being_written(left):
            # From a repair that was itself interrupted.
            left.unlink(missing_ok=True)
    metadata = episode.metadata
    writer = EpisodeWriter(
        beside,
        metadata.info,
        steady_clock=steady_clock,
        attachments=episode.attachments,
        # Nothing is at risk: the source stays until the end.
        config=WriterConfig(chunk_s=float("inf")),
    )
    try:
        for name, topic in episode.topics.items():
            if topic.count:
                writer.add_topic(episode.topics[name].spec)
        for event in metadata.events:
            # The writer notes jumps itself, where it sees them.
            if event.kind is not EventKind.CLOCK_JUMP:
                writer.add_event(event)
        last_ns = metadata.info.start_ns
        for raw in episode.raw_messages():
            writer.write(raw.topic, raw.data, stamp_ns=raw.stamp_ns, receive_ns=raw.receive_ns)
            last_ns = raw.receive_ns
        text = "; ".join(map(str, episode.damages)) or "its recorder did not finish it"
        writer.add_event(Event(EventKind.REPAIRED, last_ns, text))
        count = writer.messages
        reason = metadata.end.reason if metadata.end is not None else "its recorder was interrupted"
        dropped = metadata.end.dropped if metadata.end is not None else 0
        return writer.finish(reason=reason, end_ns=last_ns, dropped=dropped, quality=metadata.quality), count
    except BaseException:
        writer.discard()
        raise


def _refusal(path: Path, what: str, expected: str, mend: str) -> ConfigError:
    return ConfigError(what, where=str(path), expected=expected, mend=mend)
