"""What drivers have in common whose pilot decides and whose own threads send: requests, state, poses."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from hardware.connected import Connected
from hardware.drones.state import VehicleState
from hardware.drones.vehicle import ExternalPose
from hardware.errors import Refusal
from hardware.robot import Observation, RobotCard


class Requests(Protocol):
    """What a pilot can be asked for, at a time of the steady clock; it decides what becomes of it."""

    safe_stopped: str | None

    def disarm(self, now_ns: int) -> None:
        """Disarm."""

    def take_off(self, now_ns: int, height_m: float) -> None:
        """Climb. Raises Refusal."""

    def land(self, now_ns: int) -> None:
        """Land and disarm."""

    def safe_stop(self, now_ns: int, reason: str) -> None:
        """Land and disarm, for a reason."""


class PilotedVehicle(Connected):
    """The part of `FlightVehicle` that is the same for several firmwares.

    A request goes to the pilot under the lock and wakes whoever sends; nothing here blocks.

    Args:
        card: the robot's card.
        data_clock: the ROS clock, nanoseconds.
        steady_clock: the steady clock, nanoseconds.
    """

    def __init__(
        self, card: RobotCard, *, data_clock: Callable[[], int], steady_clock: Callable[[], int]
    ) -> None:
        """Open nothing."""
        self.card = card
        self._data_clock, self._steady_clock = data_clock, steady_clock
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        # The newest pose from outside that is not sent yet.
        self._pose: ExternalPose | None = None

    @property
    @abstractmethod
    def _pilot(self) -> Requests:
        """Who decides."""

    @property
    @abstractmethod
    def _newest(self) -> VehicleState | None:
        """Where the vehicle is, as it last told; None before the first time."""

    def read(self) -> Observation:
        """Return the newest observation; its stamp is the vehicle's capture time on our clock.

        Raises:
            Refusal: none has arrived yet.
        """
        state = self._newest
        if state is None:
            raise Refusal("no observation yet: the vehicle has not told its position")
        values = state.values
        return Observation(
            {name: values[name] for name in self.card.observations}, state.stamp_ns, state.received_steady_ns
        )

    @property
    def safe_stopped(self) -> str | None:
        """Why the vehicle is in its safe action, or None."""
        return self._pilot.safe_stopped

    def safe_stop(self, reason: str) -> None:
        """Land and disarm, for a reason. A command that comes while it still flies ends this."""
        with self._lock:
            self._pilot.safe_stop(self._steady_clock(), reason)
            self._wake.notify()

    def disarm(self) -> None:
        """Ask to disarm. In the air a Crazyflie's motors stop at once; PX4 refuses."""
        with self._lock:
            self._pilot.disarm(self._steady_clock())
            self._wake.notify()

    def take_off(self, height_m: float) -> None:
        """Ask for the firmware's own take-off to a height; it holds there until commands come.

        Raises:
            Refusal: it is not armed, or flies already.
        """
        with self._lock:
            self._pilot.take_off(self._steady_clock(), height_m)
            self._wake.notify()

    def land(self) -> None:
        """Ask for a landing that ends disarmed."""
        with self._lock:
            self._pilot.land(self._steady_clock())
            self._wake.notify()

    def external_pose(self, pose: ExternalPose) -> None:
        """Hand on a pose from outside; a newer one replaces one that is not sent yet.

        Raises:
            Refusal: a number is not finite, or the orientation is none.
        """
        pose.require_usable()
        with self._lock:
            self._pose = pose
            self._wake.notify()
