"""Protects the named airframes: their published numbers, the motor order, and what cannot fly."""

from dataclasses import replace

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.quadrotor import MOTORS, airframe_names, load_airframe

NAMES = ("crazyflie", "x500_real", "x500_sim", "arpl", "mrs", "flightmare", "soft", "soft_rigid", "fs")


def test_all_nine_are_there():
    assert airframe_names() == NAMES


@pytest.mark.parametrize(
    ("name", "hover_effort", "thrust_to_weight"),
    [
        ("crazyflie", 0.806, 1.467),
        ("x500_real", 0.555, 3.247),
        ("arpl", 0.281, 3.937),
        ("soft", 0.429, 3.311),
    ],
)
def test_derived_numbers_match_the_published_ones(name, hover_effort, thrust_to_weight):
    airframe = load_airframe(name)
    assert airframe.hover_effort == pytest.approx(hover_effort, abs=5e-4)
    assert airframe.thrust_to_weight == pytest.approx(thrust_to_weight, abs=5e-4)


def test_motors_sit_and_turn_where_their_names_say():
    assert MOTORS == ("front_right", "back_right", "back_left", "front_left")
    airframe = load_airframe("arpl")
    x, y = 0.0775, 0.0981
    assert airframe.rotor_positions_m.tolist() == [[x, -y, 0], [-x, -y, 0], [-x, y, 0], [x, y, 0]]
    c = 0.005965
    # Collective, roll (left rotors lift the left side: positive), pitch (front up: negative), yaw.
    assert airframe.mixer.tolist() == [[1, 1, 1, 1], [-y, -y, y, y], [-x, x, x, -x], [-c, c, -c, c]]


@pytest.mark.parametrize("name", NAMES)
def test_the_thrust_curve_and_its_inverse_agree(name):
    airframe = load_airframe(name)
    effort = np.linspace(0.0, 1.0, 50)
    thrust = airframe.thrust(effort)
    assert (np.diff(thrust) > 0).all()
    assert np.allclose([airframe.effort_for(f) for f in thrust], effort, atol=1e-12)
    assert airframe.effort_for(thrust[0] - 1.0) == 0.0
    assert airframe.effort_for(thrust[-1] + 1.0) == 1.0
    assert 4 * airframe.thrust(np.array(airframe.hover_effort)) == pytest.approx(airframe.weight_n)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="no airframe 'x501'. Expected one of crazyflie, x500_real"):
        load_airframe("x501")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mass_kg": 0.0}, "mass_kg 0.0 is not positive"),
        ({"mass_kg": -1.2}, "mass_kg -1.2 is not positive"),
        ({"mass_kg": 1e308}, "cannot fly 1e+308 kg"),
        ({"rising_s": -0.1}, "rising_s -0.1 is not positive"),
        ({"thrust_n": (1.0, 2.0)}, "thrust_n has 2 numbers. Expected 3"),
        ({"inertia_kg_m2": (1.0, 1.0, 3.0)}, "belongs to no rigid body"),
        ({"mass_kg": 20.0}, "cannot fly 20.0 kg"),
        ({"thrust_n": (9.0, 4.0, -4.0)}, "Expected thrust that grows with effort"),
    ],
)
def test_an_impossible_airframe_is_refused(change, text):
    with pytest.raises(ConfigError) as error:
        replace(load_airframe("x500_real"), **change)
    assert text in str(error.value)
