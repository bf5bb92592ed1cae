"""What to tell a policy, so that the vehicle itself follows the path.

A policy without foresight lags where the reference accelerates, by an error that its model predicts. Told the
reference plus that error, the vehicle comes to where the reference was meant to be. The correction takes
derivatives up to jerk, which minimum-snap trajectories have without steps, those of its velocity included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.reference import Reference
from policies.planning.error_model import ErrorModel
from policies.planning.minimum_snap import PolynomialTrajectory

# Derivatives of position and heading that the correction takes.
_POSITION_ORDER, _YAW_ORDER = 3, 1


@dataclass(frozen=True, eq=False)
class LeadingTrajectory:
    """A trajectory ahead of itself by the error that is to be expected; a `hardware.reference.Trajectory`."""

    # Where the vehicle is to be.
    trajectory: PolynomialTrajectory
    # The errors of the policy when it is told the trajectory as it is.
    model: ErrorModel

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds."""
        return self.trajectory.duration_s

    def sample(self, t_s: float) -> Reference:
        """Give the reference at a time since its start, in seconds."""
        position, yaw = self.derivatives(np.array([t_s]), 1)
        return Reference(position[0, 0], position[1, 0], float(yaw[0, 0]))

    def derivatives(self, t_s: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
        """Give what to tell and its derivatives; shapes as `PolynomialTrajectory.derivatives`."""
        position, yaw = self.trajectory.derivatives(t_s, order + _POSITION_ORDER)
        told, heading = position[: order + 1].copy(), yaw[: order + 1].copy()
        for k in range(1, _POSITION_ORDER + 1):
            factors = np.array([self.model.level[k - 1], self.model.level[k - 1], self.model.vertical[k - 1]])
            told += factors * position[k : order + k + 1]
        for k in range(1, _YAW_ORDER + 1):
            heading += self.model.yaw[k - 1] * yaw[k : order + k + 1]
        return told, heading
