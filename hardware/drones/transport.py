"""Where bytes to and from a flight controller go: a serial port, a TCP connection, or a local socket.

Nothing here waits longer than it is told to. What goes wrong is raised as `LinkError`, in words.
"""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from typing import Any, Protocol

from hardware.errors import ConfigError

DEFAULT_BAUD = 115_200
# A flight controller that takes no bytes for this long is gone.
_WRITE_TIMEOUT_S = 0.2
_READ_BYTES = 4096


class LinkError(OSError):
    """The connection cannot be made, or is lost."""


class Transport(Protocol):
    """A byte stream."""

    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes; empty when none came in time. Raises LinkError when the stream has ended."""

    def write(self, data: bytes) -> None:
        """Send all of it, or raise LinkError."""

    def close(self) -> None:
        """Let go."""


class SocketTransport:
    """A connected stream socket.

    Args:
        stream: the socket; it is owned from now on.
        peer: who is at the other end, for messages.
    """

    def __init__(self, stream: socket.socket, peer: str) -> None:
        """Make it non-blocking."""
        self._socket, self._peer = stream, peer
        stream.setblocking(False)

    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes; empty when none came in time. Raises LinkError when the stream has ended."""
        try:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return b""
            data = self._socket.recv(_READ_BYTES)
        except (OSError, ValueError) as error:
            raise LinkError(f"{self._peer}: {error}") from error
        if not data:
            raise LinkError(f"{self._peer} closed the connection")
        return data

    def write(self, data: bytes) -> None:
        """Send all of it, or raise LinkError."""
        view = memoryview(data)
        try:
            while view:
                if not select.select([], [self._socket], [], _WRITE_TIMEOUT_S)[1]:
                    raise LinkError(f"{self._peer} takes no more bytes")
                view = view[self._socket.send(view) :]
        except (OSError, ValueError) as error:
            raise error if isinstance(error, LinkError) else LinkError(f"{self._peer}: {error}") from error

    def close(self) -> None:
        """Let go."""
        self._socket.close()


class SerialTransport:
    """A serial port, held exclusively.

    Args:
        path: the device.
        baud: its speed; USB ports ignore it.
    """

    def __init__(self, path: str, baud: int = DEFAULT_BAUD) -> None:
        """Open it."""
        import serial

        try:
            self._port: Any = serial.Serial(
                path, baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True
            )
        except (serial.SerialException, OSError) as error:
            busy = "lock" in str(error) or "busy" in str(error).lower()
            why = "another program holds it" if busy else str(error)
            raise LinkError(f"{path}: {why}") from error
        self._path, self._error = path, serial.SerialException

    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes; empty when none came in time. Raises LinkError when the port has gone."""
        try:
            if not select.select([self._port.fileno()], [], [], timeout_s)[0]:
                return b""
            data = os.read(self._port.fileno(), _READ_BYTES)
        except (OSError, ValueError, TypeError, self._error) as error:
            raise LinkError(f"{self._path}: {error}") from error
        if not data:
            raise LinkError(f"{self._path}: the device has gone")
        return data

    def write(self, data: bytes) -> None:
        """Send all of it, or raise LinkError."""
        try:
            self._port.write(data)
        except (OSError, TypeError, self._error) as error:
            raise LinkError(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Let go."""
        self._port.close()


def open_transport(address: str, *, timeout_s: float = 2.0) -> Transport:
    """Open what an address names.

    Args:
        address: `tcp:HOST:PORT`, `serial:DEVICE` or `serial:DEVICE:BAUD`, or `unix:PATH`.
        timeout_s: how long a connection may take.

    Returns:
        The open stream.

    Raises:
        ConfigError: the address is none of these.
        LinkError: nobody is there, or somebody else holds it.
    """
    kind, _, rest = address.partition(":")
    if kind == "serial" and rest:
        path, _, baud = rest.rpartition(":")
        return SerialTransport(path, int(baud)) if path and baud.isdecimal() else SerialTransport(rest)
    if kind == "unix" and rest:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(timeout_s)
        try:
            stream.connect(rest)
        except OSError as error:
            stream.close()
            raise LinkError(f"{Path(rest).name}: {error.strerror or error}") from error
        return SocketTransport(stream, Path(rest).name)
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"link {address!r}",
            where="flight controller",
            expected="tcp:HOST:PORT, serial:DEVICE, serial:DEVICE:BAUD or unix:PATH",
            mend="correct the link, for instance serial:/dev/ttyACM0 or tcp:127.0.0.1:5761",
        )
    try:
        stream = socket.create_connection((host, int(port)), timeout=timeout_s)
    except ConnectionRefusedError as error:
        raise LinkError(f"nobody listens on {host}:{port}") from error
    except OSError as error:
        raise LinkError(f"{host}:{port}: {error}") from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(stream, f"{host}:{port}")
