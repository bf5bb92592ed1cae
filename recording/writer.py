"""Writes one episode: an MCAP file that only grows, in small chunks that are on the disk soon.

While it is open the file is called `episode_000012.mcap.part`; it gets its name when everything is on the
disk. A recorder that is killed, or a machine that loses power, loses at most the chunk that is open: what
was written before lies below it, whole and with its checksum.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from recording.metadata import END, EVENT, INFO, QUALITY, EpisodeEnd, EpisodeInfo, Event, EventKind

SUFFIX, PART_SUFFIX = ".mcap", ".mcap.part"
COMPRESSIONS = ("zstd", "lz4", "none")
_LIBRARY = "reflexarc"
# Chunks end when this writer says so, never by the library's own limit.
_NEVER = 1 << 62


@dataclass(frozen=True)
class WriterConfig:
    """When a chunk ends, and how it is packed."""

    # Bytes of messages after which a chunk ends.
    chunk_bytes: int = 4_000_000
    # Time after which a chunk with at least one message ends, seconds; so much is lost at most.
    chunk_s: float = 0.5
    # How a chunk is packed: zstd, lz4 or none.
    compression: str = "zstd"


@dataclass(frozen=True)
class TopicSpec:
    """A topic and the definition of its messages."""

    # Absolute name.
    name: str
    # ROS type, such as sensor_msgs/msg/JointState.
    type: str
    # The definition, with those of the types in it after it, as ROS 2 bags have it (ros2msg).
    schema: str


class NumberTakenError(ConfigError):
    """Somebody else has, or writes, an episode of this number."""


class EpisodeWriter:
    """One open episode. Not for several threads.

    Args:
        path: the finished file, such as `folder/episode_000012.mcap`; it must not exist.
        info: what is known of the episode.
        steady_clock: gives the steady clock in nanoseconds.
        attachments: files that belong to the episode by name (cards, calibration, parameters).
        config: when a chunk ends.

    Raises:
        NumberTakenError: the episode exists, or is being written.
        ConfigError: the folder cannot be written, the disk is full.
    """

    def __init__(
        self,
        path: Path,
        info: EpisodeInfo,
        *,
        steady_clock: Callable[[], int],
        attachments: Mapping[str, bytes] | None = None,
        config: WriterConfig | None = None,
    ) -> None:
        """Create the file; what the episode is and what belongs to it is on the disk when this returns."""
        from mcap.writer import CompressionType, Writer

        self.path = path
        self.part_path = path.with_name(path.name.removesuffix(SUFFIX) + PART_SUFFIX)
        self.info = info
        self.config = config or WriterConfig()
        if self.config.compression not in COMPRESSIONS:
            raise ConfigError(
                f"the compression is {self.config.compression!r}",
                where=str(path),
                expected="one of " + ", ".join(COMPRESSIONS),
                mend="choose one of these",
            )
        self._steady_clock = steady_clock
        self._sink = _Sink(self.part_path)
        if path.exists():
            self._sink.close()
            self.part_path.unlink()
            raise NumberTakenError(
                "the episode exists",
                where=str(path),
                expected="a number that is free",
                mend="take the next number, or delete the episode",
            )
        # Messages written, and those of them that are on the disk.
        self.messages = self.durable_messages = 0
        self._chunk_bytes = 0
        self._chunk_opened_ns: int | None = None
        self._channels: dict[str, list[int]] = {}
        self._schemas: dict[str, int] = {}
        self._last_receive_ns = 0
        self._writer: Any = Writer(
            self._sink,
            chunk_size=_NEVER,
            compression=CompressionType[self.config.compression.upper()],
            enable_data_crcs=True,
        )
        self._writer.start(profile="ros2", library=_LIBRARY)
        self._writer.add_metadata(INFO, info.to_record())
        for name, data in (attachments or {}).items():
            self._writer.add_attachment(0, max(info.start_ns, 0), name, _media_type(name), data)
        try:
            self._sink.commit()
        except ConfigError:
            self.discard()
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes of the file on the disk."""
        return self._sink.committed

    def add_topic(self, spec: TopicSpec) -> None:
        """Say what a topic is, before its first message; again is the same as once."""
        if spec.name in self._channels:
            return
        schema = self._schemas.get(spec.type)
        if schema is None:
            schema = self._writer.register_schema(spec.type, "ros2msg", spec.schema.encode())
            self._schemas[spec.type] = schema
        channel = self._writer.register_channel(spec.name, "cdr", schema)
        self._channels[spec.name] = [channel, 0]

    def write(self, topic: str, data: bytes, *, stamp_ns: int, receive_ns: int) -> None:
        """Add a message.

        Args:
            topic: one that `add_topic` has named.
            data: the message in CDR, as it came.
            stamp_ns: when it was captured, nanoseconds.
            receive_ns: when it was received, on the same clock, nanoseconds. Going back is noted in the file.

        Raises:
            ConfigError: the disk is full or gone. What was on the disk stays there.
        """
        channel = self._channels[topic]
        if receive_ns < self._last_receive_ns:
            self._jump(self._last_receive_ns, receive_ns)
        self._last_receive_ns = receive_ns
        self._writer.add_message(
            channel[0],
            log_time=max(receive_ns, 0),
            data=data,
            publish_time=max(stamp_ns, 0),
            sequence=channel[1],
        )
        channel[1] += 1
        self.messages += 1
        self._chunk_bytes += len(data)
        if self._chunk_opened_ns is None:
            self._chunk_opened_ns = self._steady_clock()
        if self._chunk_bytes >= self.config.chunk_bytes:
            self.commit()
        else:
            self.tick()

    def tick(self) -> None:
        """End the chunk whose time is up; to be called now and then while nothing arrives.

        Raises:
            ConfigError: as `write`.
        """
        opened_ns = self._chunk_opened_ns
        if opened_ns is not None and self._steady_clock() - opened_ns >= self.config.chunk_s * 1e9:
            self.commit()

    def commit(self) -> None:
        """End the open chunk and wait until it is on the disk.

        Raises:
            ConfigError: as `write`.
        """
        self._writer.flush()
        self._chunk_bytes, self._chunk_opened_ns = 0, None
        self._sink.commit()
        self.durable_messages = self.messages

    def add_event(self, event: Event) -> None:
        """Note something said about the episode; it is on the disk when this returns.

        Raises:
            ConfigError: as `write`.
        """
        self._writer.add_metadata(EVENT, event.to_record())
        self._sink.commit()

    def finish(
        self,
        *,
        reason: str = "stopped",
        end_ns: int | None = None,
        dropped: int = 0,
        quality: Mapping[str, Any] | None = None,
    ) -> Path:
        """End the episode: everything on the disk, then the file gets its name.

        Args:
            reason: why it ended.
            end_ns: when, on the clock of the stamps; None: at the last message.
            dropped: messages that arrived and were not written.
            quality: the quality report.

        Returns:
            The finished file.

        Raises:
            ConfigError: the disk is full or gone; the open file stays, with all that is on the disk.
        """
        self.commit()
        if quality is not None:
            self._writer.add_metadata(QUALITY, {"report": json.dumps(quality)})
        end = EpisodeEnd(reason, self._last_receive_ns if end_ns is None else end_ns, self.messages, dropped)
        self._writer.add_metadata(END, end.to_record())
        self._writer.finish()
        self._sink.commit()
        os.rename(self.part_path, self.path)
        sync_folder(self.path.parent)
        self._sink.close()
        return self.path

    def discard(self) -> None:
        """Throw the episode away."""
        self._sink.close()
        self.part_path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close the file as it is, under the name of an open episode; what is on the disk can be repaired."""
        self._sink.close()

    def _jump(self, before_ns: int, after_ns: int) -> None:
        text = f"the clock went back by {(before_ns - after_ns) * 1e-9:.3f} s"
        self._writer.add_metadata(EVENT, Event(EventKind.CLOCK_JUMP, after_ns, text).to_record())


class _Sink:
    """Collects what the MCAP library writes, and puts it on the disk in one piece or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.committed = 0
        self._pending = bytearray()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _disk_error(path, error) from error
        try:
            # Held as long as somebody writes; a file without it was left behind. Whoever looks at the folder
            # just now holds it for a moment, too.
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise _disk_error(path, error) from error

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def tell(self) -> int:
        return self.committed + len(self._pending)

    def flush(self) -> None:
        """Nothing: `commit` decides."""

    def commit(self) -> None:
        """Append what was collected and wait for the disk; after a failure it can be tried again."""
        if not self._pending:
            return
        try:
            view = memoryview(self._pending)
            done = 0
            try:
                while done < len(view):
                    done += os.pwrite(self._file, view[done:], self.committed + done)
                os.fsync(self._file)
            finally:
                view.release()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.committed)
            raise _disk_error(self._path, error) from error
        self.committed += len(self._pending)
        self._pending.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)


def is_being_written(path: Path) -> bool:
    """Whether a recorder holds an open episode (it locks the file as long as it lives)."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _disk_error(path: Path, error: OSError) -> ConfigError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ConfigError(
            f"the disk is full ({os.strerror(error.errno)})",
            where=str(path),
            expected="room for the episode",
            mend="free some space, then run reflexarc data repair; every finished episode is safe",
        )
    if error.errno == errno.EEXIST:
        return NumberTakenError(
            "the episode is being recorded, or its recorder was killed",
            where=str(path),
            expected="a number that is free",
            mend="take the next number, or run reflexarc data repair",
        )
    return ConfigError(
        f"the episode cannot be written ({error.strerror})",
        where=str(path),
        expected="a folder on a disk that can be written",
        mend="check the disk and the folder's permissions",
    )


def _media_type(name: str) -> str:
    return {".yaml": "application/yaml", ".json": "application/json"}.get(Path(name).suffix, "text/plain")
