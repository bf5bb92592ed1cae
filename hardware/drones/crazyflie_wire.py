"""A Crazyflie's numbers between its wire and our types: log blocks in, set-points out.

Not run on hardware: tested at the wire against `sim.peers.crazyflie` through cflib. Sources:
crazyflie-firmware, log group `stateEstimateZ` (millimetres, milliradians, a quaternion of 32 bits; its
pitch rate counts nose up); cflib's commander; RAPTOR's out-of-tree controller (specs of RAPTOR, 5c).
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Mapping

import numpy as np

from hardware.command import FloatArray
from hardware.drones.ned import wrap_angle
from hardware.drones.state import VehicleState
from hardware.frames import rotation_matrix, yaw_of

# One log block with the whole state: 22 bytes of the 26 that a block may hold.
STATE_VARIABLES = tuple(
    f"stateEstimateZ.{name}"
    for name in ("x", "y", "z", "vx", "vy", "vz", "quat", "rateRoll", "ratePitch", "rateYaw")
)
STATUS_VARIABLES = ("supervisor.info", "pm.vbat", "pm.batteryLevel")
# The packet that keeps RAPTOR's controller on the motors, for 200 ms: port 7, channel 1, one byte.
ACTIVATION_PORT, ACTIVATION_CHANNEL, ACTIVATION_DATA = 7, 1, b"\x01"
ACTIVATION_PERIOD_NS = 50_000_000
_TICK_NS = 1_000_000
_WRAP = 1 << 24


class SetpointKind(enum.StrEnum):
    """How a reference is put to the firmware."""

    # Position, velocity, acceleration and heading together.
    FULL_STATE = "full_state"
    # Position and heading; the velocity is the firmware's to find.
    POSITION = "position"
    # Velocity in the world, with the position's error added to it here.
    VELOCITY = "velocity"
    # Velocity ahead and to the left, and the height.
    HOVER = "hover"


def quaternion_of_compressed(packed: int) -> FloatArray:
    """Unpack a quaternion of 32 bits.

    Two bits name the largest component, which is left out and positive; the others follow in the order
    x, y, z, w with a sign and nine bits each, as shares of the square root of one half.

    Returns:
        Shape (4,), quaternion (w, x, y, z).
    """
    q, largest, total = [0.0] * 4, packed >> 30 & 3, 0.0
    for i in range(3, -1, -1):
        if i == largest:
            continue
        size = (packed & 511) / 511.0 * math.sqrt(0.5)
        q[i] = -size if packed >> 9 & 1 else size
        packed >>= 10
        total += q[i] * q[i]
    q[largest] = math.sqrt(max(0.0, 1.0 - total))
    x, y, z, w = q
    return np.array([w, x, y, z])


def state_of_log(values: Mapping[str, float]) -> VehicleState | None:
    """The state in a log block of `STATE_VARIABLES`; None where it is none."""
    n = {name.partition(".")[2]: float(values[name]) for name in STATE_VARIABLES}
    orientation = quaternion_of_compressed(int(n["quat"]))
    size = float(np.linalg.norm(orientation))
    if not 0.9 < size < 1.1:
        return None
    orientation /= size
    velocity = np.array([n["vx"], n["vy"], n["vz"]]) * 1e-3
    return VehicleState(
        np.array([n["x"], n["y"], n["z"]]) * 1e-3,
        orientation,
        rotation_matrix(orientation).T @ velocity,
        np.array([n["rateRoll"], -n["ratePitch"], n["rateYaw"]]) * 1e-3,
    )


class FirmwareClock:
    """Puts log stamps (milliseconds since boot, 24 bits) onto our clock.

    The fastest packet of the last seconds sets the offset: stamps are late by the shortest time that the
    link needs one way, and by no more.

    Args:
        window: how many packets are looked back on.
    """

    def __init__(self, *, window: int = 500) -> None:
        """Start unsynchronised."""
        self._offsets: deque[int] = deque(maxlen=window)
        self._last, self._turns = 0, 0

    def stamp_ns(self, ticks: int, now_ns: int) -> int:
        """When a packet was captured.

        Args:
            ticks: its stamp.
            now_ns: when it arrived, our clock.

        Returns:
            Nanoseconds of our clock, never later than `now_ns`.
        """
        if ticks < self._last - _WRAP // 2:
            self._turns += 1
        elif ticks < self._last - 1000:
            # Not a turn of the counter: it was booted anew.
            self._offsets.clear()
            self._turns = 0
        self._last = ticks
        boot_ns = (ticks + self._turns * _WRAP) * _TICK_NS
        self._offsets.append(now_ns - boot_ns)
        return min(now_ns, boot_ns + min(self._offsets))


def velocity_setpoint(
    values: Mapping[str, float], state: VehicleState, *, gain_per_s: float, limit_m_s: float
) -> tuple[FloatArray, float]:
    """A velocity that follows a reference, and a heading rate.

    Args:
        values: the reference by name.
        state: where the vehicle is.
        gain_per_s: velocity per position error.
        limit_m_s: the fastest velocity that is asked for.

    Returns:
        Velocity, shape (3,), m/s, world; and the heading rate, rad/s.
    """
    goal = np.array([values[n] for n in ("x", "y", "z")])
    feed = np.array([values[f"velocity_{n}"] for n in ("x", "y", "z")])
    velocity = feed + gain_per_s * (goal - state.position)
    speed = float(np.linalg.norm(velocity))
    velocity = velocity * min(1.0, limit_m_s / max(speed, 1e-9))
    return velocity, 2.0 * wrap_angle(values["yaw"] - yaw_of(state.orientation))
