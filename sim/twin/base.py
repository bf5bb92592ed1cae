"""The twin of a robot: simulated time, the wire's latency, the robot-side timeout and a trace.

A twin implements `hardware.robot.Robot` and is driven by whoever owns the clock: `advance` moves
its time on, at any pace and in pieces of any size. Physics runs on a fixed grid of sub-steps that
is cut only where a command begins to act, an observation is captured or a timeout runs out, never
where a call of `advance` happens to end. The same seed and the same commands at the same simulated
times therefore give the same observations, bit for bit.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hardware.command import Command, CommandKind, FloatArray
from hardware.connected import Connected
from hardware.errors import ConfigError
from hardware.robot import CommandSpec, LatencyCard, Observation, RobotCard, TermSpec
from sim.twin.checks import check_terms, ordered_values
from sim.twin.latency import LatencyModel
from sim.twin.trace import Trace, TraceRecorder

_NEVER = 1 << 62
_RESET_STREAM = 2
TIMEOUT = "command timeout"
DISCONNECTED = "disconnected"


class Twin(Connected):
    """What all twins share. A subclass holds the world and fills in the underscored hooks.

    Not thread-safe: one thread owns a twin. Nothing blocks, sleeps or reads a clock.

    Args:
        card: the robot; its rates, command timeout and latency are reproduced.
        seed: makes latency and the initial state repeatable, zero or positive.
        latency: replaces the card's latency; `sim.twin.latency.NONE` switches it off.
        start_ns: simulated time at the start, ROS clock, nanoseconds.
        substep_ns: the physics grid, nanoseconds.
        trace_limit_s: how much of the run the trace keeps, seconds.

    Raises:
        ConfigError: the card has no command interface of the twin's kind, measures something that
            the twin cannot, or a number is out of range.
    """

    # The kind of command that the twin accepts.
    command_kind: ClassVar[CommandKind]

    def __init__(
        self,
        card: RobotCard,
        *,
        seed: int,
        latency: LatencyCard | None = None,
        start_ns: int = 0,
        substep_ns: int = 2_500_000,
        trace_limit_s: float = 3600.0,
    ) -> None:
        """Check the card; the subclass calls `reset` once its world stands."""
        where = f"robot card {card.name!r}"
        if substep_ns <= 0 or start_ns < 0 or not trace_limit_s > 0:
            raise ConfigError(
                f"substep_ns {substep_ns}, start_ns {start_ns}, trace_limit_s {trace_limit_s}",
                where="twin",
                expected="a positive sub-step and limit, and a start of zero or later",
                mend="correct the number",
            )
        if not card.observations:
            raise ConfigError(
                "no observation terms",
                where=where,
                expected="at least one",
                mend="add what the robot measures",
            )
        self.card = card
        self._spec = card.command_of_kind(self.command_kind)
        self._start_ns, self._substep_ns = start_ns, substep_ns
        self._seed = seed
        self._latency_card = card.latency if latency is None else latency
        self._rate_hz = max(term.rate_hz for term in card.observations.values())
        self._timeout_ns = round(self._spec.robot_timeout_s * 1e9)
        self._row_limit = max(2, round(trace_limit_s * self._rate_hz))
        self._connected = False

    def _check_terms(self, measured: Mapping[str, TermSpec]) -> None:
        """Compare the card's observation terms with what the twin measures; rates and topics are the card's.

        Args:
            measured: every term that the twin can measure, with its elements, unit and frame.

        Raises:
            ConfigErrors: one line for every term that the twin does not measure that way.
        """
        check_terms(self.card, measured)

    # --- what a subclass fills in -------------------------------------------------------------

    @abstractmethod
    def _reset(self, random: np.random.Generator) -> None:
        """Put the world into its initial state, actuators off."""

    @abstractmethod
    def _integrate(self, duration_s: float) -> None:
        """Move the world on by at most one sub-step, under the safe action while `safe_stopped`."""

    @abstractmethod
    def _apply(self, values: FloatArray) -> None:
        """Let a command act from now on; shape (D,), in the order of the card."""

    @abstractmethod
    def _capture(self) -> Mapping[str, FloatArray]:
        """Measure every term of the card, as fresh arrays."""

    @abstractmethod
    def _state(self) -> tuple[FloatArray, FloatArray]:
        """Copy the world's qpos and qvel for the trace."""

    @abstractmethod
    def _safe_action(self) -> None:
        """Begin the card's safe action; the world stays under it until the next `_apply`."""

    def _images(self) -> tuple[Mapping[str, NDArray[np.uint8]], Mapping[str, int]]:
        """Take the cameras' newest images, and their capture stamps in nanoseconds; most twins have none."""
        return {}, {}

    # --- time ---------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """Simulated time, ROS clock, nanoseconds."""
        return self._now_ns

    @property
    def description(self) -> str:
        """The robot as URDF, for `robot_description`; empty where there is none."""
        return ""

    @property
    def command_spec(self) -> CommandSpec:
        """The command interface in use."""
        return self._spec

    @property
    def observation_period_ns(self) -> int:
        """Time between two captures, in nanoseconds (that of the fastest term)."""
        return round(1e9 / self._rate_hz)

    @property
    def next_capture_ns(self) -> int:
        """Simulated time of the next capture, ROS clock, nanoseconds."""
        return self._capture_ns

    @property
    def next_arrival_ns(self) -> int | None:
        """Simulated time at which the next captured observation arrives; None: none is under way."""
        return min((release_ns for release_ns, _ in self._in_flight), default=None)

    @property
    def safe_stopped(self) -> str | None:
        """Why the robot is in its safe action, or None while it follows commands."""
        return self._safe_reason

    @property
    def _elapsed_s(self) -> float:
        """How far the physics of this run has come, in seconds."""
        return (self._physics_ns - self._start_ns) * 1e-9

    @property
    def is_connected(self) -> bool:
        """Whether the wire is open."""
        return self._connected

    def reset(self, seed: int | None = None, *, start_ns: int | None = None) -> None:
        """Start a new run: initial state, empty wire, empty trace.

        Args:
            seed: of the new run; None repeats the last one.
            start_ns: simulated time of the start; None starts where the first run did. A graph
                that watches /clock wants `now_ns` here, so that time never goes back.

        Raises:
            ConfigError: the seed or the time is negative.
        """
        if start_ns is not None and start_ns < 0:
            raise ConfigError(
                f"start_ns {start_ns} is negative",
                where="Twin.reset",
                expected="zero or later",
                mend="correct the time",
            )
        self._seed = self._seed if seed is None else seed
        self._start_ns = self._start_ns if start_ns is None else start_ns
        self.latency = LatencyModel(self._latency_card, seed=self._seed)
        self._now_ns = self._physics_ns = self._start_ns
        self._grid_ns = self._start_ns + self._substep_ns
        self._tick = 0
        self._deadline_ns = _NEVER
        self._last_effect_ns = self._start_ns
        # Pending commands and stops: (time, order of arrival, set-points or reason).
        self._pending: list[tuple[int, int, FloatArray | str]] = []
        self._order = 0
        # Captured, not yet released: (release time, observation).
        self._in_flight: list[tuple[int, Observation]] = []
        self._safe_reason: str | None = None
        self._held: dict[str, FloatArray] = {}
        self._recorder = TraceRecorder(
            robot=self.card.name, command_names=self._spec.names, row_limit=self._row_limit
        )
        self._reset(np.random.default_rng((self._seed, _RESET_STREAM)))
        # The robot has been standing there: its first observation needs no time to arrive.
        self._newest = self._observe(release_ns=self._start_ns)
        self._schedule_capture()

    def advance(self, until_ns: int) -> None:
        """Move simulated time on.

        What falls on `until_ns` itself (a command, a timeout) acts when time moves beyond it;
        what is captured then can be read at once if the wire has no latency.

        Args:
            until_ns: the new `now_ns`, not before the present one.

        Raises:
            ConfigError: the time lies in the past.
        """
        if until_ns < self._now_ns:
            raise ConfigError(
                f"{until_ns} ns lies {(self._now_ns - until_ns) * 1e-9:.6f} s before now",
                where="Twin.advance",
                expected="a time not before now_ns",
                mend="use reset to start again; a twin's time only moves on",
            )
        pending = self._pending
        while self._physics_ns < until_ns:
            if pending and pending[0][0] <= self._physics_ns:
                self._take_pending()
            if self._deadline_ns <= self._physics_ns:
                self._begin_safe_action(TIMEOUT)
            target_ns = min(self._grid_ns, self._capture_ns, self._deadline_ns)
            if pending and pending[0][0] < target_ns:
                target_ns = pending[0][0]
            if target_ns > until_ns:
                break
            self._integrate((target_ns - self._physics_ns) * 1e-9)
            self._physics_ns = target_ns
            if target_ns == self._grid_ns:
                self._grid_ns += self._substep_ns
            if target_ns == self._capture_ns:
                self._send_observation()
                self._schedule_capture()
        self._now_ns = until_ns
        if self._in_flight:
            self._release()

    # --- the Robot protocol -------------------------------------------------------------------

    def connect(self) -> None:
        """Open the wire; the robot does nothing yet."""
        self._connected = True

    def disconnect(self) -> None:
        """Close the wire; a robot that was under command takes its safe action."""
        if self._connected and (self._pending or self._deadline_ns != _NEVER):
            self.safe_stop(DISCONNECTED)
        self._connected = False

    def read(self) -> Observation:
        """Return the newest observation that has arrived by now.

        A term that is measured less often than the fastest one keeps its last value in between.
        The arrays are read-only. `received_steady_ns` is the simulated time of arrival: who moves
        the observation to another process stamps it with its own steady clock.

        Raises:
            ConfigError: the twin is not connected.
        """
        self._need_connection("read")
        return self._newest

    def command(self, command: Command, at_ns: int | None = None) -> None:
        """Send a command over the wire.

        Commands that draw their delay from the latency card arrive in the order they were sent.
        A command that acts after a safe stop ends the safe action; what was under way when the
        stop came does not.

        Args:
            command: in the kind of the twin, its elements in any order.
            at_ns: simulated time from which it acts, exactly; None: now, and the wire's latency.

        Raises:
            ConfigError: the twin is not connected, the command has another kind, other elements, a
                number that is not finite, or a time in the past.
        """
        self._need_connection("command")
        values = ordered_values(command, self._spec, robot=self.card.name)
        if at_ns is None:
            delay_ns = self.latency.command_delay_ns()
            if delay_ns is None:
                return
            at_ns = max(self._now_ns + delay_ns, self._last_effect_ns)
            self._last_effect_ns = at_ns
        elif at_ns < self._now_ns:
            raise ConfigError(
                f"at_ns lies {(self._now_ns - at_ns) * 1e-9:.6f} s before now",
                where="Twin.command",
                expected="a time not before now_ns",
                mend="leave at_ns out or send the command earlier",
            )
        self._queue(at_ns, values)

    def safe_stop(self, reason: str) -> None:
        """Take the card's safe action now; commands that are under way are forgotten.

        Args:
            reason: why, for people; kept in `safe_stopped` and in the trace.
        """
        self._pending.clear()
        self._safe_reason = reason
        self._queue(self._now_ns, reason)

    def trace(self) -> Trace:
        """Copy what was recorded since the last reset."""
        return self._recorder.trace()

    # --- private ------------------------------------------------------------------------------

    def _need_connection(self, what: str) -> None:
        if not self._connected:
            raise ConfigError(
                f"{what} on a robot that is not connected",
                where=f"twin of {self.card.name!r}",
                expected="an open wire",
                mend="call connect() or use the twin as a context manager",
            )

    def _queue(self, at_ns: int, what: FloatArray | str) -> None:
        self._order += 1
        heapq.heappush(self._pending, (at_ns, self._order, what))

    def _take_pending(self) -> None:
        while self._pending and self._pending[0][0] <= self._physics_ns:
            _, _, what = heapq.heappop(self._pending)
            if isinstance(what, str):
                self._begin_safe_action(what)
                continue
            if self._safe_reason is not None:
                self._recorder.event(self._physics_ns, "released", self._safe_reason)
                self._safe_reason = None
            self._recorder.command(self._physics_ns, what)
            self._deadline_ns = self._physics_ns + self._timeout_ns
            self._apply(what)

    def _begin_safe_action(self, reason: str) -> None:
        self._safe_reason = reason
        self._deadline_ns = _NEVER
        self._recorder.event(self._physics_ns, "safe_stop", reason)
        self._safe_action()

    def _schedule_capture(self) -> None:
        self._tick += 1
        self._capture_ns = self._start_ns + round(self._tick * 1e9 / self._rate_hz)

    def _observe(self, *, release_ns: int) -> Observation:
        values = self._capture()
        for name, term in self.card.observations.items():
            share = term.rate_hz / self._rate_hz
            is_due = share == 1.0 or int(self._tick * share) != int((self._tick - 1) * share)
            if is_due or name not in self._held:
                value = values[name]
                value.flags.writeable = False
                self._held[name] = value
        self._recorder.row(self._physics_ns, *self._state())
        images, image_stamps_ns = self._images()
        return Observation(
            values=dict(self._held),
            stamp_ns=self._physics_ns,
            received_steady_ns=release_ns,
            images=images,
            image_stamps_ns=image_stamps_ns,
        )

    def _send_observation(self) -> None:
        delay_ns = self.latency.observation_delay_ns()
        release_ns = self._physics_ns + (delay_ns or 0)
        observation = self._observe(release_ns=release_ns)
        if delay_ns is not None:
            self._in_flight.append((release_ns, observation))

    def _release(self) -> None:
        still: list[tuple[int, Observation]] = []
        for item in self._in_flight:
            if item[0] > self._now_ns:
                still.append(item)
            elif item[1].stamp_ns > self._newest.stamp_ns:
                self._newest = item[1]
        self._in_flight = still
