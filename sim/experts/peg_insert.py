"""A scripted expert for `reflexarc/PegInsert-v0`.

It decides from the observation alone, without memory, as the expert of PickCube does: it looks where peg and
hole are, and goes on from there, down a funnel that ends in the hole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.frames import rotation_matrix
from sim.worlds import panda
from sim.worlds.panda_reach import PandaReach, rotation_from_vector, rotation_vector
from sim.worlds.peg_insert import CHAMFER_M, CLEARANCE_M, HOLE_DEPTH_M, PegInsertWorld

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PegExpertSettings:
    """How fast and how carefully the expert moves."""

    # Largest speed of the peg, m/s, of its turning, rad/s, and joint acceleration, rad/s^2.
    velocity: float = 0.20
    turning: float = 0.8
    acceleration: float = 6.0
    # Deceleration towards the goal, m/s^2.
    braking: float = 0.5
    # Speed for a metre (radian) of distance close to the goal, 1/s.
    gain: float = 6.0
    # Largest speed with which the peg goes into the hole, m/s: it bounds the force of a collision.
    insertion: float = 0.03
    # Height of the peg's end above the rim while it is not aligned, at most, metres.
    clearance_m: float = 0.02
    # Up to this misalignment the peg may go in, metres; a radian counts as `metres_per_rad`.
    aligned_m: float = 0.0010
    metres_per_rad: float = 0.02
    # The funnel: metres of height for a metre of misalignment.
    funnel: float = 6.0
    # How far above the bottom of the hole the peg stops, metres.
    spare_m: float = 0.002
    # Age of the observation when an action acts, seconds, for a robot with latency.
    latency_s: float = 0.0


class PegInsertExpert:
    """Inserts the peg.

    Args:
        settings: how fast and how carefully.
    """

    def __init__(self, *, settings: PegExpertSettings | None = None) -> None:
        """Prepare the kinematics."""
        self.settings = settings or PegExpertSettings()
        self._reach = PandaReach()
        self._period_s = 1.0 / PegInsertWorld.CONTROL_HZ
        self._lead_s = panda.LAG_S + self._period_s / 2 + self.settings.latency_s

    def reset(self, seed: int) -> None:
        """There is nothing to remember or to draw."""

    def act(self, observation: Mapping[str, FloatArray]) -> FloatArray:
        """Choose the next joint targets.

        Args:
            observation: the terms of the task.

        Returns:
            Joint position targets, shape (7,), rad, in the order of `panda.JOINTS`.
        """
        s = self.settings
        joints, speeds = observation["joint_position"], observation["joint_velocity"]
        hand, hand_rotation = self._reach.forward(joints)
        peg, peg_rotation = observation["peg_position"], rotation_matrix(observation["peg_orientation"])
        hole, hole_rotation = observation["hole_position"], rotation_matrix(observation["hole_orientation"])
        turn = rotation_vector(hole_rotation @ peg_rotation.T)
        motion = hole_rotation @ self._velocity(hole_rotation.T @ (peg - hole), float(np.linalg.norm(turn)))
        turning = s.gain * turn
        turning *= min(1.0, s.turning / max(float(np.linalg.norm(turning)), 1e-9))
        # Where the hand is when the peg has moved like this for as long as the drives lag behind.
        step = rotation_from_vector(turning * self._lead_s)
        place = peg + motion * self._lead_s + step @ (hand - peg)
        wanted = (self._reach.inverse(joints, place, step @ hand_rotation) - joints) / self._lead_s
        change = s.acceleration * self._period_s
        wanted = np.clip(wanted, speeds - change, speeds + change)
        return np.asarray(joints + wanted * self._lead_s)

    def _velocity(self, place: FloatArray, turn_rad: float) -> FloatArray:
        """How the peg's end should move in the hole's frame, m/s, from its place there, metres."""
        s = self.settings
        beside = float(np.hypot(place[0], place[1]))
        height = s.funnel * max(0.0, beside + s.metres_per_rad * turn_rad - s.aligned_m)
        # Between the walls nothing but the depth is left to do.
        is_inside = place[2] < -2 * CHAMFER_M and beside < 2 * CLEARANCE_M
        is_entering = is_inside or height == 0.0
        goal = s.spare_m - HOLE_DEPTH_M if is_entering else min(height, s.clearance_m)
        distance = np.array([-place[0], -place[1], goal - place[2]])
        far = max(float(np.linalg.norm(distance)), 1e-9)
        # Fast far away, braking evenly, then in proportion.
        velocity = distance * (min(s.velocity, np.sqrt(2 * s.braking * far), s.gain * far) / far)
        if is_entering:
            # The funnel's end: slower the nearer to the rim, and beside the axis as quickly as above it.
            velocity[:2] = -s.gain * place[:2]
            slowest = -s.insertion - s.gain * max(0.0, float(place[2]))
            velocity[2] = max(velocity[2], slowest)
        return np.asarray(velocity)
