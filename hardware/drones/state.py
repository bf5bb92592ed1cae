"""What drivers of flight controllers have in common: states in our frames, and what a reference says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hardware.command import FloatArray
from hardware.drones import ned
from hardware.frames import rotation_matrix

# The elements of a REFERENCE and of RATES_THRUST, by name.
REFERENCE_NAMES = ("x", "y", "z", "velocity_x", "velocity_y", "velocity_z", "yaw")
RATES_NAMES = ("roll_rate", "pitch_rate", "yaw_rate", "thrust")
# The acceleration of a reference: largest, smoothed over, and none across gaps longer than this.
_LARGEST_M_S2, _SMOOTHING_S, _LONGEST_GAP_S = 6.0, 0.05, 0.2


@dataclass(frozen=True, slots=True)
class VehicleState:
    """Where a vehicle is, in our frames."""

    # Shape (3,), metres, world ENU.
    position: FloatArray
    # Shape (4,), quaternion (w, x, y, z), body to world.
    orientation: FloatArray
    # Shape (3,), m/s and rad/s, body FLU.
    linear_velocity: FloatArray
    angular_velocity: FloatArray
    # When it was so, ROS clock, and when we heard it, steady clock; nanoseconds.
    stamp_ns: int = 0
    received_steady_ns: int = 0

    @classmethod
    def make(
        cls,
        *,
        position: Sequence[float],
        orientation: FloatArray,
        rates_frd: Sequence[float],
        velocity_ned: FloatArray | None = None,
        velocity_frd: FloatArray | None = None,
    ) -> Self | None:
        """Build a state out of what a flight controller tells.

        Args:
            position: NED, metres.
            orientation: already FLU to ENU.
            rates_frd: turning rates of the body, FRD, rad/s.
            velocity_ned: velocity in the world, or
            velocity_frd: velocity in the body; one of the two.

        Returns:
            The state; None where a number is not finite or the attitude is none.
        """
        velocity = velocity_ned if velocity_frd is None else velocity_frd
        size = float(np.linalg.norm(orientation))
        numbers = [*position, *rates_frd, *([] if velocity is None else velocity)]
        if velocity is None or not all(math.isfinite(n) for n in numbers) or not 0.9 < size < 1.1:
            return None
        attitude = orientation / size
        if velocity_frd is not None:
            in_body = ned.flu_from_frd(velocity_frd)
        else:
            in_body = rotation_matrix(attitude).T @ ned.enu_from_ned(velocity)
        return cls(
            ned.enu_from_ned(np.array(position)), attitude, in_body, ned.flu_from_frd(np.array(rates_frd))
        )

    def stamped(self, stamp_ns: int, received_steady_ns: int) -> VehicleState:
        """The same state with its two stamps."""
        return replace(self, stamp_ns=stamp_ns, received_steady_ns=received_steady_ns)

    @property
    def values(self) -> dict[str, FloatArray]:
        """The terms that robot cards name."""
        return {
            "position": self.position,
            "orientation": self.orientation,
            "linear_velocity": self.linear_velocity,
            "angular_velocity": self.angular_velocity,
        }


class ReferenceAcceleration:
    """The acceleration of a reference, from the velocities of two commands that follow each other.

    PX4's position controller lags behind a reference that turns; told the acceleration it does not. A
    step in velocity is no acceleration to follow: the result is limited and smoothed.
    """

    def __init__(self) -> None:
        """Start without a command."""
        self.reset()

    def reset(self) -> None:
        """Forget: commands begin anew."""
        self._last_ns: int | None = None
        self._velocity: FloatArray = np.zeros(3)
        self._acceleration: FloatArray = np.zeros(3)

    def add(self, velocity: FloatArray, stamp_ns: int) -> FloatArray:
        """Take in a command's velocity.

        Args:
            velocity: shape (3,), m/s, world.
            stamp_ns: when it is meant for, nanoseconds.

        Returns:
            Shape (3,), m/s^2; zeros while two commands are not there.
        """
        last_ns, self._last_ns = self._last_ns, stamp_ns
        change, self._velocity = velocity - self._velocity, velocity
        step_s = 0.0 if last_ns is None else (stamp_ns - last_ns) * 1e-9
        if step_s > _LONGEST_GAP_S or step_s < 0.0 or last_ns is None:
            self._acceleration = np.zeros(3)
        elif step_s > 0.0:
            new = change / step_s
            size = float(np.linalg.norm(new))
            new = new * min(1.0, _LARGEST_M_S2 / max(size, 1e-9))
            share = 1.0 - math.exp(-step_s / _SMOOTHING_S)
            self._acceleration = self._acceleration + share * (new - self._acceleration)
        return self._acceleration
