"""Reads an MCAP file record by record, as far as it can be read: half-written files and damaged ones too.

The library's own reader trusts a file to be whole. Here every length is checked against what is there and
every checksum against its data, so that what a power cut left behind is told from what it did not.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

MAGIC = b"\x89MCAP0\r\n"
_PREFIX = struct.Struct("<BQ")
# Opcodes of the format, version 0.
HEADER, FOOTER, SCHEMA, CHANNEL, CHUNK, ATTACHMENT, METADATA, DATA_END = 1, 2, 3, 4, 6, 9, 12, 15
_LAST_OPCODE = 15
# The damage at the end of a file whose recorder was stopped.
CUT_SHORT = "the file ends inside a record"
# The damage of a finished file that was changed somewhere.
CHECKSUM = "the checksum of the whole file does not fit what it holds"


@dataclass(frozen=True)
class Frame:
    """One record as it lies in the file."""

    # Its kind.
    opcode: int
    # Where it begins, bytes from the start of the file.
    offset: int
    # Its content.
    body: bytes = field(repr=False)

    @property
    def end(self) -> int:
        """Where the next record begins, bytes from the start of the file."""
        return self.offset + _PREFIX.size + len(self.body)


@dataclass(frozen=True)
class Damage:
    """Where a file stops making sense, or a stretch of it that does not."""

    # Bytes from the start of the file.
    offset: int
    # In words.
    what: str

    def __str__(self) -> str:
        return f"{self.what} at byte {self.offset}"


def read_frame(file: IO[bytes], offset: int, size: int) -> Frame | Damage:
    """Read one record.

    Args:
        file: the open file.
        offset: where it begins, in bytes.
        size: of the file, in bytes.

    Returns:
        The record, or why it cannot be read.
    """
    if size - offset < _PREFIX.size:
        return Damage(offset, CUT_SHORT)
    file.seek(offset)
    opcode, length = _PREFIX.unpack(file.read(_PREFIX.size))
    if not 0 < opcode <= _LAST_OPCODE:
        return Damage(offset, f"no record (kind {opcode})")
    if length > size - offset - _PREFIX.size:
        return Damage(offset, CUT_SHORT)
    body = file.read(length)
    if len(body) < length:
        return Damage(offset, CUT_SHORT)
    return Frame(opcode, offset, body)


def frames(file: IO[bytes], size: int) -> Iterator[Frame | Damage]:
    """Go through the records of the data section, one after the other.

    Args:
        file: the open file.
        size: how many bytes of it to look at.

    Yields:
        Every record up to the end of the data; a damage, where there is one, is the last. That the checksum
        over all of it does not fit is one, too: names and texts have no other.
    """
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        yield Damage(0, "not an MCAP file")
        return
    offset, checksum = len(MAGIC), zlib.crc32(MAGIC)
    while True:
        found = read_frame(file, offset, size)
        yield found
        if isinstance(found, Damage):
            return
        if found.opcode == DATA_END:
            wanted = int.from_bytes(found.body[:4], "little")
            if wanted not in (0, checksum):
                yield Damage(offset, CHECKSUM)
            return
        checksum = zlib.crc32(_PREFIX.pack(found.opcode, len(found.body)), checksum)
        checksum = zlib.crc32(found.body, checksum)
        offset = found.end


def open_chunk(frame: Frame) -> list[Any] | Damage:
    """Take a chunk apart, its checksum verified.

    Args:
        frame: the record of a chunk.

    Returns:
        Its records (mcap's Schema, Channel and Message) in order, or why it cannot be read.
    """
    from mcap.records import Chunk
    from mcap.stream_reader import breakup_chunk

    try:
        chunk = Chunk.read(_stream(frame.body))
        if len(frame.body) < len(chunk.data) or not chunk.uncompressed_size:
            return Damage(frame.offset, "an empty chunk")
        return list(breakup_chunk(chunk, validate_crc=True))
    except Exception as error:
        # Bytes that are not what they should be make decompression and parsing fail in many ways.
        return Damage(frame.offset, f"a damaged chunk ({type(error).__name__})")


def open_attachment(frame: Frame) -> Any | Damage:  # noqa: ANN401
    """Read an attachment (mcap's Attachment), its checksum verified, or say why it cannot be read."""
    from mcap.records import Attachment

    wanted = int.from_bytes(frame.body[-4:], "little")
    if wanted not in (0, zlib.crc32(frame.body[:-4])):
        return Damage(frame.offset, "a damaged attachment")
    try:
        return Attachment.read(_stream(frame.body))
    except Exception as error:
        return Damage(frame.offset, f"a damaged attachment ({type(error).__name__})")


def open_metadata(frame: Frame) -> Any | Damage:  # noqa: ANN401
    """Read a metadata record (mcap's Metadata), or say why it cannot be read."""
    from mcap.records import Metadata

    try:
        return Metadata.read(_stream(frame.body))
    except Exception as error:
        return Damage(frame.offset, f"damaged metadata ({type(error).__name__})")


def _stream(body: bytes) -> Any:  # noqa: ANN401
    from mcap.data_stream import ReadDataStream

    return ReadDataStream(io.BytesIO(body))
