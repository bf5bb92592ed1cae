"""Protects minimum snap: it passes the waypoints smoothly, nothing is smoother, and references can fly it."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.reference import Hover, sequence
from policies.planning.learning import random_waypoints
from policies.planning.minimum_snap import MinimumSnap
from policies.planning.time_allocation import smoothest

PROBLEMS = random_waypoints(4, seed=3)


def snap_cost(trajectory):
    time = np.linspace(0.0, trajectory.duration_s, 40_001)
    position, _ = trajectory.derivatives(time, 4)
    return np.trapezoid((position[4] ** 2).sum(axis=-1), time)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_passes_the_waypoints_and_is_smooth_there(problem):
    times = problem.lengths_m / 1.3
    trajectory = problem.solve(times)
    at = np.concatenate([[0.0], np.cumsum(times)])
    position, yaw = trajectory.derivatives(at, 0)
    assert position[0] == pytest.approx(problem.position_nodes[:, 0], abs=1e-8)
    assert yaw[0] == pytest.approx(problem.yaw_nodes[:, 0, 0], abs=1e-8)
    inner = at[1:-1]
    before, after = (trajectory.derivatives(inner + shift, 4) for shift in (-1e-9, 1e-9))
    assert before[0] == pytest.approx(after[0], abs=1e-5)
    assert before[1][:3] == pytest.approx(after[1][:3], abs=1e-5)
    for end in (0.0, trajectory.duration_s):
        position, yaw = trajectory.derivatives(np.array([end]), 4)
        assert position[1:] == pytest.approx(0.0, abs=1e-6)
        assert yaw[1:3] == pytest.approx(0.0, abs=1e-6)


def test_nothing_that_passes_the_waypoints_is_smoother():
    problem = PROBLEMS[0]
    best = problem.solve(problem.lengths_m)
    least = snap_cost(best)
    assert problem.cost_and_gradient(problem.lengths_m)[0] == pytest.approx(least, rel=1e-5)
    random = np.random.default_rng(0)
    for _ in range(5):
        # Other weights: as continuous, through the same waypoints, at the same times.
        other = problem.solve(problem.lengths_m, np.exp(random.standard_normal(problem.segments)))
        assert snap_cost(other) > least


def test_weights_are_relative_and_smooth_where_they_are_large():
    problem = PROBLEMS[1]
    times = problem.lengths_m
    weights = np.ones(problem.segments)
    weights[2] = 50.0
    plain, pressed = problem.solve(times), problem.solve(times, weights)
    assert problem.solve(times, 7.0 * weights).position == pytest.approx(pressed.position, abs=1e-7)
    starts = np.concatenate([[0.0], np.cumsum(times)])

    def cost_of(trajectory, k):
        time = np.linspace(starts[k] + 1e-6, starts[k + 1] - 1e-6, 2001)
        return np.trapezoid((trajectory.derivatives(time, 4)[0][4] ** 2).sum(axis=-1), time)

    assert cost_of(pressed, 2) < 0.9 * cost_of(plain, 2)
    assert snap_cost(pressed) > snap_cost(plain)


def test_the_gradient_of_the_cost_is_its_difference():
    problem = PROBLEMS[2]
    times = problem.lengths_m * np.linspace(0.8, 1.3, problem.segments)
    gradient = problem.cost_and_gradient(times)[1]
    for k in range(problem.segments):
        step = np.zeros_like(times)
        step[k] = 1e-5
        difference = problem.cost_and_gradient(times + step)[0] - problem.cost_and_gradient(times - step)[0]
        assert gradient[k] == pytest.approx(difference / 2e-5, rel=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_smoothest_times_beat_others_of_the_same_sum(problem):
    best = smoothest(problem)
    least = problem.cost_and_gradient(best.times_s)[0]
    assert best.duration_s == pytest.approx(problem.lengths_m.sum())
    random = np.random.default_rng(0)
    for _ in range(20):
        times = best.times_s * np.exp(0.2 * random.standard_normal(problem.segments))
        times *= best.duration_s / times.sum()
        assert problem.cost_and_gradient(times)[0] > least * (1.0 - 1e-6)


def test_a_scaled_trajectory_is_the_same_path_at_another_pace():
    trajectory = PROBLEMS[0].solve(PROBLEMS[0].lengths_m)
    slow = trajectory.scaled(2.0)
    time = np.linspace(0.1, trajectory.duration_s - 0.1, 50)
    (position, yaw), (same, heading) = trajectory.derivatives(time, 2), slow.derivatives(2.0 * time, 2)
    for k in range(3):
        assert same[k] * 2.0**k == pytest.approx(position[k], abs=1e-9)
        assert heading[k] * 2.0**k == pytest.approx(yaw[k], abs=1e-9)


def test_a_plan_in_flight_begins_as_the_vehicle_moves():
    problem = PROBLEMS[0]
    old = problem.solve(problem.lengths_m)
    now = 0.4 * old.duration_s
    position, yaw = old.derivatives(np.array([now]), 4)
    ahead = np.array([[0.0, 1.0, 0.2], [2.0, 1.5, 0.0]])
    new = MinimumSnap(
        np.concatenate([position[0], position[0] + ahead]),
        np.array([yaw[0, 0], 0.3, 0.0]),
        start_derivatives=position[1:, 0],
        start_yaw_derivatives=yaw[1:3, 0],
    ).solve(np.array([1.5, 2.5]))
    begun, heading = new.derivatives(np.array([0.0]), 4)
    assert begun == pytest.approx(position, abs=1e-7)
    assert heading[:3] == pytest.approx(yaw[:3], abs=1e-7)


def test_it_is_a_reference_that_can_follow_another():
    problem = PROBLEMS[0]
    trajectory = problem.solve(problem.lengths_m)
    start = tuple(problem.position_nodes[0, 0])
    whole = sequence([Hover(start, duration_s=2.0), trajectory])
    assert whole.duration_s == pytest.approx(2.0 + trajectory.duration_s)
    assert whole.sample(1.0).position_m == pytest.approx(start)
    reference = whole.sample(2.0 + 0.5 * trajectory.duration_s)
    ahead = whole.sample(2.0 + 0.5 * trajectory.duration_s + 1e-4)
    assert (ahead.position_m - reference.position_m) / 1e-4 == pytest.approx(reference.velocity_m_s, abs=1e-2)
    assert isinstance(reference.yaw_rad, float)
    after = whole.sample(100.0 + trajectory.duration_s)
    assert after.position_m == pytest.approx(problem.position_nodes[-1, 0])
    assert after.velocity_m_s.tolist() == [0.0, 0.0, 0.0]


def test_headings_turn_the_short_way():
    problem = MinimumSnap(np.array([[0.0, 0, 1], [1, 0, 1], [2, 0, 1]]), np.array([3.0, -3.0, -2.9]))
    trajectory = problem.solve(np.array([2.0, 2.0]))
    _, yaw = trajectory.derivatives(np.linspace(0.0, 4.0, 100), 0)
    assert np.abs(yaw[0] - 3.2).max() < 0.5


def test_two_waypoints_are_enough():
    trajectory = smoothest(MinimumSnap(np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0]])))
    assert trajectory.duration_s == pytest.approx(2.0)
    assert trajectory.sample(1.0).position_m == pytest.approx([1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("points", "yaw", "text"),
    [
        ([[0, 0, 1]], None, "waypoints of shape (1, 3)"),
        ([[0, 0, 1], [1, 0, 1]], [0.0], "headings of shape (1,)"),
        ([[0, 0, 1], [1, 0, 1], [1, 0, 1]], None, "waypoints 1 and 2 are at one place"),
        ([[0, 0, 1], [np.nan, 0, 1]], None, "a waypoint is not finite"),
    ],
)
def test_waypoints_that_are_none_are_refused(points, yaw, text):
    with pytest.raises(ConfigError) as error:
        MinimumSnap(np.array(points, float), None if yaw is None else np.array(yaw))
    assert text in str(error.value)


@pytest.mark.parametrize("times", [[1.0], [1.0, -1.0], [1.0, np.inf]])
def test_times_that_are_none_are_refused(times):
    problem = MinimumSnap(np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1]]))
    with pytest.raises(ConfigError, match="2 positive numbers"):
        problem.solve(np.array(times))
