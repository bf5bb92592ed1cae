"""Protects planning for a policy: what the oracle calls followed, and that planners stay within limits."""

import math

import numpy as np
import pytest

from hardware.reference import FigureEight
from policies.planning import Limits, MinimumSnap, Oracle, Planner, smoothest
from policies.raptor.fleet import FleetPilot


@pytest.fixture(scope="module")
def oracle():
    return Oracle(FleetPilot.load())


def around(seed, points=4):
    """Waypoints about two metres apart, so that flights are short."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((points - 1, 3)) * [1.0, 1.0, 0.3]
    steps *= 2.0 / np.linalg.norm(steps, axis=1, keepdims=True)
    places = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return MinimumSnap(places, np.cumsum(random.uniform(-0.3, 0.3, points)))


SQUARE = MinimumSnap(
    np.array([[0.0, 0, 1], [2, 0, 1], [2, 2, 1.5], [0, 2, 1], [0, 0, 1]]), np.array([0.0, 0.3, 0.6, 0.3, 0.0])
)


def test_a_slow_flight_is_followed_and_a_quick_one_is_not(oracle):
    shape = smoothest(SQUARE)
    flight = oracle.fly([shape.scaled(factor) for factor in (2.0, 1.0, 0.35)])
    followed = flight.feasible(Limits())
    assert followed.tolist() == [True, True, False]
    assert flight.worst_position_m[0] < 0.08 < flight.worst_position_m[1] < flight.worst_position_m[2]
    # After a trajectory's end nothing is judged.
    assert np.isnan(flight.position_error_m[-1, 2]).all()
    assert not np.isnan(flight.position_error_m[-2, 0]).any()


def test_a_lost_vehicle_is_infinitely_far_or_far_away(oracle):
    flight = oracle.fly([smoothest(SQUARE).scaled(0.1)])
    assert flight.worst_position_m[0] > 1.0
    assert not flight.feasible(Limits()).any()


def test_headings_are_followed_within_their_limit(oracle):
    turning = MinimumSnap(np.array([[0.0, 0, 1], [1, 0, 1]]), np.array([0.0, 1.5]))
    slow, quick = oracle.fly([turning.solve(np.array([8.0])), turning.solve(np.array([1.0]))]).worst_yaw_rad
    assert slow < math.radians(8.0)
    assert quick > math.radians(15.0)


def test_the_figure_eight_s_known_error_comes_out(oracle):
    # Specs of RAPTOR, section 3.3: 0.169 m RMSE at 5.5 s a loop, x500_real.
    eight = FigureEight((0.0, 0.0, 0.0), 5.5, duration_s=5.5 * 3)

    class Path:
        duration_s = eight.duration_s

        def derivatives(self, t_s, order):
            points = [eight.sample(t) for t in t_s]
            position = np.stack([[p.position_m for p in points], [p.velocity_m_s for p in points]])
            return position, np.zeros((2, len(t_s)))

    flight = oracle.fly([Path()])
    error = np.linalg.norm(flight.position_error_m[100:-100, 0], axis=-1)
    assert np.sqrt((error**2).mean()) == pytest.approx(0.169, abs=0.01)


def test_the_least_time_is_at_the_limit(oracle):
    shape = smoothest(SQUARE)
    factor = oracle.fastest([shape], candidates=6, rounds=3)[0]
    assert oracle.fly([shape.scaled(factor)]).feasible(Limits()).all()
    assert not oracle.fly([shape.scaled(0.97 * factor)]).feasible(Limits()).any()
    assert math.isnan(oracle.fastest([shape], slowest=0.3, quickest=0.2, candidates=2, rounds=1)[0])


@pytest.fixture(scope="module")
def planners(oracle):
    known = [around(seed) for seed in range(12)]
    lagging = Planner.learn(oracle, known)
    return lagging, Planner.learn(oracle, known, lag=lagging.errors)


def test_planners_stay_near_the_limits_unseen_and_telling_ahead_is_quicker(oracle, planners):
    problems = [around(seed) for seed in range(100, 108)]
    durations = []
    for planner in planners:
        flown = [planner.trajectory(problem) for problem in problems]
        worst = oracle.fly(flown, told=planner.told).worst_position_m
        assert np.mean(worst <= 0.2) >= 0.5
        assert worst.max() < 0.3
        assert worst.min() > 0.08
        durations.append(np.mean([trajectory.duration_s for trajectory in flown]))
    assert durations[1] < 0.85 * durations[0]


def test_a_plan_is_what_the_policy_is_told(planners):
    lagging, leading = planners
    # RAPTOR lags behind accelerations by about a tenth of a second squared.
    assert lagging.errors.level[1] == pytest.approx(0.095, abs=0.02)
    assert lagging.plan(SQUARE).sample(1.0).position_m.shape == (3,)
    told, meant = leading.plan(SQUARE), leading.trajectory(SQUARE)
    time = np.linspace(0.5, meant.duration_s - 0.5, 40)
    ahead = told.derivatives(time, 0)[0][0] - meant.derivatives(time, 0)[0][0]
    acceleration = meant.derivatives(time, 2)[0][2]
    assert np.corrcoef(ahead[:, 0], acceleration[:, 0])[0, 1] > 0.8
    # At rest it is told to be where it is to be.
    for t in (0.0, told.duration_s):
        assert told.sample(t).position_m == pytest.approx(meant.sample(t).position_m, abs=1e-6)
