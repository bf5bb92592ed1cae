"""MSP frames: the serial protocol of Betaflight, as bytes. Versions 1 (jumbo too), 2, and 2 inside 1.

Pure: bytes in, frames out. The decoder takes any bytes in pieces of any size, never raises, keeps a bounded
amount of them, and finds the next intact frame after whatever was lost. Source: the firmware's
`msp/msp_serial.c` (4.6), and the MSP V2 description of the INAV and Betaflight projects.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor

from hardware.errors import ConfigError

# What a version 1 header says in place of a length that does not fit into it.
_JUMBO = 255
# The version 1 command that carries a version 2 frame.
_V2_IN_V1 = 255
# The firmware's receive buffer: it never checks a version 2 request against it, so the sender has to.
REQUEST_LIMIT = 192
# The firmware's largest answer is 512 bytes; a longer length is noise that would swallow good frames.
REPLY_LIMIT = 1024
_V2_HEADER = struct.Struct("<BHH")


class MspVersion(enum.Enum):
    """How a frame is wrapped. An answer comes in the wrapping of its request."""

    V1 = "v1"
    V2 = "v2"
    V2_IN_V1 = "v2 over v1"


class MspDirection(enum.Enum):
    """What a frame is."""

    REQUEST = b"<"
    REPLY = b">"
    # The flight controller does not know the command, or will not do it now.
    ERROR = b"!"


_DIRECTIONS = {d.value[0]: d for d in MspDirection}


@dataclass(frozen=True, slots=True)
class MspFrame:
    """One frame."""

    # What is asked or answered, 0 to 65535 (0 to 254 in version 1).
    command: int
    # The message.
    payload: bytes
    # Whether it asks, answers or refuses.
    direction: MspDirection
    # How it was wrapped.
    version: MspVersion


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ 0xD5) & 0xFF if value & 0x80 else value << 1
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc8_dvb_s2(data: bytes) -> int:
    """Checksum of version 2: CRC-8/DVB-S2 (polynomial 0xD5, from 0, not reflected).

    Args:
        data: what it covers.

    Returns:
        The checksum, 0 to 255.
    """
    crc = 0
    for byte in data:
        crc = _CRC[crc ^ byte]
    return crc


def encode(
    command: int,
    payload: bytes = b"",
    *,
    version: MspVersion = MspVersion.V1,
    direction: MspDirection = MspDirection.REQUEST,
) -> bytes:
    """Wrap a message.

    Args:
        command: what is asked or answered.
        payload: the message; a request holds at most `REQUEST_LIMIT` bytes.
        version: how to wrap it. A command above 254 needs version 2.
        direction: what the frame is.

    Returns:
        The bytes for the wire.

    Raises:
        ConfigError: the command does not exist in that version, or the payload is too long.
    """
    limit = REQUEST_LIMIT if direction is MspDirection.REQUEST else 0xFFFF - 6
    if version is MspVersion.V2_IN_V1:
        # Its own header and checksum share the room with the message.
        limit -= 6
    if len(payload) > limit:
        raise ConfigError(
            f"a message of {len(payload)} bytes",
            where=f"MSP command {command}",
            expected=f"at most {limit} bytes: the firmware's buffer holds no more",
            mend="send it in pieces",
        )
    if not 0 <= command <= (0xFFFF if version is not MspVersion.V1 else 254):
        raise ConfigError(
            f"command {command}",
            where=f"MSP {version.value}",
            expected="0 to 254 in version 1, 0 to 65535 in version 2",
            mend="wrap it in version 2" if command > 254 else "correct the number",
        )
    if version is MspVersion.V1:
        return _wrap_v1(command, payload, direction)
    body = _V2_HEADER.pack(0, command, len(payload)) + payload
    body += bytes((crc8_dvb_s2(body),))
    return (
        b"$X" + direction.value + body if version is MspVersion.V2 else _wrap_v1(_V2_IN_V1, body, direction)
    )


def _wrap_v1(command: int, payload: bytes, direction: MspDirection) -> bytes:
    size = len(payload)
    if size < _JUMBO or direction is MspDirection.REQUEST:
        body = bytes((size, command)) + payload
    else:
        body = bytes((_JUMBO, command)) + struct.pack("<H", size) + payload
    return b"$M" + direction.value + body + bytes((reduce(xor, body, 0),))


class MspDecoder:
    """Finds frames in a stream of bytes.

    Args:
        limit: longest message that is believed, bytes.
    """

    def __init__(self, limit: int = REPLY_LIMIT) -> None:
        """Start with nothing."""
        self._limit = limit
        self._buffer = bytearray()
        # Frames whose checksum was wrong, or whose header made no sense.
        self.damaged = 0
        # Bytes that belonged to no frame.
        self.skipped = 0

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[MspFrame]:
        """Take the next piece of the stream.

        Args:
            data: any number of any bytes.

        Returns:
            The frames that are complete now, in their order.
        """
        self._buffer += data
        return self._parse()

    def give_up(self) -> list[MspFrame]:
        """Stop waiting for the rest of a frame: for when an answer is overdue.

        A damaged length can make the decoder wait for bytes that never come, with good frames behind it.

        Returns:
            The frames that were hidden.
        """
        if self._buffer:
            self.damaged += 1
            self._drop(1)
        return self._parse()

    def _parse(self) -> list[MspFrame]:
        frames = []
        buffer = self._buffer
        while buffer:
            start = buffer.find(b"$")
            if start != 0:
                self._drop(len(buffer) if start < 0 else start)
                continue
            size = self._size()
            if size is None:
                break
            frame = self._decode(bytes(buffer[:size])) if size else None
            if frame is None:
                # Only the dollar is given up: a good frame may begin inside what looked like one.
                self.damaged += 1
                self._drop(1)
                continue
            frames.append(frame)
            del buffer[:size]
        return frames

    def _drop(self, count: int) -> None:
        self.skipped += count
        del self._buffer[:count]

    def _size(self) -> int | None:
        """Length of the frame at the start of the buffer; None: too early to tell; 0: there is none."""
        buffer = self._buffer
        have = len(buffer)
        if have >= 2 and buffer[1] not in b"MX":
            return 0
        if have >= 3 and buffer[2] not in _DIRECTIONS:
            return 0
        if have < 5:
            return None
        if buffer[1] == ord("X"):
            if have < 8:
                return None
            payload = buffer[6] | buffer[7] << 8
            header = 8
        elif buffer[3] == _JUMBO:
            if have < 7:
                return None
            payload = buffer[5] | buffer[6] << 8
            header = 7
        else:
            payload, header = buffer[3], 5
        if payload > self._limit:
            return 0
        size = header + payload + 1
        return size if have >= size else None

    def _decode(self, raw: bytes) -> MspFrame | None:
        direction = _DIRECTIONS[raw[2]]
        if raw[1] == ord("X"):
            _, command, _ = _V2_HEADER.unpack_from(raw, 3)
            if crc8_dvb_s2(raw[3:-1]) != raw[-1]:
                return None
            return MspFrame(command, raw[8:-1], direction, MspVersion.V2)
        if reduce(xor, raw[3:], 0) != 0:
            return None
        payload = raw[7:-1] if raw[3] == _JUMBO else raw[5:-1]
        if raw[4] != _V2_IN_V1:
            return MspFrame(raw[4], payload, direction, MspVersion.V1)
        if len(payload) < 6:
            return None
        _, command, size = _V2_HEADER.unpack_from(payload)
        inner = payload[5:-1]
        if size != len(inner) or crc8_dvb_s2(payload[:-1]) != payload[-1]:
            return None
        return MspFrame(command, inner, direction, MspVersion.V2_IN_V1)
