"""Where the Panda's joints must be for a body on its hand to be somewhere: damped least squares."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.worlds import panda

FloatArray = NDArray[np.float64]

# One radian of orientation error weighs as much as so many metres of position error.
_METRES_PER_RAD = 0.3
_DAMPING = 0.02
# How strongly the one free motion of the arm, the elbow's, is drawn home.
_HOME_GAIN = 0.4
_MAX_ITERATIONS = 60
_MAX_STEP_RAD = 0.3
_TOLERANCE_RAD = 1e-6


class PandaReach:
    """Forward and inverse kinematics of the hand, on a model of its own.

    The hand's frame: the point between the finger tips, y from one finger to the other, z out of the hand.
    """

    def __init__(self) -> None:
        """Compile the model."""
        self._model = panda.build_spec("panda", grip_m=0.016, visual=False).compile()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("hand").id
        self._home = np.array(panda.HOME)
        self._ranges = np.array(panda.RANGES)
        self._jacobian = np.zeros((6, self._model.nv))

    def forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Find the hand.

        Args:
            joints: in the order of `panda.JOINTS`, shape (7,), rad.

        Returns:
            Position (3,) in base_link, metres, and rotation matrix (3, 3), hand to base_link.
        """
        self._place(joints)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def inverse(self, start: FloatArray, position_m: FloatArray, rotation: FloatArray) -> FloatArray:
        """Find joints that put the hand somewhere, with the elbow as near to home as that allows.

        Args:
            start: where the search begins, shape (7,), rad.
            position_m: the hand's position in base_link, shape (3,).
            rotation: hand to base_link, shape (3, 3).

        Returns:
            The joints within their limits, shape (7,), rad: the nearest that the arm can do.
        """
        joints = np.clip(start, self._ranges[:, 0], self._ranges[:, 1])
        scale = np.array([1.0, 1.0, 1.0, _METRES_PER_RAD, _METRES_PER_RAD, _METRES_PER_RAD])
        for _ in range(_MAX_ITERATIONS):
            self._place(joints)
            actual = self._data.site_xmat[self._site].reshape(3, 3)
            turn = rotation_vector(rotation @ actual.T)
            error = scale * np.concatenate([position_m - self._data.site_xpos[self._site], turn])
            mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = scale[:, None] * self._jacobian
            damping = _DAMPING**2 * min(1.0, float(error @ error) / 1e-4)
            square = jacobian @ jacobian.T + (damping + 1e-9) * np.eye(6)
            inverse = np.linalg.solve(square, jacobian).T
            homing = _HOME_GAIN * (self._home - joints)
            step = inverse @ error + homing - inverse @ (jacobian @ homing)
            step *= min(1.0, _MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
            moved = np.clip(joints + step, self._ranges[:, 0], self._ranges[:, 1])
            change = float(np.abs(moved - joints).max())
            joints = moved
            if change < _TOLERANCE_RAD:
                break
        return joints

    def _place(self, joints: FloatArray) -> None:
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)


def rotation_vector(rotation: FloatArray) -> FloatArray:
    """Convert a rotation matrix.

    Args:
        rotation: shape (3, 3).

    Returns:
        Axis times angle, shape (3,), rad.
    """
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def rotation_from_vector(vector: FloatArray) -> FloatArray:
    """Convert a rotation vector.

    Args:
        vector: axis times angle, shape (3,), rad.

    Returns:
        The rotation matrix, shape (3, 3).
    """
    angle = float(np.linalg.norm(vector))
    quaternion, matrix = np.empty(4), np.empty(9)
    axis = np.array(vector) / angle if angle > 0.0 else np.array([0.0, 0.0, 1.0])
    mujoco.mju_axisAngle2Quat(quaternion, axis, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def pointing_down(yaw_rad: float) -> FloatArray:
    """The rotation of a hand that points at the table.

    Args:
        yaw_rad: of the hand's x axis about the vertical, from x towards y.

    Returns:
        Hand to base_link, shape (3, 3).
    """
    sine, cosine = np.sin(yaw_rad), np.cos(yaw_rad)
    return np.array([[cosine, sine, 0.0], [sine, -cosine, 0.0], [0.0, 0.0, -1.0]])
