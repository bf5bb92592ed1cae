"""Protects the reference dynamics: Newton, Euler, the rotors' lag, and batches that equal single runs."""

import math

import numpy as np
import pytest

from hardware.frames import rotation_matrix
from sim.quadrotor import airframe_names, load_airframe, make_state, parameters_of, step

X500 = load_airframe("x500_real")


def run(airframe, state, effort, seconds, dt_s=0.01, force=None):
    parameters = parameters_of(airframe)
    for _ in range(round(seconds / dt_s)):
        state = step(parameters, state, np.broadcast_to(effort, 4), dt_s, force)
    return state


def test_free_fall_is_exact():
    state = run(X500, make_state(linear_velocity=(1.0, 0.0, 2.0)), 0.0, 1.0)
    assert state.position == pytest.approx([1.0, 0.0, 2.0 - 9.81 / 2])
    assert state.linear_velocity == pytest.approx([1.0, 0.0, 2.0 - 9.81])


@pytest.mark.parametrize("name", airframe_names())
def test_hover_effort_keeps_the_altitude(name):
    airframe = load_airframe(name)
    state = run(airframe, make_state(effort=airframe.hover_effort), airframe.hover_effort, 2.0)
    assert np.abs(state.packed[:3]).max() < 1e-12


def test_an_external_force_accelerates_by_its_mass():
    state = run(
        X500, make_state(effort=X500.hover_effort), X500.hover_effort, 1.0, force=np.array([3.0, 0, 0])
    )
    assert state.position == pytest.approx([0.75, 0, 0])


@pytest.mark.parametrize(
    ("effort", "axis", "sign"), [((0, 0, 1, 1), 0, 1), ((0, 1, 1, 0), 1, 1), ((0, 1, 0, 1), 2, 1)]
)
def test_torques_turn_the_right_way(effort, axis, sign):
    # Left rotors roll right side down (+x), back rotors pitch nose down (+y), clockwise rotors yaw left (+z).
    delta = 0.1 * (np.array(effort) - 0.5)
    rates = run(X500, make_state(effort=X500.hover_effort), X500.hover_effort + delta, 0.1).angular_velocity
    assert sign * rates[axis] > 0.05
    assert np.abs(np.delete(rates, axis)).max() < 0.05 * abs(rates[axis])


@pytest.mark.parametrize("name", ["crazyflie", "fs"])
def test_rotors_rise_and_fall_with_their_own_time_constants(name):
    airframe = load_airframe(name)
    up = run(airframe, make_state(effort=0.2), 0.9, 0.05, dt_s=0.001).effort
    down = run(airframe, make_state(effort=0.9), 0.2, 0.05, dt_s=0.001).effort
    assert up == pytest.approx(0.9 - 0.7 * math.exp(-0.05 / airframe.rising_s))
    assert down == pytest.approx(0.2 + 0.7 * math.exp(-0.05 / airframe.falling_s))


def test_setpoints_are_limited_to_what_exists():
    a = run(X500, make_state(effort=0.5), 1.0, 0.2)
    b = run(X500, make_state(effort=0.5), 7.0, 0.2)
    assert np.array_equal(a.packed, b.packed)


def test_a_torque_free_body_keeps_its_angular_momentum_and_energy():
    # soft: three different moments of inertia; x500_real's rotors push exactly nothing when off.
    airframe = load_airframe("x500_real")
    inertia = np.array(airframe.inertia_kg_m2)
    start = make_state(angular_velocity=(5.0, 0.1, 3.0), orientation=(0.5, 0.5, -0.5, 0.5))
    end = run(airframe, start, 0.0, 2.0, dt_s=0.002)
    momentum = [rotation_matrix(s.orientation) @ (inertia * s.angular_velocity) for s in (start, end)]
    energy = [(inertia * s.angular_velocity**2).sum() for s in (start, end)]
    assert np.abs(end.angular_velocity - start.angular_velocity).max() > 0.01
    assert momentum[1] == pytest.approx(momentum[0], rel=1e-6)
    assert energy[1] == pytest.approx(energy[0], rel=1e-8)


def test_the_step_is_of_fourth_order():
    start = make_state(angular_velocity=(2.0, -1.0, 3.0), effort=0.3)
    effort = np.array([0.5, 0.6, 0.55, 0.65])
    exact = run(X500, start, effort, 0.4, dt_s=0.000625).packed
    error = [np.abs(run(X500, start, effort, 0.4, dt_s=dt).packed - exact).max() for dt in (0.02, 0.01)]
    assert 12 < error[0] / error[1] < 22
    assert error[1] < 1e-5


def test_a_batch_equals_its_single_runs():
    random = np.random.default_rng(0)
    airframes = [load_airframe(name) for name in airframe_names()]
    state = make_state(
        position=random.normal(size=(9, 3)),
        orientation=random.normal(size=(9, 4)),
        linear_velocity=random.normal(size=(9, 3)),
        angular_velocity=random.normal(size=(9, 3)),
        effort=random.uniform(size=(9, 4)),
    )
    effort, force = random.uniform(size=(9, 4)), random.normal(size=(9, 3))
    batch = step(parameters_of(airframes), state, effort, 0.01, force)
    for n, airframe in enumerate(airframes):
        single = step(parameters_of(airframe), type(state)(state.packed[n]), effort[n], 0.01, force[n])
        assert single.packed == pytest.approx(batch.packed[n], abs=1e-13)
    # One airframe, many states; and many forces on one state.
    many = step(parameters_of(X500), state, effort, 0.01)
    assert many.packed.shape == (9, 17)
    assert step(parameters_of(X500), make_state(), np.zeros(4), 0.01, force).packed.shape == (9, 17)


def test_states_name_their_parts():
    state = make_state(position=(1, 2, 3), orientation=(0, 0, 0, 2), effort=(0.1, 0.2, 0.3, 0.4))
    assert state.position.tolist() == [1, 2, 3]
    assert state.orientation.tolist() == [0, 0, 0, 1]
    assert state.effort.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert make_state(position=np.zeros((5, 3))).packed.shape == (5, 17)
