"""Protects what is learned from: which actions follow which observation, and how numbers are scaled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.bc.data import Episode, Layout, fit_normalisation, make_windows
from policies.bc.network import features
from policies.card import PolicyTerm

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
LAYOUT = Layout(
    {
        "joint_position": PolicyTerm(JOINTS, "rad"),
        "cube_orientation": PolicyTerm(("w", "x", "y", "z"), "quaternion", "base_link"),
    }
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
