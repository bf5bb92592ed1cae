"""Protects body and controllers of the wire peers: the reference dynamics, contact, flights that settle."""

import math

import numpy as np
import pytest

from hardware.frames import yaw_of
from sim.peers.body import FlyingBody
from sim.peers.cascade import NAN, UNSET, Cascade, CascadeGains, Target
from sim.peers.estimator import Estimator
from sim.quadrotor import airframe_names, load_airframe, make_state, parameters_of, step

STEP_S = 0.004


@pytest.mark.parametrize("name", airframe_names())
def test_it_moves_as_the_reference_dynamics_do(name):
    airframe, random = load_airframe(name), np.random.default_rng(1)
    parameters = parameters_of(airframe)
    for _ in range(20):
        state = make_state(
            position=random.normal(size=3) + [0, 0, 10],
            orientation=random.normal(size=4),
            linear_velocity=random.normal(size=3),
            angular_velocity=random.normal(size=3),
            effort=random.uniform(size=4),
        )
        effort, force = random.uniform(-0.2, 1.2, size=4), random.normal(size=3)
        body = FlyingBody(airframe, step_s=STEP_S)
        body.state = state
        body.advance(effort.tolist(), force)
        assert body.state.packed == pytest.approx(
            step(parameters, state, effort, STEP_S, force).packed, abs=1e-12
        )


def test_the_ground_holds_it_until_it_pushes_more_than_it_weighs():
    body = FlyingBody(load_airframe("x500_sim"), step_s=STEP_S, yaw_rad=1.0)
    hover = body.airframe.hover_effort
    for _ in range(250):
        body.advance([0.95 * hover] * 4, np.array([5.0, 0.0, 0.0]))
    assert body.on_ground
    assert body.packed[0:3] == (0.0, 0.0, 0.0)
    assert yaw_of(body.state.orientation) == pytest.approx(1.0)
    for _ in range(250):
        body.advance([1.1 * hover] * 4)
    assert not body.on_ground
    for _ in range(1000):
        body.advance([0.0] * 4)
    assert body.on_ground
    assert body.packed[9] == 0.0


def test_an_effort_that_is_no_number_is_not_flown():
    body = FlyingBody(load_airframe("x500_sim"), step_s=STEP_S)
    with pytest.raises(FloatingPointError, match="not finite"):
        body.advance([0.5] * 4, np.array([math.nan, 0.0, 0.0]))


def fly(name, gains, target, seconds=8.0):
    airframe = load_airframe(name)
    body, cascade = FlyingBody(airframe, step_s=STEP_S), Cascade(airframe, gains)
    estimator = Estimator(seed=3, step_s=STEP_S)
    body.state = make_state(position=(0.0, 0.0, 1.0), effort=airframe.hover_effort)
    estimator.advance(body.packed, 0.0)
    for i in range(round(seconds / STEP_S)):
        body.advance(cascade.track(estimator.estimate(), target, STEP_S))
        estimator.advance(body.packed, i * STEP_S)
    return body


@pytest.mark.parametrize(
    ("name", "gains"),
    [("x500_sim", CascadeGains()), ("x500_real", CascadeGains()), ("crazyflie", CascadeGains(motor_s=0.02))],
)
def test_it_settles_where_it_is_told_facing_where_it_is_told(name, gains):
    body = fly(name, gains, Target((1.0, -1.0, 2.0), yaw=-2.0))
    assert body.state.position == pytest.approx([1.0, -1.0, 2.0], abs=0.1)
    assert math.remainder(yaw_of(body.state.orientation) + 2.0, 2 * math.pi) == pytest.approx(0.0, abs=0.1)


def test_axes_may_be_told_different_things():
    body = fly("x500_sim", CascadeGains(), Target((NAN, NAN, 3.0), (0.5, -0.5, NAN)), seconds=5.0)
    assert body.state.linear_velocity[:2] == pytest.approx([0.5, -0.5], abs=0.1)
    assert body.state.position[2] == pytest.approx(3.0, abs=0.15)
    assert not Target(UNSET, (0.5, -0.5, NAN)).is_complete


def test_a_pose_from_outside_that_is_absurd_or_too_old_is_not_believed():
    estimator = Estimator(seed=0, step_s=STEP_S)
    estimator.needs_external = True
    state = make_state(position=(0.0, 0.0, 1.0)).packed
    for i in range(200):
        estimator.advance(state, i * STEP_S)
    assert not estimator.has_position
    good, level = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0])
    estimator.external(good, level, 199 * STEP_S)
    assert estimator.has_position
    estimator.external(good + [5.0, 0.0, 0.0], level, 199 * STEP_S)
    estimator.external(good, level, -10.0)
    estimator.external(good * math.nan, level, 199 * STEP_S)
    assert (estimator.accepted, estimator.refused) == (1, 3)
    assert estimator.estimate().position == pytest.approx([0.0, 0.0, 1.0], abs=0.1)
