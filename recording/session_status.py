"""What a session of recording is told and tells: how to record, what it is doing, who judges."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from recording.writer import TopicSpec, WriterConfig


class Judge(Protocol):
    """What judges an episode while it is recorded."""

    def add(self, spec: TopicSpec, data: bytes, *, stamp_ns: int, receive_ns: int) -> None:
        """Look at one message."""

    def document(self, *, end_ns: int | None = None) -> dict[str, Any]:
        """Say what was found, as a plain document with `findings`, a list of sentences."""


class State(enum.Enum):
    """What a session is doing."""

    IDLE = "idle"
    RECORDING = "recording"
    FAILED = "failed"


@dataclass(frozen=True)
class SessionConfig:
    """How a session records."""

    # When a chunk ends.
    writer: WriterConfig = field(default_factory=WriterConfig)
    # Bytes of messages that may wait for the disk; more are dropped, counted and told.
    queue_bytes: int = 256_000_000
    # Free space at which an episode is ended while it can still be finished, bytes.
    reserve_bytes: int = 256_000_000
    # Longest episode, seconds; 0: no limit.
    time_limit_s: float = 0.0


@dataclass(frozen=True)
class Status:
    """A session at one moment."""

    # What it is doing.
    state: State
    # What there is to say about it, in words; an error where it failed.
    message: str
    # Number of the open episode, or of the last one; -1 before the first.
    episode: int
    # Of the open episode, or the last one: time since its start in seconds, messages, bytes on the disk,
    # messages that were dropped, and messages that are on the disk.
    duration_s: float
    messages: int
    size_bytes: int
    dropped: int
    durable_messages: int
    # Episodes that this session has finished.
    finished: int
    # What is not as it should be with the data, in words, so far.
    findings: tuple[str, ...] = ()
    # The quality report, as a plain document.
    quality: Mapping[str, Any] = field(default_factory=dict)
    # What was said about the episode: success, failure or unknown.
    outcome: str = "unknown"
    # The instruction that holds.
    instruction: str = ""
