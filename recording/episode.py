"""Reads an episode: a finished file, or the whole chunks of a half-written one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from recording import scan
from recording.metadata import EpisodeMetadata, read_metadata
from recording.writer import PART_SUFFIX, TopicSpec

# The attachment that holds the robot's card.
ROBOT_CARD = "robot_card.yaml"


class Message(NamedTuple):
    """A message, decoded."""

    # When it was captured, nanoseconds: the stamp of its header, or, where it has none, of its arrival.
    stamp_ns: int
    # When it was received, on the same clock, nanoseconds.
    receive_ns: int
    # Its fields by the names of the ROS message; numeric arrays are bytes, arrays or lists.
    data: Any


class RawMessage(NamedTuple):
    """A message as it came over the wire."""

    # The absolute name of its topic.
    topic: str
    # As for `Message`.
    stamp_ns: int
    receive_ns: int
    # Which message of its topic it is, counted by the recorder from 0.
    sequence: int
    # Its bytes, CDR.
    data: bytes


@dataclass(frozen=True)
class Topic:
    """A topic of an episode."""

    # Its name, type and definition.
    spec: TopicSpec = field(repr=False)
    # How many messages it has.
    count: int

    @property
    def type(self) -> str:
        """ROS type, such as sensor_msgs/msg/JointState."""
        return self.spec.type


@dataclass
class _Contents:
    """What lies where in a file."""

    metadata: list[scan.Frame] = field(default_factory=list)
    attachments: list[scan.Frame] = field(default_factory=list)
    # Offset of each chunk, and the channels with messages in it.
    chunks: list[tuple[int, frozenset[int]]] = field(default_factory=list)
    # mcap's Schema and Channel by id, and messages by channel.
    schemas: dict[int, Any] = field(default_factory=dict)
    channels: dict[int, Any] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    # Receive stamps, first and last.
    first_ns: int | None = None
    last_ns: int | None = None
    damages: list[scan.Damage] = field(default_factory=list)
    is_complete: bool = False


class Episode:
    """An episode on the disk; use `Episode.open`.

    Nothing stays open: a file may be moved once its messages have been read.

    Args:
        path: the file.
        contents: what lies where in it.
    """

    def __init__(self, path: Path, contents: _Contents) -> None:
        """Keep what `open` found."""
        self.path = path
        self._contents = contents
        self._names = {channel.topic: key for key, channel in contents.channels.items()}

    @classmethod
    def open(cls, path: str | Path, *, scan_all: bool = False) -> Episode:
        """Read what an episode is: quickly from the summary at its end, or by going through all of it.

        Args:
            path: a `.mcap` file, or a `.mcap.part` file that its recorder did not finish.
            scan_all: whether to go through every chunk of a finished file too, checksums included.

        Returns:
            The episode.

        Raises:
            ConfigError: there is no such file, or it is no MCAP file.
        """
        path = Path(path)
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                contents = None if scan_all else _read_summary(file, size)
                if contents is None:
                    contents = _scan(file, size)
        except OSError as error:
            raise ConfigError(
                f"the episode cannot be read ({error.strerror})",
                where=str(path),
                expected=f"a file of the recorder, *.mcap or *{PART_SUFFIX}",
                mend="correct the path; `reflexarc data list FOLDER` shows what there is",
            ) from error
        if contents.damages and contents.damages[0].offset == 0:
            raise ConfigError(
                "this is no MCAP file" if size else "the file is empty",
                where=str(path),
                expected="a file of the recorder",
                mend="delete it, or correct the path",
            )
        return cls(path, contents)

    # --- what it is --------------------------------------------------------------------------

    @functools.cached_property
    def metadata(self) -> EpisodeMetadata:
        """Everything the file says about the episode besides its messages."""
        opened = [scan.open_metadata(frame) for frame in self._contents.metadata]
        return read_metadata((m.name, m.metadata) for m in opened if not isinstance(m, scan.Damage))

    @functools.cached_property
    def attachments(self) -> Mapping[str, bytes]:
        """Cards, calibration, parameters and whatever else belongs to the episode, by name."""
        opened = [scan.open_attachment(frame) for frame in self._contents.attachments]
        return {a.name: a.data for a in opened if not isinstance(a, scan.Damage)}

    @functools.cached_property
    def robot_card(self) -> RobotCard | None:
        """The robot's card as it was when the episode was recorded; None where the file has none.

        Raises:
            ConfigError: the card in the file has faults (all are listed).
        """
        import yaml

        text = self.attachments.get(ROBOT_CARD)
        if text is None:
            return None
        return schema.parse(RobotCard, yaml.safe_load(text), where=f"{self.path}: {ROBOT_CARD}")

    @functools.cached_property
    def topics(self) -> Mapping[str, Topic]:
        """The topics by absolute name, those without a message included."""
        found = {}
        for key, channel in self._contents.channels.items():
            definition = self._contents.schemas.get(channel.schema_id)
            spec = TopicSpec(
                channel.topic,
                definition.name if definition is not None else "",
                definition.data.decode() if definition is not None else "",
            )
            found[channel.topic] = Topic(spec, self._contents.counts.get(key, 0))
        return dict(sorted(found.items()))

    @property
    def message_count(self) -> int:
        """How many messages can be read."""
        return sum(self._contents.counts.values())

    @property
    def duration_s(self) -> float:
        """From the first to the last message received, seconds; 0 without messages."""
        first_ns, last_ns = self._contents.first_ns, self._contents.last_ns
        return 0.0 if first_ns is None or last_ns is None else (last_ns - first_ns) * 1e-9

    @property
    def is_complete(self) -> bool:
        """Whether the recorder finished the file."""
        return self._contents.is_complete

    @property
    def damages(self) -> tuple[scan.Damage, ...]:
        """What cannot be read, and where; the end of a half-written file is no damage."""
        return tuple(self._contents.damages)

    # --- messages ----------------------------------------------------------------------------

    def messages(self, topic: str) -> Iterator[Message]:
        """Go through the messages of a topic in the order of their arrival.

        Args:
            topic: its absolute name, or relative to the robot's namespace (`joint_states`).

        Yields:
            Capture stamp, receive stamp and decoded message.

        Raises:
            ConfigError: there is no such topic, its messages cannot be decoded, or a chunk is damaged.
        """
        name = self.resolve(topic)
        decode = self._decoder(name)
        for raw in self.raw_messages((name,)):
            yield Message(raw.stamp_ns, raw.receive_ns, decode(raw.data))

    def raw_messages(self, topics: Iterable[str] | None = None) -> Iterator[RawMessage]:
        """Go through messages in the order of their arrival, without decoding them.

        Args:
            topics: as for `messages`; None: all.

        Yields:
            The messages.

        Raises:
            ConfigError: there is no such topic, or a chunk of a finished file is damaged.
        """
        names = self._names if topics is None else [self.resolve(topic) for topic in topics]
        wanted = frozenset(self._names[name] for name in names)
        by_id = {key: name for name, key in self._names.items()}
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            for offset, channels in self._contents.chunks:
                if not channels & wanted:
                    continue
                for record in self._read_chunk(file, offset, size):
                    if getattr(record, "channel_id", None) in wanted:
                        yield RawMessage(
                            by_id[record.channel_id],
                            record.publish_time,
                            record.log_time,
                            record.sequence,
                            record.data,
                        )

    def resolve(self, topic: str) -> str:
        """Find a topic's absolute name.

        Args:
            topic: absolute, or relative to the robot's namespace.

        Returns:
            The absolute name.

        Raises:
            ConfigError: there is no such topic.
        """
        if topic in self._names:
            return topic
        name = f"{self.metadata.info.namespace.rstrip('/')}/{topic.lstrip('/')}"
        if name in self._names:
            return name
        raise ConfigError(
            f"there is no topic {topic!r}",
            where=str(self.path),
            expected="one of " + (", ".join(self.topics) or "none: it holds no message"),
            mend="correct the name",
        )

    def _decoder(self, name: str) -> Callable[[bytes], Any]:
        from mcap_ros2.decoder import DecoderFactory

        channel = self._contents.channels[self._names[name]]
        definition = self._contents.schemas.get(channel.schema_id)
        try:
            decode = DecoderFactory().decoder_for(channel.message_encoding, definition)
        except Exception as error:
            raise self._undecodable(name, str(error)) from error
        if decode is None:
            raise self._undecodable(name, f"{channel.message_encoding} without a ros2msg definition")

        def call(data: bytes) -> Any:  # noqa: ANN401
            try:
                return decode(data)
            except Exception as error:
                raise self._undecodable(name, f"{type(error).__name__}: {error}") from error

        return call

    def _undecodable(self, name: str, why: str) -> ConfigError:
        return ConfigError(
            f"a message on {name} cannot be decoded ({why})",
            where=str(self.path),
            expected="CDR that fits the definition in the file",
            mend="leave the topic out; raw_messages still gives its bytes",
        )

    def _read_chunk(self, file: IO[bytes], offset: int, size: int) -> list[Any]:
        frame = scan.read_frame(file, offset, size)
        records = frame if isinstance(frame, scan.Damage) else scan.open_chunk(frame)
        if isinstance(records, scan.Damage):
            raise ConfigError(
                str(records),
                where=str(self.path),
                expected="a chunk whose checksum fits",
                mend="run reflexarc data repair, which keeps all chunks that can be read",
            )
        return records


def _read_summary(file: IO[bytes], size: int) -> _Contents | None:
    """Read what lies where from a finished file's summary; None where there is none to be trusted."""
    from mcap.reader import SeekingReader

    if size < 2 * len(scan.MAGIC):
        return None
    file.seek(size - len(scan.MAGIC))
    if file.read() != scan.MAGIC:
        return None
    file.seek(0)
    try:
        summary = SeekingReader(file).get_summary()
    except Exception:
        # Whatever is wrong with it, the scan finds out.
        return None
    if summary is None or summary.statistics is None:
        return None
    made = _Contents(is_complete=True, schemas=dict(summary.schemas), channels=dict(summary.channels))
    made.chunks = [
        (index.chunk_start_offset, frozenset(index.message_index_offsets)) for index in summary.chunk_indexes
    ]
    for indexes, found in (
        (summary.metadata_indexes, made.metadata),
        (summary.attachment_indexes, made.attachments),
    ):
        for index in indexes:
            frame = scan.read_frame(file, index.offset, size)
            if isinstance(frame, scan.Damage):
                return None
            found.append(frame)
    statistics = summary.statistics
    made.counts = dict(statistics.channel_message_counts)
    if statistics.message_count:
        made.first_ns, made.last_ns = statistics.message_start_time, statistics.message_end_time
    return made


def _scan(file: IO[bytes], size: int) -> _Contents:
    """Find out what lies where by reading everything."""
    made = _Contents()
    for found in scan.frames(file, size):
        if isinstance(found, scan.Damage):
            made.damages.append(found)
        elif found.opcode == scan.METADATA:
            _keep(made, found, scan.open_metadata(found), made.metadata)
        elif found.opcode == scan.ATTACHMENT:
            _keep(made, found, scan.open_attachment(found), made.attachments)
        elif found.opcode == scan.CHUNK:
            _scan_chunk(made, found)
        elif found.opcode == scan.DATA_END:
            made.is_complete = _ends_well(file, size)
    if not made.is_complete and made.damages and made.damages[-1].what == scan.CUT_SHORT:
        # That is where its recorder was stopped.
        made.damages.pop()
    return made


def _keep(made: _Contents, frame: scan.Frame, opened: Any, kept: list[scan.Frame]) -> None:  # noqa: ANN401
    if isinstance(opened, scan.Damage):
        made.damages.append(opened)
    else:
        kept.append(frame)


def _scan_chunk(made: _Contents, frame: scan.Frame) -> None:
    from mcap.records import Channel, Message, Schema

    records = scan.open_chunk(frame)
    if isinstance(records, scan.Damage):
        made.damages.append(records)
        return
    channels = set()
    for record in records:
        if isinstance(record, Schema):
            made.schemas[record.id] = record
        elif isinstance(record, Channel):
            made.channels[record.id] = record
        elif isinstance(record, Message) and record.channel_id in made.channels:
            channels.add(record.channel_id)
            made.counts[record.channel_id] = made.counts.get(record.channel_id, 0) + 1
            time_ns = record.log_time
            made.first_ns = time_ns if made.first_ns is None else min(made.first_ns, time_ns)
            made.last_ns = time_ns if made.last_ns is None else max(made.last_ns, time_ns)
    made.chunks.append((frame.offset, frozenset(channels)))


def _ends_well(file: IO[bytes], size: int) -> bool:
    file.seek(max(size - len(scan.MAGIC), 0))
    return file.read() == scan.MAGIC
