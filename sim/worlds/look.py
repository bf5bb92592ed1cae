"""Cameras that look at something."""

from __future__ import annotations

import mujoco
import numpy as np


def look_at(
    body: mujoco.MjsBody,
    name: str,
    eye: tuple[float, float, float],
    target: tuple[float, float, float],
    *,
    fovy_deg: float,
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> None:
    """Add a camera to a body.

    Args:
        body: what the camera is fixed to.
        name: of the camera.
        eye: where it is in the body's frame, metres.
        target: what is in the middle of its image, body's frame, metres.
        fovy_deg: its vertical field of view, degrees.
        up: what is upwards in the image, body's frame.
    """
    body.add_camera(name=name, pos=list(eye), quat=facing(eye, target, up), fovy=fovy_deg)


def facing(eye: tuple[float, ...], target: tuple[float, ...], up: tuple[float, ...]) -> list[float]:
    """The orientation of a camera; MuJoCo's look along -z with y up.

    Args:
        eye: where it is.
        target: where it looks.
        up: what is upwards in the image.

    Returns:
        A quaternion w, x, y, z.
    """
    back = np.array(eye) - np.array(target)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return [float(value) for value in quaternion]
