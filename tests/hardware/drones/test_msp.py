"""Protects the reading of MSP: whatever arrives, in pieces of any size, no crash, no hang, and no good frame
is lost that comes after damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.drones.msp import (
    REPLY_LIMIT,
    MspDecoder,
    MspDirection,
    MspFrame,
    MspVersion,
    crc8_dvb_s2,
    encode,
)
from hardware.errors import ConfigError

versions = st.sampled_from(MspVersion)
directions = st.sampled_from(MspDirection)


@st.composite
def frames(draw):
    version = draw(versions)
    command = draw(st.integers(0, 254 if version is MspVersion.V1 else 0xFFFF))
    direction = draw(directions)
    size = 186 if direction is MspDirection.REQUEST else 600
    payload = draw(st.binary(max_size=size))
    return MspFrame(command, payload, direction, version)


def wire(frame):
    return encode(frame.command, frame.payload, version=frame.version, direction=frame.direction)


def in_pieces(decoder, data, sizes):
    found, at = [], 0
    for size in sizes:
        found += decoder.feed(data[at : at + size])
        at += size
    return found + decoder.feed(data[at:])


@given(st.lists(frames(), max_size=5), st.lists(st.integers(1, 50), max_size=40))
def test_what_is_sent_arrives_in_pieces_of_any_size(sent, sizes):
    assert in_pieces(MspDecoder(), b"".join(map(wire, sent)), sizes) == sent


@settings(max_examples=300)
@given(st.binary(max_size=4000), st.lists(st.integers(1, 300), max_size=40))
def test_any_bytes_neither_crash_nor_pile_up(noise, sizes):
    decoder = MspDecoder()
    found = in_pieces(decoder, noise, sizes)
    # Every byte is in a frame, was given up, or waits for the rest of a frame of believable length.
    assert decoder.pending <= REPLY_LIMIT + 16
    assert decoder.skipped + decoder.pending + sum(len(wire(f)) for f in found) == len(noise) or found
    while decoder.pending:
        before = decoder.pending
        decoder.give_up()
        assert decoder.pending < before


@settings(max_examples=300)
@given(frames(), st.data())
def test_a_damaged_frame_is_never_believed_and_the_next_one_is_found(good, data):
    damaged = bytearray(wire(good))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    decoder = MspDecoder()
    after = MspFrame(101, b"after", MspDirection.REPLY, MspVersion.V2)
    found = decoder.feed(bytes(damaged) + wire(after))
    while decoder.pending:
        found += decoder.give_up()
    assert after in found
    # One flipped byte leaves the message as it was only where no checksum covers it, the direction; and it
    # may lay bare a whole frame that the message carried.
    assert all(f == after or place in (1, 2) or wire(f) in bytes(damaged) for f in found)


def test_frames_of_the_real_firmware_are_read():
    # MSP_API_VERSION of Betaflight 4.6 in version 1, and its own refusal of an unknown command.
    assert MspDecoder().feed(b"$M>\x03\x01\x00\x01\x2f\x2c") == [
        MspFrame(1, b"\x00\x01\x2f", MspDirection.REPLY, MspVersion.V1)
    ]
    assert MspDecoder().feed(b"$M!\x00\xdd\xdd")[0].direction is MspDirection.ERROR


def test_the_checksum_of_version_2_is_dvb_s2():
    # The check value of the catalogue of parametrised CRC algorithms.
    assert crc8_dvb_s2(b"123456789") == 0xBC


def test_a_jumbo_answer_is_read():
    payload = bytes(range(256)) * 2
    raw = encode(116, payload, direction=MspDirection.REPLY)
    assert raw[3] == 255
    assert MspDecoder().feed(raw)[0].payload == payload


def test_a_request_that_would_overrun_the_firmware_is_refused():
    with pytest.raises(ConfigError, match="at most 192 bytes"):
        encode(0x7E01, bytes(193), version=MspVersion.V2)
    with pytest.raises(ConfigError, match="at most 186 bytes"):
        encode(0x7E01, bytes(187), version=MspVersion.V2_IN_V1)
    with pytest.raises(ConfigError, match="wrap it in version 2"):
        encode(0x7E01)


def test_a_length_that_nobody_sends_does_not_swallow_what_follows():
    good = encode(101, b"x", direction=MspDirection.REPLY)
    assert len(MspDecoder().feed(b"$X>\x00\x01\x00\xff\xff" + good)) == 1


def test_an_overdue_answer_frees_what_a_damaged_length_hides():
    good = encode(101, b"x", direction=MspDirection.REPLY)
    decoder = MspDecoder()
    assert decoder.feed(b"$X>\x00\x01\x00\xc8\x00" + good) == []
    assert [f.command for f in decoder.give_up()] == [101]
    assert decoder.damaged == 1


def test_a_storm_of_false_starts_is_read_in_time_that_grows_with_its_length():
    rng = np.random.default_rng(0)
    storm = b"".join(
        b"$X>\x00\x01\x00\xc8\x00" + bytes(rng.integers(0, 256, 4).tolist()) for _ in range(2000)
    )
    decoder = MspDecoder()
    decoder.feed(storm)
    assert decoder.damaged > 1000
