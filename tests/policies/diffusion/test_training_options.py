"""Protects what a training can be asked for: early stopping, averaged weights, half precision, trackers.

What several processes do is in `tests/policies/demonstrations/test_processes.py`; `--compile` is tested with
behaviour cloning, whose network compiles much more quickly.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from policies.checkpoint import load_checkpoint
from policies.demonstrations import Layout
from policies.demonstrations.source import get_demonstrations
from policies.diffusion.fit import DiffusionLearner
from policies.diffusion.train import train
from policies.policy import ActContext
from policies.registry import load_policy

CONTEXT = ActContext(now_ns=120_000_000)


@pytest.fixture(scope="module")
def make_learner(small_config, tmp_path_factory):
    def make(**changes) -> DiffusionLearner:
        config = small_config(tmp_path_factory.mktemp("learner") / "p", **changes)
        robot = load_robot_card(config.robot)
        found = get_demonstrations(config, robot)
        layout = Layout.of(robot, config.observation)
        return DiffusionLearner(config, found.episodes, layout, found.action_names)

    return make


# --- early stopping ----------------------------------------------------------------------------


def test_training_ends_early_without_a_better_evaluation(small_config, tmp_path, monkeypatch):
    counts = iter([0, 1, 0, 1, 0])
    monkeypatch.setattr("policies.diffusion.train.successes", lambda *a, **k: [bool(next(counts))])
    told = []

    def tell(found):
        # The fourth is as successful as the second: what decides between them is the validation loss.
        told.append(found)

    train(small_config(tmp_path / "p", rollouts=1, steps=40, patience=1), progress=tell)
    assert [found.step for found in told] == [2, 4, 6]


def test_an_interrupted_training_still_knows_how_long_it_has_been_getting_no_better(
    small_config, tmp_path, monkeypatch
):
    counts = iter([1, 0, 0, 0])
    monkeypatch.setattr("policies.diffusion.train.successes", lambda *a, **k: [bool(next(counts))])
    config = small_config(tmp_path / "p", rollouts=1, steps=40, patience=2)

    def interrupt(step):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tick=interrupt)
    told = []
    train(config, progress=told.append)
    assert [(found.step, found.successes) for found in told] == [(2, 1), (4, 0), (6, 0)]


# --- averaged weights --------------------------------------------------------------------------


def test_the_averaged_weights_are_those_that_are_evaluated(make_learner):
    learner = make_learner(steps=40, learning_rate=0.05)
    for _ in range(8):
        learner.advance()
    seen = []
    learner.evaluate(lambda network: seen.append(network.state_dict()) or 0)
    (attempted,) = seen
    averaged, trained = learner.averaged.state_dict(), learner.network.state_dict()
    assert all(torch.equal(attempted[name], averaged[name]) for name in averaged)
    assert not all(torch.equal(averaged[name], trained[name]) for name in averaged)
    # The validation loss is theirs, too: other averages, another loss; other trained weights, the same.
    before = learner._validation_loss()
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(1.0)
    assert learner._validation_loss() == before
    with torch.no_grad():
        for parameter in learner.averaged.parameters():
            parameter.mul_(0.5)
    assert learner._validation_loss() != before


def test_the_averaged_weights_are_those_that_are_written(small_config, tmp_path):
    config = small_config(tmp_path / "p", evaluate_every=6, learning_rate=0.05)

    def interrupt(found):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, progress=interrupt)
    tensors, _ = load_checkpoint(tmp_path / "p")
    written = load_file(train(config) / "model.safetensors")
    for name, tensor in written.items():
        assert torch.equal(tensor, tensors[f"averaged.{name}"]), name
    assert not all(torch.equal(tensor, tensors[f"network.{name}"]) for name, tensor in written.items())


# --- precision and code ------------------------------------------------------------------------


def test_bf16_trains_on_a_cpu_and_answers_nearly_as_float32_does(small_config, tmp_path, observe):
    chunks, weights = [], []
    for precision in ("no", "bf16"):
        folder = train(small_config(tmp_path / precision, precision=precision, steps=20, evaluate_every=20))
        weights.append(load_file(folder / "model.safetensors"))
        chunks.append(load_policy(folder).act(observe(), context=CONTEXT).values)
    # Both are kept as float32; the products in between were not.
    assert {tensor.dtype for tensor in weights[1].values()} == {t.dtype for t in weights[0].values()}
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert 0.0 < np.abs(chunks[0] - chunks[1]).max() < 0.1


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="auto takes the GPU of this machine, which trains in fp16"
)
def test_fp16_on_a_cpu_is_refused_before_anything_is_computed(small_config, tmp_path):
    for device in ("cpu", "auto"):
        config = small_config(tmp_path / "p", data="", precision="fp16", device=device)
        with pytest.raises(ConfigError, match="a CPU does not train in fp16.*no or bf16.*--precision bf16"):
            train(config)
    assert not (tmp_path / "p").exists()


# --- trackers ----------------------------------------------------------------------------------


def test_tensorboard_is_told_losses_and_success_rates(small_config, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    counts = iter([[True, False], [True, True], [False, False]])
    monkeypatch.setattr("policies.diffusion.train.successes", lambda *a, **k: next(counts))
    told = []
    config = small_config(tmp_path / "p", rollouts=2, trackers=("tensorboard",), name="curves")
    train(config, progress=told.append)
    events = EventAccumulator(str(tmp_path / "p" / "curves")).Reload()
    rows = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert rows["success rate"] == [(2, 0.5), (4, 1.0), (6, 0.0)]
    for tag, name in (("training loss", "training_loss"), ("validation loss", "validation_loss")):
        assert rows[tag] == [(e.step, pytest.approx(getattr(e, name), rel=1e-6)) for e in told]


def test_weights_and_biases_is_told_too(small_config, tmp_path, monkeypatch):
    """Offline: its file lies in the folder, and `wandb sync` would send it."""
    datastore = pytest.importorskip("wandb.sdk.internal.datastore", reason="wandb is no part of this install")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr("policies.diffusion.train.successes", lambda *a, **k: [True, False])
    told = []
    config = small_config(tmp_path / "p", rollouts=2, trackers=("wandb",), steps=2)
    train(config, progress=told.append)
    (path,) = (tmp_path / "p" / "wandb").glob("offline-run-*/*.wandb")
    store = datastore.DataStore()
    store.open_for_scan(str(path))
    rows = {}
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        rows |= {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
    assert float(rows["success rate"]) == 0.5
    assert float(rows["validation loss"]) == pytest.approx(told[0].validation_loss)
    assert float(rows["training loss"]) == pytest.approx(told[0].training_loss)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused(small_config, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    config = dataclasses.replace(small_config(tmp_path / "p"), trackers=(name,))
    with pytest.raises(ConfigError, match=f"{name} is not installed.*uv pip install {name}, or leave it out"):
        train(config)
    assert not (tmp_path / "p").exists()
