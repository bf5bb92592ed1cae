"""Protects the framing of the remote wire and of journals: bit-exact both ways, and nothing but FrameError
comes of bytes that somebody made up.
"""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from policies.runtime.frames import MAGIC, Frame, FrameError, decode, encode

TYPES = ["float64", "float32", "int64", "int32", "uint16", "uint8"]
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
arrays = st.sampled_from(TYPES).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
frames = st.builds(
    Frame,
    st.text(max_size=8),
    st.dictionaries(st.text(max_size=8), plain, max_size=4),
    st.dictionaries(st.text(max_size=8), arrays, max_size=3),
)


@given(frames)
@settings(max_examples=150, deadline=None)
def test_a_frame_comes_back_bit_for_bit(frame):
    again = decode(encode(frame))
    assert (again.kind, again.fields) == (frame.kind, frame.fields)
    assert list(again.arrays) == list(frame.arrays)
    for name, array in frame.arrays.items():
        assert again.arrays[name].dtype == array.dtype
        assert again.arrays[name].shape == array.shape
        assert again.arrays[name].tobytes() == array.tobytes()


@given(st.binary(max_size=300))
@example(b"")
@example(MAGIC + struct.pack("<I", 0))
@example(MAGIC + struct.pack("<I", 0xFFFFFFFF))
@settings(max_examples=200, deadline=None)
def test_made_up_bytes_are_no_frame(data):
    with pytest.raises(FrameError):
        decode(data)


@given(frames, st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_frame_is_a_frame_or_an_error_and_nothing_else(frame, data):
    whole = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            decoded = decode(damaged)
        except FrameError:
            continue
        assert isinstance(decoded, Frame)


def made(header, body=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return MAGIC + struct.pack("<I", len(raw)) + raw + body


HEAD = {"kind": "act", "fields": {}, "arrays": []}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "18 bytes that are no frame"),
        (MAGIC + struct.pack("<I", 9999) + b"{}", "a header of 9999 bytes in a frame of 10"),
        (made(b"\xff\xfe"), "a header that cannot be read"),
        (made(b"[" * 200_000), "a header that cannot be read"),
        (made(b'{"kind":"a","fields":{"x":NaN},"arrays":[]}'), "NaN is no number of JSON"),
        (made({"kind": "act"}), "a header without kind, fields and arrays"),
        (made({**HEAD, "fields": []}), "of other types"),
        (made({**HEAD, "arrays": [["a", "object", [1]]]}), "an array described as"),
        (made({**HEAD, "arrays": [["a", "float64", [-1]]]}), "an array described as"),
        (made({**HEAD, "arrays": [["a", "float64", [1 << 20] * 8]]}), "too short for it"),
        (made({**HEAD, "arrays": [["a", "uint8", [2]]]}, b"\0"), "too short for it"),
        (made({**HEAD, "arrays": [["a", "uint8", [0]]] * 2}), "array 'a' twice"),
        (made(HEAD, b"\0"), "1 bytes after the last array"),
    ],
)
def test_what_is_wrong_is_said(data, text):
    with pytest.raises(FrameError, match=text):
        decode(data)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame("a", {"x": math.nan}), "a field cannot be written"),
        (Frame("a", {"x": object()}), "a field cannot be written"),
        (Frame("a", {}, {"x": np.zeros(1, complex)}), "array 'x' of type complex128"),
        (Frame("a", {}, {"x": np.array([None])}), "array 'x' of type object"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(frame, text):
    with pytest.raises(FrameError, match=text):
        encode(frame)


@pytest.mark.parametrize("value", [None, True, "1", math.inf, 2.5, -1])
def test_fields_are_what_is_asked_for(value):
    frame = Frame("act", {"number": value})
    with pytest.raises(FrameError, match="act: number is .*expected a whole number from 0 to 7"):
        frame.integer("number", low=0, high=7)
    with pytest.raises(FrameError, match="act: number is .*expected a number from 0 to 2"):
        frame.number("number", low=0, high=2)
