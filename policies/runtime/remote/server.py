"""A policy server: one policy, one robot at a time, over an authenticated WebSocket.

Whoever connects shows the token before anything else is read. Then the server says hello with the
policy's card, and answers `act` with `chunk` or `refusal`. It looks at the newest request alone: one
that waited while another was answered, or whose deadline has passed, is refused, not worked off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import yaml

from hardware import schema
from hardware.command import FloatArray
from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation
from policies.policy import ActContext, Policy
from policies.runtime.frames import MAX_BYTES, Frame, FrameError, decode, encode
from policies.runtime.packing import pack_chunk, unpack_observation
from policies.runtime.remote import credentials
from policies.runtime.remote.messages import (
    BROKEN,
    BUSY,
    PROTOCOL,
    STATE,
    WRONG,
    load_generator,
    past_prefix,
    plain_generator,
    quiet_logger,
)

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server, ServerConnection

# So much may wait while the policy thinks; a robot waits for answers and sends less.
_MOST_WAITING = 1024
# A robot that is silent for so long, pings included, is gone and another may come, seconds.
_PING_S, _SILENCE_S = 2.0, 6.0
_SHAKE_S = 10.0


@dataclass(frozen=True)
class ServerConfig:
    """Where a policy server listens and whom it trusts."""

    # The address to listen on; anything but loopback needs TLS.
    host: str = "127.0.0.1"
    # The port; 0: a free one.
    port: int = 8765
    # The server's certificate chain and private key, PEM; none: no TLS.
    certificate: Path | None = None
    key: Path | None = None
    # Robots must also show a certificate that this authority signed, PEM; none: the token is enough.
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a port that is none.

        Raises:
            ConfigError: it is none.
        """
        if not 0 <= self.port < 65536:
            raise ConfigError(
                f"port is {self.port}",
                where="policy server",
                expected="0 to 65535",
                mend="choose another one",
            )


class PolicyServer:
    """Serves a policy until it is closed; a context manager.

    Args:
        policy: what answers.
        token: what a client has to know.
        config: where to listen.
        steady_clock: gives the steady clock in nanoseconds.
        on_event: is told, in words, who came and went and what was refused; called from any thread.

    Raises:
        ConfigError: it would listen beyond this computer without TLS, or cannot listen there.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        token: str,
        config: ServerConfig,
        steady_clock: Callable[[], int],
        on_event: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Listen; requests are answered from here on."""
        from websockets.sync.server import serve

        self._policy, self._token, self._clock, self._on_event = policy, token, steady_clock, on_event
        self._card: Any = yaml.safe_load(schema.dump(policy.card))
        self._occupied = threading.Lock()
        context = _tls(config)
        try:
            self._server: Server = serve(
                self._session,
                config.host,
                config.port,
                ssl=context,
                process_request=self._authorise,
                compression=None,
                max_size=MAX_BYTES,
                open_timeout=_SHAKE_S,
                close_timeout=1.0,
                ping_interval=_PING_S,
                ping_timeout=_SILENCE_S,
                server_header=None,
                logger=quiet_logger(),
            )
        except OSError as error:
            raise ConfigError(
                f"it cannot listen on {config.host} port {config.port} ({error.strerror})",
                where="policy server",
                expected="an address of this computer and a free port",
                mend="choose another host or port",
            ) from error
        self.port = int(self._server.socket.getsockname()[1])
        self.url = f"{'ws' if context is None else 'wss'}://{config.host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="policy-server", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Serve."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Take leave of the robot and stop listening."""
        self._server.shutdown()
        self._thread.join(5.0)

    # --- private ------------------------------------------------------------------------------

    def _authorise(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = request.headers.get_all("Authorization")
        if len(headers) == 1 and credentials.is_allowed(headers[0], self._token):
            return None
        self._on_event(f"refused {_peer(connection)}: it does not know the token")
        return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")

    def _session(self, connection: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        peer = _peer(connection)
        if not self._occupied.acquire(blocking=False):
            self._on_event(f"refused {peer}: another robot is being served")
            connection.close(BUSY, "another robot is being served")
            return
        inbox = _Inbox()
        worker = threading.Thread(
            target=self._work, args=(connection, inbox), name="policy-worker", daemon=True
        )
        try:
            self._on_event(f"{peer} is being served")
            worker.start()
            connection.send(encode(Frame("hello", {"protocol": PROTOCOL, "card": self._card})))
            for data in connection:
                if not isinstance(data, bytes):
                    raise FrameError("text instead of a frame")
                inbox.put(decode(data), self._clock())
        except FrameError as error:
            self._on_event(f"{peer} sent something wrong: {error}")
            connection.close(WRONG, str(error)[:100])
        except ConnectionClosed:
            pass
        finally:
            inbox.close()
            worker.join()
            self._occupied.release()
            self._on_event(f"{peer} has left")

    def _work(self, connection: ServerConnection, inbox: _Inbox) -> None:
        from websockets.exceptions import ConnectionClosed

        while (taken := inbox.take()) is not None:
            frame, arrived_ns, missed = taken
            answers = [self._refusal(f, at_ns, "a newer request took its place") for f, at_ns in missed]
            try:
                for answer in (*answers, self._answer(frame, arrived_ns)):
                    if answer is not None:
                        connection.send(encode(answer))
            except ConnectionClosed:
                return
            except FrameError as error:
                self._on_event(f"{_peer(connection)} sent something wrong: {error}")
                connection.close(WRONG, str(error)[:100])
                return
            except Exception as error:
                # A policy that cannot begin anew has no answers; another robot may come.
                self._on_event(f"the policy failed: {type(error).__name__}: {error}")
                connection.close(BROKEN, f"the policy failed: {type(error).__name__}"[:100])
                return

    def _answer(self, frame: Frame, arrived_ns: int) -> Frame | None:
        """Do what a frame asks for; a frame that makes no sense raises FrameError."""
        if frame.kind == "reset":
            self._policy.reset(None if frame.fields.get("seed") is None else frame.integer("seed", low=0))
            return None
        if frame.kind == "load":
            try:
                self._policy.load_state(_state(frame))
            except ConfigError as error:
                raise FrameError(str(error)) from error
            return None
        if frame.kind != "act":
            raise FrameError(f"an unknown kind of frame {frame.kind[:40]!r}")
        observation = unpack_observation(
            frame, stamp_ns=frame.integer("stamp_ns"), received_steady_ns=arrived_ns
        )
        rng = load_generator(frame)
        context = ActContext(
            now_ns=frame.integer("now_ns"),
            committed=_steps(frame, "committed"),
            planned=_steps(frame, "planned"),
            proposals=frame.integer("proposals", low=1, high=4096),
            instruction=frame.text("instruction"),
            rng=rng,
            past=_past(frame, arrived_ns),
        )
        if (self._clock() - arrived_ns) * 1e-9 >= frame.number("deadline_s", low=0.0):
            return self._refusal(frame, arrived_ns, "its deadline passed before it was looked at")
        try:
            chunk = self._policy.act(observation, context=context)
            fields, arrays = pack_chunk(chunk)
        except Refusal as error:
            return self._refusal(frame, arrived_ns, str(error))
        except Exception as error:  # Whatever a policy raises, the server goes on serving.
            self._on_event(f"the policy failed: {type(error).__name__}: {error}")
            return self._refusal(frame, arrived_ns, f"{type(error).__name__}: {error}")
        state = {STATE + name: value for name, value in self._policy.state.items()}
        times = self._times(frame, arrived_ns)
        return Frame("chunk", {**fields, **times, "rng": plain_generator(rng)}, {**arrays, **state})

    def _refusal(self, frame: Frame, arrived_ns: int, reason: str) -> Frame:
        return Frame("refusal", {**self._times(frame, arrived_ns), "reason": reason[:1000]})

    def _times(self, frame: Frame, arrived_ns: int) -> dict[str, Any]:
        """How old the observation is by now, and how long the answer is of use, by the server's own clock."""
        took_s = (self._clock() - arrived_ns) * 1e-9
        return {
            "number": frame.integer("number", low=0),
            "age_s": frame.number("age_s", low=0.0) + took_s,
            "deadline_s": frame.number("deadline_s") - took_s,
            "took_s": took_s,
        }


class _Inbox:
    """Orders what arrives: resets in turn, and the newest request alone."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._frames: list[tuple[Frame, int]] = []
        self._is_open = True

    def put(self, frame: Frame, arrived_ns: int) -> None:
        with self._condition:
            if len(self._frames) >= _MOST_WAITING:
                raise FrameError(f"{frame.kind}: {_MOST_WAITING} frames wait already")
            if self._frames and self._frames[-1][0].kind == frame.kind == "act":
                # It will be passed over: what it observed, images too, need not be kept for that.
                old, old_ns = self._frames[-1]
                self._frames[-1] = Frame(old.kind, old.fields), old_ns
            self._frames.append((frame, arrived_ns))
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self._is_open = False
            self._condition.notify_all()

    def take(self) -> tuple[Frame, int, list[tuple[Frame, int]]] | None:
        """The next frame, its arrival, and the requests that were passed over; None: closed."""
        with self._condition:
            while not self._frames and self._is_open:
                self._condition.wait()
            if not self._is_open:
                return None
            missed = []
            while len(self._frames) > 1 and self._frames[0][0].kind == self._frames[1][0].kind == "act":
                missed.append(self._frames.pop(0))
            frame, arrived_ns = self._frames.pop(0)
            return frame, arrived_ns, missed


def _steps(frame: Frame, name: str) -> FloatArray | None:
    values = frame.arrays.get(name)
    return None if values is None else np.asarray(values, np.float64)


def _past(frame: Frame, arrived_ns: int) -> tuple[Observation, ...]:
    stamps = frame.fields.get("past_ns")
    if not isinstance(stamps, list) or not all(type(s) is int and abs(s) < 1 << 63 for s in stamps):
        raise FrameError("act: past_ns is no list of stamps")
    return tuple(
        unpack_observation(frame, stamp_ns=stamp, received_steady_ns=arrived_ns, prefix=past_prefix(i))
        for i, stamp in enumerate(stamps)
    )


def _state(frame: Frame) -> dict[str, Any]:
    return {name.removeprefix(STATE): array for name, array in frame.arrays.items() if name.startswith(STATE)}


def _tls(config: ServerConfig) -> Any:  # noqa: ANN401
    if config.certificate is not None and config.key is not None:
        return credentials.server_context(config.certificate, config.key, config.client_ca)
    if config.certificate is not None or config.key is not None or config.client_ca is not None:
        raise ConfigError(
            "a certificate, a key or an authority of clients, but not what belongs to it",
            where="policy server",
            expected="certificate and key, and client_ca only beside them",
            mend="give certificate and key both, or none of the three",
        )
    if not credentials.is_loopback(config.host):
        raise ConfigError(
            f"it would listen on {config.host} without TLS",
            where="policy server",
            expected="a certificate and a key for every address but loopback",
            mend="give --certificate and --key, or listen on 127.0.0.1 behind a tunnel",
        )
    return None


def _peer(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
