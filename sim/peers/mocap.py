"""A simulated motion capture and a flight recorder beside a wire peer: what a vehicle truly does."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sim.peers.udp import WireVehicle
from sim.quadrotor.airframes import MOTORS
from sim.quadrotor.dynamics import QuadrotorState

# A captured pose: stamp (ROS clock, ns), position (m), quaternion (w, x, y, z), velocity (m/s), all in the
# world (z up), then the body's rates (rad/s, forward-left-up).
POSE = struct.Struct("<q13d")
DEFAULT_PORT = 14_650
_ROWS = 90_000


class MotionCapture:
    """Sends true poses in datagrams to whoever listens on a port of this machine.

    Args:
        port: the port.
    """

    def __init__(self, port: int = DEFAULT_PORT) -> None:
        """Open a socket; nobody has to listen."""
        self._to = ("127.0.0.1", port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def capture(self, stamp_ns: int, state: QuadrotorState) -> None:
        """Send one pose.

        Args:
            stamp_ns: when it is so, ROS clock.
            state: of one vehicle.
        """
        with contextlib.suppress(OSError):
            self._socket.sendto(POSE.pack(stamp_ns, *state.packed[:13].tolist()), self._to)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class FlightRecorder:
    """Keeps what a vehicle did, as a trace for reports and videos.

    Args:
        path: the npz file to write.
        robot: name of the robot card.
    """

    def __init__(self, path: Path, *, robot: str) -> None:
        """Start empty."""
        from sim.twin.trace import TraceRecorder

        self._path = path
        self._recorder = TraceRecorder(robot=robot, command_names=MOTORS, row_limit=_ROWS)

    def capture(self, stamp_ns: int, state: QuadrotorState, effort: Sequence[float]) -> None:
        """Keep one row: the true state and the motors' set-points."""
        packed = state.packed
        self._recorder.row(stamp_ns, packed[0:7].copy(), packed[7:13].copy())
        self._recorder.command(stamp_ns, np.array(effort, dtype=np.float64))

    def save(self) -> None:
        """Write the file."""
        self._recorder.trace().save(self._path)


class Watched:
    """A vehicle on a wire that is filmed and recorded at every second step.

    Args:
        vehicle: the vehicle with its protocol.
        look: its true state and its motors' set-points.
        capture: where poses go, or None.
        recorder: where the flight is kept, or None.
        data_clock: the ROS clock, nanoseconds.
    """

    def __init__(
        self,
        vehicle: WireVehicle,
        look: Callable[[], tuple[QuadrotorState, Sequence[float]]],
        *,
        capture: MotionCapture | None,
        recorder: FlightRecorder | None,
        data_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Remember whom to watch."""
        self._vehicle, self._look, self._clock = vehicle, look, data_clock
        self._capture, self._recorder = capture, recorder
        self._steps = 0

    def receive(self, datagram: bytes) -> None:
        """Take in a datagram."""
        self._vehicle.receive(datagram)

    def step(self) -> None:
        """Move on by one step, and look at every second."""
        self._vehicle.step()
        self._steps += 1
        if self._steps % 2 or (self._capture is None and self._recorder is None):
            return
        stamp_ns = self._clock()
        state, effort = self._look()
        if self._capture is not None:
            self._capture.capture(stamp_ns, state)
        if self._recorder is not None:
            self._recorder.capture(stamp_ns, state, effort)

    def close(self) -> None:
        """Let go of the socket and write the recording."""
        if self._capture is not None:
            self._capture.close()
        if self._recorder is not None:
            self._recorder.save()
