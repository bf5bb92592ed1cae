"""What is known of an episode besides its messages, and how it is written into the file.

It travels as MCAP metadata records, one at the start, one an event, one at the end, so that a file whose
recorder was killed still says what it is.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Names of the metadata records.
INFO, EVENT, END, QUALITY = "reflexarc.episode", "reflexarc.event", "reflexarc.end", "reflexarc.quality"


class EventKind(enum.Enum):
    """What somebody said about an episode, or what happened to it, while it was recorded."""

    SUCCESS = "success"
    FAILURE = "failure"
    NOTE = "note"
    INSTRUCTION = "instruction"
    CLOCK_JUMP = "clock_jump"
    REPAIRED = "repaired"


class Outcome(enum.Enum):
    """How an episode went, as far as anybody said so."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known when an episode begins."""

    # A text that no other episode has; it stays when files are copied or numbered anew.
    episode_id: str
    # The number that the file had when it was written.
    number: int
    # The name on the robot card.
    robot: str = ""
    # The ROS namespace of the robot; a topic without a leading slash is found below it.
    namespace: str = ""
    # What is to be done, as a short name (PickCube), and in words.
    task: str = ""
    instruction: str = ""
    # Who moves the robot: a person, a teleoperation device, a policy.
    operator: str = ""
    # Wall time of the beginning, ISO 8601 in UTC.
    started_utc: str = ""
    # The same instant on the clock of the stamps and on the steady clock, nanoseconds.
    start_ns: int = 0
    start_steady_ns: int = 0
    # Which clock stamps follow: the wall clock (system), a twin's, or that of a dataset.
    clock: str = "system"
    # Commit of the code that recorded.
    git_commit: str = ""
    # Versions of Python and of packages, by name.
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_record(self) -> dict[str, str]:
        """Write every field as a text; those that are not texts as JSON."""
        return {f.name: _text(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> EpisodeInfo:
        """Read what `to_record` wrote; a field that is missing keeps its default.

        Args:
            record: texts by name.

        Returns:
            The info.
        """
        values: dict[str, Any] = {"episode_id": "", "number": 0}
        for known in dataclasses.fields(cls):
            if known.name in record:
                is_text = known.type == "str"
                values[known.name] = record[known.name] if is_text else json.loads(record[known.name])
        return cls(**values)


@dataclass(frozen=True)
class Event:
    """Something said about an episode, or something that happened to it."""

    # What it is.
    kind: EventKind
    # When, on the clock of the stamps, nanoseconds.
    stamp_ns: int
    # In words.
    text: str = ""

    def to_record(self) -> dict[str, str]:
        """Write every field as a text."""
        return {"kind": self.kind.value, "stamp_ns": str(self.stamp_ns), "text": self.text}

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Event:
        """Read what `to_record` wrote."""
        return cls(EventKind(record["kind"]), int(record["stamp_ns"]), record.get("text", ""))


@dataclass(frozen=True)
class EpisodeEnd:
    """How the recording of an episode ended."""

    # Why: stopped, time limit, the disk is nearly full.
    reason: str
    # When, on the clock of the stamps, nanoseconds.
    end_ns: int
    # Messages in the file, and messages that arrived and are not in it.
    messages: int
    dropped: int

    def to_record(self) -> dict[str, str]:
        """Write every field as a text."""
        return {f.name: _text(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> EpisodeEnd:
        """Read what `to_record` wrote."""
        return cls(record["reason"], int(record["end_ns"]), int(record["messages"]), int(record["dropped"]))


@dataclass(frozen=True)
class EpisodeMetadata:
    """Everything that a file says about its episode besides the messages."""

    # What was known at the start.
    info: EpisodeInfo
    # What was said and what happened, in order.
    events: tuple[Event, ...] = ()
    # How it ended; None: nobody ended it, or the file was repaired.
    end: EpisodeEnd | None = None
    # The quality report of the recorder, as a plain document; None: there is none.
    quality: Mapping[str, Any] | None = None

    @property
    def outcome(self) -> Outcome:
        """How it went: the last word on it counts."""
        said = self._last(EventKind.SUCCESS, EventKind.FAILURE)
        return Outcome.UNKNOWN if said is None else Outcome(said.kind.value)

    @property
    def reason(self) -> str:
        """Why it went like that, where somebody said so."""
        said = self._last(EventKind.SUCCESS, EventKind.FAILURE)
        return "" if said is None else said.text

    @property
    def instruction(self) -> str:
        """The language instruction: the last one that was given."""
        said = self._last(EventKind.INSTRUCTION)
        return self.info.instruction if said is None else said.text

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes, in order."""
        return tuple(event.text for event in self.events if event.kind is EventKind.NOTE)

    @property
    def clock_jumps(self) -> int:
        """How often the clock of the stamps went back."""
        return sum(event.kind is EventKind.CLOCK_JUMP for event in self.events)

    @property
    def is_repaired(self) -> bool:
        """Whether the file was made from one that its recorder did not finish."""
        return self._last(EventKind.REPAIRED) is not None

    def _last(self, *kinds: EventKind) -> Event | None:
        return next((event for event in reversed(self.events) if event.kind in kinds), None)


def read_metadata(records: Iterable[tuple[str, Mapping[str, str]]]) -> EpisodeMetadata:
    """Put the metadata records of a file together; records of others are passed over.

    Args:
        records: name and content of each, in the order of the file.

    Returns:
        The metadata.
    """
    info, events, end, quality = EpisodeInfo("", 0), [], None, None
    for name, record in records:
        if name == INFO:
            info = EpisodeInfo.from_record(record)
        elif name == EVENT:
            events.append(Event.from_record(record))
        elif name == END:
            end = EpisodeEnd.from_record(record)
        elif name == QUALITY:
            quality = json.loads(record["report"])
    return EpisodeMetadata(info, tuple(events), end, quality)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=dict)
