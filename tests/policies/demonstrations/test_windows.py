"""Protects what is learned from: which actions follow which observation, and how numbers are scaled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.card import PolicyTerm
from policies.demonstrations import (
    ActionScaling,
    DemonstrationSet,
    Episode,
    Layout,
    fit_normalisation,
    make_windows,
    split_episodes,
)
from policies.demonstrations.layout import features

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
LAYOUT = Layout(
    {
        "joint_position": PolicyTerm(JOINTS, "rad"),
        "cube_orientation": PolicyTerm(("w", "x", "y", "z"), "quaternion", "base_link"),
    }
)


@pytest.fixture
def episode():
    random = np.random.default_rng(4)
    steps = 7
    quaternions = random.standard_normal((steps, 4))
    return Episode(
        {
            "joint_position": random.uniform(-1.0, 1.0, (steps, 6)),
            "cube_orientation": quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
        },
        random.uniform(-1.0, 1.0, (steps, 6)),
    )


def test_every_step_is_paired_with_the_actions_that_follow_it(episode):
    windows = make_windows([episode, episode], LAYOUT, horizon=3)
    steps = len(episode.actions)
    assert len(windows) == 2 * steps
    assert windows.observations.shape == (2 * steps, 10)
    np.testing.assert_allclose(windows.chunks[2], episode.actions[2:5], rtol=1e-6)
    np.testing.assert_allclose(windows.observations[steps + 3, :6], episode.observations["joint_position"][3])


def test_behind_the_end_the_last_action_is_repeated_and_the_next_episode_is_not_seen(episode):
    windows = make_windows([episode, episode], LAYOUT, horizon=4)
    last = episode.actions[-1]
    chunk = windows.chunks[len(episode.actions) - 2]
    np.testing.assert_allclose(chunk, [episode.actions[-2], last, last, last], rtol=1e-6)


def test_statistics_are_those_of_features_and_of_offsets_from_where_the_joints_stood(episode):
    windows = make_windows([episode], LAYOUT, horizon=2)
    found = fit_normalisation(windows, LAYOUT, relative_to="joint_position", action_names=JOINTS[::-1])
    # The actions come in another order than the joints: each is an offset from its namesake.
    assert found.base.tolist() == [5, 4, 3, 2, 1, 0]
    assert (len(found.plain), found.pairs.shape) == (6, (2, 10))
    inputs = features(windows.observations, found.plain, found.pairs)
    scaled = (inputs - found.feature_mean) / found.feature_scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, atol=1e-4)
    offsets = windows.chunks - windows.observations[:, [5, 4, 3, 2, 1, 0]][:, None]
    np.testing.assert_allclose(found.action_mean, offsets.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.action_scale, offsets.std(axis=0), atol=1e-6)


def test_without_a_term_to_start_from_actions_are_absolute(episode):
    windows = make_windows([episode], LAYOUT, horizon=2)
    found = fit_normalisation(windows, LAYOUT, relative_to="", action_names=JOINTS)
    assert found.base.tolist() == [-1] * 6
    np.testing.assert_allclose(found.action_mean, windows.chunks.mean(axis=0), atol=1e-6)


def test_a_number_that_does_not_vary_is_not_blown_up(episode):
    still = {**episode.observations, "joint_position": np.full((len(episode.actions), 6), 0.3)}
    windows = make_windows([Episode(still, np.full((len(episode.actions), 6), 0.3))], LAYOUT, horizon=2)
    found = fit_normalisation(windows, LAYOUT, relative_to="joint_position", action_names=JOINTS)
    assert found.feature_scale[:6].tolist() == pytest.approx([1e-2] * 6)
    assert found.action_scale.ravel().tolist() == pytest.approx([1e-3] * 12)


def test_a_quaternion_and_its_negative_are_the_same_observation():
    plain, pairs = LAYOUT.features()
    joints, quaternion = np.linspace(-1, 1, 6), np.array([0.5, -0.5, 0.1, 0.7])
    one, other = (
        features(LAYOUT.vector({"joint_position": joints, "cube_orientation": q}), plain, pairs)
        for q in (quaternion, -quaternion)
    )
    np.testing.assert_array_equal(one, other)


def test_bad_demonstrations_are_refused(episode):
    with pytest.raises(ConfigError, match=r"7 actions beside observations of .*'joint_position': 6"):
        dataclasses.replace(
            episode, observations={"joint_position": episode.observations["joint_position"][:6]}
        )
    with pytest.raises(ConfigError, match="no demonstrations.*Expected at least one episode"):
        make_windows([], LAYOUT, horizon=2)
    bare = dataclasses.replace(episode, observations={"joint_position": np.zeros((7, 6))})
    with pytest.raises(ConfigError, match=r"demonstration 1: the terms cube_orientation are missing"):
        make_windows([episode, bare], LAYOUT, horizon=2)


def test_a_history_begins_before_the_observation_and_stays_in_its_episode(episode):
    windows = make_windows([episode, episode], LAYOUT, horizon=4, history=2)
    steps = len(episode.actions)
    assert windows.history[steps : steps + 3].tolist() == [
        [steps, steps],
        [steps, steps + 1],
        [steps + 1, steps + 2],
    ]
    # The first action is that of the oldest observation; before the beginning the first one is repeated.
    np.testing.assert_allclose(windows.chunks[steps + 2], episode.actions[1:5], rtol=1e-6)
    np.testing.assert_allclose(windows.chunks[0], episode.actions[[0, 0, 1, 2]], rtol=1e-6)


def test_scaled_to_their_range_actions_lie_between_minus_one_and_one(episode):
    windows = make_windows([episode], LAYOUT, horizon=3)
    found = fit_normalisation(
        windows, LAYOUT, relative_to="", action_names=JOINTS, scaling=ActionScaling.RANGE
    )
    scaled = (windows.chunks - found.action_mean) / found.action_scale
    np.testing.assert_allclose(scaled.min(axis=0), -1.0, atol=1e-5)
    np.testing.assert_allclose(scaled.max(axis=0), 1.0, atol=1e-5)


def test_images_stay_beside_their_observations(episode):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    seen = dataclasses.replace(episode, images={"front": images})
    windows = make_windows([seen, seen], LAYOUT, horizon=2, cameras=("front",))
    np.testing.assert_array_equal(windows.images["front"][7 + 3], images[3])
    with pytest.raises(ConfigError, match="demonstration 1: the images front are missing.*Expected front"):
        make_windows([seen, episode], LAYOUT, horizon=2, cameras=("front",))


def test_numbers_that_are_not_finite_are_refused(episode):
    broken = episode.observations["joint_position"].copy()
    broken[3:5, 2] = np.nan
    with pytest.raises(ConfigError, match=r"joint_position is not finite in 2 step\(s\), first in step 3"):
        dataclasses.replace(episode, observations={"joint_position": broken})
    with pytest.raises(ConfigError, match="the action is not finite in 7"):
        dataclasses.replace(episode, actions=np.full_like(episode.actions, np.inf))


def test_an_episode_of_length_zero_is_refused():
    with pytest.raises(ConfigError, match="0 actions.*Expected at least one step"):
        Episode({"joint_position": np.zeros((0, 6))}, np.zeros((0, 6)))


def test_whole_episodes_are_held_out_and_too_few_refused(episode):
    others = [dataclasses.replace(episode, actions=episode.actions + i) for i in range(10)]
    learned, held_out = split_episodes(others, share=0.2, seed=3, where="here")
    assert (len(learned), len(held_out)) == (8, 2)
    assert {id(e) for e in learned + held_out} == {id(e) for e in others}
    with pytest.raises(ConfigError, match=r"here: 1 demonstration\(s\).*at least two"):
        split_episodes([episode], share=0.2, seed=3, where="here")


def test_the_hash_is_of_everything_that_is_learned_from(episode):
    def sha256(*episodes):
        return DemonstrationSet(episodes, JOINTS, 40_000_000, "here").sha256

    same = dataclasses.replace(episode, actions=episode.actions.copy())
    assert sha256(episode, episode) == sha256(same, episode)
    other = episode.actions.copy()
    other[2, 1] += 1e-9
    image = np.zeros((7, 4, 4, 3), np.uint8)
    hashes = {
        sha256(episode, episode),
        sha256(episode),
        sha256(episode, dataclasses.replace(episode, actions=other)),
        sha256(dataclasses.replace(episode, images={"front": image})),
        sha256(dataclasses.replace(episode, images={"front": image + 1})),
    }
    assert len(hashes) == 5


def test_pairs_are_drawn_as_often_as_their_weights_say_and_measured_without_those_of_none(episode):
    weight = np.array([0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 0.0], np.float32)
    rare = dataclasses.replace(episode, weight=weight)
    windows = make_windows([rare, rare], LAYOUT, horizon=2)
    assert windows.learned.tolist() == [2, 3, 9, 10]
    drawn = np.bincount(windows.draw(np.random.default_rng(0), 8000), minlength=14)
    assert set(np.flatnonzero(drawn)) == {2, 3, 9, 10}
    assert drawn[[3, 10]].sum() / drawn.sum() == pytest.approx(0.75, abs=0.02)
    found = fit_normalisation(windows, LAYOUT, relative_to="", action_names=JOINTS)
    np.testing.assert_allclose(found.action_mean, windows.chunks[[2, 3]].mean(axis=0), atol=1e-6)
    # Without weights every pair is drawn alike.
    plain = make_windows([episode, episode], LAYOUT, horizon=2)
    assert np.bincount(plain.draw(np.random.default_rng(0), 14_000)).min() > 800


def test_weights_that_teach_nothing_are_refused(episode):
    with pytest.raises(ConfigError, match="weights of shape.*one a step"):
        dataclasses.replace(episode, weight=np.ones(3, np.float32))
    with pytest.raises(ConfigError, match="zero or more"):
        dataclasses.replace(episode, weight=np.full(7, -1.0, np.float32))
    with pytest.raises(ConfigError, match="all 7 steps have the weight zero"):
        make_windows([dataclasses.replace(episode, weight=np.zeros(7, np.float32))], LAYOUT, horizon=2)
