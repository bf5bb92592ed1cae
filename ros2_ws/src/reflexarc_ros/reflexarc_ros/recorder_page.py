"""The recorder's page in a browser: what is recorded, how good it is, and the keys of a person.

It listens on this machine alone. Whoever calls has to know the token, which is in the address that the node
prints; a page of somebody else cannot use it.
"""

from __future__ import annotations

import hmac
import http.server
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hardware.errors import ConfigError

_HOST = "127.0.0.1"
_LONGEST_BODY = 4096
# What a person asks for, with a text that may be empty; gives the answer.
Request = Callable[[str], str]


class RecorderPage:
    """Serves the page in a thread of its own.

    Args:
        port: on this machine; 0: any that is free.
        status: gives the status as a plain document.
        requests: what can be asked for, by name.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(
        self, port: int, *, status: Callable[[], Mapping[str, Any]], requests: Mapping[str, Request]
    ) -> None:
        """Listen."""
        token = secrets.token_urlsafe(16)
        page = (Path(__file__).parent / "pages" / "recorder.html").read_bytes()

        class Handler(_Handler):
            served = _Served(token, page, status, requests)

        try:
            self._server = http.server.ThreadingHTTPServer((_HOST, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"port {port} is taken ({error.strerror})",
                where="parameter 'page_port'",
                expected="a free port of this machine, or 0 for any",
                mend="choose another one",
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        # To be opened in a browser; the token goes no further than the page.
        self.address = f"http://{_HOST}:{self.port}/?token={token}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


class _Served:
    """What a handler answers with."""

    def __init__(
        self,
        token: str,
        page: bytes,
        status: Callable[[], Mapping[str, Any]],
        requests: Mapping[str, Request],
    ) -> None:
        self.token, self.page, self.status, self.requests = token, page, status, requests


class _Handler(http.server.BaseHTTPRequestHandler):
    """One call."""

    served: _Served
    # A caller that says nothing is let go.
    timeout = 10.0

    def do_GET(self) -> None:  # noqa: N802
        """The page and the status."""
        path = urlsplit(self.path)
        given = parse_qs(path.query).get("token", [""])[0] or self.headers.get("X-Token", "")
        if not self._is_allowed(given):
            return
        if path.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.served.page)
        elif path.path == "/status":
            self._answer_json(HTTPStatus.OK, self.served.status())
        else:
            self._answer_json(HTTPStatus.NOT_FOUND, {"message": "there is no such page"})

    def do_POST(self) -> None:  # noqa: N802
        """What a person asks for; the token has to be in a header, which no form of another page can set."""
        if not self._is_allowed(self.headers.get("X-Token", "")):
            return
        request = self.served.requests.get(urlsplit(self.path).path.lstrip("/"))
        length = self.headers.get("Content-Length", "0")
        if request is None or not length.isdecimal() or not int(length) <= _LONGEST_BODY:
            self._answer_json(HTTPStatus.BAD_REQUEST, {"ok": False, "message": "there is no such request"})
            return
        try:
            message = request(self.rfile.read(int(length)).decode("utf-8", "replace").strip())
        except ConfigError as error:
            self._answer_json(HTTPStatus.CONFLICT, {"ok": False, "message": str(error)})
            return
        self._answer_json(HTTPStatus.OK, {"ok": True, "message": message})

    def _is_allowed(self, token: str) -> bool:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        # A name that somebody else's DNS points to this machine is not ours.
        is_ours = host in (_HOST, "localhost")
        if is_ours and hmac.compare_digest(token.encode(), self.served.token.encode()):
            return True
        self._answer_json(HTTPStatus.FORBIDDEN, {"ok": False, "message": "the token is missing or wrong"})
        return False

    def _answer_json(self, code: HTTPStatus, document: Mapping[str, Any]) -> None:
        self._answer(code, "application/json", json.dumps(document).encode())

    def _answer(self, code: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: addresses hold the token."""
