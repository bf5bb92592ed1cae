"""Protects learning from interventions: only what the expert did is a label, never what the policy did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.fit import BcLearner
from policies.card import PolicyTerm
from policies.demonstrations import Episode, Layout, fit_normalisation, make_windows
from policies.demonstrations.learner import learn
from policies.demonstrations.source import get_demonstrations
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.fit import DiffusionLearner
from sim.experts.demonstrations import Demonstrations

LAYOUT = Layout({"joint_position": PolicyTerm(("a", "b"), "rad")})
# Who commanded an attempt of twelve steps: the expert twice, the policy before, in between and at the end.
EXPERT = np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0], np.bool_)
# What the policy does, in tests: nothing that could be taken for something else.
WRONG = 1000.0


def attempt(expert=EXPERT, seed=0):
    random = np.random.default_rng(seed)
    actions = random.uniform(-1.0, 1.0, (len(expert), 2))
    actions[~expert] = WRONG
    return Episode({"joint_position": random.uniform(-1.0, 1.0, (len(expert), 2))}, actions, expert=expert)


def demonstration(seed):
    random = np.random.default_rng(seed)
    return Episode({"joint_position": random.uniform(-1.0, 1.0, (20, 2))}, random.uniform(-1.0, 1.0, (20, 2)))


# --- pairs -------------------------------------------------------------------------------------


def test_pairs_begin_where_the_expert_commands_and_their_labels_end_where_it_gives_back():
    windows = make_windows([demonstration(1), attempt()], LAYOUT, horizon=4)
    assert set(windows.learned) == {*range(20), *(20 + np.flatnonzero(EXPERT))}
    assert windows.labels[:20].all()
    # Step 5 is the last but one before the expert gives back; step 10 the last before the second time.
    np.testing.assert_array_equal(windows.labels[20 + 5], [True, True, False, False])
    np.testing.assert_array_equal(windows.labels[20 + 3], [True, True, True, True])
    # Behind the end of the attempt its last action is repeated, and that was the policy's.
    np.testing.assert_array_equal(windows.labels[20 + 10], [True, False, False, False])


def test_what_led_to_the_intervention_is_seen_but_is_no_label():
    windows = make_windows([attempt()], LAYOUT, horizon=4, history=3)
    assert list(windows.learned) == list(np.flatnonzero(EXPERT))
    np.testing.assert_array_equal(windows.history[3], [1, 2, 3])
    # The chunk begins with the oldest observation of the history.
    np.testing.assert_array_equal(windows.labels[3], [False, False, True, True])


def test_no_label_is_the_policys_whatever_is_drawn():
    windows = make_windows([demonstration(1), attempt(), attempt(seed=2)], LAYOUT, horizon=5, history=2)
    rows = windows.draw(np.random.default_rng(3), 4096)
    assert (np.abs(windows.chunks[rows][windows.labels[rows]]) <= 1.0).all()
    assert (windows.chunks[rows] == WRONG).any()
    drawn = set(rows)
    assert drawn == set(windows.learned)


def test_numbers_are_scaled_by_labels_alone():
    windows = make_windows([demonstration(1), attempt()], LAYOUT, horizon=4)
    for scaling in ("deviation", "range"):
        found = fit_normalisation(
            windows, LAYOUT, relative_to="joint_position", action_names=("a", "b"), scaling=scaling
        )
        assert np.abs(found.action_mean).max() < 2.0
        assert found.action_scale.max() < 4.0


def test_without_interventions_nothing_is_masked():
    assert make_windows([demonstration(1), demonstration(2)], LAYOUT, horizon=4).labels is None


def test_flags_that_do_not_fit_the_steps_are_refused():
    with pytest.raises(ConfigError, match="'expert': 3"):
        dataclasses.replace(demonstration(1), expert=np.ones(3, np.bool_))


# --- learners ----------------------------------------------------------------------------------


def test_cloning_learns_nothing_from_what_the_policy_did(tmp_path):
    config = TrainConfig(
        out=str(tmp_path / "a"),
        hidden=(16,),
        horizon=4,
        execute=2,
        steps=60,
        evaluate_every=60,
        batch_size=64,
        rollouts=0,
    )
    episodes = [demonstration(n) for n in range(4)] + [attempt(seed=n) for n in range(4)]

    def learned(episodes, config=config):
        outcome = learn(BcLearner(config, episodes, LAYOUT, ("a", "b")))
        return outcome, outcome.network.state_dict()

    found, weights = learned(episodes)
    assert found.best.validation_loss < 3.0
    # Another policy, the same expert: the same weights.
    other = [
        e if e.expert is None else dataclasses.replace(e, actions=np.where(e.expert[:, None], e.actions, 7.0))
        for e in episodes
    ]
    _, again = learned(other, dataclasses.replace(config, out=str(tmp_path / "b")))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_the_loss_of_denoising_counts_labels_alone(tmp_path):
    config = DiffusionConfig(
        out=str(tmp_path),
        observation=("joint_position",),
        channels=(16, 16),
        horizon=8,
        execute=2,
        steps=4,
        evaluate_every=4,
        batch_size=32,
        rollouts=0,
        device="cpu",
    )
    episodes = [demonstration(n) for n in range(4)] + [attempt(seed=n) for n in range(4)]
    learner = DiffusionLearner(config, episodes, LAYOUT, ("a", "b"))
    learner.advance()
    assert learner.evaluate(None).training_loss < 10.0
    network = learner.network
    chunk, noise = torch.randn(2, 8, 2), torch.randn(2, 8, 2)
    labels = torch.ones(2, 8, 1)
    labels[:, 5:] = 0.0
    rest = {"noise": noise, "timesteps": torch.tensor([3, 40])}
    observation = torch.randn(2, 1, 2)
    masked = network.loss(chunk, observation, {}, labels=labels, **rest)
    known = torch.zeros(2, 8, 1)
    whole = network.loss(chunk, observation, {}, known=known, labels=torch.ones(2, 8, 1), **rest)
    torch.testing.assert_close(whole, network.loss(chunk, observation, {}, known=known, **rest))
    assert not torch.equal(masked, whole)


# --- where they come from ----------------------------------------------------------------------


@pytest.fixture
def make_file(demonstrations, tmp_path):
    """The demonstrations once more, as attempts in which the expert commanded at some steps."""

    def make(flags=None):
        given = Demonstrations.load(demonstrations)
        flags = None if flags is None else flags(len(given.episode), given.episode)
        path = tmp_path / "interventions.npz"
        dataclasses.replace(given, intervention=flags).save(path)
        return path

    return make


def config_of(demonstrations, *interventions):
    return TrainConfig(out="unused", data=str(demonstrations), interventions=tuple(map(str, interventions)))


def test_interventions_stand_beside_demonstrations(demonstrations, make_file):
    path = make_file(lambda steps, episode: (np.arange(steps) % 40 > 20) & (episode != 2))
    config = config_of(demonstrations, path)
    found = get_demonstrations(config, load_robot_card("so101_twin"))
    alone = get_demonstrations(config_of(demonstrations), load_robot_card("so101_twin"))
    assert [e.expert is None for e in found.episodes] == [True] * 6 + [False] * 5
    assert found.source == "demonstrations.npz + interventions.npz"
    assert found.sha256 != alone.sha256
    # Given as demonstrations, the same file is learned whole.
    whole = get_demonstrations(config_of(path), load_robot_card("so101_twin"))
    assert all(e.expert is None for e in whole.episodes)
    assert whole.sha256 == alone.sha256


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (None, "the data does not say who commanded"),
        (lambda steps, episode: np.zeros(steps, np.bool_), "nobody took over"),
    ],
)
def test_what_holds_no_intervention_is_refused(demonstrations, make_file, flags, text):
    with pytest.raises(ConfigError, match=text):
        get_demonstrations(config_of(demonstrations, make_file(flags)), load_robot_card("so101_twin"))
