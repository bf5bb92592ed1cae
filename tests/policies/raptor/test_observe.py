"""Protects the observation vector: order, frames, yaw frame, clipping and the refusal of bad numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import ConfigError
from hardware.frames import quaternion_multiply, rotation_matrix, yaw_quaternion
from policies.policy import PolicyError
from policies.raptor.contract import FLIGHT_CLIPPING, TERMS, ErrorClipping
from policies.raptor.observe import observe, observe_batch

PREVIOUS = np.array([0.1, -0.2, 0.3, -0.4], np.float32)


def terms(**changes):
    values = {name: np.zeros(len(term.names)) for name, term in TERMS.items()}
    values["orientation"][0] = 1.0
    return values | {name: np.asarray(value, dtype=np.float64) for name, value in changes.items()}


def vectors(size, bound):
    return st.lists(st.floats(-bound, bound), min_size=size, max_size=size).map(np.array)


def unit_quaternions():
    return vectors(4, 1.0).filter(lambda q: np.linalg.norm(q) > 0.1).map(lambda q: q / np.linalg.norm(q))


def states():
    return st.fixed_dictionaries(
        {
            "position": vectors(3, 20),
            "orientation": unit_quaternions(),
            "linear_velocity": vectors(3, 10),
            "angular_velocity": vectors(3, 30),
            "reference_position": vectors(3, 20),
            "reference_velocity": vectors(3, 10),
            "reference_yaw": vectors(1, 10),
        }
    )


def test_order_and_units_of_the_elements():
    values = terms(
        position=[1.1, 2.2, 3.3],
        linear_velocity=[0.1, 0.2, 0.3],
        angular_velocity=[4.0, 5.0, 6.0],
        reference_position=[1.0, 2.0, 3.0],
        reference_velocity=[0.3, 0.2, 0.1],
    )
    np.testing.assert_allclose(
        observe(values, PREVIOUS),
        [0.1, 0.2, 0.3, 1, 0, 0, 0, 1, 0, 0, 0, 1, -0.2, 0, 0.2, 4, 5, 6, 0.1, -0.2, 0.3, -0.4],
        atol=1e-6,
    )


def test_body_velocity_is_turned_into_the_world():
    # Heading north (90 degrees), flying forward at 0.5 m/s while the reference stands still.
    values = terms(orientation=yaw_quaternion(math.pi / 2), linear_velocity=[0.5, 0, 0])
    vector = observe(values, PREVIOUS)
    np.testing.assert_allclose(vector[12:15], [0, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(vector[3:12], [0, -1, 0, 1, 0, 0, 0, 0, 1], atol=1e-6)


def test_the_reference_yaw_is_the_frame():
    # Heading north as asked, one metre... too far east: in the yaw frame that is to the right (-y).
    values = terms(orientation=yaw_quaternion(math.pi / 2), reference_yaw=[math.pi / 2], position=[0.3, 0, 0])
    vector = observe(values, PREVIOUS)
    np.testing.assert_allclose(vector[0:3], [0, -0.3, 0], atol=1e-6)
    np.testing.assert_allclose(vector[3:12], np.eye(3).ravel(), atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(values=states(), yaw=st.floats(-7, 7), shift=vectors(3, 50))
def test_turning_and_moving_the_world_changes_nothing(values, yaw, shift):
    turn = rotation_matrix(yaw_quaternion(yaw))
    turned = values | {
        "position": turn @ values["position"] + shift,
        "orientation": quaternion_multiply(yaw_quaternion(yaw), values["orientation"]),
        "reference_position": turn @ values["reference_position"] + shift,
        "reference_velocity": turn @ values["reference_velocity"],
        "reference_yaw": values["reference_yaw"] + yaw,
    }
    for clipping in (None, FLIGHT_CLIPPING):
        np.testing.assert_allclose(
            observe(turned, PREVIOUS, clipping=clipping),
            observe(values, PREVIOUS, clipping=clipping),
            atol=2e-5,
        )


@settings(max_examples=200, deadline=None)
@given(values=states())
def test_the_matrix_is_that_of_the_quaternion(values):
    expected = rotation_matrix(yaw_quaternion(-float(values["reference_yaw"][0]))) @ rotation_matrix(
        values["orientation"]
    )
    np.testing.assert_allclose(observe(values, PREVIOUS)[3:12].reshape(3, 3), expected, atol=1e-6)
    flipped = values | {"orientation": -values["orientation"]}
    np.testing.assert_array_equal(observe(flipped, PREVIOUS), observe(values, PREVIOUS))


@settings(max_examples=200, deadline=None)
@given(values=states())
def test_clipping_bounds_the_errors_and_nothing_else(values):
    free = observe(values, PREVIOUS, clipping=None)
    bounded = observe(values, PREVIOUS, clipping=ErrorClipping(0.3, 2.0))
    np.testing.assert_allclose(bounded[0:3], free[0:3].clip(-0.3, 0.3))
    np.testing.assert_allclose(bounded[12:15], free[12:15].clip(-2.0, 2.0))
    for part in (slice(3, 12), slice(15, 22)):
        np.testing.assert_array_equal(bounded[part], free[part])


def test_flight_clips_at_half_a_metre_and_one_metre_a_second():
    vector = observe(terms(position=[9, -9, 0.4], linear_velocity=[-9, 9, 0.9]), PREVIOUS)
    np.testing.assert_allclose(vector[0:3], [0.5, -0.5, 0.4])
    np.testing.assert_allclose(vector[12:15], [-1, 1, 0.9])


@settings(max_examples=50, deadline=None)
@given(batch=st.lists(states(), min_size=1, max_size=5))
@pytest.mark.parametrize("clipping", [None, FLIGHT_CLIPPING])
def test_a_batch_equals_its_rows(batch, clipping):
    stacked = {name: np.stack([values[name] for values in batch]) for name in TERMS}
    previous = np.tile(PREVIOUS, (len(batch), 1))
    rows = [observe(values, PREVIOUS, clipping=clipping) for values in batch]
    np.testing.assert_allclose(observe_batch(stacked, previous, clipping=clipping), rows, atol=2e-5)


def test_a_batch_may_share_a_reference_and_lets_a_lost_vehicle_pass():
    values = {name: np.tile(value, (3, 1)) for name, value in terms(position=[0.1, 0, 0]).items()}
    for name in ("reference_position", "reference_velocity", "reference_yaw"):
        values[name] = values[name][:1]
    values["position"][1] = np.nan
    vectors_ = observe_batch(values, np.zeros((3, 4), np.float32))
    assert np.isnan(vectors_[1, 0:3]).all()
    np.testing.assert_array_equal(vectors_[0], vectors_[2])
    assert np.isfinite(vectors_[2]).all()


def test_the_output_array_is_used():
    out = np.empty(22, np.float32)
    assert observe(terms(), PREVIOUS, out=out) is out


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", list(TERMS))
@pytest.mark.parametrize("element", [0, -1])
def test_numbers_that_are_not_finite_are_refused_by_name(name, element, bad):
    values = terms()
    values[name][element] = bad
    with pytest.raises(PolicyError, match=f"RAPTOR's observation is not finite in {name}$"):
        observe(values, PREVIOUS)


def test_infinities_that_cancel_are_found():
    values = terms(position=[math.inf, 0, 0], linear_velocity=[-math.inf, 0, 0])
    with pytest.raises(PolicyError, match="not finite in position, linear_velocity$"):
        observe(values, PREVIOUS)


def test_other_misfits_are_refused_with_their_reason():
    with pytest.raises(PolicyError, match="orientation of length 0, expected 1"):
        observe(terms(orientation=[0, 0, 0, 0]), PREVIOUS)
    with pytest.raises(PolicyError, match=r"orientation of length 1\.1, expected 1"):
        observe(terms(orientation=[1.1, 0, 0, 0]), PREVIOUS)
    with pytest.raises(PolicyError, match=r"has 'position' of shape \(2,\), expected \(3,\)"):
        observe(terms(position=[0, 0]), PREVIOUS)
    with pytest.raises(PolicyError, match="too large to add up"):
        observe(terms(position=[1e308, 1e308, 0]), PREVIOUS)
    lacking = terms()
    del lacking["reference_velocity"]
    with pytest.raises(PolicyError, match="lacks the term 'reference_velocity'$"):
        observe(lacking, PREVIOUS)
    lacking["position"] = np.zeros(2)
    with pytest.raises(PolicyError, match="has 'position' of .* and lacks the term 'reference_velocity'$"):
        observe(lacking, PREVIOUS)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.5, -1.0), (math.nan, 1.0)])
def test_clipping_bounds_must_be_positive(bounds):
    with pytest.raises(
        ConfigError, match=r"error clipping: (position_m|velocity_m_s) is .*Expected a positive"
    ):
        ErrorClipping(*bounds)
