"""Carries one client's bytes from TCP or a pseudo-terminal here to a TCP port elsewhere."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tty
from collections.abc import Callable
from pathlib import Path

from hardware.errors import ConfigError

_BYTES = 4096


class Relay:
    """One client at a time, as the firmware has it: a second one is closed at once.

    Made where clients are (its listening side opens at once); `run` belongs into a thread that is where the
    server is, because a socket stays in the network in which it was made.

    Args:
        address: where clients come: `tcp:HOST:PORT`, or `serial:PATH`, a link to a pseudo-terminal that is
            made
            there and that behaves as the flight controller's serial port.
        connect: opens a connection to the server.

    Raises:
        ConfigError: the place is taken.
    """

    def __init__(self, address: str, connect: Callable[[], socket.socket]) -> None:
        """Open the clients' side."""
        self._connect = connect
        self._stop_read, self._stop_write = os.pipe()
        self._listener: socket.socket | None = None
        self._link: Path | None = None
        self._fds: list[int] = []
        kind, _, rest = address.partition(":")
        if kind == "serial":
            self._open_terminal(Path(rest))
            return
        host, _, port = rest.rpartition(":")
        try:
            if kind != "tcp":
                raise ValueError(f"{kind!r} is no kind of address")
            self._listener = socket.create_server((host, int(port)), backlog=4)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"{error}",
                where=f"simulated flight controller on {address}",
                expected="tcp:HOST:PORT with a port that is free, or serial:PATH",
                mend="end the other simulator, or give another port",
            ) from error

    def run(self) -> None:
        """Carry bytes until `stop`."""
        if self._listener is None:
            with self._server() as server:
                self._carry(self._fds[0], server)
            return
        while not self._is_stopped(self._listener):
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client, contextlib.suppress(OSError), self._server() as server:
                self._carry(client.fileno(), server)

    def stop(self) -> None:
        """Let `run` return."""
        os.write(self._stop_write, b"x")

    def close(self) -> None:
        """Take the clients' side away."""
        if self._listener is not None:
            self._listener.close()
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def _open_terminal(self, path: Path) -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        # The slave stays open here too: without it, the master fails whenever no client is there.
        self._fds = [master, slave]
        if path.is_symlink():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.ttyname(slave))
        self._link = path

    def _server(self) -> socket.socket:
        server = self._connect()
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def _is_stopped(self, listener: socket.socket) -> bool:
        waits: list[int | socket.socket] = [listener, self._stop_read]
        readable, _, _ = select.select(waits, [], [])
        return self._stop_read in readable

    def _carry(self, client: int, server: socket.socket) -> None:
        """Carry bytes until either side ends; whoever else comes meanwhile is closed."""
        others = [] if self._listener is None else [self._listener]
        waits: list[int | socket.socket] = [client, server, self._stop_read, *others]
        while True:
            readable, _, _ = select.select(waits, [], [])
            if self._stop_read in readable:
                # `run` is to see it as well.
                return
            for listener in others:
                if listener in readable:
                    listener.accept()[0].close()
            if client in readable:
                data = os.read(client, _BYTES)
                if not data:
                    return
                server.sendall(data)
            if server in readable:
                data = server.recv(_BYTES)
                if not data:
                    return
                _write_all(client, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        # A client that is stopped must not stop the server's side for ever: what it does not take is lost.
        if not select.select([], [fd], [], 0.0)[1]:
            return
        view = view[os.write(fd, view) :]
