"""The way to a policy server: address, encryption, token, and the hello of the other side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hardware.errors import ConfigError
from policies.runtime.frames import MAX_BYTES, FrameError, decode
from policies.runtime.remote import credentials
from policies.runtime.remote.messages import PROTOCOL, quiet_logger

if TYPE_CHECKING:
    from ssl import SSLContext

    from websockets.sync.client import ClientConnection

# How long a connection may take to open, and the server to say hello, seconds.
SHAKE_S = 10.0
_PING_S, _SILENCE_S = 2.0, 6.0


@dataclass(frozen=True)
class RemoteOptions:
    """How to reach a policy server."""

    # The file that holds the token; readable by its owner alone.
    token_file: str
    # How long an answer is waited for, from the capture of the observation on, seconds; none: as long as
    # the steps of a chunk last.
    deadline_s: float | None = None
    # The authority that signed the server's certificate, PEM; none: those of the system.
    ca_file: str | None = None
    # What the client shows of itself where the server asks for it: certificate and private key, PEM.
    certificate_file: str | None = None
    key_file: str | None = None


class DownError(Exception):
    """There is no connection, for a reason, and something can be done about it."""

    def __init__(self, reason: str, expected: str, mend: str) -> None:
        super().__init__(reason)
        self.expected, self.mend = expected, mend


def dial(url: str, token: str, context: SSLContext | None) -> tuple[ClientConnection, Any]:
    """Open a connection and wait for the server's hello.

    Args:
        url: where the server is.
        token: what it wants to be shown.
        context: of TLS, as `client_tls` makes it; None: in the clear, on loopback.

    Returns:
        The connection, and the card of the policy behind it in plain types.

    Raises:
        DownError: there is no such server.
    """
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    expected = "a server that `reflexarc serve policy` runs"
    mend = "start the server, and compare address and port"
    try:
        manager = connect(
            url,
            ssl=context,
            additional_headers={"Authorization": credentials.authorization(token)},
            compression=None,
            proxy=None,
            max_size=MAX_BYTES,
            open_timeout=SHAKE_S,
            close_timeout=1.0,
            ping_interval=_PING_S,
            ping_timeout=_SILENCE_S,
            user_agent_header=None,
            logger=quiet_logger(),
        )
        # What `connect` gives is a connection, or from websockets 17 on what makes one when entered.
        connection: ClientConnection = manager.__enter__()
    except InvalidStatus as error:
        status = error.response.status_code
        if status == 401:
            raise DownError(
                "it does not accept the token", "the server's token", "copy the server's token file here"
            ) from error
        raise DownError(f"it answers with status {status}", expected, mend) from error
    except (OSError, WebSocketException, EOFError) as error:
        raise DownError(
            f"it cannot be reached ({str(error) or type(error).__name__})", expected, mend
        ) from error
    try:
        data = connection.recv(timeout=SHAKE_S)
        hello = decode(data if isinstance(data, bytes) else b"")
        if hello.kind != "hello" or hello.fields.get("protocol") != PROTOCOL:
            raise FrameError(f"it does not speak version {PROTOCOL} of the protocol")
        return connection, hello.fields.get("card")
    except (FrameError, TimeoutError, WebSocketException) as error:
        connection.close()
        raise DownError(
            f"it does not say hello ({words(error)})", expected, "run the same version on both computers"
        ) from error


def client_tls(url: str, options: RemoteOptions) -> SSLContext | None:
    """Make what encrypts a connection; None where it stays on this machine in the clear.

    Raises:
        ConfigError: the address makes no sense, or the token would be readable on its way.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigError(
            f"the address is {url!r}",
            where="policy server",
            expected="wss://host:port",
            mend="correct it; the token belongs into a file",
        )
    if parts.scheme == "wss":
        return credentials.client_context(options.ca_file, options.certificate_file, options.key_file)
    if not credentials.is_loopback(parts.hostname):
        raise ConfigError(
            f"the token would travel to {parts.hostname} in the clear",
            where=f"policy server {url}",
            expected="wss:// for every host but loopback",
            mend="start the server with a certificate, or make a tunnel to it",
        )
    return None


def closed_error() -> type[Exception]:
    """Give what a connection raises that has ended."""
    from websockets.exceptions import ConnectionClosed

    return ConnectionClosed


def words(error: BaseException) -> str:
    """Why a connection ended, as far as the other side said."""
    received = getattr(error, "rcvd", None)
    if received is not None:
        return f"the server closed the connection ({received.reason or received.code})"
    if type(error).__name__.startswith("ConnectionClosed"):
        return "the connection broke"
    return str(error) or type(error).__name__
