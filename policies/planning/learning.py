"""Learning a policy's errors from its flights, through random waypoints for example."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from policies.planning.error_model import ErrorModel
from policies.planning.minimum_snap import MinimumSnap, PolynomialTrajectory
from policies.planning.oracle import Oracle, Telling
from policies.planning.search import quickest
from policies.planning.time_allocation import smoothest

# MFRL's waypoints (arXiv 2403.08152): 5 to 14 of them in a box of 9 m by 9 m by 3 m.
_COUNTS = (5, 14)
_BOX_M = np.array([9.0, 9.0, 3.0])
# Headings differ from one waypoint to the next by up to this; waypoints are at least so far apart.
_TURN_RAD, _APART_M = math.radians(30.0), 1.0


def random_waypoints(count: int, *, seed: int) -> list[MinimumSnap]:
    """Draw lists of waypoints.

    Args:
        count: how many lists.
        seed: the same seed draws the same lists.

    Returns:
        Their minimum-snap problems, from rest to rest.
    """
    random = np.random.default_rng(seed)
    problems = []
    for _ in range(count):
        points = [random.uniform(-0.5, 0.5, 3) * _BOX_M]
        for _ in range(random.integers(_COUNTS[0] - 1, _COUNTS[1])):
            following = points[-1]
            while np.linalg.norm(following - points[-1]) < _APART_M:
                following = random.uniform(-0.5, 0.5, 3) * _BOX_M
            points.append(following)
        turns = random.uniform(-_TURN_RAD, _TURN_RAD, len(points))
        problems.append(MinimumSnap(np.array(points), np.cumsum(turns)))
    return problems


def learn_errors(
    oracle: Oracle, problems: Sequence[MinimumSnap], *, told: Telling | None = None
) -> ErrorModel:
    """Fly trajectories near their limits, and fit the errors that they have there.

    First plain minimum snap; then what the search makes of the model so far besides, so that the model knows
    what it will be asked about.

    Args:
        oracle: who flies.
        problems: waypoints as they will be planned, at least three.
        told: what the policy is told instead of the trajectory; the errors are then those that remain.

    Returns:
        The model.

    Raises:
        ConfigError: fewer than three trajectories were followed.
    """
    # At 1 m/s from waypoint to waypoint.
    flights = [oracle.near_limit([smoothest(problem) for problem in problems], told=told)]
    model = ErrorModel.fit(flights, oracle.limits)
    searched = [quickest(problem, model) for problem in problems]
    flights.append(oracle.near_limit(searched, told=told))
    return ErrorModel.fit(flights, oracle.limits)


def learn_headroom(
    oracle: Oracle,
    errors: ErrorModel,
    planned: Sequence[PolynomialTrajectory],
    *,
    told: Telling | None = None,
    share: float = 0.95,
) -> float:
    """Find how much of the limits a predicted error may take, so that most plans are followed unseen.

    Args:
        oracle: who flies.
        errors: predicts the errors.
        planned: trajectories through waypoints that `errors` was not learned from.
        told: what the policy is told instead of the trajectory.
        share: of the trajectories that are to be followed.

    Returns:
        The headroom: predicted over flown error near the limits; only 1 - `share` of the trajectories have
        less.
    """
    near, flight = oracle.near_limit(planned, told=told, rounds=3)
    predicted = np.array([errors.ratios(trajectory).max() for trajectory in near])
    return float(np.quantile(predicted / flight.ratios(oracle.limits), 1.0 - share))
