"""How much of its goal a flat shape covers: areas of intersections of convex polygons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def intersection_area(first: FloatArray, second: FloatArray) -> float:
    """The area that two convex polygons share (Sutherland and Hodgman, 1974).

    Args:
        first: corners, anticlockwise, shape (n, 2).
        second: corners, anticlockwise, shape (m, 2).

    Returns:
        The area, in the square of the unit of the corners.
    """
    shape = [(float(x), float(y)) for x, y in first]
    corners = [(float(x), float(y)) for x, y in second]
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        clipped: list[tuple[float, float]] = []
        for (px, py), (qx, qy) in zip(shape, shape[1:] + shape[:1], strict=True):
            p_side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
            q_side = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
            if p_side >= 0.0:
                clipped.append((px, py))
            if (p_side >= 0.0) != (q_side >= 0.0):
                share = p_side / (p_side - q_side)
                clipped.append((px + share * (qx - px), py + share * (qy - py)))
        shape = clipped
        if not shape:
            return 0.0
    return 0.5 * sum(
        px * qy - qx * py for (px, py), (qx, qy) in zip(shape, shape[1:] + shape[:1], strict=True)
    )


def coverage(parts: tuple[FloatArray, ...], pose: FloatArray, goal: FloatArray) -> float:
    """The share of a shape at its goal that the same shape covers elsewhere.

    Args:
        parts: the convex parts of the shape, which do not overlap, corners anticlockwise in its own frame.
        pose: where the shape is: x, y and its angle in rad, shape (3,).
        goal: where it ought to be, shape (3,).

    Returns:
        0 to 1.
    """
    here, there = [_placed(part, pose) for part in parts], [_placed(part, goal) for part in parts]
    area = sum(intersection_area(part, part) for part in there)
    return min(1.0, sum(intersection_area(a, b) for a in here for b in there) / area)


def _placed(part: FloatArray, pose: FloatArray) -> FloatArray:
    sine, cosine = np.sin(pose[2]), np.cos(pose[2])
    return np.asarray(part @ np.array([[cosine, sine], [-sine, cosine]]) + pose[:2])
