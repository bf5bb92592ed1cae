"""What a simulated firmware hands to a policy that it holds, and what it takes from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hardware.command import FloatArray


@dataclass(frozen=True)
class MotorObservation:
    """What the policy sees; the world has z up, the body is forward-left-up."""

    # Metres, quaternion (w, x, y, z), m/s in the world, rad/s in the body.
    position: FloatArray
    orientation: FloatArray
    linear_velocity: FloatArray
    angular_velocity: FloatArray
    # Where to be and how fast, and the heading from the world's x axis, counter-clockwise.
    reference_position: FloatArray
    reference_velocity: FloatArray
    reference_yaw: float
    # Time since boot, nanoseconds.
    stamp_ns: int


class MotorPolicy(Protocol):
    """A policy that drives the motors; `policies.raptor` has one."""

    def reset(self) -> None:
        """Begin anew: the policy was switched on."""

    def efforts(self, observation: MotorObservation) -> Sequence[float]:
        """Four efforts, 0 to 1, in the order of `sim.quadrotor.MOTORS`."""
