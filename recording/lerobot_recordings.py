"""LeRobot datasets as recordings: one MCAP file an episode, with what the set knows and no more."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hardware import schema
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard
from recording.authority import OPERATOR, OTHER, SOURCE_TOPIC
from recording.card_diff import check_card
from recording.decoding import IMAGE_TOPIC, MOMENT_TOPIC, SENT_TOPIC
from recording.encoding import command_encoder, header_encoder, image_encoder, sendable, term_encoder
from recording.episode import ROBOT_CARD, Episode
from recording.folder import episode_path
from recording.frames import Frames, Image, StampArray
from recording.lerobot_features import IMAGES, FeatureMap, feature_map_of
from recording.lerobot_import import map_foreign, read_frames
from recording.lerobot_set import INFO_FILE, RECORD_FILE, ExportRecord, read_card, read_info, table_hashes
from recording.metadata import EpisodeInfo, Event, EventKind
from recording.quality import QualityMonitor
from recording.repair import verify
from recording.sampling import SamplingConfig, sample_episode
from recording.writer import EpisodeWriter, TopicSpec

# What the set says about itself goes into every episode below this name.
_ATTACHED = "dataset/"
# Told apart from the random identities of recorded episodes; the same set gives the same ones every time.
_IDENTITIES = uuid.UUID("6f1d0f5e-7a0b-5b52-9d6e-2f5c1f7a9e41")


@dataclass(frozen=True)
class Naming:
    """What the vectors of a dataset hold that somebody else wrote; empty: its names say so, as ours do."""

    # The terms in `observation.state`, in order.
    state: tuple[str, ...] = ()
    # Those in `observation.environment_state`.
    environment: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """What became of one episode of a dataset."""

    # The file.
    path: Path
    # Moments in the dataset, and messages in the file.
    moments: int
    messages: int
    # What is not as the robot's card promises, in words.
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Message:
    """One message to come."""

    spec: TopicSpec
    # When it was known at the latest, and when it was captured, nanoseconds.
    receive_ns: int
    stamp_ns: int
    # Makes its bytes when its turn has come: images do not fit into memory together.
    encode: Callable[[], bytes]


def import_set(
    source: Path,
    target: Path,
    *,
    card: RobotCard | None = None,
    naming: Naming | None = None,
    steady_clock: Callable[[], int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Imported, ...]:
    """Write the episodes of a LeRobot dataset, v3, as recordings; all of them or none.

    A value gets the stamp of its capture where the set holds it, else that of its moment, and counts as
    received at the first moment that holds it. Exporting the recordings at the set's rate gives its tables
    again.

    Args:
        source: the dataset's folder.
        target: the folder of the recordings; must not exist.
        card: the robot that the data is wanted for; None: the one in the set.
        naming: what the vectors hold; None: as their names say.
        steady_clock: gives the steady clock, nanoseconds.
        progress: is told episodes done and in all.

    Returns:
        The episodes, in order; every file was read again and verified.

    Raises:
        ConfigError: no whole dataset, no card, names that do not say what a number is, a camera or a command
            that the robot has not, an episode of length zero, a number that is not finite, the target exists,
            or no room on the disk.
        ConfigErrors: data of a robot with another card; every difference is listed.
    """
    info = read_info(source)
    if target.exists():
        raise ConfigError(
            "the folder exists",
            where=str(target),
            expected="a folder that is not there yet",
            mend="choose another one; `reflexarc data merge` joins folders",
        )
    robot = _robot(source, card)
    if naming is not None and (naming.state or naming.environment):
        layout = map_foreign(source, robot, state=naming.state, environment=naming.environment)
    else:
        layout = feature_map_of(info["features"], where=str(source))
    _check_layout(source, layout, robot, info["features"])
    plan = _Plan(source, robot, layout, float(info["fps"]), steady_clock)
    total = int(info["total_episodes"])
    growing = target.with_name(f".{target.name}.growing")
    shutil.rmtree(growing, ignore_errors=True)
    found: list[Imported] = []
    try:
        growing.mkdir(parents=True)
        for number, frames in enumerate(read_frames(source, layout)):
            made = plan.write(episode_path(growing, number), frames, number)
            found.append(replace(made, path=target / made.path.name))
            progress(number + 1, total)
        if not found:
            raise ConfigError(
                "no episode", where=str(source), expected="at least one", mend="name another dataset"
            )
        growing.rename(target)
    except OSError as error:
        raise ConfigError(
            f"the recordings cannot be written ({error.strerror})",
            where=str(target),
            expected="a folder on a disk that can be written",
            mend="check the disk and the folder's permissions",
        ) from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return tuple(found)


class _Plan:
    """What all episodes of a dataset have in common."""

    def __init__(
        self, source: Path, robot: RobotCard, layout: FeatureMap, fps: float, steady_clock: Callable[[], int]
    ) -> None:
        self._robot, self._layout, self._fps, self._steady = robot, layout, fps, steady_clock
        self._root = f"/{robot.name}"
        path = source / RECORD_FILE
        self._record = schema.load(ExportRecord, path) if path.exists() else None
        self._identity = str(sorted(table_hashes(source).items()))
        self._attachments = {ROBOT_CARD: schema.dump(robot).encode()}
        for kept in (INFO_FILE, RECORD_FILE):
            if (source / kept).exists():
                self._attachments[_ATTACHED + Path(kept).name] = (source / kept).read_bytes()
        interface = sendable(robot, layout.action)
        # `_check_layout` has found it.
        assert interface is not None
        topics: dict[str, list[str]] = {}
        for term in layout.terms:
            topics.setdefault(robot.observations[term].topic, []).append(term)
        self._topics = {
            tuple(terms): term_encoder(robot, topic, terms, root=self._root)
            for topic, terms in topics.items()
        }
        # A command of the set holds until the next one is due.
        self._command = command_encoder(
            interface, layout.action, SENT_TOPIC, root=self._root, valid_ns=round(1e9 / fps)
        )
        self._moment = header_encoder(MOMENT_TOPIC, root=self._root)
        self._source = header_encoder(SOURCE_TOPIC, root=self._root)
        self._cameras = {
            camera: image_encoder(robot, camera, IMAGE_TOPIC.format(camera=camera), root=self._root)
            for camera in layout.cameras
        }

    def write(self, path: Path, frames: Frames, number: int) -> Imported:
        """Write one episode, read it again and compare."""
        known = self._record.episodes if self._record is not None else ()
        origin = known[number] if number < len(known) else None
        info = EpisodeInfo(
            uuid.uuid5(_IDENTITIES, f"{self._identity} {number}").hex,
            number,
            robot=self._robot.name,
            namespace=self._root,
            instruction=frames.task,
            start_ns=int(frames.stamps_ns[0]),
            clock="dataset",
            versions=self._record.versions if self._record is not None else {},
        )
        messages = self._messages(frames)
        end_ns = messages[-1].receive_ns
        writer = EpisodeWriter(path, info, steady_clock=self._steady, attachments=self._attachments)
        judge = QualityMonitor(self._robot, namespace=self._root, start_ns=info.start_ns)
        try:
            for message in messages:
                data = message.encode()
                stamps = {"stamp_ns": message.stamp_ns, "receive_ns": message.receive_ns}
                writer.add_topic(message.spec)
                writer.write(message.spec.name, data, **stamps)
                judge.add(message.spec, data, **stamps)
            note = f"imported from {frames.source}" + (f", which was {origin.source}" if origin else "")
            writer.add_event(Event(EventKind.NOTE, end_ns, note))
            if origin is not None and origin.success is not None:
                kind = EventKind.SUCCESS if origin.success else EventKind.FAILURE
                writer.add_event(Event(kind, end_ns, "as the dataset says"))
            quality = judge.document(end_ns=end_ns)
            writer.finish(reason="imported", end_ns=end_ns, quality=quality)
        except BaseException:
            writer.discard()
            raise
        self._check(path, frames)
        return Imported(path, len(frames.stamps_ns), writer.messages, tuple(quality["findings"]))

    def _messages(self, frames: Frames) -> list[_Message]:
        """All messages of an episode in the order in which they were known."""
        found: list[_Message] = []
        for terms, (spec, encode) in self._topics.items():
            stamps = frames.term_stamps_ns[terms[0]]
            if any((frames.term_stamps_ns[term] != stamps).any() for term in terms[1:]):
                raise _refused(
                    frames, f"{', '.join(terms)} were captured at different moments", "one stamp a message"
                )
            for row in _news(frames, stamps, spec.name):
                values = {term: frames.terms[term][row] for term in terms}
                found.append(_message(frames, spec, stamps, row, partial(encode, int(stamps[row]), values)))
        spec, send = self._command
        stamps = frames.action_stamps_ns
        for row in _news(frames, stamps, spec.name):
            make = partial(send, int(stamps[row]), frames.actions[row])
            found.append(_message(frames, spec, stamps, row, make))
        if frames.interventions is not None:
            spec, tell = self._source
            for row in _news(frames, stamps, spec.name):
                if row and frames.interventions[row] == frames.interventions[row - 1]:
                    continue
                source = OPERATOR if frames.interventions[row] else OTHER
                found.append(_message(frames, spec, stamps, row, partial(tell, int(stamps[row]), source)))
        for camera, (spec, show) in self._cameras.items():
            stamps = frames.image_stamps_ns[camera]
            for row in _news(frames, stamps, spec.name):
                make = partial(_shown, show, int(stamps[row]), frames.images[camera], row)
                found.append(_message(frames, spec, stamps, row, make))
        spec, mark = self._moment
        for row, stamp in enumerate(frames.stamps_ns):
            found.append(_message(frames, spec, frames.stamps_ns, row, partial(mark, int(stamp), "")))
        return sorted(found, key=lambda message: (message.receive_ns, message.stamp_ns))

    def _check(self, path: Path, frames: Frames) -> None:
        """Read the file as an export would, and compare with what the dataset holds."""
        verification = verify(path)
        config = SamplingConfig(fps=round(self._fps), terms=self._layout.terms, min_frames=1)
        pieces = sample_episode(Episode.open(path), self._robot, config)
        same = verification.is_ok and len(pieces) == 1
        if same:
            (back,) = pieces
            order = [back.action_names.index(name) for name in frames.action_names]
            pairs = [(back.stamps_ns, frames.stamps_ns), (back.actions[:, order], frames.actions)]
            pairs += [(back.terms[name], values) for name, values in frames.terms.items()]
            same = all(np.array_equal(one, other) for one, other in pairs)
            if frames.interventions is not None:
                told = back.interventions
                same = same and told is not None and np.array_equal(told, frames.interventions)
        if not same:
            reasons = "; ".join(verification.findings) or "values with one stamp that differ"
            raise _refused(frames, f"what was written is not what the dataset holds ({reasons})", "the same")


def _robot(source: Path, wanted: RobotCard | None) -> RobotCard:
    """The card that goes into the recordings: of the set where it has one, which the wanted one must fit."""
    inside = read_card(source)
    if inside is not None and wanted is not None:
        check_card(inside, wanted, where=str(source))
    robot = inside or wanted
    if robot is None:
        raise ConfigError(
            "the dataset does not say which robot it is of",
            where=str(source),
            expected="a robot card of ours in it, which our export writes",
            mend="name the robot's card with --robot",
        )
    return robot


def _check_layout(
    source: Path, layout: FeatureMap, robot: RobotCard, features: Mapping[str, Mapping[str, Any]]
) -> None:
    """Compare what the columns hold with the robot's card, name by name."""
    lines: list[str] = []
    for term, elements in layout.elements.items():
        wanted = robot.observations[term].names if term in robot.observations else None
        if wanted != elements:
            lines.append(f"{term}: {_list(elements)} instead of {_list(wanted)}")
    for camera in layout.cameras:
        spec = robot.cameras.get(camera)
        height, width = tuple(features[IMAGES + camera]["shape"])[:2]
        if spec is None or (spec.height, spec.width) != (height, width):
            size = None if spec is None else (f"{spec.width} x {spec.height}",)
            lines.append(f"camera {camera}: {width} x {height} instead of {_list(size)}")
    if sendable(robot, layout.action) is None:
        commands = "; ".join(", ".join(spec.names) for spec in robot.commands.values())
        lines.append(f"action: {', '.join(layout.action)} instead of {commands}")
    if lines:
        raise ConfigErrors(
            [
                ConfigError(
                    line,
                    where="columns of the dataset",
                    expected=f"what the card of {robot.name!r} says",
                    mend="name the card of the robot that the dataset is of (--robot)",
                )
                for line in lines
            ],
            where=str(source),
        )


def _list(names: Sequence[str] | None) -> str:
    return "nothing" if names is None else ", ".join(names)


def _news(frames: Frames, stamps: StampArray, topic: str) -> Sequence[int]:
    """The rows that hold something new, told by its stamp."""
    if (np.diff(stamps) < 0).any():
        raise _refused(frames, f"the stamps of {topic} go back", "stamps that rise")
    rows: Sequence[int] = np.flatnonzero(np.diff(stamps, prepend=stamps[0] - 1)).tolist()
    return rows


def _message(
    frames: Frames, spec: TopicSpec, stamps: StampArray, row: int, encode: Callable[[], bytes]
) -> _Message:
    stamp_ns = int(stamps[row])
    return _Message(spec, max(stamp_ns, int(frames.stamps_ns[row])), stamp_ns, encode)


def _shown(encode: Callable[[int, Image], bytes], stamp_ns: int, images: Sequence[Image], row: int) -> bytes:
    return encode(stamp_ns, images[row])


def _refused(frames: Frames, what: str, expected: str) -> ConfigError:
    return ConfigError(
        what, where=frames.source, expected=expected, mend="leave the episode out with lerobot-edit-dataset"
    )
