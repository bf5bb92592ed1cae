"""Smooth piecewise polynomials through waypoints, written in their derivatives there: one linear system.

A polynomial of degree 2 m - 1 on a segment is told by its value and m - 1 derivatives at both ends.
The integral of a squared
derivative is then a quadratic form in the derivatives at the waypoints, and the best derivatives at the inner
ones solve a linear system. Method: Bry, Richter, Bachrach and Roy, "Aggressive flight of fixed-wing and
quadrotor aircraft in dense indoor environments" (2015), section on unconstrained quadratic programs.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from hardware.command import FloatArray


def powers(share: FloatArray, size: int, order: int) -> FloatArray:
    """Derivatives of 1, s, s^2, ... at several places.

    Args:
        share: places s, shape (M,).
        size: how many powers, from 0 on.
        order: which derivative by s.

    Returns:
        Shape (M, size).
    """
    exponents = np.arange(size)
    factors = np.array([math.perm(i, order) for i in range(size)], np.float64)
    result: FloatArray = factors * share[:, None] ** np.maximum(exponents - order, 0)
    return result


@functools.cache
def end_orders(orders: int) -> FloatArray:
    """Which derivative each number at a segment's two ends is, (2 orders,)."""
    return np.tile(np.arange(float(orders)), 2)


@functools.cache
def to_coefficients(orders: int) -> FloatArray:
    """From derivatives at both ends of a segment of length 1 to its coefficients.

    Args:
        orders: derivatives told at each end, the value itself among them.

    Returns:
        Shape (2 orders, 2 orders).
    """
    share = (np.array([0.0]), np.array([1.0]))
    ends = np.concatenate([powers(s, 2 * orders, k) for s in share for k in range(orders)])
    return np.linalg.inv(ends)


@functools.cache
def quadratic(orders: int, minimised: int) -> FloatArray:
    """From derivatives at both ends of a segment of length 1 to the integral of a squared derivative.

    Args:
        orders: derivatives told at each end, the value itself among them.
        minimised: whose square is integrated.

    Returns:
        A quadratic form, shape (2 orders, 2 orders).
    """
    exponents = np.arange(2 * orders)
    factors = np.array([math.perm(i, minimised) for i in exponents], np.float64)
    total = exponents[:, None] + exponents - 2 * minimised + 1
    integral = np.where(total > 0, np.outer(factors, factors) / np.maximum(total, 1), 0.0)
    form: FloatArray = to_coefficients(orders).T @ integral @ to_coefficients(orders)
    return form


class Spline:
    """The best derivatives at inner waypoints for given times, and the system that they solve.

    Times are taken in units of their mean, for a well-conditioned system; the best derivatives do not change.
    """

    def __init__(self, given: FloatArray, times: FloatArray, weights: FloatArray, minimised: int) -> None:
        """Solve.

        Args:
            given: values and derivatives at the waypoints, (K + 1, orders, axes); what stands for the
                derivatives of inner ones is ignored.
            times: (K,).
            weights: (K,).
            minimised: the derivative whose square is integrated.
        """
        count, orders, axes = given.shape
        self.unit = float(times.mean())
        # From derivatives by time to derivatives by a segment's share, (K, 2 orders).
        self.scale: FloatArray = (times / self.unit)[:, None] ** end_orders(orders)
        strength = weights * (times / self.unit) ** (1 - 2 * minimised)
        matrix = quadratic(orders, minimised)
        # The quadratic form of each segment, (K, 2 orders, 2 orders).
        self.blocks: FloatArray = (
            (strength[:, None] * self.scale)[:, :, None] * matrix * self.scale[:, None, :]
        )
        nodes = given * self.unit ** np.arange(orders)[:, None]
        self._axes, self._orders = axes, orders
        if count > 2:
            nodes[1:-1, 1:] = 0.0
            self._factor = self._factorised()
            nodes[1:-1, 1:] = self._solved(-_at_nodes(self.blocks @ _ends(nodes), orders))
        # Derivatives at both ends of every segment, in units of the mean time, (K, 2 orders, axes).
        self.ends: FloatArray = _ends(nodes)

    @property
    def coefficients(self) -> FloatArray:
        """Of each segment's share, lowest power first, (K, 2 orders, axes)."""
        result: FloatArray = to_coefficients(self._orders) @ (self.scale[:, :, None] * self.ends)
        return result

    @property
    def ends_by_time(self) -> FloatArray:
        """Derivatives at both ends of every segment, by time in seconds, (K, 2 orders, axes)."""
        result: FloatArray = self.ends / self.unit ** end_orders(self._orders)[:, None]
        return result

    def adjoint(self, pull: FloatArray) -> FloatArray:
        """Of a quantity that depends on `ends`: what multiplies a change of the system (adjoint method).

        Args:
            pull: derivative of the quantity by `ends`, (K, 2 orders, axes).

        Returns:
            Multipliers at both ends of every segment, same shape: the quantity changes by minus the product
            of these, the change of `blocks` and `ends`.
        """
        multiplier = np.zeros((len(pull) + 1, self._orders, self._axes))
        if len(pull) > 1:
            multiplier[1:-1, 1:] = self._solved(_at_nodes(pull, self._orders))
        return _ends(multiplier)

    def _factorised(self) -> FloatArray:
        """Cholesky factor of the inner waypoints' system, in LAPACK's lower banded form.

        Its blocks lie on the diagonal and beside it. Banded, it takes a few microseconds; dense and inverted,
        it would wake the threads of the linear algebra library, which cost ten times as much.
        """
        from scipy.linalg import cholesky_banded

        orders, free = self._orders, self._orders - 1
        inner = self.blocks[:-1, orders + 1 :, orders + 1 :] + self.blocks[1:, 1:orders, 1:orders]
        beside = self.blocks[1:-1, 1:orders, orders + 1 :]
        rows, columns = np.tril_indices(free)
        banded = np.zeros((2 * free, len(inner), free))
        banded[rows - columns, :, columns] = inner[:, rows, columns].T
        columns, rows = (index.reshape(-1) for index in np.indices((free, free)))
        banded[free + rows - columns, :-1, columns] = beside[:, columns, rows].T
        flat = banded.reshape(2 * free, -1)
        factor: FloatArray = cholesky_banded(flat, lower=True, overwrite_ab=True, check_finite=False)
        return factor

    def _solved(self, right: FloatArray) -> FloatArray:
        """Solve the inner waypoints' system for a right side told at all waypoints, (K + 1, orders, axes)."""
        from scipy.linalg import cho_solve_banded

        free = right[1:-1, 1:]
        solved: FloatArray = cho_solve_banded(
            (self._factor, True), free.reshape(-1, self._axes), check_finite=False
        )
        return solved.reshape(free.shape)


def _at_nodes(at_ends: FloatArray, orders: int) -> FloatArray:
    """Add up what both segments beside a waypoint say of it: (K, 2 orders, axes) to (K + 1, orders, axes)."""
    nodes = np.zeros((len(at_ends) + 1, orders, at_ends.shape[2]))
    nodes[:-1] += at_ends[:, :orders]
    nodes[1:] += at_ends[:, orders:]
    return nodes


def _ends(nodes: FloatArray) -> FloatArray:
    return np.concatenate([nodes[:-1], nodes[1:]], axis=1)
