"""Where MAVLink bytes go: a UDP port, or what `transport` knows (TCP, serial)."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from hardware.drones.transport import LinkError, Transport, open_transport
from hardware.errors import ConfigError

# A vehicle that was silent for this long may come back from another port (it was started anew).
_SILENCE_NS = 3_000_000_000


class UdpTransport:
    """Datagrams to and from one vehicle.

    Args:
        listen: our own address for `udpin`, or None.
        send_to: the vehicle's address for `udpout`, or None: whoever is heard first.
        steady_clock: nanoseconds.

    Raises:
        LinkError: the port is taken.
    """

    def __init__(
        self,
        *,
        listen: tuple[str, int] | None = None,
        send_to: tuple[str, int] | None = None,
        steady_clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Open the port."""
        self._clock, self._partner, self._is_settled = steady_clock, send_to, send_to is not None
        self._is_fixed = self._is_settled
        self._heard_ns = 0
        # Datagrams of others than the vehicle.
        self.foreign = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(listen or ("0.0.0.0", 0))
        except OSError as error:
            self._socket.close()
            place = "" if listen is None else f"{listen[0]}:{listen[1]}"
            raise LinkError(
                f"UDP port {place}: {error.strerror}; a ground station, a MAVLink router or another driver"
                " may hold it"
            ) from error
        self._socket.setblocking(False)

    @property
    def port(self) -> int:
        """Our own port."""
        return int(self._socket.getsockname()[1])

    def read(self, timeout_s: float) -> bytes:
        """Wait for one datagram of the vehicle; empty when none came in time."""
        try:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return b""
            data, address = self._socket.recvfrom(65535)
        except ConnectionError:
            # Nobody was there when we sent; somebody may be later.
            return b""
        except (OSError, ValueError) as error:
            raise LinkError(f"UDP: {error}") from error
        now_ns = self._clock()
        if address != self._partner:
            if self._is_fixed or (self._is_settled and now_ns - self._heard_ns < _SILENCE_NS):
                self.foreign += 1
                return b""
            self._partner, self._is_settled = address, False
        self._heard_ns = now_ns
        return data

    def settle(self) -> None:
        """What was read last came from the vehicle: whoever else sends is not listened to any more."""
        self._is_settled = self._partner is not None

    def write(self, data: bytes) -> None:
        """Send a datagram to the vehicle, as soon as it is known; what cannot be sent is lost."""
        if self._partner is None:
            return
        try:
            self._socket.sendto(data, self._partner)
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            raise LinkError(f"UDP: {error}") from error

    def close(self) -> None:
        """Let go."""
        self._socket.close()


def open_link(address: str, *, steady_clock: Callable[[], int] = time.monotonic_ns) -> Transport:
    """Open what an address names.

    Args:
        address: `udpin:HOST:PORT` (listen, as for PX4's simulations at 14540), `udpout:HOST:PORT`, or
            `tcp:...` and `serial:...` as `transport.open_transport` has them.
        steady_clock: nanoseconds.

    Returns:
        The open link.

    Raises:
        ConfigError: the address is none of these.
        LinkError: the port is taken, or nobody is there.
    """
    kind, _, rest = address.partition(":")
    if kind in ("tcp", "serial"):
        return open_transport(address)
    host, _, port = rest.rpartition(":")
    if kind not in ("udpin", "udpout") or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"link {address!r}",
            where="flight controller",
            expected="udpin:HOST:PORT, udpout:HOST:PORT, tcp:HOST:PORT or serial:DEVICE:BAUD",
            mend="correct the link, for instance udpin:127.0.0.1:14540 or serial:/dev/ttyACM0:921600",
        )
    place = (host, int(port))
    if kind == "udpin":
        return UdpTransport(listen=place, steady_clock=steady_clock)
    return UdpTransport(send_to=place, steady_clock=steady_clock)


def is_stream(address: str) -> bool:
    """Whether a link carries a stream of bytes, and not datagrams."""
    return address.partition(":")[0] in ("tcp", "serial")
