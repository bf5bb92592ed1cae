"""Frames and rotations. Quaternions are (w, x, y, z), unit length, and map body to world."""

from __future__ import annotations

import math

import numpy as np

from hardware.command import FloatArray


def rotation_matrix(quaternion_wxyz: FloatArray) -> FloatArray:
    """Turn a quaternion into a matrix.

    Args:
        quaternion_wxyz: shape (..., 4), unit length.

    Returns:
        Shape (..., 3, 3); columns are the body axes in the world.
    """
    w, x, y, z = np.moveaxis(np.asarray(quaternion_wxyz, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def quaternion_multiply(a_wxyz: FloatArray, b_wxyz: FloatArray) -> FloatArray:
    """Compose two rotations: first b, then a.

    Args:
        a_wxyz: shape (..., 4).
        b_wxyz: shape (..., 4).

    Returns:
        Shape (..., 4).
    """
    aw, ax, ay, az = np.moveaxis(np.asarray(a_wxyz, dtype=np.float64), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b_wxyz, dtype=np.float64), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def yaw_quaternion(yaw_rad: float) -> FloatArray:
    """Rotation about the world's z axis, shape (4,)."""
    return np.array([np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)])


def yaw_of(quaternion_wxyz: FloatArray) -> float:
    """Heading of the body's x axis in the world's horizontal plane, in radians, -pi to pi."""
    w, x, y, z = (float(v) for v in quaternion_wxyz)
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def tilt_of(quaternion_wxyz: FloatArray) -> float:
    """Angle between the body's z axis and the world's, in radians, 0 to pi."""
    w, x, y, z = (float(v) for v in quaternion_wxyz)
    square = w * w + x * x + y * y + z * z
    # sin and cos of half the angle, each exact where the other is not; no quaternion at all is no attitude.
    return 2.0 * math.atan2(math.hypot(x, y), math.hypot(w, z)) if square > 0.0 else math.pi


def turn_by(vector_rad: FloatArray) -> FloatArray:
    """Rotation about an axis by an angle: the vector's direction and length, radians. Shape (3, 3)."""
    angle = float(np.linalg.norm(vector_rad))
    axis = np.asarray(vector_rad) / angle if angle > 0.0 else np.zeros(3)
    return rotation_matrix(np.concatenate(([math.cos(angle / 2)], math.sin(angle / 2) * axis)))


def turn_of(rotation: FloatArray) -> FloatArray:
    """The axis and angle of a rotation matrix (3, 3): a vector (3,) whose length is the angle, 0 to pi."""
    sine = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    size = float(np.linalg.norm(sine))
    angle = math.atan2(size, float(np.trace(rotation)) - 1.0)
    if size > 1e-6:
        return np.asarray(sine * (angle / size))
    # Half a turn: its axis is the one that stays; or next to none, where the sine is twice the vector.
    if angle < 1.0:
        return np.asarray(sine / 2.0)
    stays = rotation + np.eye(3)
    axis = stays[:, int(np.argmax(np.diag(stays)))]
    return np.asarray(axis * (angle / np.linalg.norm(axis)))
