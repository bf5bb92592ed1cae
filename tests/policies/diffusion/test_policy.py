"""Protects the runtime: the graph is the network, chance comes from the context alone, committed steps are
kept, history and images are what the network wants, and bad folders are refused.
"""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
import yaml

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.card import POLICY_CARD_SCHEMA, PolicyAction, PolicyCard, PolicyTerm
from policies.controller import load_controller
from policies.demonstrations import Layout
from policies.diffusion.backends import OnnxBackend, Question
from policies.diffusion.onnx_model import onnx_model
from policies.diffusion.policy import BackendName, DiffusionOptions, DiffusionPolicy
from policies.diffusion.settings import CameraSettings, Denoiser, NoiseSettings, Scheduler
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy
from tests.policies.diffusion.conftest import ELEMENTS, HORIZON, OBSERVED, small_network

LAYOUT = Layout({"joint_position": PolicyTerm(tuple("abcdefg"), "rad")})


def context(seed: int = 0, **changes) -> ActContext:
    return ActContext(now_ns=120_000_000, rng=np.random.default_rng(seed), **changes)


@pytest.fixture(scope="module")
def policies(folder):
    return {name: DiffusionPolicy.load(folder, DiffusionOptions(backend=name)) for name in BackendName}


# --- the graph ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denoiser", "noise", "cameras"),
    [
        (Denoiser.UNET, NoiseSettings(Scheduler.DDIM, 50, 2), {}),
        (Denoiser.UNET, NoiseSettings(Scheduler.DDPM, 50, 2), {"front": CameraSettings(40, 48)}),
        (Denoiser.TRANSFORMER, NoiseSettings(Scheduler.DDIM, 50, 2), {}),
    ],
    ids=["unet", "unet-ddpm-camera", "transformer"],
)
def test_the_graph_holds_the_whole_loop(denoiser, noise, cameras):
    network = small_network(denoiser=denoiser, noise=noise, cameras=cameras)
    backend = OnnxBackend(onnx_model(network), network.settings, LAYOUT, ELEMENTS)
    random = np.random.default_rng(0)
    # Another number of chunks than the one that the backend was warmed up with.
    shape = (3, backend.draws, HORIZON, ELEMENTS)
    asked = Question(
        observation=random.standard_normal((2, OBSERVED), dtype=np.float32),
        noise=random.standard_normal(shape, dtype=np.float32),
        known=random.uniform(-1, 1, (HORIZON, ELEMENTS)).astype(np.float32),
        weight=np.array([1, 1, 0.5, 0, 0, 0, 0, 0], np.float32),
        images={name: random.uniform(0, 255, (2, 3, 40, 48)).astype(np.float32) for name in cameras},
    )
    with torch.inference_mode():
        expected = network(
            *(torch.from_numpy(a)[None].expand(3, *a.shape) for a in (asked.observation,)),
            torch.from_numpy(asked.noise),
            torch.from_numpy(asked.known)[None].expand(3, -1, -1),
            torch.from_numpy(asked.weight)[None, :, None].expand(3, -1, -1),
            *(torch.from_numpy(a)[None].expand(3, *a.shape) for a in asked.images.values()),
        ).numpy()
    np.testing.assert_allclose(backend.draw(asked), expected, atol=2e-5)


def test_the_back_ends_agree(policies, observe):
    for seed in range(5):
        committed = None if seed < 2 else np.full((seed, 6), 0.1)
        chunks = [
            policy.act(observe(seed), context=context(seed, committed=committed, past=(observe(9),))).values
            for policy in policies.values()
        ]
        np.testing.assert_allclose(chunks[0], chunks[1], atol=2e-5)


# --- a policy ----------------------------------------------------------------------------------


def test_it_is_a_policy_whose_chance_comes_from_the_context(policies, observe):
    policy = policies[BackendName.ONNX]
    assert isinstance(policy, Policy)
    first = policy.act(observe(), context=context(5))
    policy.reset(9)
    again = policy.act(observe(), context=context(5))
    np.testing.assert_array_equal(again.values, first.values)
    assert np.abs(policy.act(observe(), context=context(6)).values - first.values).max() > 1e-3
    assert policy.state == {}
    policy.load_state({})
    with pytest.raises(ConfigError, match="a state of hidden.*the policy has no memory"):
        policy.load_state({"hidden": np.zeros(3, np.float32)})


def test_a_chunk_starts_at_the_capture_and_leaves_the_past_out(policies, observe):
    chunk = policies[BackendName.ONNX].act(observe(), context=context())
    # Eight steps are denoised; with two observations the first of them is over.
    assert chunk.values.shape == (7, 6)
    assert chunk.values.dtype == np.float64
    assert (chunk.start_ns, chunk.step_ns) == (120_000_000, 40_000_000)
    assert chunk.end_ns == 120_000_000 + 7 * 40_000_000
    assert chunk.proposals is None


def test_the_history_comes_with_the_context(policies, observe):
    policy = policies[BackendName.ONNX]
    assert policy.card.history == 2
    alone = policy.act(observe(1), context=context()).values
    same = policy.act(observe(1), context=context(past=(observe(1),))).values
    other = policy.act(observe(1), context=context(past=(observe(2),))).values
    longer = policy.act(observe(1), context=context(past=(observe(3), observe(2)))).values
    np.testing.assert_array_equal(alone, same)
    assert np.abs(other - same).max() > 1e-4
    np.testing.assert_array_equal(longer, other)


def test_the_controller_tells_the_history(folder, observe):
    controller = load_controller(folder, load_robot_card("so101_twin"), steady_clock=lambda: 0)
    policy = controller.base
    told = []

    class Spy:
        card = policy.card
        reset = staticmethod(policy.reset)

        @staticmethod
        def act(observation, *, context):
            told.append((observation.stamp_ns, [seen.stamp_ns for seen in context.past]))
            return policy.act(observation, context=context)

    controller.base = Spy()
    controller.reset(0)
    for step in range(12):
        stamp_ns = step * 20_000_000
        controller.act(observe(step, stamp_ns), now_ns=stamp_ns)
    # Asked every four steps of 40 ms; the step before lies two observations back.
    assert told == [(0, [0]), (160_000_000, [120_000_000])]


def test_further_proposals_differ_from_the_first(policies, observe):
    chunk = policies[BackendName.ONNX].act(observe(), context=context(proposals=4))
    assert chunk.proposals.shape == (3, 7, 6)
    everything = np.concatenate([chunk.values[None], chunk.proposals])
    assert len({values.tobytes() for values in everything}) == 4
    # A later answer does not write into an earlier one.
    before = chunk.values.copy()
    policies[BackendName.ONNX].act(observe(3), context=context(1, proposals=4))
    np.testing.assert_array_equal(chunk.values, before)


# --- committed steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_committed_steps_are_returned_exactly_in_every_proposal(policies, observe, count):
    committed = np.random.default_rng(1).uniform(-1, 1, (count, 6))
    chunk = policies[BackendName.ONNX].act(observe(), context=context(committed=committed, proposals=2))
    kept = min(count, 7)
    np.testing.assert_array_equal(chunk.values[:kept], committed[:kept])
    np.testing.assert_array_equal(chunk.proposals[0, :kept], committed[:kept])


def test_planned_steps_pull_less_and_less_without_being_kept(folder, observe):
    policy = DiffusionPolicy.load(folder, DiffusionOptions(soft_steps=3))
    hard = DiffusionPolicy.load(folder, DiffusionOptions(soft_steps=0))
    committed, planned = np.full((2, 6), 0.3), np.full((5, 6), 0.3)
    told = context(committed=committed, planned=planned)
    free = hard.act(observe(), context=told).values
    told = context(committed=committed, planned=planned)
    soft = policy.act(observe(), context=told).values
    np.testing.assert_array_equal(soft[:2], committed)
    shares = [np.abs(soft[step] - 0.3).mean() / np.abs(free[step] - 0.3).mean() for step in (2, 3, 4)]
    assert 0 < shares[0] < shares[1] < shares[2] < 1
    with pytest.raises(ConfigError, match="soft_steps is -1"):
        DiffusionOptions(soft_steps=-1)


# --- refusals ----------------------------------------------------------------------------------


def test_what_cannot_be_answered_is_refused(policies, observe):
    policy = policies[BackendName.ONNX]
    broken = observe()
    broken.values["cube_position"][1] = np.nan
    with pytest.raises(PolicyError, match="the observation is not finite"):
        policy.act(broken, context=context())
    with pytest.raises(PolicyError, match="the observation is not finite"):
        policy.act(observe(), context=context(past=(broken,)))
    short = {name: value for name, value in observe().values.items() if name != "joint_velocity"}
    with pytest.raises(PolicyError, match="no term 'joint_velocity'"):
        policy.act(Observation(short, 0, 0), context=context())
    with pytest.raises(PolicyError, match="the committed steps are not finite"):
        policy.act(observe(), context=context(committed=np.full((2, 6), np.nan)))


def test_larger_images_are_made_smaller_and_others_are_refused():
    network = small_network(cameras={"front": CameraSettings(40, 48)})
    card = PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name="seeing",
        method="diffusion",
        robot_kind="arm",
        observation=LAYOUT.terms,
        action=PolicyAction("joint_position", ("a", "b", "c"), "rad", horizon=HORIZON - 1),
        rate_hz=25.0,
        max_loop_age_s=0.1,
        max_open_loop_s=0.1,
        history=2,
        parameters=network.settings.as_parameters(),
    )
    backend = OnnxBackend(onnx_model(network), network.settings, LAYOUT, ELEMENTS)
    policy = DiffusionPolicy(card, backend)
    terms = {"joint_position": np.zeros(7)}
    image = np.zeros((40, 48, 3), np.uint8)
    chunk = policy.act(Observation(terms, 0, 0, {"front": image}), context=context())
    assert chunk.values.shape == (7, 3)
    white = policy.act(Observation(terms, 0, 0, {"front": image + 255}), context=context())
    assert np.abs(white.values - chunk.values).max() > 0
    # A camera of twice the size, and of another shape: its middle counts, each pixel as the mean of four.
    large = np.full((80, 120, 3), 7, np.uint8)
    large[:, 12:108] = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    same = policy.act(Observation(terms, 0, 0, {"front": large}), context=context())
    np.testing.assert_array_equal(same.values, chunk.values)
    with pytest.raises(PolicyError, match="no image of the camera 'front'"):
        policy.act(Observation(terms, 0, 0), context=context())
    with pytest.raises(PolicyError, match=r"shape \(48, 40, 3\); the policy wants at least \(40, 48, 3\)"):
        policy.act(Observation(terms, 0, 0, {"front": image.transpose(1, 0, 2)}), context=context())
    with pytest.raises(ConfigError, match="history is 1. Expected 2, as its parameters say"):
        DiffusionPolicy(dataclasses.replace(card, history=1), backend)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def edit_card(folder, change) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    change(card)
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))


def test_the_registry_loads_it_with_its_options(folder):
    assert load_policy(folder, backend="torch").backend == "torch"
    assert load_policy(folder).backend == "onnx"
    with pytest.raises(ConfigError, match="'numpy' is not valid here.*one of onnx, torch"):
        load_policy(folder, backend="numpy")


def test_a_folder_of_another_version_is_refused(copy):
    def change(card):
        card["parameters"] = {"version": "reflexarc/diffusion/7", "of_the_future": 1}

    edit_card(copy, change)
    with pytest.raises(
        ConfigError, match="weights of version 'reflexarc/diffusion/7'.*'reflexarc/diffusion/1'"
    ):
        load_policy(copy)


def test_a_graph_that_the_card_does_not_describe_is_refused(copy):
    def change(card):
        card["observation"]["cube_position"]["names"] = ["x", "y"]

    edit_card(copy, change)
    with pytest.raises(ConfigError, match=r"model's inputs are .*'observation': \[2, 19\].*\[2, 18\]"):
        load_policy(copy)


def test_weights_that_differ_from_the_card_or_are_not_on_it_are_refused(copy):
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b" ")
    with pytest.raises(ConfigError, match="'model.onnx' has SHA-256"):
        load_policy(copy)
    edit_card(copy, lambda card: card["files"].pop("model.onnx"))
    with pytest.raises(ConfigError, match="gives no SHA-256 for model.onnx"):
        load_policy(copy)
    assert load_policy(copy, backend="torch").backend == "torch"
