"""Protects the check of a flight controller's set-up: what differs is named with the line that mends it, and
only what was asked for is written."""

import struct

import pytest

from hardware.drones.betaflight_channels import ChannelComposer
from hardware.drones.betaflight_config import (
    Channels,
    ControlPath,
    FailsafeProcedure,
    FailsafeSettings,
    Wanted,
    inspect,
    write,
)
from hardware.drones.betaflight_settings import BetaflightSettings
from hardware.drones.msp_messages import Box, FailsafeReport, ModeRange, Msp
from hardware.drones.outer_loop import RatesThrust, Setpoint
from hardware.drones.pilot import Orders, Phase
from hardware.errors import ConfigError

TUNING = struct.pack(
    "<8BH4B2B3HBB", 7, 0, 67, 67, 67, 0, 50, 0, 0, 0, 7, 7, 0, 0, 100, 1998, 1998, 1998, 3, 50
)
EMPTY = ModeRange(0, 1, 900, 900)


class FakeBetaflight:
    """Answers as the firmware does, from settings that can be written."""

    def __init__(self, ranges=(), failsafe=None, boxes=(0, 1, 27, 50), **answers):
        self.ranges = list(ranges) + [EMPTY] * (6 - len(ranges))
        self.failsafe = failsafe or FailsafeReport(1.5, 60, 1000, 0, 100, 1)
        self.kept = 0
        self.answers = {
            "FC_VARIANT": b"BTFL",
            "API_VERSION": bytes((0, 1, 47)),
            "FC_VERSION": bytes((4, 6, 0)),
            "MIXER_CONFIG": bytes((3, 0)),
            "RC_TUNING": TUNING,
            "RC_DEADBAND": bytes(5),
            "RX_CONFIG": struct.pack("<BHHHB", 0, 1900, 1500, 1050, 0),
            "RX_MAP": bytes((0, 1, 3, 2, 4, 5, 6, 7)),
            "BOXIDS": bytes(boxes),
            "FEATURE_CONFIG": struct.pack("<I", 1 << 14),
        } | answers

    def __call__(self, command, payload):
        name = Msp(command).name
        if name == "MODE_RANGES":
            return b"".join(r.encode(0)[1:] for r in self.ranges)
        if name == "SET_MODE_RANGE":
            slot, box, aux, low, high = payload
            self.ranges[slot] = ModeRange(box, aux + 1, 900 + 25 * low, 900 + 25 * high)
            return b""
        if name == "FAILSAFE_CONFIG":
            return self.failsafe.encode()
        if name == "SET_FAILSAFE_CONFIG":
            self.failsafe = FailsafeReport.parse(payload)
            return b""
        if name == "EEPROM_WRITE":
            self.kept += 1
            return b""
        return self.answers[name]


def look(firmware, wanted):
    return inspect(firmware, wanted, bend=0.0, idle=0.055, where="tcp:x:1")


@pytest.mark.parametrize("control", ControlPath)
def test_what_differs_is_named_written_and_then_gone(control):
    wanted = Wanted(control, Channels(arm=5), FailsafeSettings(0.7, FailsafeProcedure.AUTO_LAND, 1200, 8))
    firmware = FakeBetaflight(ranges=[ModeRange(Box.ARM, 1, 1700, 2100), ModeRange(13, 2, 1300, 1700)])
    setup = look(firmware, wanted)
    text = "\n".join(map(str, setup.findings))
    assert "no range for ARM. Expected ARM on AUX5 from 1700 to 2100" in text
    assert "aux 0 0 4 1700 2100 0 0" in text
    assert "a failsafe that waits 1.5 s, then does drop. Expected 0.7 s, then auto_land" in text
    assert setup.can_be_written
    write(firmware, wanted)
    after = look(firmware, wanted)
    assert (after.findings, after.firmware) == ((), "Betaflight 4.6.0")
    assert firmware.kept == 1
    # Somebody's beeper stays where it was; the old arm switch is gone.
    used = [r for r in firmware.ranges if r.is_used]
    assert ModeRange(13, 2, 1300, 1700) in used
    assert [r.aux for r in used if r.box == Box.ARM] == [5]
    assert firmware.failsafe == FailsafeReport(0.7, 8, 1200, 0, 100, 0)


@pytest.mark.parametrize(
    ("firmware", "control", "text"),
    [
        ({"FEATURE_CONFIG": bytes(4)}, ControlPath.COMPANION, "feature RX_MSP"),
        ({"boxes": (0, 1, 27)}, ControlPath.OVERRIDE, "set msp_override_channels_mask = 31"),
        ({"RC_TUNING": TUNING[:7] + b"\x32" + TUNING[8:]}, ControlPath.COMPANION, "set thr_expo = 0"),
        (
            {"ranges": [ModeRange(Box.ANGLE, 2, 900, 2100)]},
            ControlPath.COMPANION,
            "ANGLE is on while AUX2 rests",
        ),
    ],
)
def test_what_msp_cannot_mend_is_said_with_its_line(firmware, control, text):
    setup = look(FakeBetaflight(**firmware), Wanted(control))
    assert text in "\n".join(map(str, setup.findings))
    assert not setup.can_be_written


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"FC_VARIANT": b"INAV"}, "firmware 'INAV' with API 1.47. Expected Betaflight"),
        ({"API_VERSION": bytes((0, 1, 40))}, "API 1.40"),
        ({"MIXER_CONFIG": bytes((10, 0))}, "mixer 10"),
        ({"RX_CONFIG": b"\x00"}, "an answer that makes no sense"),
        ({"RX_MAP": bytes(8)}, "an answer that makes no sense"),
        ({"RC_TUNING": b""}, "an answer that makes no sense"),
    ],
)
def test_a_firmware_that_cannot_be_flown_is_refused(answers, text):
    with pytest.raises(ConfigError, match=text):
        look(FakeBetaflight(**answers), Wanted())


def test_switches_on_one_channel_are_refused():
    with pytest.raises(ConfigError, match="four different ones"):
        Channels(arm=2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rc_rate_hz": 10.0}, "150 ms for a lost receiver"),
        ({"feed_rate_hz": 5.0}, "stale after 100 ms"),
        ({"hover_thrust": 1.5}, "hover_thrust is 1.5"),
        ({"watchdog_s": 0.01}, "watchdog_s is 0.01"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        BetaflightSettings(link="tcp:x:1", **change)


FLY = Orders(
    Phase.FOLLOW,
    arm=True,
    control=RatesThrust((0.5, -0.5, 0.3), 1.0),
    setpoint=Setpoint((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
    airborne=True,
)


def composer(control, channel_map=(0, 1, 3, 2, 4, 5, 6, 7)):
    wanted = Wanted(control)
    setup = look(FakeBetaflight(RX_MAP=bytes(channel_map)), wanted)
    return ChannelComposer(setup, wanted.channels, onboard=control is ControlPath.ONBOARD)


def test_at_rest_every_switch_is_off_and_the_throttle_low():
    raw = composer(ControlPath.COMPANION).compose(
        Orders(Phase.GROUND, arm=False), hover=0.3, policy_failed=False
    )
    assert raw == (1500, 1500, 1000, 1500, *[1000] * 12)


def test_sticks_go_to_the_channels_that_the_firmware_reads_them_from():
    aetr = composer(ControlPath.COMPANION).compose(FLY, hover=0.3, policy_failed=False)
    taer = composer(ControlPath.COMPANION, (1, 2, 3, 0, 4, 5, 6, 7)).compose(
        FLY, hover=0.3, policy_failed=False
    )
    roll, pitch, throttle, yaw = aetr[:4]
    assert taer[:4] == (throttle, roll, pitch, yaw)
    assert roll > 1500 > pitch
    assert yaw < 1500
    assert aetr[4] == 2000


def test_a_policy_in_the_firmware_has_level_sticks_behind_it_until_it_fails():
    raw = composer(ControlPath.ONBOARD).compose(FLY, hover=0.3, policy_failed=False)
    assert raw[:2] == (1500, 1500)
    assert raw[2] > 1055
    # Armed, level by itself, and the policy's switch on.
    assert raw[4:7] == (2000, 2000, 2000)
    failed = composer(ControlPath.ONBOARD).compose(FLY, hover=0.3, policy_failed=True)
    assert failed[0] > 1500
    assert failed[4:7] == (2000, 1000, 2000)
