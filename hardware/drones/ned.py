"""Between our frames and those of aviation: the one place where NED/FRD meets ENU/FLU.

World: ENU (x east, y north, z up) and NED (x north, y east, z down). Body: FLU (x forward, y left,
z up) and FRD (x forward, y right, z down). Quaternions are (w, x, y, z) and map body to world on
either side. Headings: ours count from east, counter-clockwise; NED's count from north, clockwise.
Every conversion here is its own inverse, and still has a name for each direction, so that a call
says which way it goes. Sources: PX4 user guide, "ROS 2 and PX4 Frame Conventions"; specs of RAPTOR,
sections 1.9 and 5b.1.
"""

from __future__ import annotations

import math

import numpy as np

from hardware.command import FloatArray

_HALF = math.sqrt(0.5)


def _swap_world(vector: FloatArray) -> FloatArray:
    v = np.asarray(vector, dtype=np.float64)
    return np.stack([v[..., 1], v[..., 0], -v[..., 2]], axis=-1)


def _swap_body(vector: FloatArray) -> FloatArray:
    v = np.asarray(vector, dtype=np.float64)
    return np.stack([v[..., 0], -v[..., 1], -v[..., 2]], axis=-1)


def _swap_attitude(quaternion_wxyz: FloatArray) -> FloatArray:
    # (ENU to NED) times q times (FRD to FLU), multiplied out: both are half turns, about the
    # horizontal diagonal (0, sqrt 1/2, sqrt 1/2, 0) and about the body's x axis (0, 1, 0, 0).
    q = np.asarray(quaternion_wxyz, dtype=np.float64)
    w, x, y, z = (q[..., i] for i in range(4))
    return np.stack([_HALF * (w + z), _HALF * (x + y), _HALF * (x - y), _HALF * (w - z)], axis=-1)


def wrap_angle(angle_rad: float) -> float:
    """Bring an angle to -pi to pi, in radians."""
    return math.remainder(angle_rad, 2.0 * math.pi)


def ned_from_enu(vector: FloatArray) -> FloatArray:
    """Turn a position, velocity or acceleration of the world from ENU to NED, shape (..., 3)."""
    return _swap_world(vector)


def enu_from_ned(vector: FloatArray) -> FloatArray:
    """Turn a position, velocity or acceleration of the world from NED to ENU, shape (..., 3)."""
    return _swap_world(vector)


def frd_from_flu(vector: FloatArray) -> FloatArray:
    """Turn a velocity or turning rate of the body from FLU to FRD, shape (..., 3)."""
    return _swap_body(vector)


def flu_from_frd(vector: FloatArray) -> FloatArray:
    """Turn a velocity or turning rate of the body from FRD to FLU, shape (..., 3)."""
    return _swap_body(vector)


def attitude_ned_from_enu(quaternion_wxyz: FloatArray) -> FloatArray:
    """Turn an attitude from FLU-to-ENU into FRD-to-NED.

    Args:
        quaternion_wxyz: shape (..., 4), unit length.

    Returns:
        Shape (..., 4); the sign (q and -q are the same attitude) is not normalised.
    """
    return _swap_attitude(quaternion_wxyz)


def attitude_enu_from_ned(quaternion_wxyz: FloatArray) -> FloatArray:
    """Turn an attitude from FRD-to-NED into FLU-to-ENU.

    Args:
        quaternion_wxyz: shape (..., 4), unit length.

    Returns:
        Shape (..., 4); the sign (q and -q are the same attitude) is not normalised.
    """
    return _swap_attitude(quaternion_wxyz)


def yaw_ned_from_enu(yaw_rad: float) -> float:
    """Turn a heading from "from east, counter-clockwise" into "from north, clockwise", -pi to pi."""
    return wrap_angle(0.5 * math.pi - yaw_rad)


def yaw_enu_from_ned(yaw_rad: float) -> float:
    """Turn a heading from "from north, clockwise" into "from east, counter-clockwise", -pi to pi."""
    return wrap_angle(0.5 * math.pi - yaw_rad)


def nwu_from_ned(vector: FloatArray) -> FloatArray:
    """Turn a world vector from NED to north-west-up, shape (..., 3).

    PX4's RAPTOR module sees the world this way: z up as the policy wants it, x still north.
    """
    return _swap_body(vector)


def attitude_nwu_from_ned(quaternion_wxyz: FloatArray) -> FloatArray:
    """Turn an attitude from FRD-to-NED into FLU-to-NWU, shape (..., 4)."""
    q: FloatArray = np.array(quaternion_wxyz, dtype=np.float64)
    q[..., 2:] *= -1.0
    return q


def euler_zyx_of(quaternion_wxyz: FloatArray) -> tuple[float, float, float]:
    """Roll, pitch and yaw of an attitude, turned about z, then y, then x; radians."""
    w, x, y, z = (float(v) for v in quaternion_wxyz)
    return (
        math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)),
        math.asin(min(1.0, max(-1.0, 2.0 * (w * y - z * x)))),
        math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)),
    )


def attitude_of_euler(roll_rad: float, pitch_rad: float, yaw_rad: float) -> FloatArray:
    """The attitude that turns about z by yaw, then about y by pitch, then about x by roll, shape (4,)."""
    cr, sr = math.cos(roll_rad / 2), math.sin(roll_rad / 2)
    cp, sp = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    cy, sy = math.cos(yaw_rad / 2), math.sin(yaw_rad / 2)
    return np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )
