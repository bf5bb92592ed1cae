"""A policy that thinks on another computer, as a `Policy` like any other.

While the server does not answer, `act` refuses, so that the controller reports it and sends nothing;
the gate's safe action follows when the last chunk is over. The connection is made anew in the
background, with growing pauses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardware import schema
from hardware.chunk import ActionChunk
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.card import PolicyCard
from policies.policy import ActContext, PolicyError
from policies.runtime.frames import Frame, FrameError, decode, encode
from policies.runtime.packing import pack_observation, unpack_chunk
from policies.runtime.remote import credentials
from policies.runtime.remote.dialing import (
    SHAKE_S,
    DownError,
    RemoteOptions,
    client_tls,
    closed_error,
    dial,
    words,
)
from policies.runtime.remote.messages import STATE, load_generator, past_prefix, plain_generator

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

# Pauses between two attempts to connect again, seconds: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class RemotePolicy:
    """Asks a policy server. Implements `policies.policy.Policy`.

    Args:
        url: `wss://host:port`, or `ws://` on loopback.
        options: token, certificates and patience.

    Raises:
        ConfigError: the address or an option makes no sense, or the server cannot be reached, does not
            know the token, or serves something that is no policy.
    """

    def __init__(self, url: str, options: RemoteOptions) -> None:
        """Connect, and fetch the card."""
        self.url = url
        self._token = credentials.read_token(options.token_file)
        self._context = client_tls(url, options)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._redial: threading.Thread | None = None
        self._seed: int | None = None
        self._state: dict[str, NDArray[np.float32]] = {}
        # How often it began anew or was given a state; a server that is behind has to be told.
        self._version = 0
        self._number = 0
        self._reason = ""
        self._connection: ClientConnection | None = None
        try:
            connection, plain = dial(url, self._token, self._context)
        except DownError as error:
            raise ConfigError(
                str(error), where=f"policy server {url}", expected=error.expected, mend=error.mend
            ) from error
        try:
            self.card = schema.parse(PolicyCard, plain, where=f"card of the policy server {url}")
            chunk_s = self.card.action.horizon * self.card.action.step_s
            self._deadline_s = chunk_s if options.deadline_s is None else options.deadline_s
            if not 0.0 < self._deadline_s <= 3600.0:
                raise ConfigError(
                    f"deadline_s is {self._deadline_s}",
                    where=f"policy server {url}",
                    expected="a positive number of seconds",
                    mend="correct it, or leave it out",
                )
        except ConfigError:
            connection.close()
            raise
        self._plain_card = plain
        self._connection = connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """A copy of the recurrent state, as of the last answer."""
        return {
            name: self._state.get(name, np.full(spec.shape, spec.initial, np.float32)).copy()
            for name, spec in self.card.recurrent.items()
        }

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the recurrent state.

        Args:
            state: as `state` gives it.

        Raises:
            ConfigError: other names or other shapes.
        """
        expected = {name: spec.shape for name, spec in self.card.recurrent.items()}
        given = {name: np.shape(array) for name, array in state.items()}
        if given != expected:
            raise ConfigError(
                f"the state is {given}",
                where=f"recurrent state of policy {self.card.name!r}",
                expected=str(expected),
                mend="pass what the policy's `state` gave",
            )
        self._remember(
            self._seed, {name: np.array(array, np.float32) for name, array in state.items()}, told=1
        )

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, here and on the server; without a connection, as soon as there is one.

        Args:
            seed: of the policy's randomness.
        """
        self._remember(seed, {}, told=0)

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Ask the server.

        Args:
            observation: the terms on the card.
            context: time, committed and planned steps, number of proposals, instruction, randomness.

        Returns:
            The chunk.

        Raises:
            PolicyError: there is no connection, no answer came in time, the server refused, or what it
                sent is no chunk of this policy.
        """
        connection = self._connection
        if connection is None:
            raise PolicyError(f"the policy server {self.url} is not connected: {self._reason}")
        age_s = max(0.0, observation.age_s(context.now_ns))
        deadline_s = self._deadline_s - age_s
        if deadline_s <= 0.0:
            raise PolicyError(f"the observation is {age_s:.2f} s old, too old to ask the policy server")
        self._number += 1
        fields = {
            "number": self._number,
            "stamp_ns": observation.stamp_ns,
            "now_ns": context.now_ns,
            "age_s": age_s,
            "deadline_s": deadline_s,
            "proposals": context.proposals,
            "instruction": context.instruction,
            "rng": plain_generator(context.rng),
            "past_ns": [past.stamp_ns for past in context.past],
        }
        arrays = pack_observation(observation)
        for index, past in enumerate(context.past):
            arrays |= pack_observation(past, prefix=past_prefix(index))
        steps = {"committed": context.committed, "planned": context.planned}
        arrays |= {name: values for name, values in steps.items() if values is not None}
        until_s = time.monotonic() + deadline_s
        request = encode(Frame("act", fields, arrays))
        try:
            connection.send(request)
            answer = self._receive(connection, until_s)
            chunk = self._checked(answer, observation)
            context.rng.bit_generator.state = load_generator(answer).bit_generator.state
        except TimeoutError as error:
            raise PolicyError(
                f"the policy server {self.url} has not answered within {deadline_s:.2f} s"
            ) from error
        except FrameError as error:
            self._lose(connection, f"it sent something wrong: {error}")
            raise PolicyError(f"the policy server {self.url} sent something wrong: {error}") from error
        except closed_error() as error:
            reason = words(error)
            self._lose(connection, reason)
            raise PolicyError(f"the policy server {self.url} is not connected: {reason}") from error
        return chunk

    def close(self) -> None:
        """Take leave of the server."""
        self._closing.set()
        with self._lock:
            connection, self._connection = self._connection, None
            self._reason = "closed"
        if connection is not None:
            connection.close()
        if self._redial is not None:
            self._redial.join(SHAKE_S + _LONGEST_PAUSE_S)

    # --- private ------------------------------------------------------------------------------

    def _receive(self, connection: ClientConnection, until_s: float) -> Frame:
        """Wait for the answer to the last request; those to earlier ones are too late and dropped."""
        while True:
            data = connection.recv(timeout=max(0.0, until_s - time.monotonic()))
            if not isinstance(data, bytes):
                raise FrameError("text instead of a frame")
            frame = decode(data)
            if frame.kind not in ("chunk", "refusal"):
                raise FrameError(f"an unknown kind of frame {frame.kind[:40]!r}")
            number = frame.integer("number", low=0, high=self._number)
            frame.number("age_s", low=0.0)
            frame.number("deadline_s")
            if number < self._number:
                continue
            if frame.kind == "refusal":
                raise PolicyError(f"the policy server refuses: {frame.text('reason')[:1000]}")
            return frame

    def _checked(self, frame: Frame, observation: Observation) -> ActionChunk:
        """What a policy of this card may answer, and nothing else."""
        chunk, action = unpack_chunk(frame), self.card.action
        length_s = action.horizon * action.step_s
        late_ns = chunk.start_ns - observation.stamp_ns
        problem = ""
        if (chunk.kind, chunk.names) != (action.kind, action.names):
            problem = "a chunk of another kind or with other names"
        elif len(chunk.values) != action.horizon or chunk.step_ns != round(action.step_s * 1e9):
            problem = f"a chunk of {len(chunk.values)} steps of {chunk.step_ns} ns"
        elif not chunk.is_finite or (chunk.proposals is not None and not np.isfinite(chunk.proposals).all()):
            problem = "a chunk that is not finite"
        elif not 0 <= late_ns <= length_s * 1e9:
            problem = f"a chunk that starts {late_ns * 1e-9:.3f} s after its observation"
        elif chunk.valid_for_s > length_s + self.card.max_open_loop_s + 1e-9:
            problem = f"a chunk that may be used for {chunk.valid_for_s:.3f} s"
        if problem:
            raise FrameError(problem)
        state = {n.removeprefix(STATE): a for n, a in frame.arrays.items() if n.startswith(STATE)}
        wanted = {name: spec.shape for name, spec in self.card.recurrent.items()}
        if {name: array.shape for name, array in state.items()} != wanted:
            raise FrameError("a chunk with another recurrent state")
        self._state = {name: array.astype(np.float32) for name, array in state.items()}
        return chunk

    def _memories(self) -> list[Frame]:
        """What a server has to know before it is asked."""
        frames = [Frame("reset", {"seed": self._seed})]
        if self._state:
            frames.append(Frame("load", {}, {STATE + n: a for n, a in self._state.items()}))
        return frames

    def _remember(self, seed: int | None, state: dict[str, NDArray[np.float32]], *, told: int) -> None:
        """Take a seed and a state; tell the server where there is one, and else whoever finds one does."""
        with self._lock:
            self._seed, self._state = seed, state
            self._version += 1
            connection, frames = self._connection, self._memories()[told:]
        if connection is None:
            return
        try:
            for frame in frames:
                connection.send(encode(frame))
        except closed_error() as error:
            self._lose(connection, words(error))

    def _lose(self, connection: ClientConnection, reason: str) -> None:
        """Give a connection up and begin to make another."""
        with self._lock:
            if self._connection is not connection or self._closing.is_set():
                return
            self._connection, self._reason = None, reason
            self._redial = threading.Thread(target=self._reconnect, name="policy-redial", daemon=True)
            self._redial.start()
        # Closing waits for the other side; nobody waits for that.
        threading.Thread(target=connection.close, name="policy-close", daemon=True).start()

    def _reconnect(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.wait(pause_s):
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
            try:
                connection, plain = dial(self.url, self._token, self._context)
                if plain != self._plain_card:
                    connection.close()
                    raise DownError("it serves another policy now", "", "")
                if self._take(connection):
                    return
            except (DownError, closed_error()) as error:
                self._reason = f"{str(error) or type(error).__name__}; trying again"
                continue
            connection.close()

    def _take(self, connection: ClientConnection) -> bool:
        """Use a connection once the server knows what is remembered; False when nobody wants it any more."""
        known = None
        while not self._closing.is_set():
            with self._lock:
                if known == self._version:
                    self._connection, self._reason = connection, ""
                    return True
                known, frames = self._version, self._memories()
            for frame in frames:
                connection.send(encode(frame))
        return False
