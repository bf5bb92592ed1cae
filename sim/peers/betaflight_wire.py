"""What Betaflight's simulator target sends and receives over UDP, and the plant on the other side of it.

Little endian, natural alignment. Source: the firmware's `platform/SIMULATOR/sitl.c` (4.6); signs and orders
as measured on the running firmware (specs of RAPTOR, section 5a.2).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from hardware.command import FloatArray
from hardware.frames import rotation_matrix
from sim.quadrotor.airframes import GRAVITY_M_S2, Airframe
from sim.quadrotor.dynamics import QuadrotorState
from sim.worlds.quadrotor import QuadrotorWorld

PORT_RAW_MOTORS, PORT_MOTORS, PORT_STATE, PORT_RADIO, PORT_MSP = 9001, 9002, 9003, 9004, 5761
RADIO_CHANNELS = 16
_STATE = struct.Struct("<18d")
_RADIO = struct.Struct(f"<d{RADIO_CHANNELS}H")
_MOTORS = struct.Struct("<4f")
# The firmware's motor packet holds front right, back left, front left, back right.
_FROM_PACKET = (0, 3, 1, 2)
_SEA_LEVEL_PA, _PA_PER_M = 101_325.0, 12.0


def state_packet(time_s: float, state: QuadrotorState, specific_force_m_s2: FloatArray) -> bytes:
    """The datagram that tells the firmware's sensors what to measure.

    Args:
        time_s: simulated time.
        state: of one vehicle, world z up, body forward-left-up.
        specific_force_m_s2: what an accelerometer measures, body frame, shape (3,); +g upward at rest.
    """
    p, q, r = state.angular_velocity
    height_m = float(state.position[2])
    return _STATE.pack(
        time_s,
        # The packet's rates are forward-right-down, its accelerations are the negative specific force.
        *(p, -q, -r),
        *(-specific_force_m_s2),
        *state.orientation,
        # Position and velocity feed its virtual GPS alone: never the truth, so that none can leak in.
        *(0.0,) * 6,
        _SEA_LEVEL_PA - _PA_PER_M * height_m,
    )


def radio_packet(time_s: float, channels_us: Sequence[int]) -> bytes:
    """The datagram of a radio receiver: roll, pitch, throttle, yaw, AUX1, ..., microseconds."""
    return _RADIO.pack(time_s, *channels_us, *(1000,) * (RADIO_CHANNELS - len(channels_us)))


def motor_efforts(packet: bytes) -> tuple[float, ...] | None:
    """Efforts, 0 to 1, in the order of `sim.quadrotor.MOTORS`; None for a datagram of another size."""
    if len(packet) != _MOTORS.size:
        return None
    values = _MOTORS.unpack(packet)
    return tuple(min(1.0, max(0.0, values[i])) for i in _FROM_PACKET)


class Plant:
    """One vehicle in its world, as the firmware's sensors and motors see it.

    Args:
        airframe: the vehicle.
        step_s: time between two state packets, seconds.
    """

    def __init__(self, airframe: Airframe, step_s: float = 0.0025) -> None:
        """Stand on the ground, motors off."""
        self.world = QuadrotorWorld(airframe)
        self.step_s = step_s
        self.time_s = 0.0
        self._velocity: FloatArray = np.zeros(3)

    def step(self, efforts: Sequence[float] | None) -> bytes:
        """Move on by one step.

        Args:
            efforts: new set-points in the order of `MOTORS`; None keeps the last.

        Returns:
            The state packet of the new state.
        """
        if efforts is not None:
            self.world.set_motors(efforts)
        self.world.integrate(self.step_s)
        self.time_s += self.step_s
        state = self.world.state()
        acceleration = (state.linear_velocity - self._velocity) / self.step_s
        self._velocity = np.array(state.linear_velocity)
        acceleration[2] += GRAVITY_M_S2
        return state_packet(self.time_s, state, acceleration @ rotation_matrix(state.orientation))
