"""A fast path between float arrays and serialised ROS messages.

rclpy converts a message field by field in Python, which costs more than the transport itself. The
messages of a control loop differ only in their stamp and their numbers, so their layout is learnt
once from a message that rclpy itself has serialised; from then on the numbers are written to and
read from the bytes directly. A message of any other layout takes rclpy's own way, so that nothing
is lost for publishers and subscribers that know nothing of this.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message

from hardware.command import FloatArray

_STAMP = struct.Struct("<iI")
_STAMP_OFFSET = 4
_ENCAPSULATION = 4
_NS = 1_000_000_000
_SIZES = {
    **dict.fromkeys(("boolean", "octet", "byte", "char", "uint8", "int8"), 1),
    **dict.fromkeys(("int16", "uint16"), 2),
    **dict.fromkeys(("int32", "uint32", "float"), 4),
    **dict.fromkeys(("int64", "uint64", "double"), 8),
}

Flatten = Callable[[Any], list[float]]
Fill = Callable[[Any, "list[float]"], None]


class Layout:
    """Where the numbers of one message lie in its bytes.

    Args:
        message: a message with a header; its texts and array lengths are those of every message
            of this layout, and it is overwritten.
        count: how many numbers `fill` writes.
        fill: writes that many numbers into the message.
    """

    def __init__(self, message: Any, count: int, fill: Fill) -> None:  # noqa: ANN401
        """Serialise the message with marked numbers and find them."""
        markers = [1.0e300 * (1.0 + (i + 1) * 2.0**-40) for i in range(count)]
        message.header.stamp.sec, message.header.stamp.nanosec = 0, 0
        fill(message, markers)
        raw = bytes(serialize_message(message))
        offsets = [raw.find(struct.pack("<d", marker)) for marker in markers]
        self._runs: list[tuple[int, int, int]] = []
        begin = 0
        for i in range(1, count + 1):
            if i == count or offsets[i] != offsets[i - 1] + 8:
                self._runs.append((begin, i, offsets[begin]))
                begin = i
        self._count = count
        self._buffer = bytearray(raw)
        self._size = len(raw)
        padding = _padding(message)
        for begin, end in padding:
            self._buffer[begin:end] = bytes(end - begin)
        self._fixed: list[tuple[int, int, bytes]] = []
        end = _STAMP_OFFSET + _STAMP.size
        self._fixed.append((0, _STAMP_OFFSET, raw[:_STAMP_OFFSET]))
        for first, last, offset in sorted(self._runs, key=lambda run: run[2]):
            self._fixed.append((end, offset, raw[end:offset]))
            end = offset + 8 * (last - first)
        self._fixed.append((end, self._size, raw[end:]))
        self._fixed = [piece for part in self._fixed for piece in _without(part, padding)]

    def encode(self, stamp_ns: int, numbers: FloatArray) -> bytes:
        """Serialise.

        Args:
            stamp_ns: the header's stamp, in nanoseconds.
            numbers: shape (count,), float64, in the order of `fill`.

        Returns:
            The bytes that rclpy would have made.
        """
        buffer = self._buffer
        if numbers.dtype != np.float64 or len(numbers) != self._count:
            raise ValueError(f"{len(numbers)} numbers of {numbers.dtype}, not {self._count} of float64")
        _STAMP.pack_into(buffer, _STAMP_OFFSET, *divmod(stamp_ns, _NS))
        for first, last, offset in self._runs:
            buffer[offset : offset + 8 * (last - first)] = numbers[first:last].tobytes()
        return bytes(buffer)

    def decode(self, raw: bytes) -> tuple[int, FloatArray] | None:
        """Deserialise.

        Args:
            raw: the bytes of a message.

        Returns:
            Stamp in nanoseconds and numbers, or None when the bytes have another layout.
        """
        if len(raw) != self._size:
            return None
        for begin, end, expected in self._fixed:
            if raw[begin:end] != expected:
                return None
        sec, nanosec = _STAMP.unpack_from(raw, _STAMP_OFFSET)
        numbers = np.empty(self._count)
        for first, last, offset in self._runs:
            numbers[first:last] = np.frombuffer(raw, "<f8", last - first, offset)
        return sec * _NS + nanosec, numbers


class Reader:
    """Deserialises one topic: by a learnt layout where possible, by rclpy otherwise.

    Args:
        message_type: the ROS message class.
        flatten: lists the numbers of a message.
        fill: writes such a list back.
    """

    def __init__(self, message_type: type, flatten: Flatten, fill: Fill) -> None:
        """Start without a layout."""
        self._type, self._flatten, self._fill = message_type, flatten, fill
        self._layout: Layout | None = None
        self._shape: Any = None

    def read(self, raw: bytes) -> tuple[int, FloatArray, Any]:
        """Deserialise.

        Args:
            raw: the bytes of a message.

        Returns:
            Stamp in nanoseconds, the numbers, and a message of the same texts and array lengths
            (only these may be read from it).
        """
        if self._layout is not None:
            decoded = self._layout.decode(raw)
            if decoded is not None:
                return (*decoded, self._shape)
        message = deserialize_message(raw, self._type)
        stamp = message.header.stamp
        numbers = self._flatten(message)
        self._shape = message
        probe = deserialize_message(raw, self._type)
        self._layout = Layout(probe, len(numbers), self._fill)
        return stamp.sec * _NS + stamp.nanosec, np.array(numbers, dtype=np.float64), message


def _without(part: tuple[int, int, bytes], padding: list[tuple[int, int]]) -> list[tuple[int, int, bytes]]:
    """Cut the padding, which holds anything, out of a part that must match."""
    begin, end, expected = part
    holes = {at for first, last in padding for at in range(first, last)}
    kept = [at for at in range(begin, end) if at not in holes]
    starts = [at for at in kept if at == begin or at - 1 in holes]
    stops = [at + 1 for at in kept if at + 1 == end or at + 1 in holes]
    return [(a, b, expected[a - begin : b - begin]) for a, b in zip(starts, stops, strict=True)]


def _padding(message: Any) -> list[tuple[int, int]]:  # noqa: ANN401
    """Find the bytes that only align what follows (plain CDR, little endian).

    Args:
        message: the message that was serialised.

    Returns:
        Begin and end of each stretch, in bytes from the start of the serialised message.
    """
    stretches: list[tuple[int, int]] = []
    _walk(message, 0, stretches)
    return [(begin + _ENCAPSULATION, end + _ENCAPSULATION) for begin, end in stretches]


def _align(at: int, size: int, stretches: list[tuple[int, int]]) -> int:
    aligned = -(-at // size) * size
    if aligned > at:
        stretches.append((at, aligned))
    return aligned


def _walk(message: Any, at: int, stretches: list[tuple[int, int]]) -> int:  # noqa: ANN401
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        if kind.startswith("sequence<"):
            at = _align(at, 4, stretches) + 4
            element = kind[len("sequence<") : -1].split(",")[0]
            at = _walk_items(value, element, at, stretches)
        elif kind.endswith("]"):
            at = _walk_items(value, kind[: kind.rindex("[")], at, stretches)
        else:
            at = _walk_items([value], kind, at, stretches)
    return at


def _walk_items(values: Any, kind: str, at: int, stretches: list[tuple[int, int]]) -> int:  # noqa: ANN401
    if kind in _SIZES and len(values):
        return _align(at, _SIZES[kind], stretches) + _SIZES[kind] * len(values)
    for value in values:
        if kind.startswith("string"):
            at = _align(at, 4, stretches) + 4 + len(value.encode()) + 1
        else:
            at = _walk(value, at, stretches)
    return at
