"""Protects the demonstrations: repeatable, labelled by the expert, noisy only in what is executed."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.experts.collect import ActionNoise, collect
from sim.experts.pick_cube import PickCubeExpert
from sim.worlds import so101
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld


@pytest.fixture(scope="module")
def noisy():
    return collect(4, first_seed=10, noise=ActionNoise())


def test_the_same_call_gives_the_same_arrays_and_seeds_count_up(noisy):
    again = collect(4, first_seed=10, noise=ActionNoise())
    np.testing.assert_array_equal(noisy.actions, again.actions)
    np.testing.assert_array_equal(noisy.executed, again.executed)
    np.testing.assert_array_equal(noisy.seeds, [10, 11, 12, 13])
    # An episode does not depend on those before it.
    alone = collect(1, first_seed=12, noise=ActionNoise())
    np.testing.assert_array_equal(alone.actions, noisy.actions[noisy.episode == 2])


def test_episodes_begin_as_the_task_does_with_that_seed(noisy):
    world = PickCubeWorld()
    for number, seed in enumerate(noisy.seeds):
        world.reset(np.random.default_rng(seed))
        first = np.flatnonzero(noisy.episode == number)[0]
        for name, value in world.observe().items():
            np.testing.assert_array_equal(noisy.observations[name][first], value)


def test_the_label_is_what_the_expert_says_of_that_observation(noisy):
    expert = PickCubeExpert()
    for row in range(0, len(noisy.actions), 17):
        observation = {name: values[row] for name, values in noisy.observations.items()}
        np.testing.assert_array_equal(noisy.actions[row], expert.act(observation))


def test_the_noise_is_on_what_is_executed_and_has_its_strength():
    noise = ActionNoise(std_rad=0.006, persistence=0.8)
    data = collect(10, noise=noise)
    difference = data.executed - data.actions
    assert difference.std() == pytest.approx(0.006, rel=0.15)
    steps = np.diff(data.episode) == 0
    kept = np.corrcoef(difference[:-1][steps].ravel(), difference[1:][steps].ravel())[0, 1]
    assert kept == pytest.approx(0.8, abs=0.06)
    clean = collect(2)
    np.testing.assert_array_equal(clean.executed, clean.actions)


def test_noisy_episodes_still_succeed_and_go_on_holding(noisy):
    data = collect(20, noise=ActionNoise())
    assert data.success_rate >= 0.95
    # 0.4 s of holding after success: the cube is up in the last ten steps.
    for number in np.flatnonzero(data.success):
        heights = data.observations["cube_position"][data.episode == number][-10:, 2]
        assert heights.min() > 0.05


def test_episodes_that_fail_are_kept_and_marked():
    data = collect(2, duration_s=0.4)
    assert data.success.tolist() == [False, False]
    assert len(data.actions) == 20
    assert len(data.successful().actions) == 0


def test_settings_and_progress_are_used():
    done = []
    settings = PickCubeSettings(cube_x_m=(0.2, 0.2), cube_y_m=(0.0, 0.0))
    data = collect(2, settings=settings, progress=done.append)
    assert done == [1, 2]
    starts = data.observations["cube_position"][[0, int((data.episode == 0).sum())], :2]
    np.testing.assert_allclose(starts, [[0.2, 0.0]] * 2, atol=1e-9)
    assert data.action_names == so101.JOINTS
    assert data.task == "reflexarc/PickCube-v0"
    assert data.period_ns == 40_000_000


def test_bad_numbers_are_refused():
    with pytest.raises(ConfigError, match="episodes -1"):
        collect(-1)
    with pytest.raises(ConfigError, match="persistence 1.0"):
        ActionNoise(persistence=1.0)
