"""RAPTOR's executor: when the hidden state may advance, and what the network sees as previous action.

The network was trained at 100 Hz. Its hidden state advances only on *native* steps, 10 ms apart;
calls in between are *intermediate*: the network is evaluated and its next hidden state discarded.
The previous action that it sees is the mean of the actions applied since the last native step.
Semantics of the `inference` executor of rl-tools, as PX4 runs it (every call evaluates the network).
Pure logic: time is passed in.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Backend, Float32Array

# How many intervals the timing statistics look back.
TIMING_WINDOW = 100


class NativeRule(enum.StrEnum):
    """What makes a call native, after the first one."""

    # Every k-th call, k = native interval / call interval: for loops that never miss a call.
    COUNT = "count"
    # The native interval has passed since the last native step, by the stamps.
    TIME = "time"


@dataclass(frozen=True)
class Band:
    """Which intervals are healthy, as multiples of the nominal interval."""

    # Smallest healthy ratio.
    low: float = 0.8
    # Largest healthy ratio.
    high: float = 1.2


@dataclass(frozen=True)
class ExecutorConfig:
    """How the executor paces the network."""

    # Time between two advances of the hidden state: the step of the training, in nanoseconds.
    native_interval_ns: int = 10_000_000
    # Nominal time between two calls, in nanoseconds.
    call_interval_ns: int = 10_000_000
    # What makes a call native.
    native_rule: NativeRule = NativeRule.COUNT
    # How much too early a call may be native under the rule `time`, in nanoseconds. Half a call
    # interval picks the call nearest to the native interval, so that jitter cannot make it skip one.
    native_slack_ns: int = 0
    # Healthy intervals between native steps, single and on average.
    native_band: Band = Band()
    # Healthy intervals between calls, single and on average.
    call_band: Band = Band()

    def __post_init__(self) -> None:
        """Check the intervals against each other.

        Raises:
            ConfigError: calls come less often than native steps, or an interval or slack is not valid.
        """
        if not 0 < self.call_interval_ns <= self.native_interval_ns:
            raise ConfigError(
                f"call_interval_ns is {self.call_interval_ns}",
                where="RAPTOR executor",
                expected=f"1 to native_interval_ns = {self.native_interval_ns}",
                mend="call the policy at least as often as it was trained (100 Hz)",
            )
        if not 0 <= self.native_slack_ns < self.call_interval_ns:
            raise ConfigError(
                f"native_slack_ns is {self.native_slack_ns}",
                where="RAPTOR executor",
                expected=f"0 to less than call_interval_ns = {self.call_interval_ns}",
                mend="use half of the call interval",
            )

    @property
    def calls_per_native_step(self) -> int:
        """The k of the rule `count`, rounded down."""
        return self.native_interval_ns // self.call_interval_ns


class StepKind(enum.StrEnum):
    """What a call did."""

    # Evaluated the network and kept its hidden state.
    NATIVE = "native"
    # Evaluated the network on a copy of the hidden state.
    INTERMEDIATE = "intermediate"
    # Nothing.
    NONE = "none"


class StatusCode(enum.StrEnum):
    """How a call went."""

    # As it should.
    OK = "ok"
    # The action is good, but the last calls came unevenly or at another rate.
    TIMING_UNHEALTHY = "timing_unhealthy"
    # Time went backwards: there is no action; the next call starts from the new time.
    TIMESTAMP_INVALID = "timestamp_invalid"


@dataclass(frozen=True, slots=True)
class TimingHealth:
    """Judgement of the last intervals; healthy until `TIMING_WINDOW` of them are known."""

    # Whether every interval lies in the band.
    jitter_ok: bool = True
    # The interval furthest from nominal, as a multiple of it, when `jitter_ok` is false; else 1.
    jitter_ratio: float = 1.0
    # Whether the mean interval lies in the band.
    bias_ok: bool = True
    # The mean interval as a multiple of nominal; 1 until the window is full.
    bias_ratio: float = 1.0

    @property
    def ok(self) -> bool:
        """Whether both are."""
        return self.jitter_ok and self.bias_ok


HEALTHY = TimingHealth()


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """What a call did and how healthy its timing is."""

    # How the call went.
    code: StatusCode
    # What it did.
    step: StepKind
    # Intervals between native steps after a native step, between calls after an intermediate one.
    timing: TimingHealth = HEALTHY

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return self.code is StatusCode.OK


class Executor:
    """Runs the network at any rate from 100 Hz up.

    Args:
        backend: the network.
        initial_hidden: the hidden state after a reset, (H,).
        config: pacing and health bands.
    """

    def __init__(
        self, backend: Backend, initial_hidden: Float32Array, config: ExecutorConfig | None = None
    ) -> None:
        """Start as after a reset."""
        self.config = ExecutorConfig() if config is None else config
        self._backend = backend
        self._initial_hidden = np.array(initial_hidden, np.float32)
        self._input = np.zeros(OBSERVATION_SIZE, np.float32)
        self._mean_action = self._input[-ACTION_SIZE:]
        self._upper = np.ones(ACTION_SIZE, np.float32)
        self._lower = -self._upper
        by_count = self.config.native_rule is NativeRule.COUNT
        self._period = self.config.calls_per_native_step if by_count else 0
        self._due_ns = self.config.native_interval_ns - self.config.native_slack_ns
        call_ns = self.config.native_interval_ns // self._period if by_count else self.config.call_interval_ns
        self._native_intervals = _Intervals(self.config.native_interval_ns, self.config.native_band)
        self._call_intervals = _Intervals(call_ns, self.config.call_band)
        self.reset()

    @property
    def hidden(self) -> Float32Array:
        """A copy of the hidden state, (H,)."""
        return self._hidden.copy()

    def reset(self, hidden: Float32Array | None = None) -> None:
        """Begin anew: the next call is native and no timing is remembered.

        Args:
            hidden: the hidden state to begin with, (H,); the initial one when absent.
        """
        self._hidden = np.array(self._initial_hidden if hidden is None else hidden, np.float32)
        self._calls = 0
        self._applied = 0
        self._last_call_ns: int | None = None
        self._last_native_ns: int | None = None
        self._native_intervals.clear()
        self._call_intervals.clear()

    def control(
        self, now_ns: int, observation: Float32Array, previous_action: Float32Array
    ) -> tuple[Float32Array | None, ExecutorStatus]:
        """Evaluate the network for one observation.

        Args:
            now_ns: time of the observation, in nanoseconds; any epoch.
            observation: shape (22,); its last four elements are replaced by the mean previous action.
            previous_action: the action applied since the last call, (4,), -1 to 1.

        Returns:
            The action, (4,) float32, clamped to [-1, 1], or None when the stamp is not valid; and the
            status.
        """
        self._average(previous_action)
        last_ns, self._last_call_ns = self._last_call_ns, now_ns
        if last_ns is not None:
            if now_ns < last_ns:
                # No interval across the jump is measured, and a native step is due by time at once.
                self._last_native_ns = None
                return None, ExecutorStatus(StatusCode.TIMESTAMP_INVALID, StepKind.NONE)
            self._call_intervals.add(now_ns - last_ns)
        self._input[:-ACTION_SIZE] = observation[:-ACTION_SIZE]
        action, hidden = self._backend.step(self._input, self._hidden)
        np.minimum(action, self._upper, action)
        np.maximum(action, self._lower, action)
        if self._is_native(now_ns):
            self._hidden = hidden
            if self._last_native_ns is not None:
                self._native_intervals.add(now_ns - self._last_native_ns)
            self._last_native_ns = now_ns
            self._applied = 0
            step, timing = StepKind.NATIVE, self._native_intervals.health()
        else:
            step, timing = StepKind.INTERMEDIATE, self._call_intervals.health()
        self._calls += 1
        code = StatusCode.OK if timing.ok else StatusCode.TIMING_UNHEALTHY
        return action, ExecutorStatus(code, step, timing)

    def _is_native(self, now_ns: int) -> bool:
        if self._calls == 0:
            return True
        if self._period:
            return self._calls % self._period == 0
        return self._last_native_ns is None or now_ns - self._last_native_ns >= self._due_ns

    def _average(self, previous_action: Float32Array) -> None:
        mean, count = self._mean_action, self._applied
        if count == 0:
            mean[:] = previous_action
        else:
            mean *= count
            mean += previous_action
            mean /= count + 1
        self._applied = count + 1


class _Intervals:
    """A ring of the last intervals with their sum and how many of them lie outside the band."""

    def __init__(self, nominal_ns: int, band: Band) -> None:
        self._nominal_ns, self._band = nominal_ns, band
        self._low_ns, self._high_ns = band.low * nominal_ns, band.high * nominal_ns
        self.clear()

    def clear(self) -> None:
        self._ring: list[int] = []
        self._next = 0
        self._sum_ns = 0
        self._outside = 0

    def add(self, interval_ns: int) -> None:
        if len(self._ring) < TIMING_WINDOW:
            self._ring.append(interval_ns)
        else:
            old_ns, self._ring[self._next] = self._ring[self._next], interval_ns
            self._next = (self._next + 1) % TIMING_WINDOW
            self._sum_ns -= old_ns
            self._outside -= not self._low_ns <= old_ns <= self._high_ns
        self._sum_ns += interval_ns
        self._outside += not self._low_ns <= interval_ns <= self._high_ns

    def health(self) -> TimingHealth:
        if len(self._ring) < TIMING_WINDOW:
            return HEALTHY
        bias = self._sum_ns / (TIMING_WINDOW * self._nominal_ns)
        bias_ok = self._band.low <= bias <= self._band.high
        if not self._outside:
            return TimingHealth(bias_ok=bias_ok, bias_ratio=bias)
        worst = max(self._ring, key=lambda ns: abs(ns - self._nominal_ns)) / self._nominal_ns
        return TimingHealth(False, worst, bias_ok, bias)
