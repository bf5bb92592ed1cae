"""The quickest trajectory whose predicted errors stay within their limits, by gradient, in milliseconds.

What is minimised is the logarithm of the whole time at which the worst predicted error is at its limit.
Errors go with a power of the pace (the square, where they go with acceleration), so that this time is the
trajectory's own times that root of its worst ratio of error to limit. Free are MFRL's two (arXiv
2403.08152): each segment's time, and how much its roughness counts. The gradient goes through the
minimum-snap problem by the adjoint of its linear system: an evaluation costs about as much as two solutions.
"""

from __future__ import annotations

import functools

import numpy as np

from hardware.command import FloatArray
from policies.planning.descent import descend
from policies.planning.error_model import PLACES, ErrorModel
from policies.planning.minimum_snap import (
    POSITION_ORDERS,
    SNAP,
    YAW_ACCELERATION,
    YAW_ORDERS,
    MinimumSnap,
    PolynomialTrajectory,
)
from policies.planning.spline import Spline, end_orders, powers, to_coefficients

# The worst of all ratios is smoothed: the sum of their powers of this order takes the maximum's place.
_SHARPNESS = 24.0
# A little slower, to learn how errors go with the pace.
_STEP = 1.02


def quickest(
    problem: MinimumSnap, model: ErrorModel, *, evaluations: int = 16, headroom: float = 1.0
) -> PolynomialTrajectory:
    """Search times and weights.

    Args:
        problem: the waypoints.
        model: predicts the errors of the policy that is to fly it.
        evaluations: how often the objective is evaluated at most; the default takes 8 to 20 ms.
        headroom: share of the limits to use.

    Returns:
        The quickest trajectory found, at the pace at which its worst predicted error is `headroom` of its
        limit.
    """
    # At rest at both ends and limited in acceleration: a segment's time goes with the root of its length.
    first = model.at_limit(problem.solve(2.0 * np.sqrt(problem.lengths_m)), headroom=headroom)
    slower = model.ratios(first.scaled(_STEP)).max() / model.ratios(first).max()
    found = descend(
        functools.partial(objective, problem, model, power=-float(np.log(slower) / np.log(_STEP))),
        np.concatenate([np.log(first.times_s), np.zeros(problem.segments)]),
        evaluations=evaluations,
    )
    times, weights = np.exp(found.reshape(2, -1))
    return model.at_limit(problem.solve(times, weights), headroom=headroom)


def objective(
    problem: MinimumSnap, model: ErrorModel, logs: FloatArray, *, power: float
) -> tuple[float, FloatArray]:
    """Logarithm of the time at the limit, smoothed, and its gradient.

    Args:
        problem: the waypoints, K segments.
        model: predicts the errors.
        logs: logarithms of the times in seconds and of the weights, shape (2 K,).
        power: of the pace that errors go with.

    Returns:
        The value, and the gradient, shape (2 K,).
    """
    times, weights = np.exp(logs.reshape(2, -1))
    position, yaw = problem.splines(times, weights)
    limits = model.limits
    level = _Errors(position, times, model.level, POSITION_ORDERS, slice(0, 2))
    vertical = _Errors(position, times, model.vertical, POSITION_ORDERS, slice(2, 3))
    turned = _Errors(yaw, times, model.yaw, YAW_ORDERS, slice(0, 1))
    along_z = vertical.error[..., 0] + model.sag_m
    distance = ((level.error**2).sum(axis=-1) + along_z**2) / limits.position_m**2
    turn = turned.error[..., 0] ** 2 / limits.yaw_rad**2

    largest = max(distance.max(), turn.max(), 1e-12)
    # A share that is negligible is not divided by.
    shares = [(ratio / largest) ** (0.5 * _SHARPNESS) for ratio in (distance, turn)]
    total = float(shares[0].sum() + shares[1].sum())
    whole = float(times.sum())
    value = np.log(whole) + (0.5 * np.log(largest) + np.log(total) / _SHARPNESS) / power

    pull_distance, pull_turn = (
        share / (power * total * np.maximum(ratio, 1e-9 * largest))
        for share, ratio in zip(shares, (distance, turn), strict=True)
    )
    pull_distance /= limits.position_m**2
    on_times = times / whole
    pull_position = np.zeros_like(position.ends)
    pull_yaw = np.zeros_like(yaw.ends)
    for errors, pull, into in (
        (level, pull_distance[..., None] * level.error, pull_position),
        (vertical, (pull_distance * along_z)[..., None], pull_position),
        (turned, pull_turn[..., None] / limits.yaw_rad**2 * turned.error, pull_yaw),
    ):
        on_times = on_times + errors.pull_back(pull, into)
    on_weights = np.zeros_like(times)
    for spline, pull, orders, minimised in (
        (position, pull_position, POSITION_ORDERS, SNAP),
        (yaw, pull_yaw, YAW_ORDERS, YAW_ACCELERATION),
    ):
        by_time, by_weight = _through(spline, pull, orders, minimised)
        on_times = on_times + by_time
        on_weights += by_weight
    return float(value), np.concatenate([on_times, on_weights])


class _Errors:
    """Predicted errors of some axes at every place of every segment, and their way back."""

    def __init__(
        self, spline: Spline, times: FloatArray, factors: FloatArray, orders: int, axes: slice
    ) -> None:
        count = len(factors)
        self._basis = _bases(orders, count)
        self._spline, self._axes = spline, axes
        self._exponents = end_orders(orders)[:, None]
        self._shape = (len(times), len(PLACES), 2 * orders)
        order = np.arange(1, count + 1)
        self._strength = factors / times[:, None] ** order
        self._slope = -order * self._strength
        self._scaled = spline.scale[:, :, None] * spline.ends[:, :, axes]
        self._map = (self._strength @ self._basis).reshape(self._shape)
        # (K, places, axes), metres or radians.
        self.error: FloatArray = self._map @ self._scaled

    def pull_back(self, pull: FloatArray, into: FloatArray) -> FloatArray:
        """Add what a pull on the errors pulls on the derivatives; return what it pulls on log times."""
        back = self._map.transpose(0, 2, 1) @ pull
        into[:, :, self._axes] += self._spline.scale[:, :, None] * back
        moved = (self._slope @ self._basis).reshape(self._shape) @ self._scaled
        result: FloatArray = (moved * pull).sum(axis=(1, 2)) + (back * self._scaled * self._exponents).sum(
            axis=(1, 2)
        )
        return result


@functools.cache
def _bases(orders: int, count: int) -> FloatArray:
    """Derivatives 1 to `count` at every place from those at a unit segment's ends, one a row."""
    rows = [powers(PLACES, 2 * orders, k) @ to_coefficients(orders) for k in range(1, count + 1)]
    return np.stack(rows).reshape(count, -1)


def _through(spline: Spline, pull: FloatArray, orders: int, minimised: int) -> tuple[FloatArray, FloatArray]:
    """What a pull on the best derivatives pulls on the log times and log weights, through the system."""
    multiplier = spline.adjoint(pull)
    exponents = end_orders(orders)[:, None]
    pressed = spline.blocks @ spline.ends
    product = (multiplier * pressed).sum(axis=(1, 2))
    by_time = (1 - 2 * minimised) * product
    by_time = by_time + (exponents * multiplier * pressed).sum(axis=(1, 2))
    by_time = by_time + (multiplier * (spline.blocks @ (exponents * spline.ends))).sum(axis=(1, 2))
    return -by_time, -product
