"""A conversation with a flight controller in MSP, over a connection that heals itself.

One thread reads; whoever calls writes, and never waits for more than a fifth of a second. A lost connection
is opened again with growing pauses. Requests that are open when it is lost, or are not answered in time, end
without an answer; nothing is ever sent twice behind the caller's back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hardware.drones.msp import MspDecoder, MspDirection, MspFrame, MspVersion, encode
from hardware.drones.transport import LinkError, Transport, open_transport
from hardware.errors import ConfigError

# Answers are matched to requests by their command, oldest first.
Answer = Callable[[MspFrame | None], None]
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_READ_S = 0.05
# The link's quality is judged over this many requests.
_JUDGED = 50


@dataclass(slots=True)
class _Request:
    command: int
    deadline_ns: int
    on_answer: Answer | None
    sent_ns: int


@dataclass(slots=True)
class LinkCounts:
    """What happened on a link since it was made."""

    # Requests sent, answered in time, and not.
    sent: int = 0
    answered: int = 0
    overdue: int = 0
    # Requests that the flight controller refused.
    refused: int = 0
    # Answers that nobody waited for.
    unasked: int = 0
    # How often the connection was opened.
    opened: int = 0
    # The last reason why it was lost or could not be opened.
    last_error: str = ""
    # The last round trips, seconds.
    round_trip_s: deque[float] = field(default_factory=lambda: deque(maxlen=_JUDGED))


class MspLink:
    """One connection to one flight controller.

    Args:
        address: as `hardware.drones.transport.open_transport` takes it.
        clock: steady clock, nanoseconds.
        on_lost: called, from the reading thread, when the connection is lost.
    """

    def __init__(
        self,
        address: str,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """Open nothing yet."""
        self.address, self.counts = address, LinkCounts()
        self._clock, self._on_lost = clock, on_lost
        self._transport: Transport | None = None
        self._lock, self._write_lock = threading.Lock(), threading.Lock()
        self._waiting: dict[int, deque[_Request]] = {}
        self._recent: deque[bool] = deque(maxlen=_JUDGED)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_up(self) -> bool:
        """Whether the connection stands."""
        return self._transport is not None

    @property
    def quality(self) -> float:
        """Share of the last requests that were answered in time, 0 to 1; 0 while there is no connection."""
        with self._lock:
            recent = tuple(self._recent)
        if self._transport is None:
            return 0.0
        return sum(recent) / len(recent) if recent else 1.0

    def open(self) -> None:
        """Connect, and keep connected until `close`.

        Raises:
            ConfigError: nobody is there, or somebody else holds it; it says which.
        """
        try:
            self._transport = open_transport(self.address)
        except LinkError as error:
            raise self._unreachable(str(error)) from error
        self.counts.opened += 1
        self._closing.clear()
        self._thread = threading.Thread(target=self._read, name="msp-link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the connection; open requests end without an answer."""
        self._closing.set()
        self._drop("closed")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=3.0)
        self._thread = None

    def open_requests(self, command: int) -> int:
        """How many requests of a command wait for their answer."""
        with self._lock:
            return len(self._waiting.get(command, ()))

    def send(
        self,
        command: int,
        payload: bytes = b"",
        *,
        on_answer: Answer | None = None,
        deadline_s: float = 0.5,
        version: MspVersion = MspVersion.V1,
    ) -> bool:
        """Ask, and return at once.

        Args:
            command: what.
            payload: with what.
            on_answer: called from the reading thread with the answer, which may be a refusal, or with None
                when none came in time. It must not wait for anything.
            deadline_s: how long an answer may take.
            version: how to wrap it; a command above 254 needs version 2.

        Returns:
            Whether it went out; False while there is no connection (`on_answer` is not called then).
        """
        data = encode(command, payload, version=version)
        transport = self._transport
        if transport is None:
            return False
        now_ns = self._clock()
        request = _Request(command, now_ns + round(deadline_s * 1e9), on_answer, now_ns)
        with self._write_lock:
            # In the order of the wire, or answers would go to the wrong request.
            with self._lock:
                self._waiting.setdefault(command, deque()).append(request)
                self.counts.sent += 1
            try:
                transport.write(data)
            except LinkError as error:
                self._drop(str(error))
                return False
        return True

    def ask(
        self,
        command: int,
        payload: bytes = b"",
        *,
        timeout_s: float = 0.5,
        version: MspVersion = MspVersion.V1,
    ) -> bytes:
        """Ask and wait for the answer: for setting up, never in a control loop.

        Args:
            command: what.
            payload: with what.
            timeout_s: how long an answer may take.
            version: how to wrap it.

        Returns:
            The answer.

        Raises:
            LinkError: none came in time, there is no connection, or the flight controller refuses.
        """
        done = threading.Event()
        box: list[MspFrame | None] = []

        def take(frame: MspFrame | None) -> None:
            box.append(frame)
            done.set()

        if not self.send(command, payload, on_answer=take, deadline_s=timeout_s, version=version):
            raise LinkError(f"{self.address}: {self.counts.last_error or 'no connection'}")
        done.wait(timeout_s + 1.0)
        frame = box[0] if box else None
        if frame is None:
            why = "closed the connection" if not self.is_up else f"did not answer within {timeout_s} s"
            raise LinkError(f"the flight controller {why} (MSP command {command})")
        if frame.direction is MspDirection.ERROR:
            raise LinkError(f"the flight controller refuses MSP command {command}")
        return frame.payload

    # --- the reading thread -------------------------------------------------------------------

    def _read(self) -> None:
        pause_s = _PAUSE_S
        decoder = MspDecoder()
        while not self._closing.is_set():
            transport = self._transport
            if transport is None:
                if self._closing.wait(pause_s):
                    return
                pause_s = min(_LONGEST_PAUSE_S, 2.0 * pause_s)
                decoder = MspDecoder()
                self._reopen()
                continue
            try:
                frames = decoder.feed(transport.read(_READ_S))
            except LinkError as error:
                self._drop(str(error))
                continue
            if self._expire() and decoder.pending:
                frames += decoder.give_up()
            for frame in frames:
                pause_s = _PAUSE_S
                if frame.direction is not MspDirection.REQUEST:
                    self._deliver(frame)

    def _reopen(self) -> None:
        try:
            transport = open_transport(self.address)
        except (LinkError, ConfigError) as error:
            self.counts.last_error = str(error)
            return
        if self._closing.is_set():
            transport.close()
            return
        self.counts.opened += 1
        self._transport = transport

    def _deliver(self, frame: MspFrame) -> None:
        now_ns = self._clock()
        with self._lock:
            queue = self._waiting.get(frame.command)
            request = queue.popleft() if queue else None
            if request is None:
                self.counts.unasked += 1
                return
            self.counts.answered += 1
            self.counts.refused += frame.direction is MspDirection.ERROR
            self.counts.round_trip_s.append((now_ns - request.sent_ns) * 1e-9)
            self._recent.append(True)
        if request.on_answer is not None:
            request.on_answer(frame)

    def _expire(self) -> bool:
        """End requests whose time is over; returns whether there were any."""
        now_ns = self._clock()
        late: list[_Request] = []
        with self._lock:
            for queue in self._waiting.values():
                while queue and queue[0].deadline_ns < now_ns:
                    late.append(queue.popleft())
            self.counts.overdue += len(late)
            self._recent.extend([False] * len(late))
        for request in late:
            if request.on_answer is not None:
                request.on_answer(None)
        return bool(late)

    def _drop(self, reason: str) -> None:
        with self._lock:
            transport, self._transport = self._transport, None
            if transport is None:
                return
            self.counts.last_error = reason
            open_requests = [request for queue in self._waiting.values() for request in queue]
            self._waiting.clear()
            self._recent.extend([False] * len(open_requests))
        transport.close()
        for request in open_requests:
            if request.on_answer is not None:
                request.on_answer(None)
        if self._on_lost is not None and not self._closing.is_set():
            self._on_lost(reason)

    def _unreachable(self, why: str) -> ConfigError:
        return ConfigError(
            f"no flight controller: {why}",
            where=self.address,
            expected="a flight controller that nobody else is connected to",
            mend="check cable and power, and close the configurator or whatever else holds the port",
        )
