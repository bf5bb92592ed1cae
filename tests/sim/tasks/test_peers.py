"""Protects the tasks of others under our names: units, names of the cards, their starts and their success."""

import gymnasium
import numpy as np
import pytest

import sim.tasks  # noqa: F401 (registers the tasks)
from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from sim.tasks.peers import ALOHA_JOINTS, ALOHA_RANGES, GymAlohaEnv, GymPushTEnv


@pytest.mark.parametrize(
    ("name", "card_name"),
    [
        ("reflexarc/GymPushT-v0", "gym_pusht"),
        ("reflexarc/GymAlohaTransferCube-v0", "gym_aloha_transfer_cube"),
        ("reflexarc/GymAlohaInsertion-v0", "gym_aloha_insertion"),
    ],
)
def test_terms_and_actions_are_those_of_the_robot_card(name, card_name):
    card = load_robot_card(card_name)
    made = gymnasium.make(name, image_size=(48, 36), disable_env_checker=True)
    observation, info = made.reset(seed=3)
    assert made.observation_space.contains(observation)
    assert set(observation) == {*card.observations, *card.cameras}
    for term, spec in card.observations.items():
        assert observation[term].shape == (len(spec.names),)
    assert observation["top"].shape == (36, 48, 3)
    assert observation["top"].std() > 5
    assert info == {"success": False, "time_s": 0.0}
    (command,) = card.commands.values()
    np.testing.assert_allclose(made.action_space.low, command.limit_array("lower"))
    np.testing.assert_allclose(made.action_space.high, command.limit_array("upper"))
    assert command.rate_hz == made.metadata["render_fps"]
    assert card.parameters["task"] == name
    made.close()


def test_pusht_starts_as_the_original_and_counts_in_metres():
    import gym_pusht  # noqa: F401 (registers the original)

    original = gymnasium.make("gym_pusht/PushT-v0", disable_env_checker=True)
    theirs, _ = original.reset(seed=7)
    made = GymPushTEnv()
    ours, _ = made.reset(seed=7)
    for _ in range(5):
        ours_flat = np.concatenate([ours["tool_position"] * 1000, ours["block_position"] * 1000])
        np.testing.assert_allclose(ours_flat, theirs[:4], atol=1e-9)
        assert np.cos(ours["block_angle"][0]) == pytest.approx(np.cos(theirs[4]))
        assert np.sin(ours["block_angle"][0]) == pytest.approx(np.sin(theirs[4]))
        theirs, *_ = original.step(np.array([100.0, 200.0]))
        ours, *_ = made.step(np.array([0.100, 0.200]))


def test_pusht_succeeds_where_the_t_covers_its_goal_and_is_truncated_elsewhere():
    made = GymPushTEnv(duration_s=0.3)
    made.reset(seed=0)
    for step in range(1, 4):
        *_, terminated, truncated, info = made.step(np.array([0.05, 0.05]))
        assert (terminated, truncated, info["success"]) == (False, step == 3, False)
    made.reset(seed=0)
    block, (x, y, angle) = made.foreign.block, made.foreign.goal_pose
    block.angle, block.position = angle, (x, y)
    _, reward, terminated, truncated, info = made.step(np.array([0.05, 0.05]))
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_aloha_moves_the_joint_that_is_named_and_speaks_of_grippers_in_rad():
    made = GymAlohaEnv()
    before, _ = made.reset(seed=0)
    grippers = [index for index, name in enumerate(ALOHA_JOINTS) if name.endswith("gripper")]
    inside = before["joint_position"]
    assert (ALOHA_RANGES[grippers, 0] < inside[grippers]).all()
    assert (inside[grippers] < ALOHA_RANGES[grippers, 1]).all()
    action = inside.copy()
    action[ALOHA_JOINTS.index("right_arm_waist")] += 0.3
    action[ALOHA_JOINTS.index("left_arm_gripper")] = 1.4
    for _ in range(4):
        after, _, _, _, info = made.step(action)
    moved = after["joint_position"] - inside
    assert moved[ALOHA_JOINTS.index("right_arm_waist")] > 0.02
    assert moved[ALOHA_JOINTS.index("left_arm_gripper")] > 0.1
    assert abs(moved[ALOHA_JOINTS.index("left_arm_waist")]) < 0.01
    assert info == {"success": False, "time_s": pytest.approx(0.08)}
    # The same seed begins alike, another elsewhere.
    again, _ = made.reset(seed=0)
    np.testing.assert_array_equal(again["cube_position"], before["cube_position"])
    other, _ = made.reset(seed=1)
    assert (other["cube_position"] != before["cube_position"]).any()


def test_aloha_succeeds_when_the_original_says_so(monkeypatch):
    made = GymAlohaEnv()
    observation, _ = made.reset(seed=0)
    monkeypatch.setattr(made.foreign._env.task, "get_reward", lambda physics: 4)
    _, reward, terminated, _, info = made.step(observation["joint_position"])
    assert (reward, terminated, info["success"]) == (1.0, True, True)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: GymAlohaEnv(task="juggle"), "task is 'juggle'"),
        (lambda: GymPushTEnv(duration_s=0.0), "duration_s is 0.0"),
        (lambda: GymPushTEnv().step(np.array([np.nan, 0.0])), "2 finite numbers"),
    ],
)
def test_bad_settings_and_actions_are_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


def test_a_missing_package_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(ConfigError, match=r"gym-pusht cannot be loaded .*reflexarc\[peers\]"):
        GymPushTEnv()
