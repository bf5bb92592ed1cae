"""Protects the warning about airframes unlike those of the training: when it comes, and its numbers."""

import dataclasses
import math

import pytest

from policies.raptor.distribution import TRAINED, outliers, quantities, warning
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe, airframe_names, load_airframe

MRS = load_airframe("mrs")


def test_an_airframe_of_the_training_is_not_warned_of():
    assert outliers(MRS) == ()
    assert warning(MRS) is None


def test_every_quantity_of_the_training_is_measured():
    for name in airframe_names():
        assert set(quantities(load_airframe(name))) == set(TRAINED)


def test_the_torque_to_inertia_root_is_that_of_the_training_code():
    # Spec 2.1: J_xx = |x| sqrt(2) (T/4) / r, and T = t2w m g.
    frame, root = load_airframe("fs"), 700.0
    thrust_n = frame.thrust_to_weight * frame.mass_kg * GRAVITY_M_S2
    jxx = frame.rotor_x_m * math.sqrt(2.0) * (thrust_n / 4.0) / root
    scaled = tuple(j * jxx / frame.inertia_kg_m2[0] for j in frame.inertia_kg_m2)
    sampled = dataclasses.replace(frame, inertia_kg_m2=scaled)
    assert quantities(sampled)["torque_to_inertia"] == pytest.approx(root)


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"rising_s": 0.2}, "rising_s", "rising time constant of the motors 0.2 s, trained 0.03 to 0.1 s"),
        (
            {"falling_s": 0.01},
            "falling_s",
            "falling time constant of the motors 0.01 s, trained 0.03 to 0.3 s",
        ),
        ({"torque_constant_m": 0.09}, "torque_constant_m", "rotors 0.09 m, trained 0.005 to 0.05 m"),
        ({"thrust_n": (0.0, 0.0, 99.0)}, "thrust_to_weight", "thrust-to-weight ratio 23.7, trained 1.5 to 5"),
        (
            {"inertia_kg_m2": (1e-4, 1e-4, 1.9e-4)},
            "torque_to_inertia",
            "torque-to-inertia root 1.91e+04 1/s^2, trained 40 to 1200 1/s^2",
        ),
    ],
)
def test_what_is_outside_is_told_with_both_numbers(changes, name, text):
    changed: Airframe = dataclasses.replace(MRS, **changes)
    assert name in {outlier.name for outlier in outliers(changed)}
    assert text in (warning(changed) or "")
    assert "'mrs' is outside of RAPTOR's training distribution" in (warning(changed) or "")


def test_the_bounds_themselves_are_inside():
    for name, field in (("rising_s", "rising_s"), ("falling_s", "falling_s"), ("torque_constant_m",) * 2):
        for value in (TRAINED[name].lower, TRAINED[name].upper):
            assert outliers(dataclasses.replace(MRS, **{field: value})) == ()
