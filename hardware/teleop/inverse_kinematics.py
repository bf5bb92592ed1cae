"""Where the joints go when the tool does: damped least squares, the position before the orientation.

The chain is that of the robot card, the same that the command gate judges the workspace by. With fewer than
six joints most orientations cannot be had: the position comes first, and the orientation gets what the
joints can still do without moving the tool. Source: Nakamura, Hanafusa and Yoshikawa, Task-Priority Based
Redundancy Control of Robot Manipulators, 1987; damping after Wampler, 1986.
"""

from __future__ import annotations

import numpy as np

from hardware.command import FloatArray
from hardware.frames import turn_by, turn_of
from hardware.kinematics import SerialChain

_ITERATIONS = 6
# Near a singular posture the joints would have to race; beyond this the tool lags instead, metres a radian.
_DAMPING_M = 0.004
_DAMPING_RAD = 0.05
# Directions in which the joints move the tool less than this count as none.
_SINGULAR = 1e-5
# Turning that needs more joint motion than this a radian counts as none.
_WEAK = 0.02
_DONE_RAD = 1e-6
_EYE = np.eye(3)


def move_tool(
    chain: SerialChain,
    posture: FloatArray,
    *,
    position_m: FloatArray,
    rotation: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    step_rad: float,
) -> FloatArray:
    """Move the joints of a chain so that its tool gets to, or nearer to, a pose.

    Args:
        chain: from the base to the tool.
        posture: where the joints are, shape (D,), rad, in the order of `chain.names`.
        position_m: where the tool is to be, base frame, shape (3,).
        rotation: how it is to be turned, tool to base, shape (3, 3).
        lower: smallest joint values, shape (D,), rad.
        upper: largest joint values, shape (D,), rad.
        step_rad: how far a joint may move from `posture`.

    Returns:
        The new posture, shape (D,); what is not in the chain stays as it is.
    """
    low, high = np.maximum(lower, posture - step_rad), np.minimum(upper, posture + step_rad)
    joints = np.clip(posture, low, high)
    for _ in range(_ITERATIONS):
        point, turned, jacobian = chain.jacobian(joints)
        errors = position_m - point, turn_of(rotation @ turned.T)
        change = _step(jacobian, *errors)
        # A joint at its end does not help to go further; the others do it without.
        stuck = ((joints <= low) & (change < 0.0)) | ((joints >= high) & (change > 0.0))
        if stuck.any():
            change = _step(jacobian * ~stuck, *errors)
        moved = np.clip(joints + change, low, high)
        if float(np.abs(moved - joints).max()) < _DONE_RAD:
            return np.asarray(moved)
        joints = moved
    return np.asarray(joints)


def attainable(chain: SerialChain, posture: FloatArray, rotation: FloatArray) -> FloatArray:
    """Drop from an orientation what the joints cannot do where the tool is.

    An operator who moves a tool sideways with five joints turns it as well; without this the difference
    would pile up, and later turns would first have to work it off.

    Args:
        chain: from the base to the tool.
        posture: shape (D,), rad.
        rotation: the wanted orientation, tool to base, shape (3, 3).

    Returns:
        The nearest orientation that can be had, shape (3, 3).
    """
    _, turned, jacobian = chain.jacobian(posture)
    turning = jacobian[3:] @ _still(jacobian[:3])
    kept = turning @ (_damped(turning, _WEAK) @ turn_of(rotation @ turned.T))
    return np.asarray(turn_by(kept) @ turned)


def _step(jacobian: FloatArray, error_m: FloatArray, error_rad: FloatArray) -> FloatArray:
    moving, turning = jacobian[:3], jacobian[3:]
    change = _damped(moving, _DAMPING_M) @ error_m
    still = _still(moving)
    rest = turning @ still
    return np.asarray(change + still @ (_damped(rest, _DAMPING_RAD) @ (error_rad - turning @ change)))


def _still(moving: FloatArray) -> FloatArray:
    """Onto the joint motions that do not move the tool, shape (D, D)."""
    return np.asarray(np.eye(moving.shape[1]) - _damped(moving, _SINGULAR) @ moving)


def _damped(matrix: FloatArray, damping: float) -> FloatArray:
    return np.asarray(matrix.T @ np.linalg.inv(matrix @ matrix.T + damping**2 * _EYE))
