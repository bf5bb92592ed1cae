"""Protects `train act`: LeRobot trains it and loads it, it goes on where it stopped, bad data is refused."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import yaml
from lerobot.policies import get_policy_class

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from policies.card import load_policy_card
from policies.controller import load_controller
from policies.lerobot.config import ActTrainConfig
from policies.lerobot.runner import run_training
from policies.lerobot.train import train_act
from policies.policy import ActContext
from policies.registry import load_policy
from sim.experts.collect import collect

SMALL = {
    "dim_model": 16,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "horizon": 8,
    "execute": 4,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "steps": 6,
    "evaluate_every": 6,
    "rollouts": 1,
}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    path = tmp_path_factory.mktemp("demonstrations") / "demonstrations.npz"
    collect(3, first_seed=1_000_000).save(path)
    return str(path)


def test_lerobot_trains_it_loads_it_and_a_cut_training_goes_on(demonstrations, tmp_path, observe, robot):
    config = ActTrainConfig(out=str(tmp_path / "act"), data=demonstrations, **SMALL)
    told, steps = [], []
    folder = train_act(config, progress=told.append, tick=steps.append)
    assert [evaluation.step for evaluation in told] == [6]
    assert steps[-1] == 6
    first = (folder / "model.safetensors").read_bytes()
    longer = ActTrainConfig(**{**_fields(config), "steps": 12})
    assert train_act(longer, progress=told.append) == folder
    # The second call told of the first segment, did not do it again, and added the second.
    assert [evaluation.step for evaluation in told] == [6, 6, 12]
    assert told[1] == told[0]
    assert told[2].training_loss < told[0].training_loss
    record = yaml.safe_load((folder / "training.yaml").read_text())
    assert record["data"]["training_pairs"] + record["data"]["validation_pairs"] == record["data"]["steps"]
    assert record["command"].startswith("reflexarc train act --out act --data demonstrations.npz")
    assert record["config"]["steps"] == 12
    assert str(tmp_path) not in "".join(p.read_text() for p in folder.glob("*.[yj]*"))
    assert len((folder / "learning_curve.csv").read_text().splitlines()) == 3
    chosen = {6: first}.get(record["metrics"]["step"])
    assert chosen is None or (folder / "model.safetensors").read_bytes() == chosen
    # LeRobot takes the folder as its own, and so do policy and controller.
    assert get_policy_class("act").from_pretrained(folder).config.chunk_size == 8
    chunk = load_policy(folder).act(observe(), context=ActContext(now_ns=0))
    assert chunk.values.shape == (8, 6)
    assert load_policy_card(folder).action.execute == 4
    controller = load_controller(folder, robot, steady_clock=time.monotonic_ns)
    controller.reset(0)
    assert np.isfinite(controller.act(observe(), now_ns=0).values).all()
    # The same line for another training in the same place is refused, and nothing is lost.
    with pytest.raises(ConfigError, match="it holds another training: dim_model was 16"):
        train_act(ActTrainConfig(**{**_fields(longer), "dim_model": 32}))
    assert (tmp_path / "act.work" / "run" / "checkpoints" / "last").exists()


def test_roll_outs_end_it_early_and_trackers_are_told(demonstrations, tmp_path, monkeypatch):
    """In two processes (gloo); Weights & Biases offline: its files lie in the work folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pytest.importorskip("wandb", reason="wandb is no part of this install")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    counts = iter([2, 1, 2])
    monkeypatch.setattr("policies.lerobot.train.count_successes", lambda *a, **k: next(counts))
    small = {**SMALL, "steps": 60, "evaluate_every": 2, "rollouts": 2, "patience": 1, "batch_size": 4}
    config = ActTrainConfig(
        out=str(tmp_path / "act"), data=demonstrations, wandb_project="arms", processes=2, **small
    )
    told, steps = [], []
    folder = train_act(config, progress=told.append, tick=steps.append)
    assert [(found.step, found.successes) for found in told] == [(2, 2), (4, 1)]
    assert steps == [1, 2, 3, 4]
    assert yaml.safe_load((folder / "training.yaml").read_text())["metrics"]["step"] == 2
    work = tmp_path / "act.work"
    events = EventAccumulator(str(work / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("success_rate")] == [(2, 1.0), (4, 0.5)]
    losses = [e.value for e in events.Scalars("loss/validation")]
    assert losses == pytest.approx([found.validation_loss for found in told], rel=1e-6)
    assert len(events.Scalars("loss/training")) == 2
    assert "Effective batch size: 4 x 2 = 8" in (work / "lerobot-train.log").read_text()
    (ours,) = (work / "wandb").glob("offline-run-*/*.wandb")
    assert ours.read_bytes().count(b"success rate") >= 2
    # LeRobot's own run, one for each segment, has the losses in between.
    theirs = [path.read_bytes() for path in (work / "run" / "wandb").glob("offline-run-*/*.wandb")]
    assert len(theirs) == 2
    assert all(b"train/loss" in data for data in theirs)
    # A launcher would start the whole of it twice.
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="launcher started 2 processes.*with --processes 2"):
        train_act(config)


def _fields(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"step_s": 0.02}, "every 0.04 s"),
        ({"robot": "quadrotor_twin", "observation": ()}, "actions shoulder_pan"),
        ({"observation": ("joint_position", "tail")}, "tail"),
    ],
)
def test_data_that_does_not_fit_is_refused(demonstrations, tmp_path, changes, text):
    config = ActTrainConfig(out=str(tmp_path / "act"), data=demonstrations, **{**SMALL, **changes})
    with pytest.raises(ConfigError, match=text):
        train_act(config)
    assert not (tmp_path / "act").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dim_model": 18, "n_heads": 4}, "dim_model is 18"),
        ({"execute": 9}, "execute is 9.*at most the horizon, 8"),
        ({"validation_share": 0.0}, "validation_share is 0.0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_settings_with_which_no_training_can_run_are_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        ActTrainConfig(out="x", **{**SMALL, **changes})


def test_a_failure_of_lerobot_is_told_in_its_own_words(tmp_path, monkeypatch):
    # Another program that complains about its arguments, because LeRobot takes ten seconds to do so.
    monkeypatch.setattr("policies.lerobot.runner._MODULE", "timeit")
    with pytest.raises(ConfigError, match="lerobot-train ended with exit code [12].*nonsense"):
        run_training(["--nonsense=1"], log=tmp_path / "log")
    assert "nonsense" in (tmp_path / "log").read_text()


def test_the_robot_card_in_a_dataset_must_be_that_of_the_robot(demonstrations, tmp_path):
    from policies.lerobot.data import training_set

    robot = load_robot_card("so101_twin")
    config = ActTrainConfig(out=str(tmp_path / "act"), data=demonstrations, **SMALL)
    made = training_set(config, robot, tmp_path / "dataset")
    again = ActTrainConfig(**{**_fields(config), "data": str(made.root)})
    assert training_set(again, robot, tmp_path / "unused").frames == made.frames
    assert not (tmp_path / "unused").exists()
    card = made.root / "meta" / "reflexarc" / "robot.yaml"
    card.write_text(card.read_text().replace("upper: 1.91986", "upper: 1.5", 1))
    with pytest.raises(ConfigError) as raised:
        training_set(again, robot, tmp_path / "unused")
    assert "commands.joints.limits.shoulder_pan.upper: 1.5 instead of 1.91986" in str(raised.value)
    info = made.root / "meta" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fps": 30}))
    with pytest.raises(ConfigError, match=r"30 moments a second.*every step_s = 0\.04 s"):
        training_set(again, robot, tmp_path / "unused")
