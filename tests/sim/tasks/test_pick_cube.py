"""Protects `reflexarc/PickCube-v0`: the Gymnasium contract, seeds, success, truncation, images, errors."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim.tasks  # noqa: F401 (registers the task)
from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from sim.experts.pick_cube import PickCubeExpert
from sim.worlds import so101
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld

NAME = "reflexarc/PickCube-v0"


@pytest.fixture
def env():
    made = gymnasium.make(NAME)
    yield made
    made.close()


@pytest.mark.parametrize("settings", [{}, {"image_size": (40, 30)}, {"render_mode": "rgb_array"}])
def test_gymnasium_accepts_it(settings):
    made = gymnasium.make(NAME, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Joint positions in rad are what the robot takes; a learner that wants -1 to 1 scales them.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        check_env(made.unwrapped)
    made.close()


def test_registering_loads_no_physics():
    code = "import sys, sim.tasks; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_terms_have_the_names_and_shapes_of_the_robot_card(env):
    card = load_robot_card("so101_twin")
    observation, info = env.reset(seed=0)
    assert set(observation) == set(card.observations)
    for name, term in card.observations.items():
        assert observation[name].shape == (len(term.names),)
        assert observation[name].dtype == np.float64
    assert info["success"] is False
    limits = card.commands["joints"].limits
    np.testing.assert_allclose(env.action_space.low, [limits[name].lower for name in so101.JOINTS], atol=1e-4)
    np.testing.assert_allclose(
        env.action_space.high, [limits[name].upper for name in so101.JOINTS], atol=1e-4
    )


def test_the_same_seed_and_actions_give_the_same_episode_bit_for_bit(env):
    def play(seed):
        observation, _ = env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        seen = [observation]
        for _ in range(30):
            seen.append(env.step(np.array(so101.HOME) + rng.uniform(-0.2, 0.2, 6))[0])
        return np.array([np.concatenate(list(each.values())) for each in seen])

    one, again, other = play(5), play(5), play(6)
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).any()


def test_a_seed_begins_like_the_world_with_that_seed(env):
    observation, _ = env.reset(seed=11)
    world = PickCubeWorld()
    world.reset(np.random.default_rng(11))
    for name, value in world.observe().items():
        np.testing.assert_array_equal(observation[name], value)


def test_without_a_seed_the_next_attempt_is_another(env):
    first, _ = env.reset(seed=0)
    second, _ = env.reset()
    assert (first["cube_position"] != second["cube_position"]).any()


def test_success_ends_the_episode_with_a_reward_and_a_real_bool(env):
    expert = PickCubeExpert()
    observation, _ = env.reset(seed=0)
    rewards = []
    terminated = truncated = False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, info = env.step(expert.act(observation))
        rewards.append(reward)
    assert terminated is True
    assert truncated is False
    assert info["success"] is True
    assert info["time_s"] == pytest.approx(len(rewards) / 25)
    assert sum(rewards) == rewards[-1] == 1.0
    assert observation["cube_position"][2] > 0.05


def test_success_in_the_last_moment_is_success_and_not_truncation():
    expert = PickCubeExpert()
    duration_s = 8.0
    for _ in range(2):
        made = gymnasium.make(NAME, duration_s=duration_s)
        observation, _ = made.reset(seed=0)
        over = False
        while not over:
            observation, _, terminated, truncated, info = made.step(expert.act(observation))
            over = terminated or truncated
        assert (terminated, truncated) == (True, False)
        duration_s = info["time_s"]


def test_doing_nothing_is_truncated_after_eight_seconds_without_success(env):
    observation, _ = env.reset(seed=0)
    hold = observation["joint_position"]
    for step in range(1, 201):
        _, reward, terminated, truncated, info = env.step(hold)
        assert reward == 0.0
        assert terminated is False
        assert truncated is (step == 200)
    assert info == {"success": False, "time_s": pytest.approx(8.0)}


def test_images_come_when_asked_for():
    made = gymnasium.make(NAME, image_size=(64, 48))
    observation, _ = made.reset(seed=0)
    for camera in so101.CAMERAS:
        assert observation[camera].shape == (48, 64, 3)
        assert observation[camera].dtype == np.uint8
        assert observation[camera].std() > 10
    moved, *_ = made.step(np.array(so101.HOME) + 0.5)
    assert (moved["front"] != observation["front"]).any()
    made.close()


def test_rendering_gives_a_picture_for_people():
    made = gymnasium.make(NAME, render_mode="rgb_array")
    made.reset(seed=0)
    assert made.render().shape == (480, 640, 3)
    made.close()


def test_settings_reach_the_world():
    made = gymnasium.make(NAME, settings=PickCubeSettings(cube_x_m=(0.2, 0.2), cube_y_m=(0.05, 0.05)))
    observation, _ = made.reset(seed=0)
    np.testing.assert_allclose(observation["cube_position"][:2], [0.2, 0.05])
    made.close()


@pytest.mark.parametrize("action", [[np.nan] * 6, [0.0] * 5, [[0.0] * 6]])
def test_an_action_that_is_none_is_refused_by_name(env, action):
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="six finite joint positions, shoulder_pan, .*, gripper"):
        env.unwrapped.step(np.array(action))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"render_mode": "human"}, "render_mode is 'human'"),
        ({"duration_s": 0.0}, "duration_s is 0.0"),
        ({"image_size": (0, 48)}, "image_size is"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    from sim.tasks.pick_cube import PickCubeEnv

    with pytest.raises(ConfigError, match=text):
        PickCubeEnv(**settings)
