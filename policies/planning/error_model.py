"""What a policy's flights teach of its errors: they follow the reference's derivatives.

RAPTOR sees where to be and how fast to move now, and nothing of what comes. So it lags where the reference
accelerates: its error is, to a few per cent, a sum of the reference's derivatives from acceleration on, with
factors that belong to the policy and the airframe. Fitted to flights of the oracle, that sum tells in a
fraction of a millisecond what a simulated flight tells in seconds: MFRL's cheaper level of feasibility
(arXiv 2403.08152), learned here from the dearer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from policies.planning.minimum_snap import PolynomialTrajectory
from policies.planning.oracle import Flight, Limits
from policies.planning.spline import powers

# Highest derivatives that the errors are explained by.
POSITION_ORDER, YAW_ORDER = 4, 3
# Places in a segment at which errors are predicted.
PLACES: FloatArray = np.linspace(0.0, 1.0, 11, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Predicted error: a constant and a factor on each derivative of the reference."""

    # What counts as followed.
    limits: Limits
    # Factors of velocity, acceleration, jerk and snap, in s, s^2, s^3 and s^4, along x and y: shape (4,).
    level: FloatArray
    # The same along z.
    vertical: FloatArray
    # Constant error along z, metres: the policy does not know the weight exactly.
    sag_m: float
    # Factors of the heading's first three derivatives, shape (3,).
    yaw: FloatArray

    @classmethod
    def fit(
        cls, flights: Sequence[tuple[Sequence[PolynomialTrajectory], Flight]], limits: Limits
    ) -> ErrorModel:
        """Fit the factors by least squares.

        Args:
            flights: trajectories and how they were followed; those far beyond the limits are left out.
            limits: what counts as followed.

        Returns:
            The model.

        Raises:
            ConfigError: fewer than three trajectories were followed at all.
        """
        level, vertical, yaw = [], [], []
        for trajectories, flight in flights:
            kept = flight.feasible(Limits(2.0 * limits.position_m, 2.0 * limits.yaw_rad))
            for m in np.flatnonzero(kept):
                over = ~np.isnan(flight.yaw_error_rad[:, m])
                position, heading = trajectories[m].derivatives(flight.time_s[over], POSITION_ORDER)
                features = np.moveaxis(position[1:], 0, -1)
                error = flight.position_error_m[over, m]
                level.append((features[:, :2].reshape(-1, POSITION_ORDER), error[:, :2].reshape(-1)))
                vertical.append((features[:, 2], error[:, 2]))
                yaw.append((heading[1 : YAW_ORDER + 1].T, flight.yaw_error_rad[over, m]))
        if len(level) < 3:
            raise ConfigError(
                f"{len(level)} of the trajectories were followed",
                where="error model",
                expected="at least three to learn from",
                mend="fly slower ones",
            )
        x, y = _joined(vertical)
        with_constant = _solved(np.column_stack([x, np.ones(len(x))]), y)
        return cls(
            limits=limits,
            level=_solved(*_joined(level)),
            vertical=with_constant[:-1],
            sag_m=float(with_constant[-1]),
            yaw=_solved(*_joined(yaw)),
        )

    def ratios(self, trajectory: PolynomialTrajectory) -> FloatArray:
        """Largest predicted error of each segment over its limit.

        Args:
            trajectory: K segments.

        Returns:
            Shape (K,); 1 is at the limit, of position or heading, whichever is nearer.
        """
        times = trajectory.times_s[:, None]
        error: FloatArray = np.zeros((len(times), len(PLACES), 3))
        error[..., 2] = self.sag_m
        turned: FloatArray = np.zeros((len(times), len(PLACES)))
        for order in range(1, POSITION_ORDER + 1):
            basis = powers(PLACES, trajectory.position.shape[1], order)
            derivative = basis @ trajectory.position / times[..., None] ** order
            error[..., :2] += self.level[order - 1] * derivative[..., :2]
            error[..., 2] += self.vertical[order - 1] * derivative[..., 2]
            if order <= YAW_ORDER:
                heading = trajectory.yaw @ powers(PLACES, trajectory.yaw.shape[1], order).T
                turned += self.yaw[order - 1] * heading / times**order
        distance: FloatArray = np.sqrt((error * error).sum(axis=-1)).max(axis=1) / self.limits.position_m
        turn: FloatArray = np.abs(turned).max(axis=1) / self.limits.yaw_rad
        return np.maximum(distance, turn)

    def at_limit(self, trajectory: PolynomialTrajectory, *, headroom: float = 1.0) -> PolynomialTrajectory:
        """Bring a trajectory to the pace at which its worst predicted error is at its limit.

        Args:
            trajectory: at any pace.
            headroom: share of the limits to use.

        Returns:
            The same path.
        """
        # Errors go with the second to fourth power of the pace: a step between converges for all of them.
        for _ in range(6):
            trajectory = trajectory.scaled(float((self.ratios(trajectory).max() / headroom) ** 0.4))
        return trajectory


def _joined(parts: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _solved(features: FloatArray, target: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(features, target, rcond=None)[0], np.float64)
