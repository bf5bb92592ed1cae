"""Protects the networks: the U-Net is LeRobot's with the same weights, the steps are those of diffusers,
known steps come back exactly, and bad weights are refused.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hardware.errors import ConfigError
from policies.card import PolicyTerm
from policies.demonstrations import Layout
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.schedule import denoising_table, training_scheduler
from policies.diffusion.settings import (
    CameraSettings,
    Denoiser,
    ModelSettings,
    NoiseSettings,
    Prediction,
    Scheduler,
    UnetSettings,
    model_settings,
)
from policies.diffusion.vision import ImageEncoder
from reflexarc.benches.diffusion_peer import lerobot_policy, lerobot_weights
from tests.policies.diffusion.conftest import ELEMENTS, HORIZON, OBSERVED, SMALL, small_network

EVERY_NOISE = [
    NoiseSettings(scheduler, 50, steps, prediction)
    for scheduler in Scheduler
    for prediction in Prediction
    for steps in (4, 50)
]


def question(network, *, batch=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    seen = network.settings.observation_steps
    return {
        "observation": torch.randn(batch, seen, OBSERVED, generator=random),
        "noise": torch.randn(batch, network.table.draws, HORIZON, ELEMENTS, generator=random),
        "known": torch.rand(batch, HORIZON, ELEMENTS, generator=random) * 1.6 - 0.8,
        "weight": torch.zeros(batch, HORIZON, 1),
    }


# --- an independent reference ------------------------------------------------------------------


@pytest.mark.parametrize("channels", [(16, 32), (16, 24, 40)])
def test_the_unet_is_lerobots_with_the_same_weights(channels):
    network = small_network(unet=UnetSettings(channels=channels, kernel=5, step_embedding=16))
    peer = lerobot_policy(network)
    theirs = peer.diffusion.unet
    assert sorted(lerobot_weights(network)) == sorted(theirs.state_dict())
    x = torch.randn(4, HORIZON, ELEMENTS)
    condition, timesteps = torch.randn(4, 2, OBSERVED), torch.tensor([0, 3, 17, 49])
    with torch.inference_mode():
        ours = network.denoiser(x, network.denoiser.embed(timesteps), network.denoiser.prepare(condition))
        expected = theirs(x, timesteps, global_cond=condition.flatten(1))
    torch.testing.assert_close(ours, expected, atol=2e-6, rtol=1e-5)


def test_the_loss_is_lerobots_with_the_same_weights_and_chances():
    network = small_network()
    peer = lerobot_policy(network)
    given = question(network)
    chunk = given["known"]
    batch = {
        "observation.state": given["observation"][..., :1],
        "observation.environment_state": given["observation"][..., 1:],
        "action": chunk,
        "action_is_pad": torch.zeros(3, HORIZON, dtype=torch.bool),
    }
    torch.manual_seed(4)
    expected, _ = peer.forward(batch)
    torch.manual_seed(4)
    noise = torch.randn(chunk.shape)
    timesteps = torch.randint(0, 50, (3,))
    ours = network.loss(chunk, given["observation"], {}, noise=noise, timesteps=timesteps)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("prediction", Prediction)
def test_a_chunk_is_lerobots_with_the_same_weights_and_noise(prediction):
    network = small_network(noise=NoiseSettings(Scheduler.DDIM, 50, 10, prediction))
    peer = lerobot_policy(network)
    given = question(network, batch=1)
    with torch.inference_mode():
        ours = network(**given)
        for step in range(2):
            batch = {
                "observation.state": given["observation"][:, step, :1],
                "observation.environment_state": given["observation"][:, step, 1:],
            }
            if step == 0:
                # Only the queue of observations is to be filled.
                peer.select_action(dict(batch), noise=given["noise"][:, 0])
                peer._queues["action"].clear()
        first = peer.select_action(dict(batch), noise=given["noise"][:, 0])
    # Theirs begins with the newest of two observations, as the past step of ours says.
    torch.testing.assert_close(ours[:, 1], first, atol=2e-5, rtol=1e-4)


# --- the steps of denoising --------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", EVERY_NOISE, ids=lambda n: f"{n.scheduler}-{n.prediction}-{n.inference_steps}"
)
def test_every_step_is_that_of_diffusers(noise):
    table = denoising_table(noise)
    scheduler = training_scheduler(noise)
    scheduler.set_timesteps(noise.inference_steps)
    assert table.timesteps.tolist() == scheduler.timesteps.tolist()
    random = torch.Generator().manual_seed(1)
    for i, t in enumerate(scheduler.timesteps):
        x, found = (torch.randn(2, 8, 3, generator=random) for _ in range(2))
        state = random.get_state()
        kwargs = {"generator": random} if noise.scheduler is Scheduler.DDPM else {}
        expected = scheduler.step(found, t, x, **kwargs).prev_sample
        random.set_state(state)
        fresh = torch.randn(2, 8, 3, generator=random)
        if noise.prediction is Prediction.EPSILON:
            chunk, eps = (x - table.noise[i] * found) / table.signal[i], found
        else:
            chunk, eps = found, (x - table.signal[i] * found) / table.noise[i]
        ours = (
            table.from_chunk[i] * chunk.clamp(-1, 1)
            + table.from_eps[i] * eps
            + table.from_x[i] * x
            + table.from_fresh[i] * fresh
        )
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_ddpm_needs_noise_for_every_step_but_the_last_and_ddim_to_begin_with():
    assert denoising_table(NoiseSettings(Scheduler.DDPM, 50, 10)).draws == 10
    assert denoising_table(NoiseSettings(Scheduler.DDIM, 50, 10)).draws == 1


# --- in-painting -------------------------------------------------------------------------------


@pytest.mark.parametrize("denoiser", Denoiser)
@pytest.mark.parametrize("scheduler", Scheduler)
def test_known_steps_come_back_and_change_the_others(denoiser, scheduler):
    network = small_network(denoiser=denoiser, noise=NoiseSettings(scheduler, 50, 5))
    given = question(network)
    with torch.inference_mode():
        free = network(**given)
        given["weight"][:, :3] = 1.0
        held = network(**given)
        torch.testing.assert_close(held[:, :3], given["known"][:, :3], atol=1e-6, rtol=0)
        given["known"][:, 3:] = 99.0
        torch.testing.assert_close(network(**given), held)
        given["known"][:, 0] += 0.2
        other = network(**given)
    assert (held[:, 3:] - free[:, 3:]).abs().max() > 1e-3
    # What is known is known to the rest of the chunk.
    assert (other[:, 3:] - held[:, 3:]).abs().max() > 1e-4


def test_a_network_that_has_learned_to_go_on_is_shown_known_steps_as_they_are():
    network = small_network(prefix_steps=3)
    given = question(network)
    shown = []
    hook = network.denoiser.register_forward_pre_hook(lambda module, args: shown.append(args[0]))
    with torch.inference_mode():
        given["weight"][:, :2] = 1.0
        given["weight"][:, 2] = 0.5
        drawn = network(**given)
    hook.remove()
    torch.testing.assert_close(drawn[:, :2], given["known"][:, :2])
    for x in shown:
        torch.testing.assert_close(x[:, :2, :ELEMENTS], given["known"][:, :2])
        assert x[0, :, ELEMENTS].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_known_steps_are_no_part_of_the_loss():
    network = small_network(prefix_steps=3)
    given = question(network)
    known = torch.zeros(3, HORIZON, 1)
    known[:, :2] = 1.0
    noise = given["noise"][:, 0]

    def loss():
        return network.loss(
            given["known"],
            given["observation"],
            {},
            noise=noise,
            timesteps=torch.tensor([3, 9, 40]),
            known=known,
        ).item()

    with torch.inference_mode():
        before = loss()
        # Other noise of a known step is neither seen nor asked for.
        noise[:, :2] += 1.0
        assert loss() == pytest.approx(before, rel=1e-6)
        noise[:, 3] += 1.0
        assert loss() != pytest.approx(before, rel=1e-3)


def test_a_smaller_weight_pulls_less():
    network = small_network()
    given = question(network)
    misses = []
    with torch.inference_mode():
        for weight in (0.0, 0.3, 0.7, 1.0):
            given["weight"][:, :3] = weight
            misses.append(float((network(**given)[:, :3] - given["known"][:, :3]).abs().mean()))
    assert misses == sorted(misses, reverse=True)
    assert misses[-1] < 1e-6 < misses[-2]


# --- networks ----------------------------------------------------------------------------------


def test_the_transformer_looks_only_at_steps_before():
    network = small_network(denoiser=Denoiser.TRANSFORMER)
    denoiser = network.denoiser
    x = torch.randn(1, HORIZON, ELEMENTS)
    with torch.inference_mode():
        step, condition = denoiser.embed(torch.tensor([5])), denoiser.prepare(torch.randn(1, 2, OBSERVED))
        before = denoiser(x, step, condition)
        x[:, 5:] += 1.0
        after = denoiser(x, step, condition)
        torch.testing.assert_close(after[:, :5], before[:, :5])
        assert (after[:, 5:] - before[:, 5:]).abs().max() > 1e-3
        assert (denoiser(x, denoiser.embed(torch.tensor([30])), condition) - after).abs().max() > 1e-4
        other = denoiser.prepare(torch.randn(1, 2, OBSERVED))
        assert (denoiser(x, step, other) - after).abs().max() > 1e-4


def test_the_image_encoder_sees_where_things_are_and_keeps_no_batch_statistics():
    torch.manual_seed(0)
    encoder = ImageEncoder(height=40, width=48, crop=0.9, keypoints=4)
    assert not [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    images = torch.randint(0, 256, (2, 3, 40, 48)).float()
    encoder.eval()
    with torch.inference_mode():
        both, one = encoder(images), encoder(images[:1])
        assert both.shape == (2, 8)
        torch.testing.assert_close(both[:1], one, atol=1e-5, rtol=1e-4)
        # In use the middle is seen, whatever lies at the edge.
        images[..., :2, :] = 0
        torch.testing.assert_close(encoder(images), both)
    # A point of attention at the right of the picture lies at x = 1.
    attention = torch.zeros(1, 1, encoder.grid.shape[0])
    columns = int((encoder.grid[:, 1] == -1).sum())
    attention[..., columns - 1] = 1.0
    assert (attention @ encoder.grid).flatten().tolist() == [1.0, -1.0]
    encoder.train()
    torch.manual_seed(1)
    assert len({tuple(encoder._crop(images)[0, 0, 0, :5].tolist()) for _ in range(20)}) > 1
    # In training every image of a batch is cut out somewhere else, and is whole pixels of that image.
    same = images[:1].repeat(20, 1, 1, 1)
    cuts = encoder._crop(same)
    assert cuts.shape == (20, 3, 36, 43)
    assert len({tuple(cut[0, 0, :5].tolist()) for cut in cuts}) > 1
    windows = same[0].unfold(1, 36, 1).unfold(2, 43, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert all((windows == cut).flatten(1).all(dim=1).any() for cut in cuts)


def test_the_image_encoder_is_resnet_18_unless_it_is_to_be_smaller():
    from torchvision.models import resnet18

    size = {"height": 96, "width": 96, "crop": 0.9, "keypoints": 8}
    whole = resnet18(weights=None, norm_layer=lambda channels: torch.nn.GroupNorm(channels // 16, channels))
    encoder = ImageEncoder(**size)
    backbone = torch.nn.Sequential(*list(whole.children())[:-2])
    # The same arrays under the same names: weights of before still fit, and compute the same.
    encoder.backbone.load_state_dict(backbone.state_dict())
    image = torch.rand(1, 3, 86, 86)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.backbone(image), backbone(image))
    # Stages less tell places more finely, and cost less.
    assert encoder.grid.shape == (9, 2)
    small = ImageEncoder(**size, channels=16, stages=2)
    assert small.grid.shape == (121, 2)
    assert sum(p.numel() for p in small.parameters()) < 0.01 * sum(p.numel() for p in encoder.parameters())
    assert small(torch.rand(2, 3, 96, 96)).shape == (2, 16)


def test_a_card_from_before_means_resnet_18():
    settings = ModelSettings(**SMALL).as_parameters()
    del settings["image_channels"], settings["image_stages"]
    card = SimpleNamespace(name="old", parameters=settings)
    assert (model_settings(card).image_channels, model_settings(card).image_stages) == (64, 4)


def test_several_noises_of_a_pair_count_as_so_many_pairs():
    network = small_network(cameras={"front": CameraSettings(48, 48)}, image_channels=16, image_stages=1)
    torch.manual_seed(0)
    chunk, noise = torch.randn(4, HORIZON, ELEMENTS), torch.randn(4, HORIZON, ELEMENTS)
    seen, images = torch.randn(2, 2, OBSERVED), {"front": torch.rand(2, 2, 3, 48, 48) * 255}
    levels = torch.tensor([3, 14, 15, 9])
    with torch.inference_mode():
        once = network.loss(chunk, seen, images, noise=noise, timesteps=levels)
        twice = {"front": images["front"].repeat(2, 1, 1, 1, 1)}
        apart = network.loss(chunk, seen.repeat(2, 1, 1), twice, noise=noise, timesteps=levels)
    torch.testing.assert_close(once, apart)


@pytest.mark.parametrize("denoiser", Denoiser)
def test_cameras_become_part_of_the_condition(denoiser):
    cameras = {"front": CameraSettings(48, 48), "wrist": CameraSettings(48, 48)}
    network = small_network(denoiser=denoiser, cameras=cameras)
    given = question(network, batch=1)
    images = [torch.randint(0, 256, (1, 2, 3, 48, 48)).float() for _ in cameras]
    with torch.inference_mode():
        first = network(*given.values(), *images)
        assert first.shape == (1, HORIZON, ELEMENTS)
        second = network(*given.values(), images[0], 255.0 - images[1])
    assert (first - second).abs().max() > 1e-6


# --- bad input ---------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_are_refused():
    cases = {
        "horizon is 10.*a multiple of 4": {"horizon": 10, "unet": UnetSettings(channels=(16, 32, 64))},
        "channels is .*multiples of groups, 8": {"unet": UnetSettings(channels=(12, 32))},
        "kernel is 4.*odd": {"unet": UnetSettings(kernel=4)},
        "inference_steps is 51.*1 to training_steps, 50": {"noise": NoiseSettings(Scheduler.DDIM, 50, 51)},
        "observation_steps is 0.*at least 1": {"observation_steps": 0},
        "crop is 1.5.*at most 1": {"crop": 1.5},
        "size of an image is .*more than 32 pixels": {"cameras": {"front": CameraSettings(34, 64)}},
        "size of an image is .*more than 8 pixels": {
            "cameras": {"front": CameraSettings(8, 64)},
            "image_stages": 2,
        },
        "image_channels is 24.*a multiple of 16": {"image_channels": 24},
        "image_stages is 5.*1 to 4": {"image_stages": 5},
        "weights of version 'reflexarc/diffusion/0'.*train the policy again": {
            "version": "reflexarc/diffusion/0"
        },
    }
    for text, settings in cases.items():
        with pytest.raises(ConfigError, match=text):
            ModelSettings(**settings)


def test_weights_that_are_not_whole_are_refused(tmp_path):
    network = small_network()
    layout = Layout({"joint_position": PolicyTerm(tuple("abcdefg"), "rad")})
    path = tmp_path / "model.safetensors"
    network.save(path)
    again = DiffusionNetwork.load(path, network.settings, layout)
    for name, array in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], array, rtol=0, atol=0)
    arrays = load_file(str(path))
    with pytest.raises(ConfigError, match="other arrays than the card describes"):
        DiffusionNetwork.load(path, small_network(observation_steps=1).settings, layout)
    save_file(arrays | {"feature_mean": torch.full((OBSERVED,), float("nan"))}, str(path))
    with pytest.raises(ConfigError, match="feature_mean hold numbers that are not finite"):
        DiffusionNetwork.load(path, network.settings, layout)
    save_file({name: array for name, array in arrays.items() if name != "base"}, str(path))
    with pytest.raises(ConfigError, match="other arrays than the card describes.*base"):
        DiffusionNetwork.load(path, network.settings, layout)
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        DiffusionNetwork.load(path, network.settings, layout)


def test_relative_actions_begin_where_the_robot_stands():
    network = small_network()
    network.base.copy_(torch.tensor([2, -1, 0]))
    chunk, observation = torch.zeros(2, HORIZON, ELEMENTS), torch.randn(2, OBSERVED)
    normalised = network.normalise(chunk, observation)
    expected = np.stack([-observation[:, 2], np.zeros(2), -observation[:, 0]], axis=1)
    np.testing.assert_allclose(normalised[:, 0], expected, atol=1e-6)
