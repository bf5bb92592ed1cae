"""Who may talk to a policy server, and who it is: tokens in private files, certificates for TLS."""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import ssl
from pathlib import Path

from hardware.errors import ConfigError

# Bytes of randomness in a token that we make; shorter tokens than this in text are refused.
_TOKEN_BYTES = 32
_SHORTEST = 20


def new_token(path: Path) -> str:
    """Make a token and keep it in a file that nobody else can read.

    Args:
        path: the file; it must not exist.

    Returns:
        The token.

    Raises:
        ConfigError: the file exists already or cannot be written.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the token cannot be written ({error.strerror})",
            where=str(path),
            expected="a file that does not exist yet, in a folder that can be written",
            mend="give another path, or use the token that is there",
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def read_token(path: Path | str) -> str:
    """Read a token from its file.

    Args:
        path: the file, readable by its owner alone.

    Returns:
        The token.

    Raises:
        ConfigError: there is no such file, others can read it, or it holds no token.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the token cannot be read ({type(error).__name__})",
            where=str(path),
            expected="a text file with a token",
            mend="make one with `reflexarc serve policy --new-token` and copy it to both computers",
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"others can read the token (mode {mode & 0o777:03o})",
            where=str(path),
            expected="a file that its owner alone can read",
            mend=f"chmod 600 {path.name}, and make a new token if somebody may have read it",
        )
    if len(token) < _SHORTEST or not all(33 <= ord(c) < 127 for c in token):
        raise ConfigError(
            f"a token of {len(token)} characters",
            where=str(path),
            expected=f"at least {_SHORTEST} visible ASCII characters in one line",
            mend="make one with `reflexarc serve policy --new-token`",
        )
    return token


def is_allowed(header: str | None, token: str) -> bool:
    """Whether an Authorization header carries the token; takes the same time for any wrong one."""
    given = (header or "").encode("utf-8", "replace")
    return hmac.compare_digest(given, authorization(token).encode())


def authorization(token: str) -> str:
    """The value of the Authorization header."""
    return f"Bearer {token}"


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Make the TLS settings of a server.

    Args:
        certificate: its certificate chain, PEM.
        key: its private key, PEM.
        client_ca: clients must show a certificate that this authority signed; None: the token is enough.

    Returns:
        The settings, TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, certificate, key)
    if client_ca is not None:
        _load_authority(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Make the TLS settings of a client; the server's name is always checked.

    Args:
        ca: the authority that signed the server's certificate, PEM; None: those of the system.
        certificate: what the client shows of itself, PEM; None: nothing.
        key: its private key, PEM.

    Returns:
        The settings, TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be read or does not fit.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authority(context, ca)
    if certificate is not None:
        _load_chain(context, certificate, key)
    return context


def _load_chain(context: ssl.SSLContext, certificate: Path | str, key: Path | str | None) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise _wrong_file(f"{certificate} with key {key}", error) from error


def _load_authority(context: ssl.SSLContext, ca: Path | str) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise _wrong_file(str(ca), error) from error


def _wrong_file(where: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"TLS cannot use it ({error})",
        where=where,
        expected="certificates and an unencrypted private key that fit each other, PEM",
        mend="correct the paths",
    )
