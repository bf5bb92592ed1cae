"""The PX4-like vehicle as a process: UDP on loopback, in real time."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from hardware.errors import ConfigError
from sim.peers.px4.vehicle import STEP_NS, PeerVehicle
from sim.peers.px4.wire import MavlinkPeer

Address = tuple[str, int]
# A machine that cannot keep up slows the vehicle's time down instead of skipping physics.
_LATEST_NS = 200_000_000
# Whoever spoke to the vehicle this lately is spoken to.
_PARTNER_NS = 10_000_000_000


class UdpPeer:
    """A vehicle that sends to fixed addresses and to everybody who spoke to its port lately.

    Args:
        vehicle: the vehicle.
        send_to: where its telemetry goes from the start, as PX4 sends to 14540 and 14550.
        bind: its own address; port 0 takes a free one.
        clock_ns: steady time, nanoseconds.
        watch: called with the vehicle at 125 Hz of its own time.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self,
        vehicle: PeerVehicle,
        *,
        send_to: Sequence[Address] = (),
        bind: Address = ("127.0.0.1", 0),
        clock_ns: Callable[[], int] = time.monotonic_ns,
        watch: Callable[[PeerVehicle], None] | None = None,
    ) -> None:
        """Open the port."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(bind)
        except OSError as error:
            self._socket.close()
            raise ConfigError(
                f"UDP {bind[0]}:{bind[1]} cannot be opened ({error.strerror})",
                where="PX4-like vehicle",
                expected="a free port",
                mend="choose another port or stop the other program",
            ) from error
        self._socket.setblocking(False)
        self._fixed = tuple(send_to)
        self._partners: dict[Address, int] = {}
        self._clock_ns, self._watch = clock_ns, watch
        self.peer = MavlinkPeer(vehicle, self._send)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        # How much vehicle time was lost because the machine was too slow, nanoseconds.
        self.slipped_ns = 0

    @property
    def port(self) -> int:
        """The vehicle's own port."""
        return int(self._socket.getsockname()[1])

    def run(self, is_over: Callable[[], bool]) -> None:
        """Fly in real time until `is_over` says so; closes the port."""
        vehicle = self.peer.vehicle
        origin_ns = self._clock_ns() - vehicle.now_ns
        try:
            while not is_over():
                behind_ns = self._clock_ns() - origin_ns - vehicle.now_ns
                if behind_ns > _LATEST_NS:
                    origin_ns += behind_ns - STEP_NS
                    self.slipped_ns += behind_ns - STEP_NS
                self._receive()
                if behind_ns >= STEP_NS:
                    self.peer.step()
                    if self._watch is not None and vehicle.now_ns // STEP_NS % 2 == 0:
                        self._watch(vehicle)
                    continue
                self._selector.select((STEP_NS - behind_ns) * 1e-9)
        finally:
            self._selector.close()
            self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                datagram, address = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except ConnectionError:
                # Somebody whom we sent to is not there (any more).
                continue
            self._partners[address] = self._clock_ns()
            self.peer.receive(datagram)

    def _send(self, datagram: bytes) -> None:
        now_ns = self._clock_ns()
        lately = (a for a, t in self._partners.items() if now_ns - t < _PARTNER_NS)
        for address in dict.fromkeys((*self._fixed, *lately)):
            # A full buffer or a closed port loses the datagram, as a radio would.
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, address)
