"""Lines in a rendered scene: where a vehicle or a tool has been, and where it should have been."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from hardware.command import FloatArray


def draw_trail(
    scene: mujoco.MjvScene,
    points_m: FloatArray,
    *,
    rgba: Sequence[float],
    width_m: float = 0.008,
    fades: bool = False,
) -> int:
    """Add a line through points to a scene, for `OffscreenRenderer.frame(decorate=...)`.

    Args:
        scene: the scene, after it was updated and before it is drawn.
        points_m: shape (N, 3), world frame.
        rgba: colour and opacity, 0 to 1.
        width_m: radius of the line.
        fades: whether the line is more transparent the older (the nearer to the first point) it is.

    Returns:
        How many segments were drawn; the scene's room for geoms bounds it, the newest come first.
    """
    points = np.asarray(points_m, dtype=np.float64)
    segments = len(points) - 1
    drawn = 0
    for index in range(segments - 1, -1, -1):
        if scene.ngeom >= scene.maxgeom:
            break
        opacity = rgba[3] * ((index + 1) / segments if fades else 1.0)
        geom = scene.geoms[scene.ngeom]
        colour = np.array([*rgba[:3], opacity], dtype=np.float32)
        mujoco.mjv_initGeom(
            geom, mujoco.mjtGeom.mjGEOM_CYLINDER, np.zeros(3), np.zeros(3), np.zeros(9), colour
        )
        mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CYLINDER, width_m, points[index], points[index + 1])
        scene.ngeom += 1
        drawn += 1
    return drawn
