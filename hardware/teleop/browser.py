"""A page for phones and any browser, served by the stack itself; by default on loopback, with a token.

One page operates; others look on and can stop. A page that falls silent, whose messages arrive too late or
that hands over to another one is a lost device: the robot holds, and the next operator engages anew.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError, Refusal
from hardware.teleop.messages import LONGEST, POSE, Input, parse_input, write_status
from hardware.teleop.reading import Reading, Status, lost

_PAGE = Path(__file__).parent / "page"
_FILES = {"teleop.js": "text/javascript", "teleop.css": "text/css"}
_STATUS_PERIOD_S = 0.1
# So long may a silent page keep another one from operating.
_SILENT_NS = 2_000_000_000
_START_S = 10.0
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class BrowserOptions:
    """Where the page is served, and to whom."""

    # The address that is listened on; 0.0.0.0: all of this machine's.
    host: str = "127.0.0.1"
    # The port; 0: one that is free.
    port: int = 8765
    # The secret in the page's address; empty: a new one at every start.
    token: str = ""
    # Certificate and key for TLS (PEM); browsers track a phone's motion on secure pages only.
    certificate: str = ""
    key: str = ""
    # Input older than this on its way counts as none, seconds.
    max_age_s: float = 0.35

    def __post_init__(self) -> None:
        """Refuse what cannot be served.

        Raises:
            ConfigError: a short token, a port that is none, or a key without its certificate.
        """
        if self.token and len(self.token) < 8:
            raise _wrong("token has fewer than 8 characters", "8 or more, or none: then one is made")
        if not 0 <= self.port < 65536:
            raise _wrong(f"port is {self.port}", "0 to 65535")
        if bool(self.certificate) != bool(self.key):
            raise _wrong("certificate and key do not come together", "both files, or none")


def _wrong(what: str, expected: str) -> ConfigError:
    return ConfigError(what, where="device 'browser'", expected=expected, mend="correct the option")


@dataclass(eq=False)
class _Client:
    """One page."""

    socket: Any
    # Since when it has been silent, steady clock, nanoseconds.
    heard_ns: int
    # Whether it has been seen with its hands off since it became the operator.
    is_armed: bool = False


@dataclass
class _Shared:
    """What the server's thread and the reader share, under the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    clients: list[_Client] = field(default_factory=list)
    operator: _Client | None = None
    newest: Input | None = None
    newest_ns: int = 0
    pressed: set[str] = field(default_factory=set)
    status: Status | None = None
    # Set when the operator changes: the next reading says that the old one has gone.
    has_changed: bool = False
    refused: int = 0
    problem: str = ""


class Browser:
    """Serves the page in a thread of its own.

    Args:
        options: where, and to whom.
        clock_ns: the steady clock, nanoseconds.

    Raises:
        ModuleNotFoundError: aiohttp is not installed.
        ConfigError: the certificate or its key cannot be used.
    """

    def __init__(self, options: BrowserOptions, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Load the certificate; nothing is served yet."""
        import aiohttp
        import aiohttp.web

        self._aiohttp: Any = aiohttp
        self._web: Any = aiohttp.web
        self._options, self._clock_ns = options, clock_ns
        self._token = options.token or secrets.token_urlsafe(16)
        self._tls = self._load_certificate()
        self._shared = _Shared()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._port = options.port

    @property
    def address(self) -> str:
        """The page's address, token included."""
        host = self._options.host
        if ipaddress.ip_address(host).is_unspecified if _is_number(host) else False:
            host = _own_address()
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if self._tls else ''}://{shown}:{self._port}/?token={self._token}"

    # --- the device --------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to serve."""
        if self._thread is not None and self._thread.is_alive():
            return
        started: list[BaseException] = []
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready, started), name="teleop-page", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_S) or started:
            error = started[0] if started else "no answer"
            self._thread = None
            raise Refusal(f"the page cannot be served on {self._options.host}:{self._options.port} ({error})")

    def read(self, now_ns: int) -> Reading:
        """The operator's newest input."""
        shared = self._shared
        with shared.lock:
            pressed = frozenset(shared.pressed)
            shared.pressed.clear()
            has_changed, shared.has_changed = shared.has_changed, False
            newest, heard_ns, problem = shared.newest, shared.newest_ns, shared.problem
        if self._thread is None or not self._thread.is_alive():
            return lost("the page is not served any more")
        if newest is None or has_changed:
            # What was pressed counts all the same: anybody may stop.
            return Reading(
                connected=bool(pressed),
                heard_ns=0,
                pressed=pressed,
                problem="no page operates: open its address",
            )
        poses = {} if newest.pose is None else {POSE: newest.pose}
        return Reading(
            connected=True,
            heard_ns=heard_ns,
            controls=newest.controls,
            poses=poses,
            pressed=pressed,
            problem=problem,
        )

    def show(self, status: Status) -> None:
        """Tell every page."""
        with self._shared.lock:
            self._shared.status = status

    def close(self) -> None:
        """Stop serving; pages are told by the end of their connection."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is not None and loop is not None and stop is not None and thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            thread.join(_START_S)
        self._thread = None

    # --- the server --------------------------------------------------------------------------

    def _run(self, ready: threading.Event, started: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except Exception as error:
            started.append(error)
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        web = self._web
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        application = web.Application(middlewares=[web.middleware(_guard)])
        application.router.add_get("/", self._on_page)
        application.router.add_get("/ws", self._on_socket)
        for name in _FILES:
            application.router.add_get(f"/{name}", self._on_file)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._options.host, self._options.port, ssl_context=self._tls)
            await site.start()
            self._port = runner.addresses[0][1]
            ready.set()
            await self._stop.wait()
            for client in list(self._shared.clients):
                await client.socket.close()
        finally:
            await runner.cleanup()

    def _is_allowed(self, request: Any) -> bool:  # noqa: ANN401
        given = request.query.get("token", "")
        return hmac.compare_digest(given.encode(errors="replace"), self._token.encode())

    async def _on_page(self, request: Any) -> Any:  # noqa: ANN401
        if not self._is_allowed(request):
            text = (_PAGE / "refused.html").read_text(encoding="utf-8")
            return self._web.Response(text=text, status=403, content_type="text/html")
        text = (_PAGE / "index.html").read_text(encoding="utf-8")
        return self._web.Response(text=text, content_type="text/html")

    async def _on_file(self, request: Any) -> Any:  # noqa: ANN401
        name = request.path.lstrip("/")
        text = (_PAGE / name).read_text(encoding="utf-8")
        return self._web.Response(text=text, content_type=_FILES[name])

    async def _on_socket(self, request: Any) -> Any:  # noqa: ANN401
        origin = request.headers.get("Origin")
        if not self._is_allowed(request) or (origin and origin.partition("://")[2] != request.host):
            return self._web.Response(text="wrong token", status=403)
        socket = self._web.WebSocketResponse(heartbeat=2.0, max_msg_size=LONGEST)
        await socket.prepare(request)
        client = _Client(socket, self._clock_ns())
        with self._shared.lock:
            self._shared.clients.append(client)
        teller = asyncio.ensure_future(self._tell(client))
        try:
            async for message in socket:
                if message.type in (self._aiohttp.WSMsgType.TEXT, self._aiohttp.WSMsgType.BINARY):
                    self._take(client, message.data)
        finally:
            teller.cancel()
            self._leave(client)
        return socket

    async def _tell(self, client: _Client) -> None:
        """Tell a page the state ten times a second, until its connection ends."""
        while not client.socket.closed:
            now_ns = self._clock_ns()
            with self._shared.lock:
                self._choose(now_ns)
                role = "operator" if self._shared.operator is client else "observer"
                status = self._shared.status
            try:
                await client.socket.send_str(write_status(status, role=role, echo=now_ns // 1_000_000))
            except (ConnectionError, RuntimeError):
                return
            await asyncio.sleep(_STATUS_PERIOD_S)

    # --- who operates ------------------------------------------------------------------------

    def _take(self, client: _Client, data: str | bytes) -> None:
        """Take one message; what cannot be read counts for nothing, not even as a sign of life."""
        shared, now_ns = self._shared, self._clock_ns()
        try:
            given = parse_input(data)
        except Refusal as error:
            with shared.lock:
                shared.refused += 1
                shared.problem = f"{error}; {shared.refused} messages refused so far"
            return
        with shared.lock:
            client.heard_ns = now_ns
            self._choose(now_ns)
            # Anybody who has the token may stop the robot, however late it comes.
            if "emergency_stop" in given.pressed or given.controls.get("emergency_stop", 0.0) > 0.0:
                shared.pressed.add("emergency_stop")
            if shared.operator is not client:
                return
            if given.echo is None or self._age_s(given, now_ns) > self._options.max_age_s:
                return
            if not client.is_armed:
                if any(given.controls.values()):
                    return
                client.is_armed = True
            shared.pressed |= given.pressed
            shared.newest, shared.newest_ns, shared.problem = given, now_ns, ""

    @staticmethod
    def _age_s(given: Input, now_ns: int) -> float:
        return 0.0 if given.echo is None else (now_ns * 1e-6 - given.echo - given.held_ms) * 1e-3

    def _choose(self, now_ns: int) -> None:
        """See who operates, under the lock: whoever came first, until it leaves or falls silent."""
        shared = self._shared
        holder = shared.operator
        if holder is not None and now_ns - holder.heard_ns <= _SILENT_NS:
            return
        others = [c for c in shared.clients if c is not holder and now_ns - c.heard_ns <= _SILENT_NS]
        if holder is None and not others:
            return
        if others:
            shared.operator = others[0]
            others[0].is_armed = False
            shared.newest, shared.has_changed = None, True

    def _leave(self, client: _Client) -> None:
        with self._shared.lock:
            self._shared.clients.remove(client)
            if self._shared.operator is client:
                self._shared.operator, self._shared.newest = None, None
                self._shared.has_changed = True
                self._choose(self._clock_ns())

    def _load_certificate(self) -> ssl.SSLContext | None:
        if not self._options.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._options.certificate, self._options.key)
        except (OSError, ssl.SSLError) as error:
            raise _wrong(
                f"certificate {self._options.certificate!r} and its key cannot be used ({error})",
                "a certificate and its key, both PEM",
            ) from error
        return context


async def _guard(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401
    response = await handler(request)
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _own_address() -> str:
    """This machine's address towards others; no packet is sent."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
