"""What a flight controller has beyond a `Robot`: arming, take-off, landing, health, a pose from outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from hardware.command import FloatArray
from hardware.errors import Refusal
from hardware.robot import Robot


@dataclass(frozen=True, slots=True)
class VehicleStatus:
    """How a vehicle is, as its firmware last told."""

    # Whether the motors may turn.
    armed: bool
    # The flight mode, in the firmware's own word.
    mode: str
    # Whether the firmware is following our commands now.
    follows_commands: bool
    # Whether its own failsafe acts.
    failsafe: bool
    # Why it will not arm, one sentence each; empty when it would.
    arming_blockers: tuple[str, ...] = ()
    # Whether it stands on the ground; None: the firmware does not know.
    on_ground: bool | None = None
    # Battery voltage, volts; None: not measured.
    battery_v: float | None = None
    # Battery charge, 0 to 1; None: not measured.
    battery_share: float | None = None
    # Share of messages that got through lately, 0 to 1.
    link_quality: float | None = None
    # When this was told, steady clock, nanoseconds.
    received_steady_ns: int = 0


@dataclass(frozen=True, slots=True)
class ExternalPose:
    """A pose that the vehicle did not measure itself: motion capture or visual odometry."""

    # Shape (3,), metres, world (east-north-up).
    position: FloatArray
    # Shape (4,), quaternion (w, x, y, z), body (forward-left-up) to world.
    orientation: FloatArray
    # When it was captured, ROS clock, nanoseconds.
    stamp_ns: int
    # Shape (3,), m/s, world; None: to be derived from positions.
    linear_velocity: FloatArray | None = None

    def require_usable(self) -> None:
        """Refuse a pose that no vehicle must be told.

        Raises:
            Refusal: a number is not finite, or the orientation is none.
        """
        size = float(np.linalg.norm(self.orientation))
        if not all(map(math.isfinite, [*self.position, *self.orientation])) or not 0.9 < size < 1.1:
            raise Refusal("a pose from outside that is not finite, or whose quaternion has not length one")


@runtime_checkable
class FlightVehicle(Robot, Protocol):
    """A quadrotor behind a flight controller. Requests return at once; `status` tells what became of them.

    `safe_stop` lands and then disarms. Threads of the driver's own do everything that can block.
    """

    @property
    def status(self) -> VehicleStatus:
        """How the vehicle is."""

    @property
    def safe_stopped(self) -> str | None:
        """Why the vehicle is in its safe action, or None while it follows commands."""

    def arm(self) -> None:
        """Ask the firmware to arm. Raises Refusal with the firmware's reasons, in words, when it will not."""

    def disarm(self) -> None:
        """Ask the firmware to disarm."""

    def take_off(self, height_m: float) -> None:
        """Ask for a climb to a height above the present place, where the firmware or the driver has one."""

    def land(self) -> None:
        """Ask for a landing that ends disarmed."""

    def external_pose(self, pose: ExternalPose) -> None:
        """Hand on a pose from outside. Returns at once."""
