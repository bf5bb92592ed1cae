"""RAPTOR's observation vector, from named terms.

| elements | content | frame | unit |
|---|---|---|---|
| 0-2 | position error, position minus reference | yaw frame | m |
| 3-11 | rotation matrix body to yaw frame, row by row | | |
| 12-14 | velocity error, velocity minus reference | yaw frame | m/s |
| 15-17 | angular velocity | body | rad/s |
| 18-21 | previous action, clamped: front right, back right, back left, front left | | -1 to 1 |

The yaw frame is the world turned about its z axis by the reference yaw: the policy, which knows no
yaw input, drives the heading to the x axis of whatever frame it is given. The errors are clipped in
the yaw frame. Source: observation layout in the `foundation-policy` wheel's metadata; yaw frame and
clipping as PX4's `mc_raptor` module does them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hardware.command import FloatArray
from hardware.frames import rotation_matrix
from policies.policy import PolicyError
from policies.raptor.contract import FLIGHT_CLIPPING, TERMS, ErrorClipping
from policies.raptor.network import OBSERVATION_SIZE, Float32Array

# A quaternion whose squared length is further from 1 than this is no attitude.
_QUATERNION_TOLERANCE = 0.02


_UNBOUNDED = ErrorClipping(math.inf, math.inf)


def observe(
    values: Mapping[str, FloatArray],
    previous_action: Float32Array,
    *,
    clipping: ErrorClipping | None = FLIGHT_CLIPPING,
    out: Float32Array | None = None,
) -> Float32Array:
    """Build the observation vector of one vehicle.

    Args:
        values: the terms of `TERMS`: world frame (z up) for position, orientation (w, x, y, z,
            body to world) and references; body frame (forward, left, up) for the two velocities.
        previous_action: shape (4,), -1 to 1.
        clipping: the largest errors, or None for none.
        out: where to write the vector, shape (22,) float32; a new array when absent.

    Returns:
        Shape (22,), float32.

    Raises:
        PolicyError: a term is missing or has another length, a number is not finite, or the
            orientation is not a unit quaternion.
    """
    try:
        px, py, pz = values["position"].tolist()
        w, x, y, z = values["orientation"].tolist()
        vx, vy, vz = values["linear_velocity"].tolist()
        wx, wy, wz = values["angular_velocity"].tolist()
        rx, ry, rz = values["reference_position"].tolist()
        ux, uy, uz = values["reference_velocity"].tolist()
        (yaw,) = values["reference_yaw"].tolist()
    except (KeyError, ValueError) as error:
        raise _misshapen(values) from error
    # One sum finds any number that is not finite: infinities and NaN survive addition.
    total = px + py + pz + vx + vy + vz + wx + wy + wz + rx + ry + rz + ux + uy + uz + yaw
    squared = w * w + x * x + y * y + z * z
    if not (math.isfinite(total) and abs(squared - 1.0) < _QUATERNION_TOLERANCE):
        raise _unusable(values)
    # Rotation body to world; the scale makes it a rotation whatever the quaternion's length.
    k = 2.0 / squared
    r00, r01, r02 = 1.0 - k * (y * y + z * z), k * (x * y - w * z), k * (x * z + w * y)
    r10, r11, r12 = k * (x * y + w * z), 1.0 - k * (x * x + z * z), k * (y * z - w * x)
    r20, r21, r22 = k * (x * z - w * y), k * (y * z + w * x), 1.0 - k * (x * x + y * y)
    # The first two rows, turned back by the reference yaw.
    c, s = math.cos(yaw), math.sin(yaw)
    r00, r10 = c * r00 + s * r10, c * r10 - s * r00
    r01, r11 = c * r01 + s * r11, c * r11 - s * r01
    r02, r12 = c * r02 + s * r12, c * r12 - s * r02
    dx, dy, dz = px - rx, py - ry, pz - rz
    dx, dy = c * dx + s * dy, c * dy - s * dx
    ex = r00 * vx + r01 * vy + r02 * vz - (c * ux + s * uy)
    ey = r10 * vx + r11 * vy + r12 * vz - (c * uy - s * ux)
    ez = r20 * vx + r21 * vy + r22 * vz - uz
    bounds = _UNBOUNDED if clipping is None else clipping
    p, v = bounds.position_m, bounds.velocity_m_s
    if out is None:
        out = np.empty(OBSERVATION_SIZE, np.float32)
    out[:18] = (
        *(min(p, max(-p, dx)), min(p, max(-p, dy)), min(p, max(-p, dz))),
        *(r00, r01, r02, r10, r11, r12, r20, r21, r22),
        *(min(v, max(-v, ex)), min(v, max(-v, ey)), min(v, max(-v, ez))),
        *(wx, wy, wz),
    )
    out[18:] = previous_action
    return out


def observe_batch(
    values: Mapping[str, FloatArray],
    previous_action: Float32Array,
    *,
    clipping: ErrorClipping | None = FLIGHT_CLIPPING,
) -> Float32Array:
    """Build the observation vectors of many simulated vehicles.

    Numbers that are not finite pass through: a simulation counts a lost vehicle, it does not stop.

    Args:
        values: the terms of `TERMS`, each of shape (B, n) or (1, n), frames as in `observe`.
        previous_action: shape (B, 4), -1 to 1.
        clipping: the largest errors, or None for none.

    Returns:
        Shape (B, 22), float32.
    """
    yaw = values["reference_yaw"][:, 0]
    c, s, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    turn_back = np.stack([c, s, zero, -s, c, zero, zero, zero, zero + 1.0], axis=-1).reshape(-1, 3, 3)
    rotation = rotation_matrix(values["orientation"])
    velocity = np.einsum("bij,bj->bi", rotation, values["linear_velocity"])
    position_error = np.einsum("bij,bj->bi", turn_back, values["position"] - values["reference_position"])
    velocity_error = np.einsum("bij,bj->bi", turn_back, velocity - values["reference_velocity"])
    bounds = _UNBOUNDED if clipping is None else clipping
    out = np.empty((len(previous_action), OBSERVATION_SIZE), np.float32)
    out[:, 0:3] = position_error.clip(-bounds.position_m, bounds.position_m)
    out[:, 3:12] = (turn_back @ rotation).reshape(-1, 9)
    out[:, 12:15] = velocity_error.clip(-bounds.velocity_m_s, bounds.velocity_m_s)
    out[:, 15:18] = values["angular_velocity"]
    out[:, 18:] = previous_action
    return out


def _misshapen(values: Mapping[str, FloatArray]) -> PolicyError:
    found = {name: np.shape(values[name]) if name in values else None for name in TERMS}
    problems = [
        f"lacks the term {name!r}" if shape is None else f"has {name!r} of shape {shape}, expected ({size},)"
        for name, shape in found.items()
        if shape != ((size := len(TERMS[name].names)),)
    ]
    return PolicyError("RAPTOR's observation " + " and ".join(problems))


def _unusable(values: Mapping[str, FloatArray]) -> PolicyError:
    broken = [name for name in TERMS if not np.isfinite(values[name]).all()]
    if broken:
        return PolicyError(f"RAPTOR's observation is not finite in {', '.join(broken)}")
    length = float(np.linalg.norm(values["orientation"]))
    if abs(length * length - 1.0) >= _QUATERNION_TOLERANCE:
        return PolicyError(f"RAPTOR's observation has an orientation of length {length:.3g}, expected 1")
    return PolicyError("RAPTOR's observation is too large to add up")
