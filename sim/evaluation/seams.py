"""How smoothly chunks of set-points join: steps of the velocity and jerk at their borders.

Commands are set-points at a fixed period T. A seam is the first command that a new chunk takes part in.
What happens within a window after a seam belongs to the border, whatever was done to soften it there;
the rest is the inside of chunks, which a good border resembles.

- velocity step, rad/s: |u[k] - 2 u[k-1] + u[k-2]| / T, the change of velocity from one period to the next.
- jerk, rad/s³: |u[k] - 3 u[k-1] + 3 u[k-2] - u[k-3]| / T³, the third difference.

Both are the largest over the joints. Of the velocity step a border has the largest within its window; of
the jerk the root mean square, which is comparable with that of the inside whatever their lengths. They are
taken of what the policy's side sends, before the command gate limits it. The measures are finite
differences of the definitions; that jerk is what to look at where motions are joined is Flash and Hogan's
(1985).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Borders:
    """What the seams of one run are like."""

    # Largest velocity step at each border, rad/s, shape (S,).
    step_rad_s: FloatArray
    # Root mean square of the jerk at each border, rad/s³, shape (S,).
    jerk_rad_s3: FloatArray
    # Velocity step of every period inside of chunks, rad/s, shape (I,).
    inside_step_rad_s: FloatArray
    # Jerk of every period inside of chunks, rad/s³, shape (I,).
    inside_jerk_rad_s3: FloatArray


def measure_borders(
    commands: FloatArray, seams: NDArray[np.int64], *, period_s: float, window_s: float
) -> Borders:
    """Measure how chunks join.

    Args:
        commands: set-points, shape (N, D), rad, one a period, without gaps.
        seams: indices of the first commands of new chunks, ascending, shape (S,). One whose window is not
            whole, or that has fewer than three commands before it, is left out.
        period_s: time between two commands, in seconds.
        window_s: length of a border, in seconds.

    Returns:
        The measures.

    Raises:
        ConfigError: a time is not positive, or the shape is not (N, D).
    """
    if not period_s > 0.0 or not window_s > 0.0 or commands.ndim != 2:
        raise ConfigError(
            f"period_s {period_s}, window_s {window_s}, commands of shape {commands.shape}",
            where="measure_borders",
            expected="positive times and commands (N, D)",
            mend="correct them",
        )
    window = max(1, round(window_s / period_s))
    # Entry k is about command k; the first ones have too few before them.
    step, jerk = np.full(len(commands), np.nan), np.full(len(commands), np.nan)
    if len(commands) > 3:
        step[2:] = np.abs(np.diff(commands, 2, axis=0)).max(axis=1) / period_s
        jerk[3:] = np.abs(np.diff(commands, 3, axis=0)).max(axis=1) / period_s**3
    inside = np.isfinite(jerk)
    for seam in seams:
        # A third difference that reaches back over a seam belongs to its border too.
        inside[max(0, seam) : seam + window + 2] = False
    whole = [int(seam) for seam in seams if 3 <= seam <= len(commands) - window]
    return Borders(
        step_rad_s=np.array([step[s : s + window].max() for s in whole]),
        jerk_rad_s3=np.array([np.sqrt(np.square(jerk[s : s + window]).mean()) for s in whole]),
        inside_step_rad_s=step[inside],
        inside_jerk_rad_s3=jerk[inside],
    )
