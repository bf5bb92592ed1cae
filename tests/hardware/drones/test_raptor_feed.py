"""Protects the messages to a RAPTOR inside the firmware: their layout is the header's, and the other clock is
known well enough whatever the link does."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drones import raptor_feed
from hardware.drones.msp_messages import MspFormatError
from hardware.drones.outer_loop import Setpoint
from hardware.drones.pose import PoseState
from hardware.drones.raptor_feed import ClockEstimate, FeedAnswer, Feeder, FlightState, OnboardStatus

HEADER = Path(__file__).parents[3] / "policies/raptor/onboard/betaflight/raptor_msp.h"
POSE = PoseState(
    np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]), np.array([1.0, 0, 0, 0]), np.zeros(3), 5, 6
)
GOAL = Setpoint(np.array([4.0, 5.0, 6.0]), np.array([0.4, 0.5, 0.6]), 0.7)


def defined():
    text = HEADER.read_text(encoding="utf-8")
    found = re.findall(r"#define (\w+) (0x[0-9A-F]+|\d+)u?\b", text)
    found += re.findall(r"(RAPTOR_(?:REASON|VERDICT|FLIGHT)_\w+) = (\d+)", text)
    return {name: int(number, 0) for name, number in found}


def test_numbers_and_sizes_are_those_of_the_header():
    names = defined()
    assert (raptor_feed.FEED, raptor_feed.STATUS) == (names["MSP2_RAPTOR_FEED"], names["MSP2_RAPTOR_STATUS"])
    assert raptor_feed.VERSION == names["RAPTOR_MSP_VERSION"]
    message = Feeder().message(POSE, GOAL, captured_steady_ns=0, now_ns=0)
    assert len(message) == names["RAPTOR_FEED_SIZE"]
    assert len(raptor_feed.REASONS) == sum(n.startswith("RAPTOR_REASON_") for n in names)
    assert len(raptor_feed.VERDICTS) == sum(n.startswith("RAPTOR_VERDICT_") for n in names)
    assert {f"RAPTOR_FLIGHT_{s.name}": s.value for s in FlightState}.items() <= names.items()
    FeedAnswer.parse(struct.pack("<BBBBHI", 1, 0, 0, 0, 0, 0).ljust(names["RAPTOR_FEED_ANSWER_SIZE"], b"\0"))
    with pytest.raises(MspFormatError):
        OnboardStatus.parse(b"\x01".ljust(names["RAPTOR_STATUS_SIZE"] - 1, b"\0"))
    OnboardStatus.parse(b"\x01".ljust(names["RAPTOR_STATUS_SIZE"], b"\0"))


def test_fields_lie_where_the_header_says():
    raw = Feeder().message(POSE, GOAL, captured_steady_ns=2_000_000, now_ns=5_000_000)
    version, flags, sequence, age_us = struct.unpack_from("<BBHI", raw)
    # A pose with its orientation and a reference; the clock is not known yet, so the stamp is an age.
    assert (version, flags, sequence, age_us) == (1, 0b111, 1, 3000)
    assert struct.unpack_from("<3f3f", raw, 8) == pytest.approx((1, 2, 3, 0.1, 0.2, 0.3))
    assert struct.unpack_from("<4f", raw, 32) == (1, 0, 0, 0)
    assert struct.unpack_from("<3f3ff", raw, 48) == pytest.approx((4, 5, 6, 0.4, 0.5, 0.6, 0.7))


def test_only_what_is_there_is_flagged():
    flags = [
        Feeder().message(pose, goal, captured_steady_ns=0, now_ns=0)[1]
        for pose, goal in ((None, None), (POSE, None), (None, GOAL))
    ]
    assert flags == [0, 0b011, 0b100]


def test_an_answer_tells_the_clock_and_later_poses_carry_its_time():
    feeder = Feeder()
    feeder.message(POSE, GOAL, captured_steady_ns=0, now_ns=1_000_000_000)
    answer = feeder.take(struct.pack("<BBBBHI", 1, 1, 6, 3, 1, 77_005_000), 1_010_000_000)
    assert (answer.state, answer.reason, answer.verdict) == (
        FlightState.WAITING,
        "its pose is stale",
        "the pose is old",
    )
    raw = feeder.message(POSE, GOAL, captured_steady_ns=1_100_000_000, now_ns=1_102_000_000)
    assert raw[1] & 0x08
    # Handled 5 ms after it was sent: our 1.005 s was its 77.005 s.
    assert struct.unpack_from("<I", raw, 4)[0] == 77_100_000


@given(
    offset=st.integers(0, 2**32 - 1),
    delays=st.lists(st.tuples(st.integers(1, 50_000), st.integers(1, 50_000)), min_size=25, max_size=80),
)
def test_the_clock_is_known_within_half_the_shortest_round_trip(offset, delays):
    clock, now_us = ClockEstimate(), 0
    for there, back in delays:
        handled = now_us + there
        clock.take(now_us * 1000, (handled + back) * 1000, (handled + offset) % 2**32)
        now_us += 60_000
    error = (clock.at(now_us * 1000) - now_us - offset + 2**31) % 2**32 - 2**31
    assert abs(error) <= min(t + b for t, b in delays[-25:]) / 2 + 1


def test_a_clock_that_falls_behind_is_followed_at_once():
    clock = ClockEstimate()
    for k in range(25):
        sent = k * 20_000
        clock.take(sent * 1000, (sent + 2000) * 1000, sent + 1000)
    # A simulation stood still for 200 ms.
    sent = 25 * 20_000 + 200_000
    clock.take(sent * 1000, (sent + 30_000) * 1000, sent - 200_000 + 15_000)
    assert clock.at(sent * 1000) <= sent - 200_000 + 30_000


@given(st.binary(max_size=120))
def test_any_answer_is_read_or_refused(payload):
    for parse in (FeedAnswer.parse, OnboardStatus.parse):
        if len(payload) < 10 or payload[0] != 1:
            with pytest.raises(MspFormatError):
                parse(payload)
