"""Protects the batched policy: vehicle by vehicle it answers as the executor that flies one of them."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.raptor.contract import ErrorClipping
from policies.raptor.executor import Executor, ExecutorConfig
from policies.raptor.fleet import FleetPilot

VEHICLES, CALLS = 5, 60


@pytest.fixture(scope="module")
def pilot():
    return FleetPilot.load()


def observations(seed=0):
    return np.random.default_rng(seed).standard_normal((CALLS, VEHICLES, 22)).astype(np.float32)


@pytest.mark.parametrize("interval_ns", [2_500_000, 5_000_000, 10_000_000])
def test_every_vehicle_is_flown_as_by_the_executor(pilot, interval_ns):
    fleet = pilot.controller(clip_errors=False)
    fleet.reset(VEHICLES)
    config = ExecutorConfig(call_interval_ns=interval_ns)
    single = [Executor(pilot.backend, pilot.initial_hidden, config) for _ in range(VEHICLES)]
    for call, seen in enumerate(observations()):
        action = fleet.act(seen, call * interval_ns)
        for vehicle, executor in enumerate(single):
            expected, _ = executor.control(call * interval_ns, seen[vehicle], seen[vehicle, 18:])
            np.testing.assert_allclose(action[vehicle], expected, atol=2e-6)
            np.testing.assert_allclose(fleet.hidden[vehicle], executor.hidden, atol=2e-6)


def test_hidden_state_waits_for_the_native_step(pilot):
    fleet = pilot.controller(clip_errors=False)
    fleet.reset(VEHICLES)
    states = []
    for call, seen in enumerate(observations()[:9]):
        fleet.act(seen, call * 2_500_000)
        states.append(fleet.hidden)
    changed = [not np.array_equal(a, b) for a, b in zip(states, states[1:], strict=False)]
    assert changed == [False, False, False, True, False, False, False, True]


def test_slower_calls_advance_every_time(pilot):
    fleet = pilot.controller(clip_errors=False)
    fleet.reset(VEHICLES)
    first = fleet.act(observations()[0], 0)
    before = fleet.hidden
    fleet.act(observations()[1], 20_000_000)
    assert first.shape == (VEHICLES, 4)
    assert not np.array_equal(fleet.hidden, before)


def test_errors_are_clipped_as_on_the_card_and_only_then(pilot):
    assert pilot.clipping == ErrorClipping(0.5, 1.0)
    far = observations()[0] * 10
    near = far.copy()
    near[:, 0:3] = near[:, 0:3].clip(-0.5, 0.5)
    near[:, 12:15] = near[:, 12:15].clip(-1.0, 1.0)
    clipped, free = (pilot.controller(clip_errors=flag) for flag in (True, False))
    for fleet in (clipped, free):
        fleet.reset(VEHICLES)
    kept = far.copy()
    with_far = clipped.act(far, 0)
    np.testing.assert_array_equal(far, kept)
    assert not np.allclose(free.act(far, 0), with_far)
    free.reset(VEHICLES)
    np.testing.assert_array_equal(free.act(near, 0), with_far)


def test_lost_vehicle_does_not_disturb_the_others(pilot):
    seen = observations()
    results = []
    for is_lost in (False, True):
        fleet = pilot.controller(clip_errors=True)
        fleet.reset(VEHICLES)
        flown = seen.copy()
        if is_lost:
            flown[3, 2, 0] = np.nan
        for call in range(10):
            action = fleet.act(flown[call], call * 10_000_000)
        results.append(action)
    rest = [0, 1, 3, 4]
    np.testing.assert_array_equal(results[0][rest], results[1][rest])
    assert np.isnan(results[1][2]).all()


def test_reset_forgets(pilot):
    fleet = pilot.controller(clip_errors=True)
    answers = []
    for _ in range(2):
        fleet.reset(VEHICLES)
        answers.append([fleet.act(seen, call * 2_500_000) for call, seen in enumerate(observations())])
    np.testing.assert_array_equal(*answers)


def test_wrong_use_is_refused(pilot):
    fleet = pilot.controller(clip_errors=True)
    fleet.reset(VEHICLES)
    with pytest.raises(ConfigError, match=r"observations of shape \(2, 22\)"):
        fleet.act(np.zeros((2, 22), np.float32), 0)
    fleet.act(observations()[0], 10)
    with pytest.raises(ConfigError, match="time 9 ns after 10 ns"):
        fleet.act(observations()[0], 9)
