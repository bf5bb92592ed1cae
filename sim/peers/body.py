"""A flying body on the ground of a flat world: the reference dynamics plus contact, in fixed steps.

The equations are those of `sim.quadrotor.dynamics` written for one vehicle in plain floats, which is
several times faster than arrays of three; the tests hold them equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hardware.command import FloatArray
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe
from sim.quadrotor.dynamics import QuadrotorState

_SIZE = 17


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
        self._mixer: list[list[float]] = airframe.mixer.tolist()
        half = 0.5 * yaw_rad
        self._x = [*map(float, position_m), 0.0, math.cos(half), 0.0, 0.0, math.sin(half)] + [0.0] * 10
        self.on_ground = True

    @property
    def state(self) -> QuadrotorState:
        """The true state, a copy."""
        return QuadrotorState(np.array(self._x))

    @state.setter
    def state(self, state: QuadrotorState) -> None:
        """Put the vehicle anywhere."""
        self._x = state.packed.tolist()
        self.on_ground = self._x[2] <= 0.0

    @property
    def packed(self) -> tuple[float, ...]:
        """The true state as `QuadrotorState.packed`, in plain floats."""
        return tuple(self._x)

    def advance(self, effort: Sequence[float], force_n: FloatArray | None = None) -> None:
        """Move on by one step.

        Args:
            effort: four set-points, limited to 0 to 1 here, in the order of `sim.quadrotor.MOTORS`.
            force_n: a push from outside, world frame, shape (3,).

        Raises:
            FloatingPointError: an effort or the force is not a number.
        """
        setpoint = [min(1.0, max(0.0, u)) for u in effort]
        push = (0.0, 0.0, 0.0) if force_n is None else [float(f) / self.airframe.mass_kg for f in force_n]
        x, h = self._x, self.step_s
        k1 = self._derivative(x, setpoint, push)
        k2 = self._derivative([a + 0.5 * h * k for a, k in zip(x, k1, strict=True)], setpoint, push)
        k3 = self._derivative([a + 0.5 * h * k for a, k in zip(x, k2, strict=True)], setpoint, push)
        k4 = self._derivative([a + h * k for a, k in zip(x, k3, strict=True)], setpoint, push)
        new = [a + h / 6.0 * (p + 2.0 * (q + r) + s) for a, p, q, r, s in zip(x, k1, k2, k3, k4, strict=True)]
        size = math.sqrt(sum(q * q for q in new[3:7]))
        if not math.isfinite(sum(new)) or size == 0.0:
            raise FloatingPointError("the body's state is not finite: the efforts or the force were not")
        new[3:7] = [q / size for q in new[3:7]]
        stood, self.on_ground = self.on_ground, new[2] <= 0.0
        if self.on_ground:
            if stood:
                # Friction holds it.
                new[0:2] = x[0:2]
            w, i, j, k = new[3:7]
            half = 0.5 * math.atan2(2.0 * (w * k + i * j), 1.0 - 2.0 * (j * j + k * k))
            new[2:7] = [0.0, math.cos(half), 0.0, 0.0, math.sin(half)]
            new[7:13] = [0.0, 0.0, max(0.0, new[9]), 0.0, 0.0, 0.0]
        self._x = new

    @property
    def tilt_rad(self) -> float:
        """Angle between the body's z axis and up."""
        x, y = self._x[4:6]
        return math.acos(min(1.0, max(-1.0, 1.0 - 2.0 * (x * x + y * y))))

    def _derivative(self, x: list[float], setpoint: list[float], push: Sequence[float]) -> list[float]:
        _, _, _, w, i, j, k, vx, vy, vz, p, q, r, u0, u1, u2, u3 = x
        a = self.airframe
        c0, c1, c2 = a.thrust_n
        f0, f1, f2, f3 = (c0 + u * (c1 + u * c2) for u in (u0, u1, u2, u3))
        lift, roll, pitch, yaw = (m0 * f0 + m1 * f1 + m2 * f2 + m3 * f3 for m0, m1, m2, m3 in self._mixer)
        lift /= a.mass_kg
        jx, jy, jz = a.inertia_kg_m2
        return [
            vx,
            vy,
            vz,
            -0.5 * (i * p + j * q + k * r),
            0.5 * (w * p + j * r - k * q),
            0.5 * (w * q - i * r + k * p),
            0.5 * (w * r + i * q - j * p),
            2.0 * (i * k + w * j) * lift + push[0],
            2.0 * (j * k - w * i) * lift + push[1],
            (1.0 - 2.0 * (i * i + j * j)) * lift - GRAVITY_M_S2 + push[2],
            (roll + (jy - jz) * q * r) / jx,
            (pitch + (jz - jx) * p * r) / jy,
            (yaw + (jx - jy) * p * q) / jz,
            *(
                (s - u) / (a.rising_s if s >= u else a.falling_s)
                for s, u in zip(setpoint, (u0, u1, u2, u3), strict=True)
            ),
        ]
