"""Minimum-snap trajectories through waypoints, in closed form.

Between two waypoints position is a polynomial of degree 9 and heading one of degree 5. Among all that pass
through the waypoints with continuous derivatives (up to the fourth for position, up to the second for
heading), those are taken that minimise the weighted sum of the segments' integrals of squared snap and of
squared heading acceleration. Written in the derivatives at the waypoints it is a quadratic problem without
constraints: one linear system, the same for the three axes. Degrees and orders: MFRL (arXiv 2403.08152);
method: Bry, Richter, Bachrach and Roy, "Aggressive flight of fixed-wing and quadrotor aircraft" (2015).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.reference import Reference
from policies.planning.spline import Spline, end_orders, powers, quadratic

# Derivatives told at each end of a segment, the value itself among them: degrees 9 and 5.
POSITION_ORDERS, YAW_ORDERS = 5, 3
# Derivative whose square is minimised.
SNAP, YAW_ACCELERATION = 4, 2


@dataclass(frozen=True, eq=False)
class PolynomialTrajectory:
    """Polynomials of normalised time, segment after segment; a `hardware.reference.Trajectory`.

    Before its start and after its end it rests at the first and the last waypoint.
    """

    # Time of each segment, seconds, shape (K,).
    times_s: FloatArray
    # Coefficients of x, y, z in metres, lowest power first, shape (K, 10, 3).
    position: FloatArray
    # Coefficients of the heading in radians, shape (K, 6).
    yaw: FloatArray

    @functools.cached_property
    def _starts(self) -> FloatArray:
        return np.concatenate([[0.0], np.cumsum(self.times_s)])

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds."""
        return float(self._starts[-1])

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        position, yaw = self.derivatives(np.array([t_s]), 1)
        return Reference(position[0, 0], position[1, 0], float(yaw[0, 0]))

    def derivatives(self, t_s: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
        """Give position and heading with their derivatives at several times.

        Args:
            t_s: times since the start, seconds, shape (M,).
            order: highest derivative.

        Returns:
            Position, shape (order + 1, M, 3), in metres, metres a second, and so on; heading, shape
            (order + 1, M), radians. Outside the trajectory the derivatives are zero.
        """
        t = np.clip(t_s, 0.0, self.duration_s)
        segment = np.clip(np.searchsorted(self._starts, t, side="right") - 1, 0, len(self.times_s) - 1)
        times = self.times_s[segment]
        share = (t - self._starts[segment]) / times
        position = np.empty((order + 1, len(t), 3))
        yaw = np.empty((order + 1, len(t)))
        for k in range(order + 1):
            position[k] = np.einsum("mi,mix->mx", powers(share, 10, k), self.position[segment])
            position[k] /= times[:, None] ** k
            yaw[k] = np.einsum("mi,mi->m", powers(share, 6, k), self.yaw[segment]) / times**k
        outside = t != t_s
        position[1:, outside] = 0.0
        yaw[1:, outside] = 0.0
        return position, yaw

    def scaled(self, factor: float) -> PolynomialTrajectory:
        """The same path at another pace.

        Args:
            factor: on every time; 2 flies half as fast.

        Returns:
            The trajectory.
        """
        return PolynomialTrajectory(self.times_s * factor, self.position, self.yaw)


class MinimumSnap:
    """The minimum-snap problem of one list of waypoints; solved for one choice of times after the other."""

    def __init__(
        self,
        waypoints_m: FloatArray,
        yaw_rad: FloatArray | None = None,
        *,
        start_derivatives: FloatArray | None = None,
        start_yaw_derivatives: FloatArray | None = None,
    ) -> None:
        """State the problem; the trajectory ends at rest.

        Args:
            waypoints_m: shape (K + 1, 3), metres, the first is the start.
            yaw_rad: heading at each, shape (K + 1,), turned the short way from one to the next; zero when
                absent.
            start_derivatives: velocity, acceleration, jerk and snap at the start, shape (4, 3); at rest when
                absent. For a vehicle that is flying already.
            start_yaw_derivatives: rate and acceleration of the heading at the start, shape (2,).

        Raises:
            ConfigError: fewer than two waypoints, two in a row at one place, or numbers that are not finite.
        """
        points = np.asarray(waypoints_m, np.float64)
        yaw = np.zeros(len(points)) if yaw_rad is None else np.unwrap(np.asarray(yaw_rad, np.float64))
        if points.ndim != 2 or len(points) < 2 or points.shape[1] != 3 or yaw.shape != (len(points),):
            raise ConfigError(
                f"waypoints of shape {points.shape}, headings of shape {yaw.shape}",
                where="minimum snap",
                expected="at least two waypoints (K + 1, 3) and as many headings",
                mend="give x, y, z and a heading of each",
            )
        if not (np.isfinite(points).all() and np.isfinite(yaw).all()):
            raise ConfigError(
                "a waypoint is not finite", where="minimum snap", expected="numbers", mend="correct it"
            )
        self.lengths_m: FloatArray = np.linalg.norm(np.diff(points, axis=0), axis=1)
        if self.lengths_m.min() < 1e-6:
            at = int(self.lengths_m.argmin())
            raise ConfigError(
                f"waypoints {at} and {at + 1} are at one place",
                where="minimum snap",
                expected="waypoints that differ from the one before",
                mend="remove one of them",
            )
        # Position and its first four derivatives at each waypoint, (K + 1, 5, 3): those told, else zero.
        self.position_nodes: FloatArray = np.zeros((len(points), POSITION_ORDERS, 3))
        self.position_nodes[:, 0] = points
        if start_derivatives is not None:
            self.position_nodes[0, 1:] = start_derivatives
        # Heading, its rate and its acceleration at each waypoint, (K + 1, 3, 1).
        self.yaw_nodes: FloatArray = np.zeros((len(points), YAW_ORDERS, 1))
        self.yaw_nodes[:, 0, 0] = yaw
        if start_yaw_derivatives is not None:
            self.yaw_nodes[0, 1:, 0] = start_yaw_derivatives

    @property
    def segments(self) -> int:
        """How many segments, K."""
        return len(self.lengths_m)

    def solve(self, times_s: FloatArray, weights: FloatArray | None = None) -> PolynomialTrajectory:
        """Find the smoothest trajectory for given times.

        Args:
            times_s: of each segment, seconds, shape (K,).
            weights: how much each segment's roughness counts, shape (K,), positive; 1 when absent.

        Returns:
            The trajectory.

        Raises:
            ConfigError: times or weights have another shape or are not positive.
        """
        position, yaw = self.splines(times_s, weights)
        return PolynomialTrajectory(
            np.array(times_s, np.float64), position.coefficients, yaw.coefficients[..., 0]
        )

    def cost_and_gradient(self, times_s: FloatArray) -> tuple[float, FloatArray]:
        """The least integral of squared snap for given times, and how it changes with them.

        At the optimum the derivative through the waypoints' derivatives vanishes, so that the gradient is
        that of the cost with these held (envelope theorem). Heading does not count: its unit is another.

        Args:
            times_s: of each segment, seconds, shape (K,), positive.

        Returns:
            The cost in m^2/s^7, and its derivative by each time, shape (K,).
        """
        times = np.asarray(times_s, np.float64)
        ends = Spline(self.position_nodes, times, np.ones_like(times), SNAP).ends_by_time
        matrix = quadratic(POSITION_ORDERS, SNAP)
        orders = end_orders(POSITION_ORDERS)
        scaled = times[:, None, None] ** orders[:, None] * ends
        grown = np.einsum("ij,kjx->kix", matrix, scaled)
        power = 1 - 2 * SNAP
        parts = times**power * np.einsum("kix,kix->k", scaled, grown)
        slope = 2.0 * times**power * np.einsum("kix,kix->k", scaled * orders[:, None], grown)
        return float(parts.sum()), (power * parts + slope) / times

    def splines(self, times_s: FloatArray, weights: FloatArray | None = None) -> tuple[Spline, Spline]:
        """Solve for position and heading, with all that the solution is made of.

        Args:
            times_s: as in `solve`.
            weights: as in `solve`.

        Returns:
            Those of position and heading.

        Raises:
            ConfigError: as in `solve`.
        """
        times = np.asarray(times_s, np.float64)
        weight = np.ones_like(times) if weights is None else np.asarray(weights, np.float64)
        for name, values in (("times_s", times), ("weights", weight)):
            if values.shape != (self.segments,) or not (np.isfinite(values) & (values > 0.0)).all():
                raise ConfigError(
                    f"{name} {values}",
                    where="minimum snap",
                    expected=f"{self.segments} positive numbers",
                    mend="give one a segment",
                )
        return Spline(self.position_nodes, times, weight, SNAP), Spline(
            self.yaw_nodes, times, weight, YAW_ACCELERATION
        )
