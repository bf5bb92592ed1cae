"""Protects Behavior Retrieval: what is like the task is found, by what was done and not by looks alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.train import train
from policies.card import PolicyTerm
from policies.demonstrations import DemonstrationSet, Episode, Layout
from policies.demonstrations.retrieve import VaeSettings, retrieve

LAYOUT = Layout({"joint_position": PolicyTerm(("x", "y"), "rad")})
NAMES = ("x", "y")
QUICK = VaeSettings(latent=4, hidden=32, steps=400, batch_size=128)
TERMS = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")


def walk(seed: int, turn: float) -> Episode:
    """Anywhere in the plane, drawn by the action in one direction about the origin, or in the other one."""
    random = np.random.default_rng(seed)
    place = random.uniform(-1.0, 1.0, (40, 2))
    around = turn * np.stack([-place[:, 1], place[:, 0]], axis=1)
    return Episode({"joint_position": place}, place + around + 0.01 * random.standard_normal((40, 2)))


def made(*episodes: Episode, source: str = "made", names: tuple[str, ...] = NAMES) -> DemonstrationSet:
    return DemonstrationSet(episodes, names, 40_000_000, source)


@pytest.fixture(scope="module")
def task():
    return made(*(walk(seed, 1.0) for seed in range(8)), source="few")


@pytest.fixture(scope="module")
def prior():
    """Every fourth episode turns as the task does; the others turn the other way, from the same places."""
    return made(*(walk(100 + n, 1.0 if n % 4 == 0 else -1.0) for n in range(40)), source="many")


def found(task: DemonstrationSet, prior: DemonstrationSet, **changes) -> np.ndarray:
    """Which steps of the large set are kept, (episodes, steps)."""
    settings = {"share": 0.25, "horizon": 1, "relative_to": "joint_position", "settings": QUICK}
    result = retrieve(task, prior, LAYOUT, **(settings | changes))
    assert result.episodes[: len(task.episodes)] == task.episodes
    kept = np.zeros((len(prior.episodes), 40))
    places = {e.observations["joint_position"].tobytes(): n for n, e in enumerate(prior.episodes)}
    for episode in result.episodes[len(task.episodes) :]:
        kept[places[episode.observations["joint_position"].tobytes()]] = episode.weight
    return kept


def test_a_planted_quarter_is_found_and_little_else(task, prior):
    kept = found(task, prior)
    planted = kept[::4]
    assert kept.sum() == 0.25 * kept.size
    # As many are kept as are planted: precision and recall are one number.
    assert planted.sum() / kept.sum() > 0.9


def test_what_was_done_decides_not_only_what_was_seen(task, prior):
    random = np.random.default_rng(0)
    mixed = random.permutation(np.concatenate([e.actions for e in prior.episodes]))
    actions = mixed.reshape(len(prior.episodes), 40, 2)
    shuffled = made(
        *(dataclasses.replace(e, actions=a) for e, a in zip(prior.episodes, actions, strict=True))
    )
    kept = found(task, shuffled)
    assert kept[::4].sum() / kept.sum() < 0.5


def test_the_share_decides_how_much_is_kept_and_nothing_else_is_touched(task, prior):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    kept = found(task, prior, share=0.1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert kept.sum() == 0.1 * kept.size
    np.testing.assert_array_equal(found(task, prior, share=0.1), kept)


def test_actions_are_compared_by_name(task, prior):
    swapped = dataclasses.replace(
        prior,
        action_names=NAMES[::-1],
        episodes=tuple(dataclasses.replace(e, actions=e.actions[:, ::-1]) for e in prior.episodes),
    )
    np.testing.assert_array_equal(found(task, swapped), found(task, prior))
    result = retrieve(task, swapped, LAYOUT, share=0.1, horizon=1, settings=QUICK)
    assert result.action_names == NAMES
    last = result.episodes[-1]
    number = next(
        n
        for n, e in enumerate(prior.episodes)
        if np.array_equal(e.observations["joint_position"], last.observations["joint_position"])
    )
    np.testing.assert_array_equal(last.actions, prior.episodes[number].actions)


def test_a_training_learns_from_what_was_retrieved_and_says_so(demonstrations, tmp_path, monkeypatch):
    monkeypatch.setattr("policies.demonstrations.retrieve.VaeSettings", lambda: QUICK)

    def learned(name: str, **changes) -> dict:
        config = TrainConfig(
            out=str(tmp_path / name),
            data=str(demonstrations),
            hidden=(16,),
            horizon=8,
            steps=2,
            evaluate_every=2,
            rollouts=0,
            **changes,
        )
        return yaml.safe_load((train(config) / "training.yaml").read_text())

    alone = learned("alone")
    more = learned("more", retrieve_from=str(demonstrations), retrieve_share=0.5)
    pairs, extra = (
        record["data"]["training_pairs"] + record["data"]["validation_pairs"] for record in (alone, more)
    )
    assert extra == pairs + round(0.5 * pairs)
    assert more["data"]["sha256"] != alone["data"]["sha256"]
    assert more["data"]["source"] == (
        "demonstrations.npz and the 50 % of demonstrations.npz that are most like it"
    )
    assert "--retrieve-from demonstrations.npz --retrieve-share 0.5" in more["command"]


def test_bad_settings_are_refused(demonstrations, tmp_path):
    with pytest.raises(ConfigError, match="retrieve_share is 0.0.*above 0 and at most 1"):
        TrainConfig(out="o", retrieve_share=0.0)
    config = TrainConfig(
        out=str(tmp_path), data=str(demonstrations), retrieve_from=str(tmp_path / "none.npz"), rollouts=0
    )
    with pytest.raises(ConfigError, match=r"no demonstrations.*none\.npz|none\.npz.*no demonstrations"):
        train(config)
