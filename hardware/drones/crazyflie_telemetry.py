"""What a Crazyflie tells: state on our clock, battery, supervisor, and how much of it got through."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from hardware.drones.crazyflie_pilot import Supervisor
from hardware.drones.crazyflie_wire import FirmwareClock, state_of_log
from hardware.drones.state import VehicleState

_SILENCE_NS = 1_000_000_000
_STATE_MS = 10


class Telemetry:
    """What is known of one Crazyflie. Not thread-safe."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.state: VehicleState | None = None
        self.supervisor: Supervisor | None = None
        self.battery_v: float | None = None
        self.battery_share: float | None = None
        # When it was heard, steady clock.
        self.heard_ns: int | None = None
        self._clock = FirmwareClock()
        self._stamps: deque[int] = deque(maxlen=100)

    def take_state(self, ticks: int, values: Mapping[str, float], *, data_ns: int, steady_ns: int) -> None:
        """Take in a packet of the log block with the state.

        Args:
            ticks: when it was so, the firmware's milliseconds.
            values: by name.
            data_ns: the ROS clock.
            steady_ns: the steady clock.
        """
        state = state_of_log(values)
        self.heard_ns = steady_ns
        self._stamps.append(ticks)
        if state is not None:
            self.state = state.stamped(self._clock.stamp_ns(ticks, data_ns), steady_ns)

    def take_status(self, values: Mapping[str, float]) -> None:
        """Take in a packet of the log block with supervisor and battery."""
        self.supervisor = Supervisor(int(values["supervisor.info"]))
        volts, percent = float(values["pm.vbat"]), float(values["pm.batteryLevel"])
        self.battery_v = volts if math.isfinite(volts) else None
        self.battery_share = min(1.0, percent * 1e-2)

    def is_heard(self, steady_now_ns: int) -> bool:
        """Whether it was heard lately."""
        return self.heard_ns is not None and steady_now_ns - self.heard_ns < _SILENCE_NS

    def share_of_stamps(self, steady_now_ns: int) -> float | None:
        """Share of the log packets that arrived, from the gaps between their stamps; None: not known yet."""
        if not self.is_heard(steady_now_ns):
            return 0.0
        if len(self._stamps) < 2 or self._stamps[-1] <= self._stamps[0]:
            return None
        expected = (self._stamps[-1] - self._stamps[0]) / _STATE_MS + 1.0
        return min(1.0, len(self._stamps) / expected)
