"""Protects the limits of flight: fence, altitude and tilt are judged by what is measured."""

import dataclasses
import math

import numpy as np
import pytest
from gate_cards import drone_card, drone_state
from gate_line import PASS, SAFE, Line, answer

from hardware import schema
from hardware.command import CommandKind
from hardware.errors import ConfigError, ConfigErrors
from hardware.frames import quaternion_multiply, tilt_of, yaw_quaternion
from hardware.gate import CommandGate, GateConfig
from hardware.robot import FlightLimits, RobotCard

FLYING = (CommandKind.RATES_THRUST, CommandKind.REFERENCE, CommandKind.MOTOR)
INTERFACES = {
    "rates": CommandKind.RATES_THRUST,
    "reference": CommandKind.REFERENCE,
    "motors": CommandKind.MOTOR,
}
every_kind = pytest.mark.parametrize("kind", FLYING, ids=lambda kind: kind.value)


def tilted(angle_rad, *, about=0.7, yaw=2.0):
    """A body turned by an angle about a horizontal axis, then about the vertical."""
    half = angle_rad / 2
    lean = np.array([math.cos(half), math.sin(half) * math.cos(about), math.sin(half) * math.sin(about), 0.0])
    return quaternion_multiply(yaw_quaternion(yaw), lean)


def give(line, **terms):
    place = terms.pop("position", (0.0, 0.0, 1.0))
    return line.after().send(state=drone_state(line.data, place, steady_ns=line.now, **terms))


def settle(line, **terms):
    """Command for as long as it takes to be given authority again; the last verdict."""
    for _ in range(line.gate.config.switch_count):
        verdict = give(line, **terms)
    return verdict


@every_kind
def test_a_vehicle_outside_the_geofence_is_not_commanded_until_it_is_back_by_a_margin(kind):
    line = Line(kind)
    line.engage()
    assert give(line, position=(5.0, 0.0, 1.0)).action is not SAFE
    assert answer(give(line, position=(5.001, 0.0, 1.0))) == (SAFE, ("geofence",))
    assert settle(line, position=(4.9, 0.0, 1.0)).reasons == ("geofence",)
    assert settle(line, position=(4.8, 0.0, 1.0)).action is not SAFE
    assert settle(line, position=(4.9, 0.0, 1.0)).action is not SAFE
    assert answer(give(line, position=(0.0, -5.1, 1.0))) == (SAFE, ("geofence",))
    assert give(line, position=(0.0, 0.0, -0.6)).reasons == ("geofence",)


@every_kind
def test_a_vehicle_that_is_too_high_is_not_commanded_until_it_is_lower_by_a_margin(kind):
    line = Line(kind)
    line.engage()
    assert give(line, position=(0.0, 0.0, 4.5)).action is not SAFE
    assert answer(give(line, position=(0.0, 0.0, 4.501))) == (SAFE, ("altitude",))
    assert settle(line, position=(0.0, 0.0, 4.4)).reasons == ("altitude",)
    assert settle(line, position=(0.0, 0.0, 4.29)).action is not SAFE
    assert settle(line, position=(0.0, 0.0, 4.4)).action is not SAFE


@every_kind
def test_a_vehicle_that_tilts_too_far_is_not_commanded_until_it_is_level_by_a_margin(kind):
    line = Line(kind)
    line.engage()
    assert give(line, orientation=tilted(0.799)).action is not SAFE
    assert answer(give(line, orientation=tilted(0.801, about=-2.0))) == (SAFE, ("tilt",))
    assert settle(line, orientation=tilted(0.7)).reasons == ("tilt",)
    assert settle(line, orientation=tilted(0.59)).action is not SAFE
    assert settle(line, orientation=tilted(0.7)).action is not SAFE
    # A heading is no tilt.
    assert settle(line, orientation=yaw_quaternion(3.0)).action is not SAFE


def test_all_that_is_wrong_is_named():
    line = Line(CommandKind.MOTOR)
    line.engage()
    verdict = give(line, position=(9.0, 0.0, 9.0), orientation=tilted(3.0))
    assert answer(verdict) == (SAFE, ("geofence", "altitude", "tilt"))


def test_a_limit_holds_until_the_next_state():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    give(line, orientation=tilted(1.5))
    assert line.after().send(state=None).reasons == ("tilt",)


def test_the_margins_are_the_owners_choice():
    line = Line(CommandKind.RATES_THRUST, config=GateConfig(tilt_margin_rad=0.0, geofence_margin_m=0.0))
    line.engage()
    assert give(line, orientation=tilted(0.81)).action is SAFE
    assert give(line, orientation=tilted(0.79)).action is PASS


@every_kind
def test_a_card_without_limits_of_flight_judges_none(kind):
    line = Line(kind, card=drone_card(geofence=None, flight=None))
    line.engage()
    wild = {"position": (600.0, 0.0, 90.0), "orientation": tilted(3.1)}
    assert settle(line, **wild).action is not SAFE
    line = Line(kind, card=drone_card(geofence=None, flight=FlightLimits(max_tilt_rad=0.5)))
    line.engage()
    assert settle(line, position=(600.0, 0.0, 90.0)).action is not SAFE
    assert give(line, orientation=tilted(0.6)).reasons == ("tilt",)


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(
    ("term", "left", "text"),
    [
        ("position", {"flight": None}, "a geofence and no observation 'position'"),
        ("position", {"geofence": None}, "a greatest altitude and no observation 'position'"),
        ("orientation", {}, "a steepest tilt and no observation 'orientation'"),
    ],
)
def test_a_limit_needs_what_it_is_judged_by(interface, term, left, text):
    card = drone_card(**left)
    terms = {name: spec for name, spec in card.observations.items() if name != term}
    with pytest.raises(ConfigError, match=f"{text}.*add the observation"):
        CommandGate(dataclasses.replace(card, observations=terms), interface)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_tilt_rad": 0.0}, "max_tilt_rad is 0.0. Expected a positive number, at most pi"),
        ({"max_tilt_rad": 180.0}, "max_tilt_rad is 180.0. Expected a positive number, at most pi"),
        ({"max_altitude_m": -3.0}, "max_altitude_m is -3.0. Expected a positive number"),
        ({"max_speed": 2.0}, "unknown field 'max_speed'"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused_in_words(limits, text):
    card = schema._plain(drone_card()) | {"flight": limits}
    with pytest.raises(ConfigErrors) as raised:
        schema.parse(RobotCard, card, where="card.yaml")
    assert text in str(raised.value)


def test_the_tilt_of_a_quaternion_is_the_angle_between_the_two_ups():
    for angle in (0.0, 1e-9, 1e-4, 0.3, 1.5, 3.0, math.pi - 1e-6, math.pi):
        assert tilt_of(tilted(angle)) == pytest.approx(angle, abs=1e-12)
        assert tilt_of(-2.0 * tilted(angle)) == pytest.approx(angle, abs=1e-12)
    # No attitude at all is not a level one.
    assert tilt_of(np.zeros(4)) == math.pi
