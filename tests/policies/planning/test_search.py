"""Protects the search for times: its gradient, its descent, what it gains, and the model that it trusts."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.planning import ErrorModel, Limits, quickest, smoothest
from policies.planning.descent import descend
from policies.planning.learning import random_waypoints
from policies.planning.oracle import Flight
from policies.planning.search import objective

# A policy that lags where it accelerates, about as RAPTOR does with an x500.
LAG = ErrorModel(
    Limits(),
    level=np.array([0.0, 0.095, -0.034, 0.008]),
    vertical=np.array([0.0, -0.003, 0.003, -0.001]),
    sag_m=0.018,
    yaw=np.array([0.37, -0.11, 0.02]),
)
PROBLEMS = random_waypoints(6, seed=11)


@pytest.mark.parametrize("problem", PROBLEMS[:3])
def test_the_gradient_is_that_of_a_difference(problem):
    count = problem.segments
    logs = np.concatenate([np.log(problem.lengths_m), 0.3 * np.random.default_rng(0).standard_normal(count)])
    gradient = objective(problem, LAG, logs, power=2.3)[1]
    for k in range(2 * count):
        step = np.zeros(2 * count)
        step[k] = 1e-5
        above, below = (objective(problem, LAG, logs + sign * step, power=2.3)[0] for sign in (1.0, -1.0))
        assert gradient[k] == pytest.approx((above - below) / 2e-5, abs=1e-6)


@pytest.mark.parametrize("headroom", [1.0, 0.8])
def test_what_is_found_is_at_its_limit_and_passes_the_waypoints(headroom):
    for problem in PROBLEMS:
        trajectory = quickest(problem, LAG, headroom=headroom)
        assert LAG.ratios(trajectory).max() == pytest.approx(headroom, rel=0.01)
        at = np.concatenate([[0.0], np.cumsum(trajectory.times_s)])
        assert trajectory.derivatives(at, 0)[0][0] == pytest.approx(problem.position_nodes[:, 0], abs=1e-6)


def test_it_is_quicker_than_plain_minimum_snap():
    gained = [
        quickest(problem, LAG).duration_s / LAG.at_limit(smoothest(problem)).duration_s
        for problem in PROBLEMS
    ]
    assert np.mean(gained) < 0.95
    assert max(gained) < 1.02


def test_descent_finds_a_narrow_valley_s_floor():
    def rosenbrock(place):
        x, y = place
        value = (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2
        return value, np.array([-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)])

    asked = []

    def counted(place):
        asked.append(place)
        return rosenbrock(place)

    assert descend(counted, np.array([-1.2, 1.0]), evaluations=100) == pytest.approx([1.0, 1.0], abs=1e-4)
    asked.clear()
    few = descend(counted, np.array([-1.2, 1.0]), evaluations=8)
    assert len(asked) == 8
    assert rosenbrock(few)[0] == min(rosenbrock(place)[0] for place in asked)


def test_the_model_finds_the_factors_that_made_the_errors():
    trajectories = [LAG.at_limit(smoothest(problem)) for problem in PROBLEMS]
    flight = made_up_flight(trajectories, LAG, noise=0.002)
    found = ErrorModel.fit([(trajectories, flight)], Limits())
    assert found.level == pytest.approx(LAG.level, abs=1e-3)
    assert found.vertical == pytest.approx(LAG.vertical, abs=1e-3)
    assert found.sag_m == pytest.approx(LAG.sag_m, abs=1e-3)
    assert found.yaw == pytest.approx(LAG.yaw, abs=1e-2)


def test_a_model_is_not_made_of_flights_that_failed():
    trajectories = [LAG.at_limit(smoothest(problem)).scaled(0.3) for problem in PROBLEMS]
    flight = made_up_flight(trajectories, LAG, noise=0.0)
    with pytest.raises(ConfigError, match="0 of the trajectories were followed"):
        ErrorModel.fit([(trajectories, flight)], Limits())


def made_up_flight(trajectories, model, noise):
    """What would be flown if the model were the truth."""
    random = np.random.default_rng(0)
    time = np.arange(0.0, max(t.duration_s for t in trajectories), 0.02)
    position = np.full((len(time), len(trajectories), 3), np.nan)
    yaw = np.full((len(time), len(trajectories)), np.nan)
    for m, trajectory in enumerate(trajectories):
        flown = time <= trajectory.duration_s
        derivatives, heading = trajectory.derivatives(time[flown], 4)
        error = np.einsum("k,kmx->mx", model.level, derivatives[1:])
        error[:, 2] = model.sag_m + np.einsum("k,km->m", model.vertical, derivatives[1:, :, 2])
        position[flown, m] = error + noise * random.standard_normal(error.shape)
        yaw[flown, m] = np.einsum("k,km->m", model.yaw, heading[1:4])
    return Flight(time, position, yaw)
