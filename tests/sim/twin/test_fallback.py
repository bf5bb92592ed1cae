"""Protects the quadrotor's own way down: signs, priorities, recovery and landing on every airframe."""

import math

import numpy as np
import pytest

from hardware.cards import load_robot_card
from sim.quadrotor import airframe_names, load_airframe, make_state
from sim.twin import NONE
from sim.twin.fallback import LandingController, LandingGains
from sim.twin.quadrotor import QuadrotorTwin

X500 = load_airframe("x500_real")
SINKING = (0.0, 0.0, -LandingGains().descent_m_s)
MS = 1_000_000


def efforts(airframe=X500, on_ground=False, controller=None, **state):
    controller = controller or LandingController(airframe)
    state = {"effort": airframe.hover_effort, "linear_velocity": SINKING} | state
    return np.array(controller.efforts(make_state(**state), on_ground=on_ground, dt_s=0.01))


def wrench(airframe, setpoint):
    """What the rotors would give at those set-points: collective thrust and torques."""
    return airframe.mixer @ airframe.thrust(setpoint)


def about(axis, angle):
    return (math.cos(angle / 2), *(math.sin(angle / 2) * np.asarray(axis, dtype=float)))


@pytest.mark.parametrize("name", airframe_names())
def test_a_steady_descent_is_flown_at_hover_effort(name):
    airframe = load_airframe(name)
    assert efforts(airframe) == pytest.approx([airframe.hover_effort] * 4)


@pytest.mark.parametrize(
    ("state", "row", "sign"),
    [
        ({"orientation": about((1, 0, 0), 0.3)}, 1, -1),
        ({"orientation": about((0, 1, 0), -0.3)}, 2, 1),
        ({"angular_velocity": (1.0, 0, 0)}, 1, -1),
        ({"angular_velocity": (0, -1.0, 0)}, 2, 1),
        ({"angular_velocity": (0, 0, 1.0)}, 3, -1),
        # Braking: moving forward pitches nose up (-y), moving left rolls right (+x).
        ({"linear_velocity": (1.0, 0, -0.4)}, 2, -1),
        ({"linear_velocity": (0, 1.0, -0.4)}, 1, 1),
        # Sinking too fast, or not yet sinking.
        ({"linear_velocity": (0, 0, -2.0)}, 0, 1),
        ({"linear_velocity": (0, 0, 0.0)}, 0, -1),
    ],
)
def test_every_correction_has_the_right_sign(state, row, sign):
    change = wrench(X500, efforts(**state)) - wrench(X500, np.full(4, X500.hover_effort))
    assert sign * change[row] > 1e-3


@pytest.mark.parametrize("name", airframe_names())
def test_setpoints_are_efforts_whatever_the_state(name):
    airframe, random = load_airframe(name), np.random.default_rng(0)
    for _ in range(500):
        setpoint = efforts(
            airframe,
            orientation=random.normal(size=4),
            linear_velocity=10 * random.normal(size=3),
            angular_velocity=20 * random.normal(size=3),
            effort=random.uniform(size=4),
        )
        assert np.isfinite(setpoint).all()
        assert (setpoint >= 0).all()
        assert (setpoint <= 1).all()


def test_upside_down_it_turns_over_without_pushing_itself_down():
    setpoint = efforts(orientation=(0, 1, 0, 0), effort=0.0)
    force = wrench(X500, setpoint)
    assert abs(force[1]) > 1.0
    assert force[0] < 0.6 * X500.max_thrust_n


def test_tilt_comes_before_lift_and_lift_before_heading():
    stiff = LandingGains(motor_s=X500.rising_s, attitude_rad_s=25.0)
    falling = {"linear_velocity": (0, 0, -20.0), "controller": LandingController(X500, stiff)}
    level = wrench(X500, efforts(**falling))
    tilted = wrench(X500, efforts(orientation=about((1, 0, 0), 1.0), **falling))
    spinning = wrench(X500, efforts(angular_velocity=(0, 0, 50.0), **falling))
    assert level[0] == pytest.approx(X500.mass_kg * (9.81 + stiff.max_up_m_s2))
    assert tilted[1] == pytest.approx(-0.17678 * 2 * X500.thrust_n[2])
    assert tilted[0] == pytest.approx(2 * X500.thrust_n[2])
    assert tilted[3] == pytest.approx(0)
    assert spinning[0] == pytest.approx(level[0])
    assert spinning[3] < -1.0


def test_motors_are_cut_after_a_moment_on_the_ground_and_stay_off():
    controller = LandingController(X500)
    assert efforts(controller=controller).all()
    for _ in range(9):
        assert efforts(controller=controller, on_ground=True).all()
    # A bounce starts the count again.
    assert efforts(controller=controller).all()
    for _ in range(9):
        assert efforts(controller=controller, on_ground=True).all()
    assert not efforts(controller=controller, on_ground=True).any()
    assert not efforts(controller=controller).any()
    controller.reset()
    assert efforts(controller=controller).all()


def test_a_landing_that_begins_at_rest_on_the_ground_is_over_at_once():
    assert not efforts(on_ground=True, linear_velocity=(0.0, 0.1, 0.0)).any()
    assert efforts(on_ground=True, linear_velocity=(3.0, 0.0, 0.0)).all()


def tilt_of(state):
    _, x, y, _ = state.orientation
    return math.acos(min(1.0, max(-1.0, 1 - 2 * (x * x + y * y))))


@pytest.mark.parametrize("name", airframe_names())
@pytest.mark.parametrize("heading", [0.4, 3.5])
def test_every_airframe_recovers_from_60_degrees_at_3_m_s_and_lands(name, heading):
    twin = QuadrotorTwin(load_robot_card("quadrotor_twin"), seed=0, airframe=name, latency=NONE)
    # Thrown in the direction in which it is tilted: the worst case.
    direction = np.array([math.cos(heading), math.sin(heading), 0.0])
    axis = (-direction[1], direction[0], 0.0)
    twin.place(
        make_state(
            position=(0, 0, 5.0),
            orientation=about(axis, math.radians(60)),
            linear_velocity=3 * direction,
            effort=twin.airframe.hover_effort,
        )
    )
    twin.safe_stop("test")
    states = []
    for step in range(1, 2500):
        twin.advance(step * 10 * MS)
        states.append(twin.state)
        if twin.on_ground and not any(twin.world.setpoint):
            break
    touch = next(n for n, state in enumerate(states) if state.position[2] < states[-1].position[2] + 0.002)
    tilt = np.array([tilt_of(state) for state in states])
    velocity = np.array([state.linear_velocity for state in states])
    level = next(n for n in range(touch) if (tilt[n:touch] < 0.1).all() and np.hypot(*velocity[n, :2]) < 0.3)
    assert level < 320
    assert np.median(velocity[level:touch, 2]) == pytest.approx(-0.4, abs=0.02)
    assert np.hypot(*velocity[touch - 1, :2]) < 0.1
    assert abs(velocity[touch - 1, 2]) < 0.5
    assert np.linalg.norm(states[-1].position[:2]) < 5.5
    assert tilt[-1] < 0.05
    # It stays down, upright, with its motors off.
    twin.advance(twin.now_ns + 2000 * MS)
    assert twin.on_ground
    assert tilt_of(twin.state) < 0.02
    assert max(twin.world.effort) < 0.01
