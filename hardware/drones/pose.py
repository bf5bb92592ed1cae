"""From poses that arrive from outside to a state: velocities where the source gives none, and an honest age.

Pure: no clock, no thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.drones.vehicle import ExternalPose
from hardware.frames import quaternion_multiply, rotation_matrix

# Derived velocities follow with this time constant, seconds.
_FOLLOW_S = 0.03
# Poses farther apart than this say nothing about the velocity between them, seconds.
_GAP_S = 0.5
# Faster than anything that flies indoors: a swapped marker, not a motion, m/s.
_JUMP_M_S = 40.0


@dataclass(frozen=True, slots=True)
class PoseState:
    """What the poses say, world east-north-up, body forward-left-up."""

    # Shape (3,), metres.
    position_m: FloatArray
    # Shape (3,), m/s, world.
    velocity_m_s: FloatArray
    # Shape (4,), quaternion (w, x, y, z), body to world, unit length.
    orientation_wxyz: FloatArray
    # Shape (3,), rad/s, body: from how the orientation changes.
    angular_velocity_rad_s: FloatArray
    # When it was captured, ROS clock, nanoseconds.
    stamp_ns: int
    # When it arrived, steady clock, nanoseconds.
    received_steady_ns: int

    @property
    def velocity_body_m_s(self) -> FloatArray:
        """Velocity in the body frame, shape (3,), m/s."""
        return self.velocity_m_s @ rotation_matrix(self.orientation_wxyz)


class PoseTracker:
    """Turns poses into states. Not thread-safe."""

    def __init__(self) -> None:
        """Start without a pose."""
        self.state: PoseState | None = None
        # Why poses were refused, and how often.
        self.refused: dict[str, int] = {}

    def take(self, pose: ExternalPose, received_steady_ns: int) -> PoseState | None:
        """Take the next pose.

        Args:
            pose: from outside.
            received_steady_ns: when it arrived, steady clock, nanoseconds.

        Returns:
            The new state; None if the pose was refused (not finite, no unit quaternion, older than the last
            one, or a jump), and is counted in `refused`.
        """
        reason = self._fault(pose)
        if reason:
            self.refused[reason] = self.refused.get(reason, 0) + 1
            return None
        position = np.array(pose.position, dtype=np.float64)
        orientation = np.asarray(pose.orientation, dtype=np.float64)
        orientation = orientation / np.linalg.norm(orientation)
        last = self.state
        gap_s = math.inf if last is None else (pose.stamp_ns - last.stamp_ns) * 1e-9
        velocity: FloatArray = np.zeros(3)
        rates: FloatArray = np.zeros(3)
        if last is not None and gap_s < _GAP_S:
            share = 1.0 - math.exp(-gap_s / _FOLLOW_S)
            velocity = last.velocity_m_s + share * ((position - last.position_m) / gap_s - last.velocity_m_s)
            turned = _rotation_vector(last.orientation_wxyz, orientation) / gap_s
            rates = last.angular_velocity_rad_s + share * (turned - last.angular_velocity_rad_s)
        if pose.linear_velocity is not None:
            velocity = np.array(pose.linear_velocity, dtype=np.float64)
        self.state = PoseState(position, velocity, orientation, rates, pose.stamp_ns, received_steady_ns)
        return self.state

    def _fault(self, pose: ExternalPose) -> str:
        arrays = [(pose.position, 3), (pose.orientation, 4)]
        if pose.linear_velocity is not None:
            arrays.append((pose.linear_velocity, 3))
        if any(np.shape(a) != (n,) or not np.isfinite(a).all() for a, n in arrays):
            return "not finite"
        if not 0.9 < float(np.linalg.norm(pose.orientation)) < 1.1:
            return "no unit quaternion"
        if self.state is None:
            return ""
        gap_s = (pose.stamp_ns - self.state.stamp_ns) * 1e-9
        if gap_s <= 0.0:
            # A source that was started anew may count from elsewhere; then the old state is worthless.
            return "older than the last one" if gap_s > -1.0 else self._forget()
        distance_m = float(np.linalg.norm(np.asarray(pose.position) - self.state.position_m))
        if gap_s < _GAP_S and distance_m > max(0.05, _JUMP_M_S * gap_s):
            return "a jump"
        return ""

    def _forget(self) -> str:
        self.state = None
        return ""


def _rotation_vector(before_wxyz: FloatArray, after_wxyz: FloatArray) -> FloatArray:
    """The turn between two orientations, in the body, shape (3,), radians."""
    turn = quaternion_multiply(before_wxyz * np.array([1.0, -1.0, -1.0, -1.0]), after_wxyz)
    if turn[0] < 0.0:
        turn = -turn
    size = float(np.linalg.norm(turn[1:]))
    if size < 1e-12:
        return np.zeros(3)
    return np.asarray(turn[1:] / size * (2.0 * math.atan2(size, float(turn[0]))))
