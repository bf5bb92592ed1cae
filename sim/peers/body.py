"""A flying body on the ground of a flat world: the reference dynamics plus contact, in fixed steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hardware.command import FloatArray
from hardware.frames import yaw_of, yaw_quaternion
from sim.quadrotor.airframes import Airframe
from sim.quadrotor.dynamics import QuadrotorState, make_state, parameters_of, step


class FlyingBody:
    """One vehicle, world east-north-up, body forward-left-up; the ground is at z = 0.

    On the ground it stands level and still until its thrust exceeds its weight: contact is a stop
    without bounce, which is all that arming, taking off and landing need.

    Args:
        airframe: the vehicle.
        step_s: length of a step, seconds.
        position_m: where it stands at first (x, y); z is the ground.
        yaw_rad: its heading, from east, counter-clockwise.
    """

    def __init__(
        self,
        airframe: Airframe,
        *,
        step_s: float,
        position_m: Sequence[float] = (0.0, 0.0),
        yaw_rad: float = 0.0,
    ) -> None:
        """Stand on the ground with the motors off."""
        self.airframe, self.step_s = airframe, step_s
        self._parameters = parameters_of(airframe)
        self.state: QuadrotorState = make_state(
            position=(*position_m, 0.0), orientation=yaw_quaternion(yaw_rad)
        )
        self.on_ground = True

    def advance(self, effort: Sequence[float], force_n: FloatArray | None = None) -> None:
        """Move on by one step.

        Args:
            effort: four set-points, 0 to 1, in the order of `sim.quadrotor.MOTORS`.
            force_n: a push from outside, world frame, shape (3,).
        """
        state = step(self._parameters, self.state, np.asarray(effort, dtype=np.float64), self.step_s, force_n)
        if not np.isfinite(state.packed).all():
            raise FloatingPointError("the body's state is not finite: the efforts were not")
        self.on_ground = bool(state.packed[2] <= 0.0)
        if self.on_ground:
            packed = state.packed.copy()
            packed[2] = 0.0
            packed[3:7] = yaw_quaternion(yaw_of(packed[3:7]))
            packed[7:9] = 0.0
            packed[9] = max(0.0, packed[9])
            packed[10:13] = 0.0
            state = QuadrotorState(packed)
        self.state = state

    @property
    def tilt_rad(self) -> float:
        """Angle between the body's z axis and up."""
        _, x, y, _ = self.state.orientation.tolist()
        return math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))
