"""Descent for small smooth problems: L-BFGS, within a number of evaluations.

SciPy's spends most of a small problem's time on waking the threads of its linear algebra library.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hardware.command import FloatArray

# Share of the slope's promise that a step has to keep (Armijo).
_KEPT = 1e-4
# A gradient this small is the end.
_FLAT = 1e-7


def descend(
    function: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    *,
    evaluations: int,
    longest: float = 0.5,
    memory: int = 10,
) -> FloatArray:
    """Find a low place.

    Args:
        function: from a place to its value and its gradient.
        start: where to begin, shape (n,).
        evaluations: how often the function is asked at most.
        longest: largest change of any number in one step.
        memory: steps that the curvature is told from.

    Returns:
        The lowest place that was seen, shape (n,).
    """
    place, (value, gradient) = np.array(start, np.float64), function(start)
    steps: list[FloatArray] = []
    turns: list[FloatArray] = []
    left = evaluations - 1
    while left > 0 and np.abs(gradient).max() > _FLAT:
        direction = _direction(gradient, steps, turns)
        slope = float(direction @ gradient)
        if slope >= 0.0:
            steps.clear()
            turns.clear()
            direction, slope = -gradient, -float(gradient @ gradient)
        size = min(1.0, longest / float(np.abs(direction).max()))
        while left > 0:
            left -= 1
            candidate = place + size * direction
            found, its_gradient = function(candidate)
            if found <= value + _KEPT * size * slope:
                break
            size *= 0.4
        else:
            return place
        step, turn = candidate - place, its_gradient - gradient
        if float(step @ turn) > 1e-12 * float(turn @ turn):
            steps.append(step)
            turns.append(turn)
            del steps[:-memory], turns[:-memory]
        place, value, gradient = candidate, found, its_gradient
    return place


def _direction(gradient: FloatArray, steps: list[FloatArray], turns: list[FloatArray]) -> FloatArray:
    """Minus the gradient times the inverse curvature (two-loop recursion)."""
    direction = -gradient
    shares = []
    for step, turn in zip(reversed(steps), reversed(turns), strict=True):
        share = float(step @ direction) / float(step @ turn)
        direction = direction - share * turn
        shares.append(share)
    if steps:
        direction = direction * (float(steps[-1] @ turns[-1]) / float(turns[-1] @ turns[-1]))
    for step, turn, share in zip(steps, turns, reversed(shares), strict=True):
        direction = direction + (share - float(turn @ direction) / float(step @ turn)) * step
    return direction
