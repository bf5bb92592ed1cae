"""Protects the frames between us and flight controllers: every conversion both ways, and facts by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drones import ned
from hardware.frames import quaternion_multiply, rotation_matrix, yaw_of, yaw_quaternion

numbers = st.floats(-1e4, 1e4)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
angles = st.floats(-20.0, 20.0)
attitudes = (
    st.tuples(*[st.floats(-1.0, 1.0)] * 4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
# Written down here, not taken from the code under test: which rows the axes of one frame are in the other.
ENU_TO_NED = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FLU_TO_FRD = np.diag([1.0, -1.0, -1.0])


@given(vectors)
def test_vectors_come_back(v):
    assert np.array_equal(ned.enu_from_ned(ned.ned_from_enu(v)), v)
    assert np.array_equal(ned.flu_from_frd(ned.frd_from_flu(v)), v)
    assert np.array_equal(ned.ned_from_enu(v), ENU_TO_NED @ v)
    assert np.array_equal(ned.frd_from_flu(v), FLU_TO_FRD @ v)


@given(attitudes)
def test_attitudes_come_back_and_agree_with_matrices(q):
    there = ned.attitude_ned_from_enu(q)
    back = ned.attitude_enu_from_ned(there)
    assert min(np.abs(back - q).max(), np.abs(back + q).max()) < 1e-12
    expected = ENU_TO_NED @ rotation_matrix(q) @ FLU_TO_FRD
    assert rotation_matrix(there) == pytest.approx(expected, abs=1e-12)


@given(attitudes, vectors)
def test_a_body_vector_lands_at_the_same_place_of_the_world_on_either_path(q, v):
    one = ned.ned_from_enu(rotation_matrix(q) @ v)
    other = rotation_matrix(ned.attitude_ned_from_enu(q)) @ ned.frd_from_flu(v)
    assert other == pytest.approx(one, abs=1e-7)


@given(angles)
def test_headings_come_back_and_agree_with_attitudes(yaw):
    there = ned.yaw_ned_from_enu(yaw)
    assert -math.pi <= there <= math.pi
    assert math.remainder(ned.yaw_enu_from_ned(there) - yaw, 2 * math.pi) == pytest.approx(0.0, abs=1e-12)
    of_attitude = yaw_of(ned.attitude_ned_from_enu(yaw_quaternion(yaw)))
    assert math.remainder(of_attitude - there, 2 * math.pi) == pytest.approx(0.0, abs=1e-9)


@given(angles, angles)
def test_turning_left_on_our_side_is_turning_left_on_theirs(yaw, turn):
    one = ned.yaw_ned_from_enu(yaw + turn)
    other = ned.wrap_angle(ned.yaw_ned_from_enu(yaw) - turn)
    assert math.remainder(one - other, 2 * math.pi) == pytest.approx(0.0, abs=1e-9)


def test_facts_that_anybody_can_check_by_hand():
    assert ned.ned_from_enu(np.array([1.0, 2.0, 3.0])).tolist() == [2.0, 1.0, -3.0]
    assert ned.frd_from_flu(np.array([1.0, 2.0, 3.0])).tolist() == [1.0, -2.0, -3.0]
    assert ned.nwu_from_ned(np.array([1.0, 2.0, 3.0])).tolist() == [1.0, -2.0, -3.0]
    # Facing north: a quarter turn from east on our side, zero on theirs, and level on both.
    north = ned.attitude_ned_from_enu(yaw_quaternion(math.pi / 2))
    assert abs(north[0]) == pytest.approx(1.0)
    assert ned.yaw_ned_from_enu(math.pi / 2) == pytest.approx(0.0)
    assert ned.yaw_ned_from_enu(0.0) == pytest.approx(math.pi / 2)
    assert ned.yaw_enu_from_ned(-math.pi / 2) == pytest.approx(math.pi, abs=1e-12)


@given(attitudes)
def test_north_west_up_keeps_the_heading_from_north_and_turns_it_counter_clockwise(q):
    there = ned.attitude_nwu_from_ned(q)
    expected = FLU_TO_FRD @ rotation_matrix(q) @ FLU_TO_FRD
    assert rotation_matrix(there) == pytest.approx(expected, abs=1e-12)


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
def test_euler_angles_come_back(roll, pitch, yaw):
    q = ned.attitude_of_euler(roll, pitch, yaw)
    assert np.linalg.norm(q) == pytest.approx(1.0)
    assert ned.euler_zyx_of(q) == pytest.approx((roll, pitch, yaw), abs=1e-6)
    about_x = np.array([math.cos(roll / 2), math.sin(roll / 2), 0.0, 0.0])
    about_y = np.array([math.cos(pitch / 2), 0.0, math.sin(pitch / 2), 0.0])
    composed = quaternion_multiply(yaw_quaternion(yaw), quaternion_multiply(about_y, about_x))
    assert np.abs(composed - q).max() < 1e-12


def test_batches_are_converted_as_their_rows_are():
    random = np.random.default_rng(0)
    v = random.normal(size=(4, 5, 3))
    q = random.normal(size=(4, 5, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    assert np.array_equal(ned.ned_from_enu(v)[2, 3], ned.ned_from_enu(v[2, 3]))
    assert np.array_equal(ned.attitude_ned_from_enu(q)[1, 4], ned.attitude_ned_from_enu(q[1, 4]))
