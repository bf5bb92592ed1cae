"""A controller's journal as an episode file: small chunks that survive a power cut, readable by MCAP tools.

One topic, `/policy/journal`, of byte arrays (std_msgs/UInt8MultiArray) that each hold a frame of
`policies.runtime.frames`: `reset`, `enable` or `step`. Floats are kept bit for bit. The robot's card,
the policy's card and how the controller was put together are attachments.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hardware import schema
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.runtime.frames import Frame, FrameError, decode, encode
from policies.runtime.journal import JournalStep
from policies.runtime.packing import pack_chunk, pack_observation, unpack_chunk, unpack_observation
from recording import Episode, EpisodeInfo, EpisodeWriter, TopicSpec

if TYPE_CHECKING:
    from policies.controller import Controller

TOPIC = "/policy/journal"
ROBOT_CARD, POLICY_CARD, SETUP = "robot_card.yaml", "policy_card.yaml", "journal.json"
# So many steps may wait for the disk; more would make the journal useless, and it says so.
_MOST_WAITING = 5000
_RULE = "=" * 80
_SCHEMA = f"""std_msgs/MultiArrayLayout layout
uint8[] data
{_RULE}
MSG: std_msgs/MultiArrayLayout
std_msgs/MultiArrayDimension[] dim
uint32 data_offset
{_RULE}
MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride
"""
# CDR, little endian: no dimensions, no offset, then the length of the data.
_CDR = struct.Struct("<4sIII")


@dataclass(frozen=True)
class JournalSetup:
    """How the controller of a journal was put together."""

    # The controller file or policy folder, as it was named.
    policy: str
    # How often it was to be asked, Hz; none: as on the policy's card.
    rate_hz: float | None
    # Where it thought: step or thread.
    inference: str
    # Its layers beside the base, in order.
    layers: tuple[str, ...]
    # How its chunks were carried out.
    schedule: Mapping[str, Any]


class JournalFile:
    """Writes a journal in a thread of its own, so that no control step waits for the disk.

    Args:
        path: the file, `….mcap`; it must not exist.
        robot: the card of the robot.
        controller: whose journal it is.
        policy: its controller file or policy folder, as it was named.
        rate_hz: as given to `load_controller`.
        steady_clock: gives the steady clock in nanoseconds.

    Raises:
        ConfigError: the file exists or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        robot: RobotCard,
        controller: Controller,
        policy: str,
        rate_hz: float | None,
        steady_clock: Callable[[], int],
    ) -> None:
        """Create the file with everything that a replay needs beside the steps."""
        self.path = path
        setup = setup_of(controller, policy, rate_hz)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = EpisodeWriter(
            path,
            EpisodeInfo(uuid.uuid4().hex, 0, robot=robot.name, operator=controller.card.name),
            steady_clock=steady_clock,
            attachments={
                ROBOT_CARD: schema.dump(robot).encode(),
                POLICY_CARD: schema.dump(controller.card).encode(),
                SETUP: json.dumps(asdict(setup)).encode(),
            },
        )
        self._writer.add_topic(TopicSpec(TOPIC, "std_msgs/msg/UInt8MultiArray", _SCHEMA))
        self._queue: queue.SimpleQueue[Callable[[], tuple[int, int, Frame]] | None] = queue.SimpleQueue()
        # Why the journal is not whole; empty while it is.
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def reset(self, seed: int | None) -> None:
        """Note that the controller began anew."""
        self._put(lambda: (0, 0, Frame("reset", {"seed": seed})))

    def enable(self, layer: str, *, on: bool) -> None:
        """Note that a layer was switched."""
        self._put(lambda: (0, 0, Frame("enable", {"layer": layer, "on": on})))

    def step(self, step: JournalStep) -> None:
        """Note one control step; its arrays are copied, they may be changed afterwards."""
        frame = _step_frame(step)
        frame = Frame(frame.kind, frame.fields, {name: array.copy() for name, array in frame.arrays.items()})
        self._put(lambda: (step.observation.stamp_ns, step.now_ns, frame))

    def close(self) -> None:
        """Write what waits, and finish the file; one that failed stays as it is."""
        self._queue.put(None)
        self._thread.join()

    def _put(self, make: Callable[[], tuple[int, int, Frame]]) -> None:
        if self.failure:
            return
        if self._queue.qsize() >= _MOST_WAITING:
            self.failure = f"the disk is {_MOST_WAITING} steps behind"
            return
        self._queue.put(make)

    def _run(self) -> None:
        try:
            last_ns = 0
            while (make := self._queue.get()) is not None:
                stamp_ns, now_ns, frame = make()
                last_ns = now_ns or last_ns
                data = encode(frame)
                message = _CDR.pack(b"\0\1\0\0", 0, 0, len(data)) + data
                self._writer.write(TOPIC, message, stamp_ns=stamp_ns, receive_ns=last_ns)
            if self.failure:
                self._writer.abandon()
            else:
                self._writer.finish()
        except (ConfigError, FrameError) as error:
            self.failure = str(error)
            self._writer.abandon()


@dataclass(frozen=True)
class Reset:
    """The controller began anew."""

    # With this seed.
    seed: int | None


@dataclass(frozen=True)
class Enable:
    """A layer was switched."""

    # Its name.
    layer: str
    # Whether it acts from then on.
    on: bool


class JournalReader:
    """Reads a journal, whole or cut short.

    Args:
        path: the file, `….mcap` or `….mcap.part`.

    Raises:
        ConfigError: it is no journal.
    """

    def __init__(self, path: Path) -> None:
        """Read what belongs to the journal beside its steps."""
        self.path = path
        self._episode = Episode.open(path)
        attached = self._episode.attachments
        missing = [name for name in (ROBOT_CARD, POLICY_CARD, SETUP) if name not in attached]
        if missing or TOPIC not in self._episode.topics:
            raise ConfigError(
                "this is no journal of a controller"
                + (f": it lacks {', '.join(missing)}" if missing else ""),
                where=str(path),
                expected="a file that policy_node wrote to the folder of its parameter 'journal'",
                mend="correct the path",
            )
        self.robot: RobotCard = schema.parse(
            RobotCard, yaml.safe_load(attached[ROBOT_CARD]), where=f"{path}: {ROBOT_CARD}"
        )
        # The policy's card as it was written.
        self.policy_card = attached[POLICY_CARD].decode()
        self.setup: JournalSetup = schema.parse(
            JournalSetup, json.loads(attached[SETUP]), where=f"{path}: {SETUP}"
        )

    @property
    def is_complete(self) -> bool:
        """Whether the file was finished."""
        return self._episode.is_complete

    def entries(self) -> Iterator[Reset | Enable | JournalStep]:
        """Go through the journal in its order.

        Yields:
            Resets, switches and steps.

        Raises:
            FrameError: an entry makes no sense.
        """
        for message in self._episode.raw_messages((TOPIC,)):
            frame = decode(bytes(message.data[_CDR.size :]))
            if frame.kind == "reset":
                yield Reset(None if frame.fields.get("seed") is None else frame.integer("seed"))
            elif frame.kind == "enable":
                yield Enable(frame.text("layer"), bool(frame.fields.get("on")))
            elif frame.kind == "step":
                yield _read_step(frame)
            else:
                raise FrameError(f"an unknown kind of entry {frame.kind[:40]!r}")


def setup_of(controller: Controller, policy: str, rate_hz: float | None) -> JournalSetup:
    """Describe how a controller is put together.

    Args:
        controller: the controller.
        policy: its controller file or policy folder, as it was named.
        rate_hz: as given to `load_controller`.

    Returns:
        The description.
    """
    schedule = yaml.safe_load(schema.dump(controller.schedule)) or {}
    return JournalSetup(policy, rate_hz, controller.inference, controller.layers, schedule)


def _step_frame(step: JournalStep) -> Frame:
    fields: dict[str, Any] = {
        "stamp_ns": step.observation.stamp_ns,
        "received_steady_ns": step.observation.received_steady_ns,
        "now_ns": step.now_ns,
        "instruction": step.instruction,
        "arrived": list(step.arrived),
        "under_way_ns": step.under_way_ns,
        "is_waiting": step.is_waiting,
        "refusal": step.refusal,
        "chunk": None,
    }
    arrays = pack_observation(step.observation)
    if step.chunk is not None:
        fields["chunk"], chunk_arrays = pack_chunk(step.chunk)
        arrays |= {f"chunk/{name}": array for name, array in chunk_arrays.items()}
    return Frame("step", fields, arrays)


def _read_step(frame: Frame) -> JournalStep:
    arrived, chunk = frame.fields.get("arrived"), frame.fields.get("chunk")
    if not isinstance(arrived, list) or not all(type(number) is int for number in arrived):
        raise FrameError("step: arrived is no list of numbers")
    step = JournalStep(
        unpack_observation(
            frame,
            stamp_ns=frame.integer("stamp_ns"),
            received_steady_ns=frame.integer("received_steady_ns"),
        ),
        frame.integer("now_ns"),
        # Journals that are older than instructions have none.
        instruction=frame.text("instruction") if "instruction" in frame.fields else "",
        arrived=tuple(arrived),
        under_way_ns=None if frame.fields.get("under_way_ns") is None else frame.integer("under_way_ns"),
        is_waiting=bool(frame.fields.get("is_waiting")),
        refusal=frame.text("refusal"),
    )
    if isinstance(chunk, dict):
        arrays = {n.removeprefix("chunk/"): a for n, a in frame.arrays.items() if n.startswith("chunk/")}
        step.chunk = unpack_chunk(Frame("chunk", chunk, arrays))
    return step
