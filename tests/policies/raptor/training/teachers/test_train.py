"""Protects training: it learns, it may be interrupted anywhere, and its folder says what it holds."""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
import torch

from hardware.errors import ConfigError
from policies.raptor.training.teachers.bank import TeacherBank
from policies.raptor.training.teachers.config import TeacherConfig
from policies.raptor.training.teachers.group import SEGMENT_STEPS, Group, evaluate, make_fleet
from policies.raptor.training.teachers.sac import actions_of
from policies.raptor.training.teachers.store import GroupStore
from policies.raptor.training.teachers.train import train_teachers
from sim.quadrotor.sampling import sample_airframes


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A training without interruption: its folder, its outcome, and what it told."""
    folder = tmp_path_factory.mktemp("whole")
    told = []
    outcome = train_teachers(small(folder, count=3), progress=told.append)
    return folder, outcome, told


def test_a_training_writes_a_bank_and_curves(whole):
    folder, outcome, told = whole
    assert outcome.finished
    assert [(p.first, p.step) for p in told] == [(0, 200), (0, 400), (2, 200), (2, 400)]
    bank = TeacherBank.load(folder)
    assert bank.indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(bank.airframes.mass, sample_airframes(3, seed=0).mass)
    assert bank.record.config["out"] == folder.name
    assert str(folder) not in (folder / "training.yaml").read_text()
    assert outcome.returns == {i: float(v) for i, v in enumerate(bank.returns)}
    rows = list(csv.DictReader((folder / "learning_curve.csv").open()))
    assert [(row["teacher"], row["step"]) for row in rows] == [(t, s) for t in "012" for s in ("200", "400")]
    groups = json.loads((folder / "learning_curve.json").read_text())["groups"]
    assert groups[0]["core_minutes_each"] == groups[0]["points"][-1]["cpu_s"] / 120.0
    assert (folder / "learning_curve.png").stat().st_size > 5_000


def test_an_interrupted_training_comes_to_the_same_weights(whole, small, tmp_path):
    """Every call ends after one segment; the files of one call are all that the next one knows."""
    calls = 0
    outcome = None
    while outcome is None or not outcome.finished:
        config = small(tmp_path, count=3, max_minutes=1.0)
        # A minute is over at the second look at the clock; one segment is done all the same.
        outcome = train_teachers(config, clock=itertools.count(0.0, 50.0).__next__)
        calls += 1
        assert calls < 20
    assert calls == 4
    ours, theirs = TeacherBank.load(tmp_path), TeacherBank.load(whole[0])
    assert torch.equal(ours.weight_2, theirs.weight_2)
    np.testing.assert_array_equal(ours.returns, theirs.returns)
    assert not list(tmp_path.glob("groups/*/checkpoint*"))


def test_a_checkpoint_restores_all_of_a_group(small, tmp_path):
    """Segment by segment, with the buffer and the optimisers, bit by bit."""
    config = small(steps=900, evaluate_every=300)
    airframes = sample_airframes(2, seed=0)
    group = Group(config, airframes, first=0)
    group.advance()
    store = GroupStore(tmp_path, {"steps": 900})
    store.save_checkpoint(group)
    again = Group(config, airframes, first=0)
    store.load_checkpoint(again)
    group.advance()
    again.advance()
    for (name, ours), theirs in zip(group.sac.tensors().items(), again.sac.tensors().values(), strict=True):
        assert torch.equal(ours, theirs), name
    assert torch.equal(group.replay.tensors()["rows"], again.replay.tensors()["rows"])
    assert [p.returns for p in group.points] == [p.returns for p in again.points]


def test_a_finished_training_is_not_done_again_but_can_grow(whole, small):
    folder, _, _ = whole
    told = []
    assert train_teachers(small(folder, count=3), progress=told.append).finished
    assert not told
    grown = train_teachers(small(folder, count=4), progress=told.append)
    assert {p.first for p in told} == {3}
    assert list(grown.returns) == [0, 1, 2, 3]
    assert len(TeacherBank.load(folder)) == 4


def test_other_settings_do_not_mix_with_a_folder(whole, small):
    with pytest.raises(ConfigError, match=r"trained with batch_size 16.*another --out"):
        train_teachers(small(whole[0], count=3, batch_size=32))
    with pytest.raises(ConfigError, match="the folder holds a group of teachers 0 to 1"):
        train_teachers(small(whole[0], count=1))


def test_a_damaged_checkpoint_is_named(small, tmp_path):
    train_teachers(small(tmp_path, max_minutes=1.0), clock=itertools.count(0.0, 50.0).__next__)
    (path,) = tmp_path.glob("groups/*/checkpoint-*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be read.*remove the folder of this group"):
        train_teachers(small(tmp_path))


def test_the_gate_leaves_poor_teachers_out_and_fails_when_all_are(small, tmp_path):
    config = small(tmp_path, steps=400)
    returns = train_teachers(config).returns
    between = sum(returns.values()) / 2.0
    outcome = train_teachers(small(tmp_path, steps=400, minimum_return=between))
    assert outcome.refused == {i: v for i, v in returns.items() if v < between}
    assert TeacherBank.load(tmp_path).indices.tolist() == [max(returns, key=returns.__getitem__)]
    with pytest.raises(ConfigError, match="2 of 2 teachers are too poor"):
        train_teachers(small(tmp_path, steps=400, minimum_return=300.0))


def test_a_short_training_flies_longer_than_random_networks(small):
    """2,500 hurried steps are far from good, but teachers last longer than they did untrained."""
    config = small(
        steps=2_500,
        evaluate_every=2_500,
        warm_up=300,
        environments=1,
        episodes=30,
        batch_size=32,
        actor_hidden=32,
        critic_hidden=32,
        discount=0.97,
        polyak=0.97,
        actor_rate=3e-3,
        critic_rate=1e-2,
        actor_every=1,
        actor_average=0.99,
    )
    group = Group(config, sample_airframes(6, seed=2), first=0)
    fleet = make_fleet(group.airframes, config, each=30, seed=(1, 2, 3))
    _, before, _ = evaluate(actions_of(group.sac.actor), fleet, 6, device=group.device)
    while not group.finished:
        group.advance()
    # 1.2 to 1.5 times as long for the three seeds that were tried.
    assert np.mean(group.points[-1].lengths) > 1.08 * np.mean(before)


def test_segments_never_cut_across_an_evaluation(small):
    config = small(steps=2_500, evaluate_every=2_500, warm_up=2_500, environments=1)
    group = Group(config, sample_airframes(1, seed=0), first=0)
    steps = []
    while not group.finished:
        group.advance()
        steps.append(group.step)
    assert steps == [SEGMENT_STEPS, 2_500] == [2_000, 2_500]
    assert [p.step for p in group.points] == [2_500]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"count": 0}, "count is 0"),
        ({"discount": 1.0}, "discount is 1.0"),
        ({"steps": 1_000, "evaluate_every": 300}, "steps is 1000.*a multiple of evaluate_every"),
        ({"environments": 7}, "multiple of the 7 environments"),
        ({"replay": 2, "environments": 4}, "replay is 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_settings_are_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        TeacherConfig(**({"out": "x"} | changes))


def test_a_device_that_is_not_there_is_refused(small, tmp_path):
    with pytest.raises(ConfigError, match="device 'meta2' cannot be used"):
        train_teachers(small(tmp_path, device="meta2"))


def test_a_policy_folder_is_not_written_into(small, tmp_path):
    (tmp_path / "card.yaml").write_text("name: mine")
    with pytest.raises(ConfigError, match="the folder holds a policy.*another --out"):
        train_teachers(small(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]
