"""Plain minimum snap: the whole time shared out by smoothness alone. What `search` is compared with."""

from __future__ import annotations

import numpy as np

from hardware.command import FloatArray
from policies.planning.descent import descend
from policies.planning.minimum_snap import MinimumSnap, PolynomialTrajectory

# Shares of the whole time that no segment goes below, for the searches' sake.
_LEAST_SHARE = 1e-3


def smoothest(problem: MinimumSnap, *, evaluations: int = 40) -> PolynomialTrajectory:
    """Share a given time out so that the integral of squared snap is least: plain minimum snap.

    The best shares do not depend on the whole time, so that the trajectory is to be scaled afterwards. Found
    by L-BFGS over the logarithms of the times, with the whole held at one second a metre.

    Args:
        problem: the waypoints.
        evaluations: how often the cost is evaluated at most; the default comes within a per cent of the best.

    Returns:
        The trajectory, at a mean of 1 m/s between waypoints.
    """
    whole = float(problem.lengths_m.sum())
    scale = problem.cost_and_gradient(problem.lengths_m)[0]

    def times_of(logits: FloatArray) -> FloatArray:
        share = np.exp(logits - logits.max())
        share = np.maximum(share / share.sum(), _LEAST_SHARE)
        times: FloatArray = whole * share / share.sum()
        return times

    def value(logits: FloatArray) -> tuple[float, FloatArray]:
        times = times_of(logits)
        cost, gradient = problem.cost_and_gradient(times)
        # The logarithm of the cost, which spans many orders of magnitude; through the softmax.
        pull = gradient * times / cost
        return float(np.log(cost / scale)), pull - times / whole * pull.sum()

    # Limited in acceleration rather than in speed: a segment's time goes with the root of its length.
    found = descend(value, 0.5 * np.log(problem.lengths_m), evaluations=evaluations)
    return problem.solve(times_of(found))
