"""Where the joints must be for the tool to be somewhere: damped least squares on the SO-101."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.worlds import so101

FloatArray = NDArray[np.float64]

# One radian of orientation error weighs as much as so many metres of position error. Pointing
# straight down gives way first, because close to the joint limits the arm cannot do it.
_YAW_M_PER_RAD = 0.05
_TILT_M_PER_RAD = 0.01
_DAMPING = 1e-3
_MAX_ITERATIONS = 40
_MAX_STEP_RAD = 0.3
_TOLERANCE_RAD = 1e-5


class ToolSolver:
    """Forward and inverse kinematics and gravity of the arm, on a model of its own.

    The tool's frame: x is the closing direction (from the fixed to the moving finger), z points
    out of the hand.
    """

    def __init__(self) -> None:
        """Compile the model."""
        self._model = so101.build_model()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("tool").id
        self._ranges = so101.joint_ranges(self._model)[:5]
        self._jacobian_position = np.zeros((3, self._model.nv))
        self._jacobian_rotation = np.zeros((3, self._model.nv))

    def forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Find the tool.

        Args:
            joints: at least the five arm joints in the order of `so101.JOINTS`, rad.

        Returns:
            Position (3,) in base_link, metres, and rotation matrix (3, 3), tool to base_link.
        """
        self._place(joints)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def droop(self, joints: FloatArray) -> FloatArray:
        """How far gravity pulls the servos from their targets when the arm is at rest.

        Args:
            joints: all six joints, rad.

        Returns:
            Shape (6,), rad: add it to the targets to stay at `joints`.
        """
        self._data.qpos[:6] = joints
        self._data.qvel[:] = 0.0
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_comVel(self._model, self._data)
        mujoco.mj_rne(self._model, self._data, 0, self._data.qfrc_bias)
        stiffness = self._model.actuator_gainprm[:, 0]
        return np.asarray(self._data.qfrc_bias[:6] / stiffness)

    def inverse(self, start: FloatArray, *, position_m: FloatArray, yaw_rad: float) -> FloatArray:
        """Find joints that put the tool somewhere, pointing down.

        Args:
            start: where the search begins, at least the five arm joints, rad.
            position_m: the tool's position in base_link, shape (3,).
            yaw_rad: direction of the closing axis about the vertical, from x towards y.

        Returns:
            The five arm joints within their limits, rad: the nearest that the arm can do.
        """
        joints = np.clip(start[:5], self._ranges[:, 0], self._ranges[:, 1])
        closing = np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        desired = np.stack([closing, np.cross(down, closing), down], axis=1)
        weights = np.array([1.0, 1.0, 1.0, _TILT_M_PER_RAD, _TILT_M_PER_RAD, _YAW_M_PER_RAD])
        for _ in range(_MAX_ITERATIONS):
            self._place(joints)
            actual = self._data.site_xmat[self._site].reshape(3, 3)
            error = np.concatenate(
                [position_m - self._data.site_xpos[self._site], _rotation_vector(desired @ actual.T)]
            )
            mujoco.mj_jacSite(
                self._model, self._data, self._jacobian_position, self._jacobian_rotation, self._site
            )
            jacobian = np.concatenate([self._jacobian_position, self._jacobian_rotation])[:, :5]
            jacobian = jacobian * weights[:, None]
            step = np.linalg.solve(
                jacobian.T @ jacobian + _DAMPING**2 * np.eye(5), jacobian.T @ (weights * error)
            )
            step *= min(1.0, _MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
            moved = np.clip(joints + step, self._ranges[:, 0], self._ranges[:, 1])
            change = float(np.abs(moved - joints).max())
            joints = moved
            if change < _TOLERANCE_RAD:
                break
        return joints

    def _place(self, joints: FloatArray) -> None:
        # The jaw does not move the tool; left where it was, it would change the last bits.
        self._data.qpos[:5], self._data.qpos[5] = joints[:5], 0.0
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)


def _rotation_vector(rotation: FloatArray) -> FloatArray:
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
