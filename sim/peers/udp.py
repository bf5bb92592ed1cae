"""A simulated vehicle in real time behind a UDP port: receive, step, send, never busier than needed."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hardware.errors import ConfigError

Address = tuple[str, int]
# A machine that cannot keep up slows the vehicle's time down instead of skipping physics.
_LATEST_NS = 200_000_000
# Whoever spoke to the vehicle this lately is spoken to.
_PARTNER_NS = 10_000_000_000


class WireVehicle(Protocol):
    """A vehicle with its protocol: bytes in, steps, bytes out through the `send` that it was made with."""

    def receive(self, datagram: bytes) -> None:
        """Take in a datagram."""

    def step(self) -> None:
        """Move on by one step."""


class UdpPort:
    """A socket that sends to fixed addresses and to everybody who spoke to it lately.

    Args:
        bind: its own address; port 0 takes a free one.
        send_to: addresses that are sent to from the start.
        clock_ns: steady time, nanoseconds.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self,
        bind: Address,
        *,
        send_to: Sequence[Address] = (),
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Open the port."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(bind)
        except OSError as error:
            self._socket.close()
            raise ConfigError(
                f"UDP {bind[0]}:{bind[1]} cannot be opened ({error.strerror})",
                where="simulated vehicle",
                expected="a free port",
                mend="choose another port or stop the other program",
            ) from error
        self._socket.setblocking(False)
        self._fixed = tuple(send_to)
        self._partners: dict[Address, int] = {}
        self._clock_ns = clock_ns
        # How much vehicle time was lost because the machine was too slow, nanoseconds.
        self.slipped_ns = 0

    @property
    def port(self) -> int:
        """The vehicle's own port."""
        return int(self._socket.getsockname()[1])

    def send(self, datagram: bytes) -> None:
        """Send to everybody; a full buffer or a closed port loses the datagram, as a radio would."""
        now_ns = self._clock_ns()
        lately = (a for a, t in self._partners.items() if now_ns - t < _PARTNER_NS)
        for address in dict.fromkeys((*self._fixed, *lately)):
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, address)

    def run(self, vehicle: WireVehicle, *, step_ns: int, is_over: Callable[[], bool]) -> None:
        """Let a vehicle live in real time until `is_over` says so; closes the port.

        Args:
            vehicle: the vehicle, at the beginning of its time.
            step_ns: length of its steps.
            is_over: asked all the time.
        """
        next_ns = self._clock_ns() + step_ns
        with selectors.DefaultSelector() as selector, self._socket:
            selector.register(self._socket, selectors.EVENT_READ)
            while not is_over():
                self._receive(vehicle)
                late_ns = self._clock_ns() - next_ns
                if late_ns < 0:
                    selector.select(-late_ns * 1e-9)
                    continue
                if late_ns > _LATEST_NS:
                    self.slipped_ns += late_ns
                    next_ns += late_ns
                vehicle.step()
                next_ns += step_ns

    def _receive(self, vehicle: WireVehicle) -> None:
        while True:
            try:
                datagram, address = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except ConnectionError:
                # Somebody whom we sent to is not there (any more).
                continue
            self._partners[address] = self._clock_ns()
            vehicle.receive(datagram)


def address_of(text: str) -> Address:
    """Read HOST:PORT.

    Raises:
        ConfigError: the text is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"{text!r} is no address",
            where="simulated vehicle",
            expected="HOST:PORT",
            mend="write it as 127.0.0.1:14540",
        )
    return host, int(port)
