"""Protects LeRobot's policies as base policies: their numbers are LeRobot's own, bad folders are refused."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
import torch
from lerobot.policies import get_policy_class, make_pre_post_processors
from saved_policies import ACT, DIFFUSION, ENVIRONMENT, FEATURES, IMAGE, STATE, VQBET, train_and_save

from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.controller import load_controller
from policies.lerobot import LeRobotPolicy, describe
from policies.lerobot.contract import Feature
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy

STEP_NS = 40_000_000


def context(seed=0):
    return ActContext(now_ns=0, rng=np.random.default_rng(seed))


def by_lerobot(folder, kind, observations, *, seed):
    """What LeRobot's own select_action loop answers to the last of a row of observations."""
    policy = get_policy_class(kind).from_pretrained(folder)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    policy.reset()
    with torch.random.fork_rng(), torch.inference_mode():
        for observation in observations:
            values = observation.values
            batch = {
                STATE: np.concatenate([values["joint_position"], values["joint_velocity"]]),
                ENVIRONMENT: np.concatenate([values["cube_position"], values["cube_orientation"]]),
                IMAGE: observation.images.get("wrist", np.zeros((1, 1, 3))).transpose(2, 0, 1) / 255.0,
            }
            batch = {name: batch[name] for name in policy.config.input_features}
            batch = {name: torch.tensor(v, dtype=torch.float32)[None] for name, v in batch.items()}
            if "action" in getattr(policy, "_queues", {}):
                # Forget the chunk of the previous observation, not the observation.
                policy._queues["action"].clear()
            torch.manual_seed(seed)
            actions = [policy.select_action(before(batch))]
        while policy._queues["action"] if hasattr(policy, "_queues") else policy._action_queue:
            queue = policy._queues["action"] if hasattr(policy, "_queues") else policy._action_queue
            actions.append(queue.popleft())
        return np.array([after(action)[0].numpy() for action in actions])


def test_act_gives_lerobots_own_numbers_at_absolute_times(act_folder, observe):
    policy = load_policy(act_folder)
    assert isinstance(policy, LeRobotPolicy)
    assert isinstance(policy, Policy)
    seen = observe(123 * STEP_NS, seed=1)
    chunk = policy.act(seen, context=context())
    wanted = by_lerobot(act_folder, "act", [seen], seed=0)
    assert chunk.values.shape == (8, 6)
    # LeRobot's loop gives the 4 steps that its config carries out; the black box gives all 8.
    np.testing.assert_allclose(chunk.values[:4], wanted, atol=1e-6)
    assert (chunk.start_ns, chunk.step_ns) == (123 * STEP_NS, STEP_NS)
    assert chunk.names == policy.card.action.names
    assert np.ptp(chunk.values, axis=1).min() > 0.1  # unnormalised: the joints differ, as their means do


def test_the_same_weights_answer_differently_without_the_saved_normalisation(act_folder, robot, observe):
    chunk = load_policy(act_folder).act(observe(), context=context())
    path = act_folder / "policy_postprocessor.json"
    pipeline = json.loads(path.read_text())
    pipeline["steps"] = [s for s in pipeline["steps"] if s["registry_name"] != "unnormalizer_processor"]
    path.write_text(json.dumps(pipeline))
    with pytest.raises(ConfigError, match=r"policy_postprocessor\.json.* has SHA-256"):
        load_policy(act_folder)
    describe(act_folder, robot, features=FEATURES, fps=25)
    raw = load_policy(act_folder).act(observe(), context=context())
    assert np.abs(raw.values - chunk.values).max() > 0.1


def test_a_diffusion_policy_sees_its_past_as_in_lerobot(robot, observe, tmp_path):
    folder = train_and_save("diffusion", DIFFUSION, tmp_path / "diffusion")
    card = describe(folder, robot, features=FEATURES, fps=25)
    assert (card.history, card.action.execute) == (2, 4)
    policy = load_policy(folder)
    past, present = observe(0, seed=3), observe(STEP_NS, seed=4)
    rng = np.random.default_rng(7)
    seeds = np.random.default_rng(7)
    # At the very first observation it stands for the one before, too.
    first = policy.act(past, context=ActContext(now_ns=0, rng=rng))
    wanted = by_lerobot(folder, "diffusion", [past], seed=int(seeds.integers(2**31)))
    np.testing.assert_allclose(first.values, wanted, atol=1e-5)
    second = policy.act(present, context=ActContext(now_ns=0, past=(past,), rng=rng))
    wanted = by_lerobot(folder, "diffusion", [past, present], seed=int(seeds.integers(2**31)))
    np.testing.assert_allclose(second.values, wanted, atol=1e-5)
    assert second.start_ns == STEP_NS
    broken = observe(0)
    broken.values["cube_position"][0] = np.nan
    with pytest.raises(PolicyError, match="the observation is not finite"):
        policy.act(present, context=ActContext(now_ns=0, past=(broken,)))


def test_randomness_comes_from_the_context_alone(robot, observe, tmp_path):
    folder = train_and_save("diffusion", DIFFUSION, tmp_path / "diffusion")
    describe(folder, robot, features=FEATURES, fps=25)
    policy = load_policy(folder)
    state = torch.random.get_rng_state()
    answers = []
    for seed in (1, 1, 2):
        policy.reset()
        answers.append(policy.act(observe(), context=context(seed)).values)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_an_image_policy_gets_the_camera_of_its_feature(robot, observe, tmp_path):
    folder = train_and_save("act", ACT, tmp_path / "act", image=True, steps=2)
    features = {STATE: FEATURES[STATE], IMAGE: Feature(camera="wrist")}
    card = describe(folder, robot, features=features, fps=25)
    assert set(card.observation) == {"joint_position", "joint_velocity"}
    policy = load_policy(folder)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (32, 48, 3)).astype(np.uint8)
    answer = policy.act(observe(images={"wrist": image}), context=context()).values
    other = policy.act(observe(1, images={"wrist": 255 - image}), context=context()).values
    assert not np.allclose(answer, other)
    with pytest.raises(PolicyError, match="the observation has no image of camera 'wrist'"):
        policy.act(observe(2, images={"front": image}), context=context())


def test_vq_bet_gives_lerobots_own_numbers_from_its_past(robot, observe, tmp_path):
    folder = train_and_save("vqbet", VQBET, tmp_path / "vqbet", image=True)
    features = {STATE: FEATURES[STATE], IMAGE: Feature(camera="wrist")}
    card = describe(folder, robot, features=features, fps=25)
    assert (card.history, card.action.horizon, card.action.execute) == (3, 4, 4)
    policy = load_policy(folder)
    random = np.random.default_rng(0)
    seen = [
        observe(
            step * STEP_NS, seed=step, images={"wrist": random.integers(0, 256, (32, 48, 3)).astype(np.uint8)}
        )
        for step in range(4)
    ]
    for now in range(1, 4):
        past = tuple(seen[max(0, now - 2) : now])
        chunk = policy.act(seen[now], context=ActContext(now_ns=0, past=past, rng=np.random.default_rng(now)))
        seed = int(np.random.default_rng(now).integers(2**31))
        wanted = by_lerobot(folder, "vqbet", [*past, seen[now]], seed=seed)
        np.testing.assert_allclose(chunk.values, wanted, atol=1e-5)


def test_the_controller_runs_it_beside_any_other_policy(act_folder, robot, observe):
    controller = load_controller(act_folder, robot, steady_clock=time.monotonic_ns)
    controller.reset(0)
    first = controller.act(observe(0), now_ns=0)
    assert first.values.shape == (1, 6)
    assert controller.report.actions.keys() == {"base"}


def test_degrees_and_percent_are_converted_by_the_card(act_folder, robot, observe):
    plain = load_policy(act_folder).act(observe(), context=context()).values
    degrees = (57.29577951308232,) * 6
    describe(act_folder, robot, features=FEATURES, fps=25, action=Feature(scale=degrees, offset=(1.0,) * 6))
    converted = load_policy(act_folder).act(observe(), context=context()).values
    np.testing.assert_allclose(converted, (plain - 1.0) / degrees[0], atol=1e-9)
    features = {**FEATURES, STATE: Feature(terms=FEATURES[STATE].terms, scale=(2.0,) * 12)}
    describe(act_folder, robot, features=features, fps=25)
    seen = observe()
    doubled = load_policy(act_folder).act(seen, context=context()).values
    twice = Observation(
        {n: v * 2.0 if n.startswith("joint") else v for n, v in seen.values.items()}, 0, 0, {}
    )
    describe(act_folder, robot, features=FEATURES, fps=25)
    np.testing.assert_allclose(
        doubled, load_policy(act_folder).act(twice, context=context()).values, atol=1e-6
    )


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            lambda seen: seen.values.pop("cube_position"),
            "the observation has no 'cube_position' of 3 numbers",
        ),
        (lambda seen: seen.values.update(cube_position=np.zeros(2)), r"'cube_position' has shape \(2,\)"),
        (lambda seen: seen.values.update(joint_position=np.full(6, np.nan)), "not finite: joint_position"),
    ],
)
def test_an_observation_that_cannot_be_answered_is_refused(act_folder, observe, spoil, text):
    policy = load_policy(act_folder)
    seen = observe()
    spoil(seen)
    with pytest.raises(PolicyError, match=text):
        policy.act(seen, context=context())


def test_a_card_that_does_not_describe_the_network_is_refused_whole(act_folder):
    path = act_folder / "card.yaml"
    text = path.read_text()
    path.write_text(text.replace("observation.environment_state:", "observation.goal:"))
    with pytest.raises(ConfigErrors) as raised:
        load_policy(act_folder)
    message = str(raised.value)
    assert "nothing is said about the input 'observation.environment_state'" in message
    assert "the network has no input 'observation.goal'" in message
    path.write_text(text.replace("horizon: 8", "horizon: 5"))
    with pytest.raises(ConfigError, match="predicts 8 steps of 6 numbers.*5 steps of 6"):
        load_policy(act_folder)
    path.write_text(text.replace("      - cube_orientation\n", ""))
    with pytest.raises(ConfigErrors, match="has 3 numbers on the card"):
        load_policy(act_folder)


def test_bad_folders_are_refused(act_folder, robot, tmp_path):
    with pytest.raises(ConfigError, match="no configuration of a LeRobot policy"):
        describe(tmp_path, robot, features=FEATURES, fps=25)
    with pytest.raises(ConfigError, match="the term 'tail' of the feature .* is not the robot's"):
        describe(act_folder, robot, features={STATE: Feature(terms=("tail",))}, fps=25)
    with pytest.raises(ConfigError, match="the camera 'back' .* is not the robot's"):
        describe(act_folder, robot, features={IMAGE: Feature(camera="back")}, fps=25)
    config = json.loads((act_folder / "config.json").read_text())
    (act_folder / "config.json").write_text(json.dumps(config | {"type": "telepathy"}))
    describe(act_folder, robot, features=FEATURES, fps=25)
    with pytest.raises(ConfigError, match="LeRobot has no policy type 'telepathy'"):
        load_policy(act_folder)
    (act_folder / "config.json").write_text(json.dumps(config | {"dim_model": 32}))
    describe(act_folder, robot, features=FEATURES, fps=25)
    with pytest.raises(ConfigError, match="LeRobot refuses the folder"):
        load_policy(act_folder)


def test_a_folder_that_would_run_code_of_its_own_is_refused(act_folder, robot):
    path = act_folder / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    pipeline["steps"].append({"class": "subprocess.Popen", "config": {"args": ["true"]}})
    path.write_text(json.dumps(pipeline))
    describe(act_folder, robot, features=FEATURES, fps=25)
    with pytest.raises(ConfigError, match=r"the steps subprocess\.Popen would be imported"):
        load_policy(act_folder)


def test_missing_processors_and_weights_are_refused(act_folder, robot):
    shutil.move(act_folder / "policy_preprocessor.json", act_folder / "away.json")
    describe(act_folder, robot, features=FEATURES, fps=25)
    with pytest.raises(ConfigError, match=r"policy_preprocessor\.json is missing"):
        load_policy(act_folder)
    (act_folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="'model.safetensors' is missing"):
        load_policy(act_folder)
