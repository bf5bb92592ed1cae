"""Protects training: the loss falls, the seed decides everything, an interrupted training goes on as if
nothing had been, the folder is whole and can be run. Averages are tested with the diffusion policy.
"""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
import torch
import yaml

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.bc.network import BcWeights, NumpyBackend
from policies.bc.train import train
from policies.card import load_policy_card
from policies.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from policies.controller import load_controller
from policies.demonstrations import Layout
from policies.demonstrations.rollout import make_task, successes


@pytest.fixture(scope="module")
def arm():
    return load_robot_card("so101_twin")


def digest(folder) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_loss_falls_and_progress_is_told(small_config, tmp_path):
    told = []
    train(small_config(tmp_path / "p", steps=160), progress=told.append)
    assert [evaluation.step for evaluation in told] == [40, 80, 120, 160]
    assert told[-1].training_loss < 0.8 * told[0].training_loss
    assert told[-1].validation_loss < 0.9 * told[0].validation_loss


def test_the_seed_decides_everything_and_nothing_else_is_touched(small_config, folder, tmp_path):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    np.random.seed(7)  # noqa: NPY002
    again = train(small_config(tmp_path / "again"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert digest(again) == digest(folder)
    assert (again / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert (again / "learning_curve.png").read_bytes() == (folder / "learning_curve.png").read_bytes()
    other = train(small_config(tmp_path / "other", seed=1))
    assert digest(other) != digest(folder)


def test_the_folder_says_what_made_it(folder):
    record = yaml.safe_load((folder / "training.yaml").read_text())
    assert record["method"] == "bc"
    assert record["command"].startswith("reflexarc train bc --out small --data demonstrations.npz")
    assert "--hidden 24 24" in record["command"]
    assert record["config"]["steps"] == 120
    assert record["data"]["episodes"] == 6
    assert len(record["data"]["sha256"]) == 64
    assert record["data"]["training_pairs"] + record["data"]["validation_pairs"] == record["data"]["steps"]
    assert record["versions"]["torch"].startswith("2.")
    assert record["metrics"]["step"] in (40, 80, 120)
    text = (folder / "training.yaml").read_text() + (folder / "card.yaml").read_text()
    assert str(folder.parent) not in text
    header, *rows = (folder / "learning_curve.csv").read_text().splitlines()
    assert header == "step,training_loss,validation_loss,successes,rollouts"
    assert len(rows) == 3
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_folder_runs_on_the_robot_that_it_was_trained_for(folder, arm):
    card = load_policy_card(folder)
    controller = load_controller(folder, arm, steady_clock=lambda: 0)
    terms = {
        "joint_position": np.array([0.0, -0.5, 0.3, 1.4, 0.0, 0.5]),
        "joint_velocity": np.zeros(6),
        "cube_position": np.array([0.22, 0.0, 0.014]),
        "cube_orientation": np.array([1.0, 0.0, 0.0, 0.0]),
    }
    chunk = controller.act(Observation(terms, 80_000_000, 80_000_000), now_ns=80_000_000)
    assert chunk.names == arm.commands["joints"].names
    assert chunk.start_ns == 80_000_000
    assert card.action.horizon == 8
    # A cloned arm moves off from where it stands.
    assert np.abs(chunk.values[0] - terms["joint_position"]).max() < 0.5


def test_a_finished_policy_is_not_trained_over(small_config, tmp_path):
    folder = train(small_config(tmp_path / "p", steps=2))
    before = digest(folder)
    with pytest.raises(ConfigError, match="holds a policy.*another --out, or remove"):
        train(small_config(tmp_path / "p", steps=2, seed=1))
    assert digest(folder) == before


# --- interruption ------------------------------------------------------------------------------


def interrupted(config, at):
    def interrupt(step):
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tick=interrupt)


@pytest.mark.parametrize("changes", [{}, {"goal": ("cube_position",)}], ids=["plain", "goal"])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(small_config, tmp_path, changes):
    whole = train(small_config(tmp_path / "whole", **changes))
    config = small_config(tmp_path / "cut", **changes)
    # Once between two evaluations, once more right behind one.
    interrupted(config, 70)
    interrupted(config, 81)
    told, ticks = [], []
    again = train(config, progress=lambda e: told.append(e.step), tick=ticks.append)
    # Back to the last checkpoint; what came before is told too.
    assert told == [40, 80, 120]
    assert ticks[0] == 81
    assert digest(again) == digest(whole)
    assert (again / "learning_curve.csv").read_text() == (whole / "learning_curve.csv").read_text()
    assert not (again / CHECKPOINT_FILE).exists()


def test_another_training_in_the_folder_is_refused(small_config, tmp_path):
    interrupted(small_config(tmp_path / "p"), 41)
    with pytest.raises(ConfigError, match="begun with seed 0.*Expected seed 1.*another --out"):
        train(small_config(tmp_path / "p", seed=1))
    with pytest.raises(ConfigError, match="begun with precision no.*Expected precision bf16"):
        train(small_config(tmp_path / "p", precision="bf16"))
    tensors, document = load_checkpoint(tmp_path / "p")
    save_checkpoint(tmp_path / "p", tensors, document | {"version": "reflexarc/bc/0"})
    with pytest.raises(ConfigError, match="checkpoint is of version 'reflexarc/bc/0'.*another --out"):
        train(small_config(tmp_path / "p"))


# --- precision, code, trackers -----------------------------------------------------------------


def test_it_trains_in_bf16_and_is_refused_fp16_on_a_cpu(small_config, folder, tmp_path):
    half = train(small_config(tmp_path / "half", precision="bf16"))
    assert digest(half) != digest(folder)
    observed = np.zeros(19, np.float32)
    observed[15] = 1.0
    chunks = [
        NumpyBackend(BcWeights.load(path / "model.safetensors")).evaluate(observed) for path in (half, folder)
    ]
    assert 0.0 < np.abs(chunks[0] - chunks[1]).max() < 0.05
    with pytest.raises(ConfigError, match="a CPU does not train in fp16.*no or bf16.*--precision bf16"):
        train(small_config(tmp_path / "p", precision="fp16"))


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="there is no C++ compiler")
def test_compiled_code_gives_the_same_losses(small_config, folder, tmp_path):
    compiled = train(small_config(tmp_path / "p", compile=True))
    curves = [
        np.loadtxt(path / "learning_curve.csv", delimiter=",", skiprows=1) for path in (compiled, folder)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)
    assert "--compile" not in (compiled / "training.yaml").read_text()


def test_tensorboard_is_told_losses_and_success_rates(small_config, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    counts = iter([0, 1, 0])
    monkeypatch.setattr("policies.bc.train.successes", lambda *a, **k: [bool(next(counts))])
    told = []
    config = small_config(tmp_path / "p", rollouts=1, trackers=("tensorboard",), name="curves")
    train(config, progress=told.append)
    events = EventAccumulator(str(tmp_path / "p" / "curves")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("success rate")] == [(40, 0.0), (80, 1.0), (120, 0.0)]
    losses = [e.value for e in events.Scalars("validation loss")]
    assert losses == pytest.approx([e.validation_loss for e in told], rel=1e-6)


# --- roll-outs ---------------------------------------------------------------------------------


def test_roll_outs_choose_the_weights(small_config, tmp_path, monkeypatch):
    # Whatever the losses say, the second evaluation is the only one that succeeds.
    counts = iter([0, 1, 0])
    monkeypatch.setattr("policies.bc.train.successes", lambda *a, **k: [bool(next(counts))])
    folder = train(small_config(tmp_path / "p", rollouts=1))
    assert yaml.safe_load((folder / "training.yaml").read_text())["metrics"]["step"] == 80


def test_training_ends_early_without_a_better_evaluation(small_config, tmp_path, monkeypatch):
    counts = iter([1, 0, 0, 0, 0])
    monkeypatch.setattr("policies.bc.train.successes", lambda *a, **k: [bool(next(counts))])
    told = []
    train(small_config(tmp_path / "p", rollouts=1, steps=200, patience=2), progress=told.append)
    assert [evaluation.step for evaluation in told] == [40, 80, 120]


def test_a_roll_out_is_an_honest_attempt_in_the_task(folder):
    environment = make_task("reflexarc/PickCube-v0")
    card = load_policy_card(folder)
    backend = NumpyBackend(BcWeights.load(folder / "model.safetensors"))
    # Six demonstrations teach nobody to pick up a cube.
    layout = Layout(card.observation)

    def plan(asked):
        return [backend.evaluate(layout.vector(seen[-1])) for seen in asked]

    assert successes(plan, [environment], execute=4, seeds=[1]) == [False]
    environment.close()


def test_bad_settings_are_refused(small_config, tmp_path):
    with pytest.raises(ConfigError, match="execute is 9.*at most the horizon, 8"):
        small_config(tmp_path, execute=9)
    with pytest.raises(ConfigError, match="steps is 0.*a positive number"):
        small_config(tmp_path, steps=0)
    with pytest.raises(ConfigError, match="average_decay is 1.0.*below 1"):
        small_config(tmp_path, average_decay=1.0)
    with pytest.raises(ConfigError, match=r"hidden is \(\).*at least one width"):
        small_config(tmp_path, hidden=())
    with pytest.raises(ConfigError, match="seed is -1.*zero or a positive number"):
        small_config(tmp_path, seed=-1)
    with pytest.raises(ConfigError, match="the robot does not measure 'smell'.*joint_position"):
        train(small_config(tmp_path, observation=("joint_position", "smell")))
    with pytest.raises(ConfigError, match=r"every 0.04 s.*every 0.02 s"):
        train(small_config(tmp_path, step_s=0.02))


def test_the_expert_gives_the_demonstrations_where_no_file_does(small_config, folder, tmp_path):
    again = train(small_config(tmp_path / "p", data="", episodes=6, noise_std_rad=0.0))
    found, expected = (
        yaml.safe_load((path / "training.yaml").read_text())["data"] for path in (again, folder)
    )
    assert (found.pop("source"), expected.pop("source")) == ("sim.experts.collect", "demonstrations.npz")
    # The file holds the same episodes: same hash, same weights.
    assert found == expected
    assert digest(again) == digest(folder)
