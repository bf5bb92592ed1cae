"""A simulated motion capture and a flight recorder beside a wire peer: what a vehicle truly does."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
