"""Protects the outer loop: it flies a vehicle with lag and delay to its place, its signs are right, its
bounds hold, and the throttle that hovers is learnt from any first guess."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drones.outer_loop import GRAVITY_M_S2, HoverThrottle, OuterLoop, OuterLoopSettings, Setpoint
from hardware.errors import ConfigError
from hardware.frames import quaternion_multiply, rotation_matrix, yaw_of, yaw_quaternion
from hardware.reference import FigureEight

STEP_S = 0.01


class RateVehicle:
    """A point mass behind a flight controller: rates and thrust follow with a lag, after a delay."""

    def __init__(self, *, lag_s=0.05, delay_s=0.05, yaw_rad=0.0, force_m_s2=(0.0, 0.0, 0.0)):
        self.position, self.velocity = np.zeros(3), np.zeros(3)
        self.orientation = yaw_quaternion(yaw_rad)
        self.rates, self.thrust = np.zeros(3), 1.0
        self._lag_s, self._force = lag_s, np.array(force_m_s2)
        self._under_way = [((0.0, 0.0, 0.0), 1.0)] * round(delay_s / STEP_S)

    def step(self, control):
        self._under_way.append((control.rates_rad_s, control.thrust))
        rates, thrust = self._under_way.pop(0)
        share = STEP_S / self._lag_s
        self.rates += share * (np.array(rates) - self.rates)
        self.thrust += share * (thrust - self.thrust)
        turn = np.concatenate([[1.0], 0.5 * STEP_S * self.rates])
        self.orientation = quaternion_multiply(self.orientation, turn / np.linalg.norm(turn))
        up = rotation_matrix(self.orientation)[:, 2]
        acceleration = GRAVITY_M_S2 * (self.thrust * up - np.array([0, 0, 1.0])) + self._force
        self.velocity += STEP_S * acceleration
        self.position += STEP_S * self.velocity

    def fly(self, loop, setpoint, seconds):
        for step in range(round(seconds / STEP_S)):
            goal = setpoint(step * STEP_S) if callable(setpoint) else setpoint
            self.step(
                loop.update(
                    goal,
                    position_m=self.position,
                    velocity_m_s=self.velocity,
                    orientation_wxyz=self.orientation,
                    dt_s=STEP_S,
                )
            )


def at(x, y, z, yaw=0.0):
    return Setpoint(np.array([x, y, z]), np.zeros(3), yaw)


@pytest.mark.parametrize("yaw", [0.0, 1.5, 3.1, -2.0])
@pytest.mark.parametrize("place", [(1.0, 0.0, 0.5), (0.0, -2.0, 1.0), (-3.0, 3.0, 0.0)])
def test_it_reaches_a_place_whatever_its_heading(yaw, place):
    vehicle = RateVehicle(yaw_rad=yaw)
    vehicle.fly(OuterLoop(), at(*place, yaw=yaw), 8.0)
    assert vehicle.position == pytest.approx(place, abs=0.03)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1])
def test_it_stays_stable_with_a_tenth_of_a_second_of_delay(delay):
    vehicle = RateVehicle(delay_s=delay)
    vehicle.fly(OuterLoop(), at(1.0, 1.0, 1.0), 10.0)
    assert np.linalg.norm(vehicle.velocity) < 0.05
    assert np.linalg.norm(vehicle.rates) < 0.05


def test_it_tracks_the_papers_figure_eight():
    figure = FigureEight((0.0, 0.0, 0.0), period_s=5.5, duration_s=12.0)
    vehicle, loop, errors = RateVehicle(), OuterLoop(), []

    def goal(t):
        wanted = figure.sample(t)
        errors.append(vehicle.position - wanted.position_m)
        return Setpoint(wanted.position_m, wanted.velocity_m_s, wanted.yaw_rad)

    vehicle.fly(loop, goal, 12.0)
    assert np.sqrt((np.array(errors) ** 2).sum(axis=1).mean()) < 0.2


def test_a_lasting_force_leaves_no_lasting_error():
    vehicle = RateVehicle(force_m_s2=(0.8, -0.5, -1.0))
    vehicle.fly(OuterLoop(), at(0.0, 0.0, 0.0), 20.0)
    assert vehicle.position == pytest.approx([0, 0, 0], abs=0.05)


def test_it_turns_the_short_way_to_a_heading():
    vehicle = RateVehicle(yaw_rad=3.0)
    vehicle.fly(OuterLoop(), at(0.0, 0.0, 0.0, yaw=-3.0), 0.5)
    assert vehicle.rates[2] > 0.1
    vehicle.fly(OuterLoop(), at(0.0, 0.0, 0.0, yaw=-3.0), 5.0)
    assert math.remainder(yaw_of(vehicle.orientation) + 3.0, math.tau) == pytest.approx(0.0, abs=0.02)


finite = st.floats(-50.0, 50.0)


@given(
    st.tuples(finite, finite, finite),
    st.tuples(finite, finite, finite),
    st.lists(finite, min_size=4, max_size=4),
)
def test_the_answer_stays_within_its_bounds(position, velocity, quaternion):
    q = np.array(quaternion)
    if np.linalg.norm(q) < 1e-3:
        return
    s = OuterLoopSettings()
    control = OuterLoop(s).update(
        at(0.0, 0.0, 0.0),
        position_m=np.array(position),
        velocity_m_s=np.array(velocity),
        orientation_wxyz=q / np.linalg.norm(q),
        dt_s=STEP_S,
    )
    assert s.min_thrust <= control.thrust <= s.max_thrust
    assert max(abs(r) for r in control.rates_rad_s[:2]) <= s.max_rate_rad_s
    assert abs(control.rates_rad_s[2]) <= s.max_yaw_rate_rad_s


def test_on_the_ground_nothing_is_remembered():
    loop = OuterLoop()
    for _ in range(500):
        loop.update(
            at(0.0, 0.0, 1.0),
            position_m=np.zeros(3),
            velocity_m_s=np.zeros(3),
            orientation_wxyz=np.array([1.0, 0, 0, 0]),
            dt_s=STEP_S,
            flying=False,
        )
    assert loop.memory["integral"] == pytest.approx([0, 0, 0])


def test_what_lasts_can_be_carried_over():
    first, second = OuterLoop(), OuterLoop()
    vehicle = RateVehicle(force_m_s2=(1.0, 0.0, 0.0))
    vehicle.fly(first, at(0.5, 0.0, 0.0), 3.0)
    second.recall(first.memory)
    arguments = {
        "position_m": vehicle.position,
        "velocity_m_s": vehicle.velocity,
        "orientation_wxyz": vehicle.orientation,
        "dt_s": STEP_S,
    }
    assert first.update(at(0.5, 0, 0), **arguments) == second.update(at(0.5, 0, 0), **arguments)


@pytest.mark.parametrize("truth", [0.1, 0.3, 0.7])
def test_the_throttle_that_hovers_is_learnt(truth):
    hover = HoverThrottle(0.3)
    for step in range(1500):
        asked = 1.0 + 0.2 * math.sin(0.02 * step)
        # What it feels is the share of the throttle over the true one.
        hover.update(asked, GRAVITY_M_S2 * asked * hover.share / truth, STEP_S)
    assert hover.share == pytest.approx(truth, rel=0.05)


def test_a_take_off_finds_the_throttle_from_a_guess_that_is_too_low():
    hover = HoverThrottle(0.1)
    for _ in range(300):
        hover.climb(STEP_S)
    assert hover.share > 0.5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"attitude_per_s": 0.0}, "attitude_per_s is 0.0"),
        ({"max_thrust": 0.9}, "bounds around 1"),
        ({"max_tilt_rad": 1.6}, "a tilt below a quarter turn"),
        ({"velocity_per_s": float("nan")}, "velocity_per_s is nan"),
    ],
)
def test_gains_that_cannot_fly_are_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        OuterLoopSettings(**change)
