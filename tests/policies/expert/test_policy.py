"""Protects experts as policies: they fit the robots of their tasks, do them, and act alike by their seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml

import policies.expert
import sim.tasks  # noqa: F401, registers the tasks
from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.card import bind, load_policy_card
from policies.expert import ExpertPolicy
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy
from sim.experts.library import expert_tasks

FOLDER = Path(policies.expert.__file__).parent
ROBOTS = {"pick_cube": "so101_twin", "peg_insert": "panda_twin", "push_t": "panda_push_t"}
STAMP_NS = 120_000_000


@pytest.fixture(scope="module")
def worlds():
    """The first observation of each task, on the clock of a twin."""
    found = {}
    for name in ROBOTS:
        env = gymnasium.make(task_of(name))
        terms, _ = env.reset(seed=3)
        found[name] = Observation(terms, STAMP_NS, STAMP_NS)
        env.close()
    return found


def task_of(name):
    return load_policy_card(FOLDER / name).parameters["task"]


def act(policy, observation):
    return policy.act(observation, context=ActContext(now_ns=observation.stamp_ns))


def test_every_expert_has_a_policy_and_every_policy_a_robot():
    assert {path.parent.name for path in FOLDER.glob("*/card.yaml")} == set(ROBOTS)
    assert sorted(map(task_of, ROBOTS)) == sorted(expert_tasks())


@pytest.mark.parametrize("name", ROBOTS)
def test_an_expert_fits_the_robot_of_its_task(name):
    card = load_policy_card(FOLDER / name)
    binding = bind(card, load_robot_card(ROBOTS[name]))
    env = gymnasium.make(task_of(name))
    assert set(card.observation) <= set(env.observation_space.spaces)
    assert env.action_space.shape == (len(card.action.names),)
    assert binding.interface.names == card.action.names
    env.close()


@pytest.mark.parametrize("name", ROBOTS)
def test_a_chunk_holds_one_action_from_the_capture_on_for_as_long_as_the_card_says(name, worlds):
    policy = load_policy(FOLDER / name)
    assert isinstance(policy, Policy)
    chunk = act(policy, worlds[name])
    action = policy.card.action
    assert chunk.values.shape == (action.horizon, len(action.names))
    assert (chunk.values == chunk.values[0]).all()
    assert (chunk.kind, chunk.names, chunk.start_ns) == (action.kind, action.names, STAMP_NS)
    assert chunk.step_ns == round(action.step_s * 1e9)
    assert chunk.valid_for_s == pytest.approx(action.horizon * action.step_s)


@pytest.mark.parametrize("name", ROBOTS)
def test_the_same_seed_acts_alike(name, worlds):
    one, other = load_policy(FOLDER / name), load_policy(FOLDER / name)
    for policy in (one, other):
        policy.reset(5)
    np.testing.assert_array_equal(act(one, worlds[name]).values, act(other, worlds[name]).values)
    # A reset forgets the attempt before, and no seed means seed 0.
    one.reset()
    other.reset(0)
    np.testing.assert_array_equal(act(one, worlds[name]).values, act(other, worlds[name]).values)


@pytest.mark.parametrize("name", ["pick_cube", "peg_insert"])
def test_a_scripted_expert_does_its_task(name):
    policy = load_policy(FOLDER / name)
    env = gymnasium.make(task_of(name))
    terms, _ = env.reset(seed=1)
    policy.reset(1)
    step_ns, done, info = round(policy.card.action.step_s * 1e9), False, {}
    stamp_ns = 0
    while not done:
        chunk = act(policy, Observation(terms, stamp_ns, stamp_ns))
        terms, _, terminated, truncated, info = env.step(chunk.values[0].astype(env.action_space.dtype))
        stamp_ns, done = stamp_ns + step_ns, terminated or truncated or info["success"]
    env.close()
    assert info["success"]


def test_what_an_expert_does_not_see_is_told(worlds):
    policy = load_policy(FOLDER / "pick_cube")
    seen = worlds["pick_cube"]
    blind = {name: value for name, value in seen.values.items() if not name.startswith("cube")}
    with pytest.raises(PolicyError, match="the observation lacks cube_position, cube_orientation"):
        act(policy, Observation(blind, STAMP_NS, STAMP_NS))


def test_an_expert_without_a_way_says_so_instead_of_sending_no_number(worlds):
    class Lost:
        def reset(self, seed):
            pass

        def act(self, observation):
            return np.array([0.0, np.nan, 0.0, 0.0, 0.0, 0.0])

    policy = ExpertPolicy(load_policy_card(FOLDER / "pick_cube"), Lost())
    with pytest.raises(PolicyError, match="the expert finds no way from here"):
        act(policy, worlds["pick_cube"])


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"task": "reflexarc/Quadrotor-v0"}, "'reflexarc/Quadrotor-v0' has no expert"),
        ({}, "task"),
        ({"task": "reflexarc/PickCube-v0", "speed": 2}, "speed"),
    ],
)
def test_a_card_that_names_no_expert_is_refused(tmp_path, parameters, text):
    shutil.copy(FOLDER / "pick_cube" / "card.yaml", tmp_path)
    card = yaml.safe_load((tmp_path / "card.yaml").read_text())
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**card, "parameters": parameters}))
    with pytest.raises((ConfigError, ConfigErrors), match=text):
        load_policy(tmp_path)
