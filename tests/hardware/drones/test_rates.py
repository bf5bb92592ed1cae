"""Protects the inverse of Betaflight's stick curves: what is asked for is what the firmware wants."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drones.msp_messages import MspFormatError
from hardware.drones.rates import AxisCurve, RateProfile, StickMap
from hardware.errors import ConfigError

# MSP_RC_TUNING of the running simulator with its defaults (type ACTUAL, 70 deg/s at the middle, 670 at the
# end).
DEFAULTS = struct.pack(
    "<8BH4B2B3HBB", 7, 0, 67, 67, 67, 0, 50, 0, 0, 0, 7, 7, 0, 0, 100, 1998, 1998, 1998, 3, 50
)


def stick_map(bend=0.0, deadband=0):
    return StickMap(RateProfile.parse(DEFAULTS), deadband, deadband, 1050, 0.055, bend)


@given(
    rate=st.floats(-11.0, 11.0),
    centre=st.floats(10.0, 300.0),
    full=st.floats(300.0, 1000.0),
    expo=st.floats(0.0, 1.0),
)
def test_a_stick_gives_the_rate_that_it_was_chosen_for(rate, centre, full, expo):
    curve = AxisCurve(centre, full, expo, 1998.0)
    wanted = max(-curve.fastest_rad_s, min(curve.fastest_rad_s, rate))
    assert curve.rate(curve.stick(rate)) == pytest.approx(wanted, abs=1e-3)


@given(st.tuples(*[st.floats(-5.0, 5.0)] * 3), st.integers(0, 30))
def test_channels_and_back_lose_less_than_two_degrees_a_second(rates, deadband):
    sticks = stick_map(deadband=deadband)
    back = sticks.rates(sticks.sticks(rates, 0.3))
    # One microsecond at the steep end of the curve.
    assert back == pytest.approx(rates, abs=math.radians(2.0))


def test_signs_of_the_sticks():
    roll, pitch, yaw, _ = stick_map().sticks((1.0, 1.0, 1.0), 0.3)
    # Roll right and nose down are positive sticks; a turn to the left is a negative one.
    assert roll > 1500
    assert pitch > 1500
    assert yaw < 1500
    assert stick_map().sticks((0.0, 0.0, 0.0), 0.3)[:3] == (1500, 1500, 1500)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_throttle_gives_the_thrust_that_was_asked_for(thrust, bend):
    sticks = stick_map(bend=bend)
    us = sticks.throttle_us(thrust)
    assert 1055 <= us <= 2000
    output = 0.055 + 0.945 * (us - 1055) / (2000 - 1055)
    lowest = sticks.thrust_of(0.055)
    assert sticks.thrust_of(output) == pytest.approx(max(thrust, lowest), abs=4e-3)


@pytest.mark.parametrize("thrust", [-1.0, 2.0])
def test_thrust_beyond_the_motors_is_the_nearest_end(thrust):
    assert stick_map().throttle_us(thrust) in (1055, 2000)


def test_another_type_of_profile_is_refused_with_the_line_that_mends_it():
    other = DEFAULTS[:22] + b"\x00" + DEFAULTS[23:]
    with pytest.raises(ConfigError, match="type BETAFLIGHT.*set rates_type = ACTUAL"):
        RateProfile.parse(other)


def test_a_short_profile_is_refused():
    with pytest.raises(MspFormatError, match="5 bytes"):
        RateProfile.parse(DEFAULTS[:5])


def test_a_throttle_curve_is_noticed():
    assert RateProfile.parse(DEFAULTS).throttle_is_linear
    bent = DEFAULTS[:7] + b"\x32" + DEFAULTS[8:]
    assert not RateProfile.parse(bent).throttle_is_linear
