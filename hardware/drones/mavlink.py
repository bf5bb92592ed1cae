"""MAVLink 2 without trust in the other end: framing that survives any bytes, counted losses, clock offset.

Nothing here opens a port. pymavlink is imported on first use; it encodes and decodes single messages,
the stream is cut into frames here, so that a broken frame costs itself and nothing that follows it.
Source: MAVLink guide, "Packet Serialization" and "Time Synchronization Protocol".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hardware.errors import ConfigError

_MAGIC_2, _MAGIC_1 = 0xFD, 0xFE
_SIGNED = 0x01
# The longest frame: header 10, payload 255, checksum 2, signature 13.
_LONGEST = 280
# Losses are judged over this many messages.
_WINDOW = 200


def dialect() -> Any:  # noqa: ANN401
    """The module of MAVLink's common messages.

    Raises:
        ConfigError: pymavlink is not installed.
    """
    try:
        from pymavlink.dialects.v20 import common
    except ImportError as error:
        raise ConfigError(
            "pymavlink is not installed",
            where="MAVLink",
            expected="the package pymavlink",
            mend="install reflexarc with the extra `drones`",
        ) from error
    return common


@dataclass(frozen=True, slots=True)
class Received:
    """One message that passed its checks."""

    # The message as pymavlink has it; its fields are attributes.
    message: Any
    # Its name, such as HEARTBEAT.
    name: str
    # Who sent it.
    system: int
    component: int


class Framer:
    """Cuts a stream of bytes into messages.

    Args:
        keeps_rest: whether a frame may go on in the next piece (a serial line or TCP). False for UDP,
            where a datagram holds whole frames and what is left over is broken.
    """

    def __init__(self, *, keeps_rest: bool) -> None:
        """Start with nothing received."""
        common = dialect()
        self._decoder = common.MAVLink(None)
        self._error = common.MAVError
        self._known = common.mavlink_map
        self._rest = b""
        self._keeps_rest = keeps_rest
        # Bytes that belonged to no message, and messages of another dialect.
        self.malformed_bytes = 0
        self.unknown = 0

    def feed(self, data: bytes) -> Iterator[Received]:
        """Take in bytes and give out the messages that are whole.

        Args:
            data: what arrived, any bytes at all.

        Yields:
            The messages with a right checksum, in order.
        """
        data = self._rest + data
        begin = 0
        while begin < len(data):
            magic = data[begin]
            if magic not in (_MAGIC_2, _MAGIC_1):
                begin += 1
                self.malformed_bytes += 1
                continue
            size = self._size(data, begin)
            if size is None or begin + size > len(data):
                if self._keeps_rest and len(data) - begin < _LONGEST:
                    break
                begin += 1
                self.malformed_bytes += 1
                continue
            frame = data[begin : begin + size]
            if not self._keeps_rest and self._number(frame) not in self._known:
                # Another dialect's message: nothing can check it, but it fills its place in the datagram.
                self.unknown += 1
                begin += size
                continue
            received = self._decode(frame)
            if received is None:
                begin += 1
                self.malformed_bytes += 1
                continue
            begin += size
            yield received
        if self._keeps_rest:
            self._rest = data[begin:]

    @staticmethod
    def _size(data: bytes, begin: int) -> int | None:
        """Length of the frame that would begin here, or None where its header is not complete."""
        if data[begin] == _MAGIC_1:
            return None if begin + 1 >= len(data) else data[begin + 1] + 8
        if begin + 2 >= len(data):
            return None
        return data[begin + 1] + 12 + (13 if data[begin + 2] & _SIGNED else 0)

    @staticmethod
    def _number(frame: bytes) -> int:
        return frame[5] if frame[0] == _MAGIC_1 else int.from_bytes(frame[7:10], "little")

    def _decode(self, frame: bytes) -> Received | None:
        if self._number(frame) not in self._known:
            return None
        try:
            message = self._decoder.decode(bytearray(frame))
        except (self._error, struct.error, UnicodeDecodeError, ValueError, IndexError, TypeError):
            return None
        return Received(message, message.get_type(), message.get_srcSystem(), message.get_srcComponent())


class Encoder:
    """Makes the bytes of messages, under one system and component.

    Args:
        system: ours, 1 to 255.
        component: ours, 1 to 255.
    """

    def __init__(self, *, system: int, component: int) -> None:
        """Start the sequence at zero."""
        self.common = dialect()
        self._mav = self.common.MAVLink(None, srcSystem=system, srcComponent=component)

    def encode(self, message: Any) -> bytes:  # noqa: ANN401
        """The frame of a message of `common`; counts the sequence on."""
        frame = bytes(message.pack(self._mav))
        self._mav.seq = (self._mav.seq + 1) % 256
        return frame


class LinkQuality:
    """Share of a sender's messages that arrive, from the gaps in its sequence numbers."""

    def __init__(self) -> None:
        """Start without a message."""
        self._last: int | None = None
        # For each message: how many before it were missing.
        self._gaps: deque[int] = deque(maxlen=_WINDOW)

    def note(self, sequence: int) -> None:
        """Take note of a message's sequence number, 0 to 255."""
        if self._last is not None:
            missing = (sequence - self._last - 1) % 256
            # More than half a turn back is a late or doubled message, no gap.
            self._gaps.append(0 if missing > 127 else missing)
        self._last = sequence

    @property
    def share(self) -> float | None:
        """0 to 1; None before two messages arrived."""
        if not self._gaps:
            return None
        return len(self._gaps) / (len(self._gaps) + sum(self._gaps))


class ClockOffset:
    """How far the other end's clock is ahead of ours, from TIMESYNC round trips.

    The offset of the shortest of the last round trips is taken: its answer spent the least time on
    the way, so it lies nearest to the middle.
    """

    def __init__(self, *, window: int = 20, longest_s: float = 0.1) -> None:
        """Start unsynchronised.

        Args:
            window: how many round trips are looked back on.
            longest_s: a round trip that took longer tells too little and is dropped.
        """
        self._trips: deque[tuple[int, int]] = deque(maxlen=window)
        self._longest_ns = round(longest_s * 1e9)

    def note(self, sent_ns: int, remote_ns: int, received_ns: int) -> None:
        """Take in one round trip.

        Args:
            sent_ns: when we asked, our clock.
            remote_ns: what the other end's clock then showed.
            received_ns: when the answer came, our clock.
        """
        trip = received_ns - sent_ns
        if 0 <= trip <= self._longest_ns:
            self._trips.append((trip, remote_ns - (sent_ns + received_ns) // 2))

    def reset(self) -> None:
        """Forget everything: the other end restarted, or our clock jumped."""
        self._trips.clear()

    @property
    def offset_ns(self) -> int | None:
        """The other clock minus ours, nanoseconds; None before the first round trip."""
        return min(self._trips)[1] if self._trips else None

    @property
    def round_trip_s(self) -> float | None:
        """The shortest of the last round trips, seconds."""
        return min(self._trips)[0] * 1e-9 if self._trips else None
