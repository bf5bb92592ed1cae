"""Protects what Betaflight's messages are taken to mean: signs, units, words, and short or odd payloads."""

import contextlib
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drones.msp_messages import (
    ARMING_BLOCKERS,
    AnalogReport,
    AttitudeReport,
    BatteryReport,
    Box,
    FailsafeReport,
    ImuReport,
    ModeRange,
    Msp,
    MspFormatError,
    StatusReport,
    arming_blockers,
    encode_channels,
    parse_channels,
    parse_multiple,
)

PARSERS = (
    StatusReport.parse,
    AttitudeReport.parse,
    ImuReport.parse,
    AnalogReport.parse,
    BatteryReport.parse,
    FailsafeReport.parse,
)
# MSP_STATUS of the running simulator: armed (bit 0), one further byte of modes, no reason against arming.
STATUS = bytes.fromhex("7d0000002300010000000000000000011d1d0000000001000004")


@pytest.mark.parametrize("parse", PARSERS)
@given(payload=st.binary(max_size=60))
def test_any_payload_is_read_or_refused_in_words(parse, payload):
    # Anything else than this one error would end the thread that reads.
    with contextlib.suppress(MspFormatError):
        parse(payload)


@pytest.mark.parametrize("parse", PARSERS)
def test_a_payload_that_is_too_short_is_refused_with_its_length(parse):
    with pytest.raises(MspFormatError, match="2 bytes"):
        parse(b"ab")


def test_the_status_of_the_firmware():
    status = StatusReport.parse(STATUS)
    assert status.cycle_s == pytest.approx(125e-6)
    assert status.modes((0, 1, 27)) == {Box.ARM}
    assert status.mode_flags >> 32 == 0x1D


def test_more_modes_than_32_are_read_from_the_further_bytes():
    payload = struct.pack("<HHHIBHHB", 125, 0, 35, 0, 0, 50, 0, 2) + b"\x01\x00"
    payload += struct.pack("<BIBHB", 29, 4, 1, 0, 4)
    status = StatusReport.parse(payload)
    assert status.modes(tuple(range(40))) == {32}
    assert status.arming_disabled == 4
    assert status.reboot_required
    assert status.load_share == 0.5


def test_every_reason_against_arming_has_a_sentence():
    for bit, (word, _) in enumerate(ARMING_BLOCKERS):
        (sentence,) = arming_blockers(1 << bit)
        assert sentence.startswith(word + ": ")
    assert arming_blockers(0) == ()
    assert len(arming_blockers(0b110)) == 2
    assert "unknown reason" in arming_blockers(1 << 31)[0]


def test_attitude_is_turned_into_our_frame():
    # Left side up by 20 degrees, nose down by 10 (the firmware counts nose up), heading 30.
    report = AttitudeReport.parse(struct.pack("<3h", 200, -100, 30))
    assert math.degrees(report.roll_rad) == pytest.approx(20)
    assert math.degrees(report.pitch_rad) == pytest.approx(10)
    assert np.linalg.norm(report.up) == pytest.approx(1)
    assert report.up[2] == pytest.approx(math.cos(math.radians(20)) * math.cos(math.radians(10)))


def test_raw_imu_in_si_units():
    report = ImuReport.parse(struct.pack("<9h", 0, 0, 256, 939, -939, 0, 0, 0, 0))
    assert report.acceleration_m_s2 == pytest.approx([0, 0, 9.80665])
    assert report.angular_velocity_rad_s == pytest.approx([1.0, -1.0, 0.0], abs=2e-3)


def test_battery_and_analog():
    analog = AnalogReport.parse(struct.pack("<BHHhH", 160, 300, 1023, 1250, 1604))
    assert analog == AnalogReport(16.04, 300, 1.0, 12.5)
    battery = BatteryReport.parse(struct.pack("<BHBHhBH", 4, 1000, 160, 250, 0, 0, 1600))
    assert battery.share == 0.75
    assert BatteryReport.parse(struct.pack("<BHBHhBH", 0, 0, 0, 0, 0, 0, 0)).share is None


def test_mode_ranges_go_out_as_they_come_in():
    (r, empty) = ModeRange.parse_all(bytes((0, 0, 32, 48, 1, 1, 0, 0)))
    assert r == ModeRange(Box.ARM, 1, 1700, 2100)
    assert r.contains(2000)
    assert not r.contains(1000)
    assert not empty.is_used
    assert r.encode(3) == bytes((3, 0, 0, 32, 48))


def test_failsafe_settings_go_out_as_they_come_in():
    payload = struct.pack("<BBHBHB", 15, 60, 1000, 0, 100, 1)
    report = FailsafeReport.parse(payload)
    assert report.delay_s == 1.5
    assert report.encode() == payload


def test_one_answer_to_many_questions_is_taken_apart():
    payload = b"\x02ab\x00\x01c"
    assert parse_multiple((Msp.STATUS, Msp.MOTOR, Msp.RC), payload) == {
        Msp.STATUS: b"ab",
        Msp.MOTOR: b"",
        Msp.RC: b"c",
    }
    assert parse_multiple((Msp.STATUS, Msp.MOTOR), b"\x01a") == {Msp.STATUS: b"a"}
    with pytest.raises(MspFormatError, match="cut off: 1 of 5 bytes"):
        parse_multiple((Msp.STATUS,), b"\x05a")


def test_channels_there_and_back():
    values = (1500, 1500, 1000, 1500, 2000)
    assert parse_channels(encode_channels(values)) == values
    assert parse_channels(b"\xdc") == ()
