"""Protects the executor: which calls advance the hidden state, and what the network sees.

The tables below were written by hand from the semantics of rl-tools' executor (specs, RAPTOR 1.6).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import ConfigError
from policies.raptor.executor import (
    TIMING_WINDOW,
    Band,
    Executor,
    ExecutorConfig,
    NativeRule,
    StatusCode,
    StepKind,
)
from policies.raptor.network import NumpyBackend, RaptorWeights
from policies.raptor.policy import PUBLISHED

MS = 1_000_000
N, M, X = StepKind.NATIVE, StepKind.INTERMEDIATE, StepKind.NONE


class Spy:
    """Counts advances in its hidden state and writes down what it is shown."""

    name, hidden_size = "spy", 1

    def __init__(self, action=(0.0, 0.0, 0.0, 0.0)):
        self.action = np.array(action, np.float32)
        self.hidden: list[float] = []
        self.observations: list[np.ndarray] = []

    def step(self, observation, hidden):
        self.hidden.append(float(hidden[0]))
        self.observations.append(observation.copy())
        return self.action.copy(), hidden + 1


def make(config, **kwargs):
    spy = Spy(**kwargs)
    return spy, Executor(spy, np.zeros(1, np.float32), config)


def drive(executor, times_ns, previous=None):
    """Call at the times; previous actions are scalars that fill all four motors."""
    statuses = []
    for i, now_ns in enumerate(times_ns):
        value = 0.0 if previous is None else previous[i]
        _, status = executor.control(now_ns, np.zeros(22, np.float32), np.full(4, value, np.float32))
        statuses.append(status)
    return statuses


def test_400_hz_by_count():
    spy, executor = make(ExecutorConfig(call_interval_ns=2_500_000))
    previous = [0.1, 0.2, 0.4, 0.6, 0.8, -0.4, -0.8, 0.0, 0.2, 1.0]
    statuses = drive(executor, [i * 2_500_000 for i in range(10)], previous)
    assert [s.step for s in statuses] == [N, M, M, M, N, M, M, M, N, M]
    # The hidden state that each call sees: it advances after calls 0, 4 and 8 only.
    assert spy.hidden == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    # The running mean begins anew after every native step.
    means = [0.1, 0.2, 0.3, 0.4, 0.5, -0.4, -0.6, -0.4, -0.25, 1.0]
    np.testing.assert_allclose([o[18:] for o in spy.observations], np.outer(means, np.ones(4)), atol=1e-6)
    assert all(s.ok for s in statuses)


def test_100_hz_is_native_on_every_call():
    spy, executor = make(ExecutorConfig())
    previous = [0.5, -0.5, 0.25]
    statuses = drive(executor, [0, 10 * MS, 20 * MS], previous)
    assert [s.step for s in statuses] == [N, N, N]
    assert spy.hidden == [0, 1, 2]
    np.testing.assert_allclose([o[18] for o in spy.observations], previous)


def test_250_hz_by_count_rounds_down_like_the_flight_controllers():
    _, executor = make(ExecutorConfig(call_interval_ns=4 * MS))
    assert [s.step for s in drive(executor, [i * 4 * MS for i in range(5)])] == [N, M, N, M, N]


def test_count_ignores_the_stamps():
    _, executor = make(ExecutorConfig(call_interval_ns=5 * MS))
    assert [s.step for s in drive(executor, [0, 0, 0, 90 * MS, 91 * MS])] == [N, M, N, M, N]


def test_by_time_a_call_is_native_once_the_interval_has_passed():
    _, executor = make(ExecutorConfig(call_interval_ns=2_500_000, native_rule=NativeRule.TIME))
    times_ms = [0, 2.5, 5, 7.5, 10, 12.5, 19.9, 20, 45, 50, 55]
    statuses = drive(executor, [round(t * MS) for t in times_ms])
    assert [s.step for s in statuses] == [N, M, M, M, N, M, M, N, N, M, N]


def test_slack_keeps_jitter_from_skipping_a_native_step():
    exact = ExecutorConfig(native_rule=NativeRule.TIME)
    slack = ExecutorConfig(native_rule=NativeRule.TIME, native_slack_ns=5 * MS)
    times_ns = [0, 9_990_000, 19_980_000, 30_000_000, 39_990_000]
    assert [s.step for s in drive(make(exact)[1], times_ns)] == [N, M, N, N, M]
    assert [s.step for s in drive(make(slack)[1], times_ns)] == [N, N, N, N, N]


def test_a_repeated_stamp_does_not_advance_the_state_by_time():
    config = ExecutorConfig(native_rule=NativeRule.TIME, native_slack_ns=5 * MS)
    spy, executor = make(config)
    assert [s.step for s in drive(executor, [0, 0, 10 * MS, 10 * MS])] == [N, M, N, M]
    assert spy.hidden == [0, 1, 1, 2]


@pytest.mark.parametrize("rule", list(NativeRule))
def test_actions_are_clamped_on_every_call(rule):
    _, executor = make(
        ExecutorConfig(call_interval_ns=2_500_000, native_rule=rule), action=(-3.0, 0.25, 1.5, 1.0)
    )
    for i in range(6):
        action, _ = executor.control(i * 2_500_000, np.zeros(22, np.float32), np.zeros(4, np.float32))
        np.testing.assert_array_equal(action, [-1.0, 0.25, 1.0, 1.0])


def test_the_caller_keeps_its_observation():
    _, executor = make(ExecutorConfig())
    observation = np.arange(22, dtype=np.float32)
    executor.control(0, observation, np.zeros(4, np.float32))
    np.testing.assert_array_equal(observation, np.arange(22))


@pytest.mark.parametrize("rule", list(NativeRule))
def test_time_going_back_is_invalid_once_and_changes_nothing(rule):
    config = ExecutorConfig(call_interval_ns=5 * MS, native_rule=rule)
    spy, executor = make(config)
    drive(executor, [1000 * MS, 1005 * MS])
    hidden = executor.hidden
    action, status = executor.control(3 * MS, np.zeros(22, np.float32), np.zeros(4, np.float32))
    assert action is None
    assert (status.code, status.step, status.ok) == (StatusCode.TIMESTAMP_INVALID, X, False)
    assert len(spy.hidden) == 2
    np.testing.assert_array_equal(executor.hidden, hidden)
    # The next call starts from the new time: native by time at once, by count when its turn comes.
    assert [s.step for s in drive(executor, [4 * MS, 9 * MS])] == [N, M]


def test_reset_makes_the_next_call_native_and_forgets_state_and_time():
    spy, executor = make(ExecutorConfig(call_interval_ns=2_500_000))
    drive(executor, [500 * MS, 502 * MS, 505 * MS], [0.9, 0.9, 0.9])
    executor.reset()
    statuses = drive(executor, [0, 2_500_000], [-0.5, 0.5])
    assert [s.step for s in statuses] == [N, M]
    assert all(s.ok for s in statuses)
    assert spy.hidden[-2:] == [0, 1]
    np.testing.assert_allclose([o[18] for o in spy.observations[-2:]], [-0.5, 0.5])


def test_health_of_the_rhythm():
    _, executor = make(ExecutorConfig())
    times = np.arange(TIMING_WINDOW + 1) * 10 * MS
    # 101 calls make the 100 intervals that are judged; before that all is healthy.
    slow = drive(executor, [int(t * 1.3) for t in times])
    assert all(s.ok for s in slow[:-1])
    last = slow[-1]
    assert last.code is StatusCode.TIMING_UNHEALTHY
    assert (last.timing.jitter_ok, last.timing.bias_ok) == (False, False)
    assert last.timing.jitter_ratio == pytest.approx(1.3)
    assert last.timing.bias_ratio == pytest.approx(1.3)


def test_one_late_call_is_jitter_without_bias_until_it_leaves_the_window():
    _, executor = make(ExecutorConfig())
    intervals = [10 * MS] * 50 + [14 * MS] + [10 * MS] * 150
    statuses = drive(executor, [0, *np.cumsum(intervals).tolist()])
    unhealthy = [i for i, s in enumerate(statuses) if not s.ok]
    # Interval 51 ends at call 51; the window is full from call 100 on and drops it after call 150.
    assert unhealthy == list(range(100, 151))
    assert statuses[120].timing.jitter_ratio == pytest.approx(1.4)
    assert statuses[120].timing.bias_ok
    assert statuses[120].timing.bias_ratio == pytest.approx(1.004)


def test_reset_forgets_the_rhythm():
    _, executor = make(ExecutorConfig(call_interval_ns=5 * MS))
    assert not drive(executor, [i * 8 * MS for i in range(250)])[-2].ok
    executor.reset()
    # Both statistics must be collected anew: 100 native steps and 100 calls.
    assert all(s.ok for s in drive(executor, [i * 5 * MS for i in range(150)]))


def test_by_count_calls_are_judged_against_an_even_share_of_the_native_interval():
    # 6 ms divides 10 ms once, so the flight controllers expect a call every 10 ms.
    _, executor = make(ExecutorConfig(call_interval_ns=6 * MS))
    assert drive(executor, [i * 10 * MS for i in range(150)])[-1].ok
    # 4 ms divides it twice: a call every 5 ms, whatever the configuration said.
    _, executor = make(ExecutorConfig(call_interval_ns=4 * MS))
    statuses = drive(executor, [i * 5 * MS for i in range(300)])
    assert statuses[-1].step is M
    assert statuses[-1].timing.bias_ratio == pytest.approx(1.0)
    # By time, the configured interval is the nominal one.
    _, executor = make(ExecutorConfig(call_interval_ns=4 * MS, native_rule=NativeRule.TIME))
    assert drive(executor, [i * 4 * MS for i in range(152)])[-1].timing.bias_ratio == pytest.approx(1.0)


def test_native_and_call_intervals_are_judged_apart():
    # Calls alternate between 1 and 9 ms after the last one: uneven calls, native steps exactly 10 ms apart.
    config = ExecutorConfig(call_interval_ns=5 * MS)
    _, executor = make(config)
    times = [k * 10 * MS + offset for k in range(120) for offset in (0, 1 * MS)]
    statuses = drive(executor, times)
    assert all(s.ok for s in statuses if s.step is N)
    assert statuses[-1].step is M
    assert statuses[-1].code is StatusCode.TIMING_UNHEALTHY
    assert statuses[-1].timing.bias_ok
    wide = ExecutorConfig(call_interval_ns=5 * MS, call_band=Band(0.1, 2.0))
    assert all(s.ok for s in drive(make(wide)[1], times))


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 8),
    previous=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)
def test_the_mean_is_that_of_the_actions_since_the_last_native_step(k, previous):
    spy, executor = make(ExecutorConfig(native_interval_ns=k * MS, call_interval_ns=MS))
    statuses = drive(executor, [i * MS for i in range(len(previous))], previous)
    for i, status in enumerate(statuses):
        assert status.step is (N if i % k == 0 else M)
        since = 0 if i == 0 else ((i - 1) // k) * k + 1
        expected = np.mean(np.float64(previous[since : i + 1]))
        np.testing.assert_allclose(spy.observations[i][18:], expected, atol=1e-5)


def test_at_400_hz_the_published_policy_keeps_the_hidden_state_of_100_hz():
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    backend = NumpyBackend(weights)
    slow = Executor(backend, weights.initial_hidden, ExecutorConfig())
    fast = Executor(backend, weights.initial_hidden, ExecutorConfig(call_interval_ns=2_500_000))
    rng = np.random.default_rng(0)
    action = np.zeros(4, np.float32)
    for k in range(30):
        observation = rng.standard_normal(22).astype(np.float32)
        for j in range(4):
            now_ns = k * 10 * MS + j * 2_500_000
            quick, _ = fast.control(now_ns, observation, action)
            if j == 0:
                expected, _ = slow.control(now_ns, observation, action)
                np.testing.assert_allclose(quick, expected, atol=1e-6)
        np.testing.assert_allclose(fast.hidden, slow.hidden, atol=1e-6)


@pytest.mark.parametrize(
    ("settings_", "text"),
    [
        ({"call_interval_ns": 20 * MS}, "call_interval_ns is 20000000.*call the policy at least as often"),
        ({"call_interval_ns": 0}, "call_interval_ns is 0"),
        ({"native_slack_ns": 10 * MS}, "native_slack_ns is 10000000.*use half of the call interval"),
    ],
)
def test_impossible_pacing_is_refused(settings_, text):
    with pytest.raises(ConfigError, match=text):
        ExecutorConfig(**settings_)
