"""Protects DAgger in the twin: rounds build on each other, go on where they were cut, and are told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

import policies
from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.train import train
from policies.demonstrations import dagger
from policies.demonstrations.dagger import train_rounds
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.train import train as train_diffusion
from sim.experts.demonstrations import Demonstrations


@pytest.fixture(scope="module")
def config(demonstrations, tmp_path_factory):
    """So little training that the expert has to take over in every attempt."""
    return TrainConfig(
        out=str(tmp_path_factory.mktemp("dagger") / "mine"),
        data=str(demonstrations),
        hidden=(24, 24),
        steps=40,
        evaluate_every=20,
        batch_size=64,
        rollouts=0,
        dagger_rounds=2,
        dagger_episodes=2,
    )


@pytest.fixture(scope="module")
def told(config):
    """A whole run, and what it told."""
    rounds, evaluations, ticks = [], [], []
    folder = train(config, on_round=rounds.append, progress=evaluations.append, tick=ticks.append)
    return folder, rounds, evaluations, ticks


def test_every_round_learns_what_the_expert_did_in_those_before(config, told):
    folder, rounds, evaluations, ticks = told
    assert [found.number for found in rounds] == [1, 2]
    for found in rounds:
        assert found.attempts == 2
        assert found.interventions >= 1
        assert 0 < found.labels <= found.expert_steps <= found.steps
        assert found.alone == 0
    record = yaml.safe_load((folder / "training.yaml").read_text())
    assert record["data"]["source"] == "demonstrations.npz + interventions_1.npz + interventions_2.npz"
    assert "--dagger-rounds" not in record["command"]
    assert "--interventions interventions_1.npz interventions_2.npz" in record["command"]
    pairs = record["data"]["training_pairs"] + record["data"]["validation_pairs"]
    work = folder.with_name("mine.work")
    first = yaml.safe_load((work / "round_0" / "training.yaml").read_text())["data"]
    assert first["source"] == "demonstrations.npz"
    whole = first["training_pairs"] + first["validation_pairs"]
    # The policy's own steps are not among the pairs.
    assert pairs == whole + sum(found.labels for found in rounds)
    # Attempts of two rounds begin differently.
    seeds = [Demonstrations.load(work / f"interventions_{n}.npz").seeds.tolist() for n in (1, 2)]
    assert seeds == [[2_000_000, 2_000_001], [2_000_002, 2_000_003]]
    assert [e.step for e in evaluations] == [20, 40, 60, 80, 100, 120]
    assert ticks == list(range(1, 121))


def test_a_run_that_was_cut_goes_on_where_it_was(config, told, tmp_path):
    calls = []

    def cut(once, **told):
        calls.append(once)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(once, **told)

    again = dataclasses.replace(config, out=str(tmp_path / "mine"))
    with pytest.raises(KeyboardInterrupt):
        train_rounds(again, cut)
    first = (tmp_path / "mine.work" / "interventions_1.npz").stat().st_mtime_ns
    rounds = []
    folder = train(again, on_round=rounds.append)
    assert (tmp_path / "mine.work" / "interventions_1.npz").stat().st_mtime_ns == first
    # It comes to the same policy as the run without a break, and tells the same of the round it found there.
    assert (folder / "model.safetensors").read_bytes() == (told[0] / "model.safetensors").read_bytes()
    assert rounds == told[1]
    with pytest.raises(ConfigError, match="was begun with dagger_episodes 2"):
        train(dataclasses.replace(again, dagger_episodes=3))


def test_what_the_expert_cannot_look_after_is_refused(config, tmp_path):
    alone = dataclasses.replace(config, out=str(tmp_path / "mine"), task="reflexarc/Nothing-v0")
    with pytest.raises(ConfigError, match="'reflexarc/Nothing-v0' has no expert"):
        train(alone)
    seeing = DiffusionConfig(out=str(tmp_path / "mine"), cameras=("front",), dagger_rounds=1)
    with pytest.raises(ConfigError, match="the policy sees front"):
        train_diffusion(seeing)
    assert not (tmp_path / "mine.work").exists()


def test_rounds_in_which_nobody_had_to_take_over_end_with_words(config, tmp_path):
    lenient = dataclasses.replace(config, out=str(tmp_path / "mine"), dagger_rounds=1)

    # The expert's own policy stands where a round's does: nobody takes over from it.
    work = tmp_path / "mine.work"
    dagger._remember(work, lenient)
    (work / "round_0").mkdir()
    (work / "round_0" / "training.yaml").write_text("method: expert\n")
    source = Path(policies.__file__).parent / "expert" / "pick_cube" / "card.yaml"
    (work / "round_0" / "card.yaml").write_text(source.read_text())
    with pytest.raises(ConfigError, match="nobody took over in 2 attempts"):
        train(lenient)


@pytest.mark.parametrize(
    "change", [{"dagger_rounds": -1}, {"dagger_episodes": 0}, {"dagger_return_rad": 0.2}]
)
def test_numbers_out_of_range_are_refused(config, change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        dataclasses.replace(config, **change)
