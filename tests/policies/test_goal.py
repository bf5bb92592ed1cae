"""Protects goals: what is asked for is named, has a unit, is never guessed, and decides what is done."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml

from hardware import schema
from hardware.cards import load_robot_card
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import Observation
from policies.bc.config import TrainConfig
from policies.bc.train import train
from policies.card import PolicyTerm, bind, load_policy_card
from policies.controller import Controller, load_controller
from policies.controller_config import CONTROLLER_FILE, load_config
from policies.demonstrations import Episode, Layout, make_windows
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.train import train as train_diffusion
from policies.goal import GoalTerm, goal_values
from policies.policy import PolicyError
from policies.registry import load_policy
from policies.runtime.journal_file import JournalFile, JournalReader
from policies.runtime.replay import load_for, replay

ROBOT = load_robot_card("so101_twin")
GOAL = ("cube_position",)
HERE = {"x": 0.16, "y": 0.13, "z": 0.12}
THERE = {"x": 0.16, "y": -0.13, "z": 0.12}
SMALL = {"steps": 30, "evaluate_every": 30, "batch_size": 32, "horizon": 8, "execute": 4, "rollouts": 0}


@pytest.fixture(scope="module")
def folder(demonstrations, tmp_path_factory):
    out = tmp_path_factory.mktemp("goal") / "bc"
    return train(TrainConfig(out=str(out), data=str(demonstrations), goal=GOAL, hidden=(16,), **SMALL))


def seen(stamp_ns: int = 80_000_000, **more: np.ndarray) -> Observation:
    terms = {
        "joint_position": np.array([0.0, -0.5, 0.3, 1.4, 0.0, 0.5]),
        "joint_velocity": np.zeros(6),
        "cube_position": np.array([0.22, 0.0, 0.014]),
        "cube_orientation": np.array([1.0, 0.0, 0.0, 0.0]),
    }
    return Observation({**terms, **more}, stamp_ns, stamp_ns)


def asking(folder, goal):
    """A controller file in the policy folder that asks for something."""
    path = folder / "asking.yaml"
    config = dataclasses.replace(load_config(folder / CONTROLLER_FILE), goal=goal)
    path.write_text(schema.dump(config), encoding="utf-8")
    return path


def answer(path) -> np.ndarray:
    controller = load_controller(path, ROBOT, steady_clock=lambda: 0)
    return controller.act(seen(), now_ns=80_000_000).values


def test_the_card_alone_says_what_is_asked_for(folder):
    card = load_policy_card(folder)
    term = card.observation["goal/cube_position"]
    assert (term.names, term.unit, term.frame) == (("x", "y", "z"), "m", "base_link")
    assert "goal/joint_position" not in card.observation
    binding = bind(card, ROBOT)
    assert binding.goal_terms == ("goal/cube_position",)
    # The robot is not asked for it.
    assert "goal/cube_position" not in binding.term_order
    assert "--goal cube_position" in yaml.safe_load((folder / "training.yaml").read_text())["command"]


def test_what_is_asked_for_decides_what_is_done(folder):
    here, there, again = (
        answer(asking(folder, {"cube_position": GoalTerm(where, "m")})) for where in (HERE, THERE, HERE)
    )
    assert np.abs(here - there).max() > 1e-6
    np.testing.assert_array_equal(here, again)
    # The order of the elements in the file is nobody's business.
    mixed = dict(reversed(HERE.items()))
    np.testing.assert_array_equal(answer(asking(folder, {"cube_position": GoalTerm(mixed, "m")})), here)


def test_an_observation_with_a_goal_of_its_own_is_answered_for_that(folder):
    policy = load_policy(folder)
    asked = Controller(policy, ROBOT, goal={"cube_position": GoalTerm(THERE, "m")}, steady_clock=lambda: 0)
    free = Controller(policy, ROBOT, steady_clock=lambda: 0)
    own = {"goal/cube_position": np.array(list(HERE.values()))}
    np.testing.assert_array_equal(
        asked.act(seen(**own), now_ns=80_000_000).values, free.act(seen(**own), now_ns=80_000_000).values
    )


def test_a_run_is_replayed_with_the_goal_that_it_had(folder, tmp_path):
    path = asking(folder, {"cube_position": GoalTerm(HERE, "m")})
    controller = load_controller(path, ROBOT, steady_clock=lambda: 0)
    journal = JournalFile(
        tmp_path / "policy_000000.mcap",
        robot=ROBOT,
        controller=controller,
        policy=str(path),
        rate_hz=None,
        steady_clock=lambda: 0,
    )
    controller.journal = journal
    controller.reset(0)
    for index in range(1, 9):
        controller.act(seen(index * 20_000_000), now_ns=index * 20_000_000)
    journal.close()
    # Whoever asks for something else afterwards changes nothing about what was.
    asking(folder, {"cube_position": GoalTerm(THERE, "m")})
    reader = JournalReader(tmp_path / "policy_000000.mcap")
    report = replay(reader, load_for(reader, None, steady_clock=lambda: 0))
    assert (report.steps, report.first_difference) == (8, "")


def test_a_missing_goal_is_refused_and_never_guessed(folder):
    with pytest.raises(ConfigError) as missing:
        load_controller(folder, ROBOT, steady_clock=lambda: 0)
    text = str(missing.value)
    assert "no goal for cube_position" in text
    assert "goal: {cube_position: {values: {x: …, y: …, z: …}, unit: m}}" in text
    controller = Controller(load_policy(folder), ROBOT, steady_clock=lambda: 0)
    with pytest.raises(PolicyError, match="no term 'goal/cube_position'"):
        controller.act(seen(), now_ns=80_000_000)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (GoalTerm(HERE, "rad"), "in 'rad'"),
        (GoalTerm({"x": 0.1, "y": 0.0}, "m"), r"\{'x': 0.1, 'y': 0.0\} in 'm'"),
        (GoalTerm({**HERE, "w": 1.0}, "m"), "'w': 1.0"),
        (GoalTerm({**HERE, "z": float("nan")}, "m"), "'z': nan"),
    ],
)
def test_a_goal_in_other_words_than_the_cards_is_refused(folder, term, words):
    with pytest.raises(ConfigError, match=f"the goal for cube_position is .*{words}.*unit: m"):
        goal_values(load_policy_card(folder), {"cube_position": term}, where="here")


def test_a_goal_for_a_policy_that_has_none_is_refused(folder):
    card = load_policy_card(folder)
    plain = dataclasses.replace(
        card, observation={n: t for n, t in card.observation.items() if n != "goal/cube_position"}
    )
    with pytest.raises(ConfigError, match="a goal for cube_position.*has no goal on its card"):
        goal_values(plain, {"cube_position": GoalTerm(HERE, "m")}, where="here")


def test_a_goal_that_the_robot_does_not_measure_binds_to_nothing(folder):
    card = load_policy_card(folder)
    other = dataclasses.replace(
        card, observation={**card.observation, "goal/smell": PolicyTerm(("strength",), "m")}
    )
    with pytest.raises(ConfigErrors, match="the robot does not measure 'smell'"):
        bind(other, ROBOT)
    feet = dataclasses.replace(
        card, observation={**card.observation, "goal/cube_position": PolicyTerm(("x", "y", "z"), "rad")}
    )
    with pytest.raises(ConfigErrors, match="wants 'goal/cube_position' in rad"):
        bind(feet, ROBOT)


def test_a_goal_in_training_is_what_the_same_demonstration_came_to():
    layout = Layout({n: PolicyTerm(("x",), "rad") for n in ("joint_position", "goal/joint_position")})
    # The second demonstration counts on from 100: nobody is asked for what another one came to.
    episodes = [
        Episode({"joint_position": first + np.arange(10.0)[:, None]}, np.zeros((10, 1)))
        for first in (0.0, 100.0)
    ]
    windows = make_windows(episodes, layout, horizon=2)
    assert layout.goal.tolist() == [1]
    rows = np.repeat(np.arange(20), 200)
    later = windows.ahead(rows, (2, 5), np.random.default_rng(0))
    ahead = windows.observations[later, 1] - windows.observations[rows, 0]
    ends = np.where(rows < 10, 9, 19) - rows
    assert (ahead <= ends).all()
    assert (ahead[ends >= 5] >= 2).all()
    assert set(ahead[ends >= 5]) == {2, 3, 4, 5}
    # Clipped at the end, not drawn anew.
    assert set(ahead[ends == 1]) == {1}


def test_a_diffusion_policy_is_asked_in_the_same_way(demonstrations, tmp_path):
    config = DiffusionConfig(
        out=str(tmp_path / "d"),
        data=str(demonstrations),
        goal=GOAL,
        observation_steps=2,
        channels=(16, 32),
        step_embedding=16,
        encoder=(16,),
        inference_steps=1,
        device="cpu",
        **SMALL,
    )
    folder = train_diffusion(config)
    here, there = (answer(asking(folder, {"cube_position": GoalTerm(where, "m")})) for where in (HERE, THERE))
    assert np.abs(here - there).max() > 1e-6


def test_bad_settings_are_refused(demonstrations, tmp_path):
    with pytest.raises(ConfigError, match="rollouts is 50.*0 for a policy with a goal"):
        TrainConfig(out="o", goal=GOAL)
    with pytest.raises(ConfigError, match="dagger_rounds is 1.*0 for a policy with a goal"):
        TrainConfig(out="o", goal=GOAL, rollouts=0, dagger_rounds=1)
    with pytest.raises(ConfigError, match=r"goal_ahead_s is \(2.0, 1.0\).*the earlier one first"):
        TrainConfig(out="o", goal_ahead_s=(2.0, 1.0))
    with pytest.raises(ConfigError, match="the robot does not measure 'smell'"):
        train(TrainConfig(out=str(tmp_path), data=str(demonstrations), goal=("smell",), **SMALL))
