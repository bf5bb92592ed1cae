"""A flight vehicle without a world, for tests of what is around it: a stand-in for a driver and its firmware.

It moves like a point that follows at once. Its faults are files in a folder: `low_battery`, `blocked`,
`deaf`. As a program it is robot_node with this driver behind the name `px4`.
"""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from hardware.drivers import DRIVERS, Driver
from hardware.drones.vehicle import VehicleStatus
from hardware.errors import Refusal
from hardware.robot import Observation

_STEP_S = 0.01
_SPEED_M_S = 2.0


class FakeVehicle:
    """Implements `hardware.drones.vehicle.FlightVehicle`."""

    def __init__(self, card):
        self.card = card
        self._folder = Path(card.parameters["folder"])
        self._lock = threading.Lock()
        self._position = np.array([0.3, -0.2, 0.0])
        self._goal = None
        self._armed = self._lands = self._follows = False
        self._reason = None
        self._running = False
        self._poses = 0
        self._wiggle = 0.0
        self._newest = None

    def _is(self, fault):
        return (self._folder / fault).exists()

    def _note(self, text):
        with (self._folder / "calls").open("a") as file:
            file.write(text + "\n")

    def connect(self):
        self._note("connect")
        self._running = True
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def disconnect(self):
        self._note("disconnect")
        self._running = False
        self._thread.join()

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *error):
        self.disconnect()

    def _live(self):
        while self._running:
            with self._lock:
                self._step()
            time.sleep(_STEP_S)

    def _step(self):
        if self._armed and self._goal is None and self._is("idles_out"):
            self._armed = False
        if self._armed and self._goal is not None:
            way = self._goal - self._position
            far = float(np.linalg.norm(way))
            reach = (0.5 if self._lands else _SPEED_M_S) * _STEP_S
            self._position = self._goal.copy() if far <= reach else self._position + way * reach / far
            if self._lands and self._position[2] <= 0.0:
                self._armed = self._lands = self._follows = False
                self._goal = None
            elif not self._lands and far <= 0.05:
                self._follows = True
        self._wiggle = 1e-9 - self._wiggle
        values = {
            "position": self._position + self._wiggle,
            "orientation": np.array([1.0, 0.0, 0.0, 0.0]),
            "linear_velocity": np.zeros(3),
            "angular_velocity": np.array([self._wiggle, 0.0, 0.0]),
        }
        self._newest = Observation(values, time.time_ns(), time.monotonic_ns())

    def read(self):
        if self._newest is None:
            raise Refusal("no observation yet")
        return self._newest

    def command(self, command):
        with self._lock:
            if self._armed and self._follows:
                if self._reason is not None:
                    self._note("resumed")
                self._reason, self._lands = None, False
                self._goal = command.values[:3].copy()

    @property
    def status(self):
        blockers = ("the throttle is not at its lowest",) if self._is("blocked") else ()
        return VehicleStatus(
            armed=self._armed,
            mode="OFFBOARD" if self._follows else "HOLD",
            follows_commands=self._follows and not self._lands,
            failsafe=self._is("failsafe"),
            arming_blockers=blockers,
            on_ground=self._position[2] <= 0.0,
            battery_v=14.0 if self._is("low_battery") else 16.0,
            battery_share=0.1 if self._is("low_battery") else 0.9,
            link_quality=1.0,
            received_steady_ns=time.monotonic_ns(),
        )

    @property
    def safe_stopped(self):
        return self._reason

    def arm(self):
        if self.status.arming_blockers:
            raise Refusal("will not arm: " + "; ".join(self.status.arming_blockers))
        self._note("arm")
        with self._lock:
            if not self._is("deaf"):
                self._armed, self._reason, self._goal = True, None, None

    def disarm(self):
        self._note("disarm")
        with self._lock:
            self._armed = self._follows = self._lands = False

    def take_off(self, height_m):
        self._note(f"take_off {height_m:g}")
        with self._lock:
            self._goal = self._position + [0.0, 0.0, height_m]

    def land(self):
        self._note("land")
        self._descend()

    def safe_stop(self, reason):
        self._note(f"safe_stop {reason}")
        self._reason = reason
        self._descend()

    def _descend(self):
        with self._lock:
            if self._armed:
                self._lands, self._goal = True, self._position * [1.0, 1.0, 0.0]

    def external_pose(self, pose):
        self._poses += 1
        if self._poses % 20 == 1:
            speed = "none" if pose.linear_velocity is None else f"{pose.linear_velocity[0]:.2f}"
            self._note(f"pose {pose.position[0]:.2f} {speed}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    DRIVERS["px4"] = Driver("fake_vehicle", "FakeVehicle", "reflexarc[drones]")
    from reflexarc_ros.robot_node import main

    sys.argv = sys.argv[1:]
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
