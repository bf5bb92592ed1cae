"""Protects training: the loss falls, a tiny task is learned, the seed decides everything, an interrupted
training goes on as if nothing had been, the folder is whole.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import CameraSpec
from policies.cameras import CameraInput
from policies.card import PolicyTerm, load_policy_card
from policies.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from policies.controller import load_controller
from policies.demonstrations import Episode, Layout
from policies.demonstrations.learner import learn
from policies.demonstrations.source import get_demonstrations
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.fit import DiffusionLearner
from policies.diffusion.settings import Denoiser, Prediction, Scheduler
from policies.diffusion.train import train
from sim.experts.collect import collect


def digest(folder) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


# --- it learns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("denoiser", Denoiser)
def test_it_learns_to_choose_one_of_two_ways(tmp_path, denoiser):
    """Seen the same, half of the demonstrations go left and half right: the mean of both is never shown."""
    random = np.random.default_rng(0)
    layout = Layout({"joint_position": PolicyTerm(("x",), "rad")})
    episodes = []
    for number in range(40):
        start = random.uniform(-0.5, 0.5)
        way = 1.0 if number % 2 else -1.0
        actions = start + way * np.linspace(0.1, 0.8, 8)[:, None]
        episodes.append(Episode({"joint_position": np.full((8, 1), start)}, actions))
    config = DiffusionConfig(
        out=str(tmp_path / "ways"),
        relative_to="joint_position",
        denoiser=denoiser,
        prediction=Prediction.SAMPLE,
        prefix_steps=2,
        channels=(16, 32),
        step_embedding=16,
        layers=1,
        heads=2,
        width=32,
        dropout=0.0,
        horizon=4,
        execute=4,
        training_steps=50,
        inference_steps=10,
        steps=150,
        evaluate_every=75,
        batch_size=64,
        learning_rate=4e-3,
        average_decay=0.98,
        rollouts=0,
        device="cpu",
    )
    outcome = learn(DiffusionLearner(config, episodes, layout, ("x",)))
    first, last = outcome.history[0], outcome.history[-1]
    assert last.training_loss < first.training_loss
    generator = torch.Generator().manual_seed(0)
    count, start = 64, 0.2
    with torch.inference_mode():
        drawn = outcome.network(
            torch.full((count, 1, 1), start),
            torch.randn(count, 1, 4, 1, generator=generator),
            torch.zeros(count, 4, 1),
            torch.zeros(count, 4, 1),
        )
    first_step = drawn[:, 0, 0].numpy() - start
    # Both ways are taken, and hardly ever the middle.
    assert 0.2 < (first_step > 0).mean() < 0.8
    assert (np.abs(first_step) > 0.05).mean() > 0.8
    # A known beginning decides which way: what is in-painted is gone on from.
    known = torch.zeros(count, 4, 1)
    weight = torch.zeros(count, 4, 1)
    weight[:, :2] = 1.0
    for way in (-1.0, 1.0):
        known[:, :2, 0] = start + way * torch.tensor([0.3, 0.4])
        with torch.inference_mode():
            drawn = outcome.network(
                torch.full((count, 1, 1), start),
                torch.randn(count, 1, 4, 1, generator=generator),
                known,
                weight,
            )
        tail = drawn[:, 2, 0].numpy() - start
        assert (np.sign(tail) == way).mean() > 0.9
        # Smoothly: the next step lies near the last known one, as in the demonstrations.
        assert np.abs(tail - way * 0.5).mean() < 0.25


# --- the folder --------------------------------------------------------------------------------


def test_the_seed_decides_everything_and_nothing_else_is_touched(small_config, tmp_path):
    state = torch.random.get_rng_state()
    folders = [train(small_config(tmp_path / str(i), seed=seed, steps=2)) for i, seed in enumerate((3, 3, 4))]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = folders
    assert digest(first) == digest(again)
    assert (first / "model.onnx").read_bytes() == (again / "model.onnx").read_bytes()
    assert digest(first) != digest(other)


def test_the_folder_says_what_made_it(folder):
    record = yaml.safe_load((folder / "training.yaml").read_text())
    assert record["method"] == "diffusion"
    assert record["command"].startswith("reflexarc train diffusion --out small --data demonstrations.npz")
    assert "--channels 16 32" in record["command"]
    assert "--device" not in record["command"]
    assert len(record["data"]["sha256"]) == 64
    assert record["metrics"]["step"] in (2, 4, 6)
    text = (folder / "training.yaml").read_text() + (folder / "card.yaml").read_text()
    assert str(folder.parent) not in text
    header, *rows = (folder / "learning_curve.csv").read_text().splitlines()
    assert header == "step,training_loss,validation_loss,successes,rollouts"
    assert len(rows) == 3
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / CHECKPOINT_FILE).exists()
    card = load_policy_card(folder)
    assert (card.history, card.action.horizon) == (2, 7)
    assert card.parameters["version"] == "reflexarc/diffusion/1"
    assert card.parameters["unet"]["channels"] == [16, 32]


# --- interruption ------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(small_config, folder, tmp_path):
    config = small_config(tmp_path / "small", observation_steps=2)

    def interrupt(step):
        if step == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(config, tick=interrupt)
    assert (tmp_path / "small" / CHECKPOINT_FILE).exists()
    told, ticks = [], []
    again = train(config, progress=lambda e: told.append(e.step), tick=ticks.append)
    # Back to the last checkpoint; what came before is told too.
    assert told == [2, 4, 6]
    assert ticks[0] == 3
    assert digest(again) == digest(folder)
    assert (again / "learning_curve.csv").read_text() == (folder / "learning_curve.csv").read_text()


def test_another_training_in_the_folder_is_refused(small_config, tmp_path):
    config = small_config(tmp_path / "p", steps=2)

    def interrupt(step):
        if step == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(config, progress=lambda e: interrupt(e.step))
    with pytest.raises(ConfigError, match="begun with seed 0.*Expected seed 1.*another --out"):
        train(small_config(tmp_path / "p", steps=2, seed=1))
    tensors, document = load_checkpoint(tmp_path / "p")
    save_checkpoint(tmp_path / "p", tensors, document | {"version": "reflexarc/diffusion/0"})
    with pytest.raises(ConfigError, match="checkpoint is of version 'reflexarc/diffusion/0'.*another --out"):
        train(config)
    save_file({"nothing": torch.zeros(1)}, str(tmp_path / "p" / CHECKPOINT_FILE))
    with pytest.raises(ConfigError, match="cannot be read.*remove the folder"):
        train(config)


def test_a_finished_policy_is_not_trained_over(small_config, tmp_path):
    folder = train(small_config(tmp_path / "p", steps=2))
    before = digest(folder)
    with pytest.raises(ConfigError, match="holds a policy.*another --out, or remove"):
        train(small_config(tmp_path / "p", steps=2, seed=1))
    assert digest(folder) == before


# --- roll-outs ---------------------------------------------------------------------------------


def test_roll_outs_choose_the_weights(small_config, tmp_path, monkeypatch):
    counts = iter([0, 1, 0])
    monkeypatch.setattr("policies.diffusion.train.successes", lambda *a, **k: [bool(next(counts))])
    folder = train(small_config(tmp_path / "p", rollouts=1))
    assert yaml.safe_load((folder / "training.yaml").read_text())["metrics"]["step"] == 4


def test_roll_outs_are_attempts_in_the_task(small_config, tmp_path):
    told = []
    train(
        small_config(tmp_path / "p", rollouts=3, parallel_rollouts=2, steps=2, observation_steps=2),
        progress=told.append,
    )
    # Two gradient steps teach nobody to pick up a cube.
    assert [(e.successes, e.rollouts) for e in told] == [(0, 3)]


def test_the_expert_shows_what_the_cameras_see(small_config, tmp_path):
    cameras = {
        "cameras": ("front", "wrist"),
        "image_height": 48,
        "image_width": 64,
        "image_channels": 16,
        "image_stages": 1,
        "keypoints": 4,
        "noise_draws": 2,
        "max_loop_age_s": 0.2,
        "observation": ("joint_position",),
    }
    out = train(small_config(tmp_path / "p", data="", episodes=2, rollouts=1, steps=2, **cameras))
    controller = load_controller(out, load_robot_card("so101_twin"), steady_clock=lambda: 0)
    assert controller.cameras == {"front": CameraInput(48, 64), "wrist": CameraInput(48, 64)}
    # The rows of a file and of recordings are images of any size; all become what the network takes.
    demonstrations = collect(2, cameras={"front": CameraSpec(80, 60, 15.0, "front_optical", 40.0)})
    demonstrations.save(tmp_path / "demos.npz")
    again = small_config(
        tmp_path / "q", data=str(tmp_path / "demos.npz"), **(cameras | {"cameras": ("front",)})
    )
    found = get_demonstrations(again, load_robot_card("so101_twin"))
    assert {episode.images["front"].shape[1:] for episode in found.episodes} == {(48, 64, 3)}
    with pytest.raises(ConfigError, match=r"demos.npz: camera 'front'.*an image of shape \(60, 80, 3\)"):
        get_demonstrations(dataclasses.replace(again, image_height=96), load_robot_card("so101_twin"))


# --- bad settings ------------------------------------------------------------------------------


def test_bad_settings_are_refused(small_config, tmp_path):
    with pytest.raises(ConfigError, match="prefix_steps is 8.*0 to 7, so that a step is left to draw"):
        small_config(tmp_path, prefix_steps=8)
    with pytest.raises(ConfigError, match="execute is 8.*at most 7, the steps that do not lie in the past"):
        small_config(tmp_path, execute=8, observation_steps=2)
    with pytest.raises(ConfigError, match="horizon is 9.*a multiple of 2"):
        small_config(tmp_path, horizon=9)
    with pytest.raises(ConfigError, match="clip_norm is 0.*a positive number"):
        small_config(tmp_path, clip_norm=0)
    with pytest.raises(ConfigError, match="the robot has no camera 'ceiling'.*front, wrist"):
        train(small_config(tmp_path / "p", cameras=("ceiling",)))
    with pytest.raises(ConfigError, match="demonstration 0: the images front are missing"):
        train(small_config(tmp_path / "p", cameras=("front",)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test wants to miss")
def test_a_device_that_is_not_there_is_refused(small_config, tmp_path):
    with pytest.raises(ConfigError, match="there is no CUDA device.*--device cpu"):
        train(small_config(tmp_path / "p", device="cuda"))


def test_ddpm_trains_and_runs_too(small_config, tmp_path):
    folder = train(small_config(tmp_path / "p", scheduler=Scheduler.DDPM, steps=2))
    assert load_policy_card(folder).parameters["noise"]["scheduler"] == "ddpm"
