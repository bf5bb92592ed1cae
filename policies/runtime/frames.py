"""Named arrays and plain fields as bytes: for the wire to a remote policy and for journals. No pickle.

A frame is: four bytes of magic, the length of the header (32 bits, little endian), the header (JSON:
the kind of frame, its fields, and name, type and shape of every array), then the arrays' bytes one
after the other, C order, little endian. Everything is checked before an array is made.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import Refusal

MAGIC = b"RFX1"
# The largest frame that anybody has a use for: a dozen uncompressed camera images.
MAX_BYTES = 64 * 1024 * 1024
_MAX_HEADER = 1024 * 1024
_MAX_AXES = 8
_LENGTH = struct.Struct("<I")
_TYPES = {name: np.dtype(name).newbyteorder("<") for name in
          ("float64", "float32", "int64", "int32", "uint16", "uint8")}  # fmt: skip


class FrameError(Refusal):
    """Bytes that are no frame, or a frame that lacks what it should have."""


@dataclass(frozen=True)
class Frame:
    """One message."""

    # What it is: act, chunk, ...
    kind: str
    # Plain values: numbers, texts, lists and mappings of them, None.
    fields: Mapping[str, Any] = field(default_factory=dict)
    # Arrays by name.
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """Take a finite number out of the fields.

        Args:
            name: of the field.
            low: the smallest value that is allowed.
            high: the largest one.

        Returns:
            The number.

        Raises:
            FrameError: it is missing, no number, or out of range.
        """
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise FrameError(
                f"{self.kind}: {name} is {_short(value)}, expected a number from {low:g} to {high:g}"
            )
        return float(value)

    def integer(self, name: str, *, low: int = -(1 << 63), high: int = (1 << 63) - 1) -> int:
        """Take a whole number out of the fields; see `number`."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise FrameError(
                f"{self.kind}: {name} is {_short(value)}, expected a whole number from {low} to {high}"
            )
        return value

    def text(self, name: str) -> str:
        """Take a text out of the fields; see `number`."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise FrameError(f"{self.kind}: {name} is {_short(value)}, expected text")
        return value


def encode(frame: Frame) -> bytes:
    """Write a frame.

    Args:
        frame: its fields must be what JSON can hold, without NaN; its arrays of one of the types above.

    Returns:
        The bytes.

    Raises:
        FrameError: a field or an array cannot be written.
    """
    parts, described = [], []
    for name, array in frame.arrays.items():
        kind = array.dtype.name
        if kind not in _TYPES:
            raise FrameError(f"array {name!r} of type {kind}, expected one of {', '.join(_TYPES)}")
        described.append([name, kind, list(array.shape)])
        parts.append(np.ascontiguousarray(array, _TYPES[kind]).tobytes())
    try:
        header = json.dumps(
            {"kind": frame.kind, "fields": dict(frame.fields), "arrays": described},
            allow_nan=False,
            separators=(",", ":"),
        ).encode()
    except (TypeError, ValueError) as error:
        raise FrameError(f"{frame.kind}: a field cannot be written ({error})") from error
    return b"".join((MAGIC, _LENGTH.pack(len(header)), header, *parts))


def decode(data: bytes) -> Frame:
    """Read a frame, trusting nothing.

    Args:
        data: what arrived.

    Returns:
        The frame; its arrays are copies, in the machine's byte order.

    Raises:
        FrameError: the bytes are no frame. Nothing else is ever raised.
    """
    if not isinstance(data, bytes) or len(data) < 8 or data[:4] != MAGIC or len(data) > MAX_BYTES:
        raise FrameError(f"{len(data)} bytes that are no frame")
    (length,) = _LENGTH.unpack_from(data, 4)
    if length > min(_MAX_HEADER, len(data) - 8):
        raise FrameError(f"a header of {length} bytes in a frame of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length].decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a header that cannot be read ({_short(str(error))})") from error
    if not isinstance(header, dict) or set(header) != {"kind", "fields", "arrays"}:
        raise FrameError("a header without kind, fields and arrays")
    kind, fields, described = header["kind"], header["fields"], header["arrays"]
    if not isinstance(kind, str) or not isinstance(fields, dict) or not isinstance(described, list):
        raise FrameError("a header whose kind, fields and arrays are of other types")
    arrays: dict[str, NDArray[Any]] = {}
    at = 8 + length
    for entry in described:
        name, dtype, shape = _description(entry)
        if name in arrays:
            raise FrameError(f"array {name!r} twice")
        # Python's own integers, so that no product can overflow.
        count = math.prod(shape)
        end = at + count * dtype.itemsize
        if end > len(data):
            raise FrameError(f"array {name!r} of shape {_short(shape)} in a frame that is too short for it")
        flat = np.frombuffer(data, dtype, count, at)
        arrays[name] = flat.reshape(shape).astype(dtype.newbyteorder("="))
        at = end
    if at != len(data):
        raise FrameError(f"{len(data) - at} bytes after the last array")
    return Frame(kind, fields, arrays)


def _description(entry: object) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if isinstance(entry, list) and len(entry) == 3:
        name, kind, shape = entry
        if (
            isinstance(name, str)
            and isinstance(kind, str)
            and kind in _TYPES
            and isinstance(shape, list)
            and len(shape) <= _MAX_AXES
            and all(type(size) is int and 0 <= size <= MAX_BYTES for size in shape)
        ):
            return name, _TYPES[kind], tuple(shape)
    raise FrameError(f"an array described as {_short(entry)}")


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
