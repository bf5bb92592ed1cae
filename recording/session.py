"""Records into a folder: a thread that writes what other threads hand it, and what a person can ask of it.

`offer` only puts bytes into a queue, so that a robot's process is never held up by a disk. Everything that is
slow (packing, checksums, waiting for the disk, judging quality) happens in the thread of the session.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from recording.folder import episode_path, next_number
from recording.metadata import EpisodeInfo, Event, EventKind
from recording.session_status import Judge, SessionConfig, State, Status
from recording.writer import EpisodeWriter, NumberTakenError, TopicSpec

_IDLE_S = 0.05
_TRIES = 50


@dataclass
class _Open:
    """The open episode."""

    writer: EpisodeWriter
    judge: Judge | None
    info: EpisodeInfo
    dropped: int = 0
    # Why it is to end; None: it goes on.
    reason: str | None = None
    keep: bool = True
    # Whether it is being finished or thrown away: `keep` holds from now on.
    is_closing: bool = False
    outcome: str = "unknown"
    # Why it is judged no more; None: it is.
    judge_fault: str | None = None


class Session:
    """Records episodes into a folder, one after the other. Methods may be called from any thread.

    Args:
        folder: made where it is missing; episodes that lie in it are counted, never touched.
        info: what holds for every episode; number, identity and stamps are filled in.
        steady_clock: gives the steady clock, nanoseconds.
        data_clock: gives the clock of the stamps, nanoseconds.
        wall_clock: gives the wall time in UTC as ISO 8601.
        attachments: files that belong to every episode, by name.
        make_judge: makes what judges an episode that begins; None: nothing does.
        free_bytes: says how much room the disk has.
        on_finish: is told every finished file, in the thread of the session.
        config: how to record.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        info: EpisodeInfo,
        *,
        steady_clock: Callable[[], int],
        data_clock: Callable[[], int],
        wall_clock: Callable[[], str],
        free_bytes: Callable[[], int],
        attachments: Mapping[str, bytes] | None = None,
        make_judge: Callable[[EpisodeInfo], Judge] | None = None,
        on_finish: Callable[[Path], None] = lambda path: None,
        config: SessionConfig | None = None,
    ) -> None:
        """Start the thread."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the folder cannot be made ({error.strerror})",
                where=str(folder),
                expected="a folder that can be written",
                mend="choose another folder",
            ) from error
        self.folder = folder
        self.config = config or SessionConfig()
        self._info = info
        self._attachments = dict(attachments or {})
        self._steady, self._data, self._wall = steady_clock, data_clock, wall_clock
        self._free_bytes, self._make_judge, self._on_finish = free_bytes, make_judge, on_finish
        self._topics: dict[str, TopicSpec] = {}
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Bytes handed over, and bytes that the thread has taken; each has one writer at a time.
        self._offered_bytes = self._taken_bytes = 0
        self._offering = threading.Lock()
        self._lock = threading.RLock()
        self._open: _Open | None = None
        self._finished = 0
        self._status = Status(State.IDLE, "ready", -1, 0.0, 0, 0, 0, 0, 0, instruction=info.instruction)
        self._error: ConfigError | None = None
        self._judged_ns = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    # --- what arrives ------------------------------------------------------------------------

    def add_topic(self, spec: TopicSpec) -> None:
        """Say what a topic is, before its first message."""
        with self._lock:
            self._topics[spec.name] = spec

    def offer(self, topic: str, data: bytes, *, stamp_ns: int, receive_ns: int) -> None:
        """Hand a message over; it is written where an episode is open. Never waits for the disk.

        Args:
            topic: one that `add_topic` has named.
            data: the message in CDR.
            stamp_ns: when it was captured, nanoseconds.
            receive_ns: when it was received, on the same clock, nanoseconds.
        """
        episode = self._open
        if episode is None or episode.reason is not None:
            return
        with self._offering:
            if self._offered_bytes - self._taken_bytes > self.config.queue_bytes:
                episode.dropped += 1
                return
            self._offered_bytes += len(data)
        self._queue.put((episode, topic, data, stamp_ns, receive_ns))

    # --- what a person asks ------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """The session now."""
        with self._lock:
            return self._status

    @property
    def durable_messages(self) -> int:
        """Messages of the open episode that are on the disk, at this very moment; 0 where none is open."""
        episode = self._open
        return 0 if episode is None else episode.writer.durable_messages

    def start(self) -> int:
        """Begin an episode.

        Returns:
            Its number.

        Raises:
            ConfigError: one is open already, the disk has no room or cannot be written.
        """
        with self._lock:
            if self._open is not None:
                raise self._refusal(
                    f"episode {self._open.info.number} is open", "no open episode", "stop it first"
                )
            self._check_room()
            writer = self._create()
            for spec in self._topics.values():
                writer.add_topic(spec)
            judge = self._make_judge(writer.info) if self._make_judge else None
            episode = _Open(writer, judge, writer.info)
            self._error = None
            self._judged_ns = self._steady()
            self._refresh(episode, State.RECORDING, "recording")
            # From here on the thread has it, and with it the judge.
            self._open = episode
            return writer.info.number

    def stop(self, *, reason: str = "stopped", timeout_s: float = 30.0) -> Path:
        """End the open episode and wait until it is on the disk under its name.

        Args:
            reason: why it ends, for the file.
            timeout_s: how long to wait.

        Returns:
            The finished file.

        Raises:
            ConfigError: none is open, the disk failed, or it takes too long.
        """
        return self._end(reason, keep=True, timeout_s=timeout_s).path

    def discard(self, *, timeout_s: float = 30.0) -> int:
        """Throw the open episode away; its number is free again.

        Returns:
            The number.

        Raises:
            ConfigError: as `stop`, or it ended already and is being finished.
        """
        return self._end("discarded", keep=False, timeout_s=timeout_s).info.number

    def say(self, kind: EventKind, text: str = "") -> None:
        """Say something about the open episode: success, failure, note. An instruction holds from then on.

        Raises:
            ConfigError: no episode is open (an instruction may come before one).
        """
        with self._lock:
            if kind is EventKind.INSTRUCTION:
                self._info = replace(self._info, instruction=text)
                self._status = replace(self._status, instruction=text)
            episode = self._open
            if episode is None:
                if kind is EventKind.INSTRUCTION:
                    return
                raise self._refusal("no episode is open", "an open episode", "start one first")
            if kind in (EventKind.SUCCESS, EventKind.FAILURE):
                episode.outcome = kind.value
                self._status = replace(self._status, outcome=kind.value)
            self._queue.put((episode, Event(kind, self._data(), text)))

    def close(self) -> None:
        """End the open episode, keep it, and end the thread."""
        with self._lock:
            if self._open is not None and self._open.reason is None:
                self._open.reason = "the recorder was stopped"
        self._closing.set()
        self._thread.join(30.0)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while self._open is not None or not self._closing.is_set():
            try:
                self._drain()
                episode = self._open
                if episode is not None:
                    self._step(episode)
            except Exception as error:
                # Whatever it is, the next episode must find somebody who writes it.
                episode = self._open
                if episode is not None:
                    what = f"the recorder failed ({type(error).__name__}: {error})"
                    self._fail(episode, self._refusal(what, "a disk that works", "see the log, and the disk"))

    def _drain(self) -> None:
        """Write what waits; a little at a time, so that limits are looked at too."""
        try:
            item = self._queue.get(timeout=_IDLE_S)
        except queue.Empty:
            return
        for _ in range(self._queue.qsize() + 1):
            self._write(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
        self._write(item)

    def _write(self, item: tuple[Any, ...]) -> None:
        episode: _Open = item[0]
        is_open = episode is self._open
        try:
            if len(item) == 2:
                if is_open:
                    episode.writer.add_event(item[1])
                return
            _, topic, data, stamp_ns, receive_ns = item
            self._taken_bytes += len(data)
            if not is_open:
                return
            spec = self._topics[topic]
            episode.writer.add_topic(spec)
            episode.writer.write(topic, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
        except ConfigError as error:
            self._fail(episode, error)
            return
        if episode.judge is not None and episode.judge_fault is None:
            try:
                episode.judge.add(spec, data, stamp_ns=stamp_ns, receive_ns=receive_ns)
            except Exception as error:
                # What cannot be judged is recorded all the same.
                episode.judge_fault = f"{topic} cannot be judged ({type(error).__name__}: {error})"

    def _step(self, episode: _Open) -> None:
        try:
            episode.writer.tick()
        except ConfigError as error:
            self._fail(episode, error)
            return
        now_ns = self._steady()
        if now_ns - self._judged_ns >= 500_000_000:
            self._judged_ns = now_ns
            self._refresh(episode, State.RECORDING, "recording")
            if self._free_bytes() < self.config.reserve_bytes:
                episode.reason = episode.reason or "the disk is nearly full"
        limit_s = self.config.time_limit_s
        if limit_s and now_ns - episode.info.start_steady_ns >= limit_s * 1e9:
            episode.reason = episode.reason or "time limit"
        if episode.reason is not None and self._queue.empty():
            self._close_episode(episode)

    def _close_episode(self, episode: _Open) -> None:
        reason = episode.reason or "stopped"
        with self._lock:
            episode.is_closing = True
        if not episode.keep:
            episode.writer.discard()
            with self._lock:
                self._open = None
                self._status = replace(self._status, state=State.IDLE, message="discarded")
            return
        end_ns = self._data()
        try:
            quality = _judge(episode, end_ns)
            path = episode.writer.finish(
                reason=reason, end_ns=end_ns, dropped=episode.dropped, quality=quality
            )
        except ConfigError as error:
            self._fail(episode, error)
            return
        self._finished += 1
        self._refresh(episode, State.IDLE, reason, quality)
        with self._lock:
            self._open = None
        self._on_finish(path)

    def _fail(self, episode: _Open, error: ConfigError) -> None:
        """The disk refuses: nothing more is written, what is on it stays for a repair."""
        episode.writer.abandon()
        self._error = error
        self._refresh(episode, State.FAILED, error.what)
        with self._lock:
            if self._open is episode:
                self._open = None

    def _end(self, reason: str, *, keep: bool, timeout_s: float) -> EpisodeWriter:
        with self._lock:
            episode = self._open
            if episode is None:
                raise self._refusal("no episode is open", "an open episode", "start one first")
            if episode.is_closing and episode.keep != keep:
                number = episode.info.number
                raise self._refusal(
                    f"episode {number} has ended ({episode.reason})",
                    "an open episode",
                    f"reflexarc data delete takes episode {number} away" if episode.keep else "start anew",
                )
            episode.keep = keep
            episode.reason = episode.reason or reason
        deadline_ns = self._steady() + round(timeout_s * 1e9)
        pause = threading.Event()
        while self._open is episode:
            if self._steady() > deadline_ns:
                raise self._refusal(
                    f"the disk takes longer than {timeout_s:g} s", "a disk that keeps up", "look at the disk"
                )
            pause.wait(0.005)
        if self._error is not None:
            raise self._error
        return episode.writer

    def _create(self) -> EpisodeWriter:
        """Open the next free number; somebody else may record into the folder, too."""
        for _ in range(_TRIES):
            number = next_number(self.folder)
            info = replace(
                self._info,
                episode_id=uuid.uuid4().hex,
                number=number,
                started_utc=self._wall(),
                start_ns=self._data(),
                start_steady_ns=self._steady(),
            )
            path = episode_path(self.folder, number)
            try:
                return EpisodeWriter(
                    path,
                    info,
                    steady_clock=self._steady,
                    attachments=self._attachments,
                    config=self.config.writer,
                )
            except NumberTakenError:
                continue
        raise self._refusal("no number is free", "a folder that few write to", "choose another folder")

    def _check_room(self) -> None:
        free = self._free_bytes()
        if free < self.config.reserve_bytes:
            raise self._refusal(
                f"the disk has {free * 1e-6:.0f} MB free",
                f"more than the reserve of {self.config.reserve_bytes * 1e-6:.0f} MB",
                "free some space, or record into a folder on another disk",
            )

    def _refresh(
        self, episode: _Open, state: State, message: str, judged: Mapping[str, Any] | None = None
    ) -> None:
        writer = episode.writer
        quality = _judge(episode, None) if judged is None else judged
        with self._lock:
            self._status = Status(
                state,
                message,
                episode.info.number,
                (self._steady() - episode.info.start_steady_ns) * 1e-9,
                writer.messages,
                writer.size_bytes,
                episode.dropped,
                writer.durable_messages,
                self._finished,
                tuple((quality or {}).get("findings", ())),
                quality or {},
                episode.outcome,
                self._info.instruction,
            )

    def _refusal(self, what: str, expected: str, mend: str) -> ConfigError:
        return ConfigError(what, where=str(self.folder), expected=expected, mend=mend)


def _judge(episode: _Open, end_ns: int | None) -> dict[str, Any] | None:
    """The quality of an episode as a plain document; None where nobody judges."""
    if episode.judge is None:
        return None
    if episode.judge_fault is None:
        try:
            return episode.judge.document(end_ns=end_ns)
        except Exception as error:
            episode.judge_fault = f"it cannot be judged ({type(error).__name__}: {error})"
    return {"findings": [episode.judge_fault]}
