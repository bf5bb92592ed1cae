"""Protects `reflexarc/Quadrotor-v0`: Gymnasium's checks, names, frames, how episodes follow each other."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim.tasks  # noqa: F401 - registers the environment
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from sim.quadrotor.fleet import StartRules
from sim.quadrotor.perturbations import Perturbations
from sim.tasks.quadrotor import QuadrotorTask

NAME = "reflexarc/Quadrotor-v0"


def many(count=16, **task):
    return gymnasium.make_vec(NAME, num_envs=count, task=QuadrotorTask(**task))


@pytest.mark.filterwarnings("ignore:.*Box observation space.*")
def test_one_vehicle_passes_gymnasium_s_checks():
    check_env(gymnasium.make(NAME).unwrapped)


def test_observations_are_in_their_space_and_have_the_card_s_names():
    env = many()
    observation, info = env.reset(seed=3)
    names = ["position", "orientation", "linear_velocity", "angular_velocity"]
    names += ["reference_position", "reference_velocity", "reference_yaw", "previous_action"]
    assert sorted(observation) == sorted(names)
    assert observation in env.observation_space
    assert info["success"].tolist() == [False] * 16
    for _ in range(5):
        observation, reward, *_ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert reward.shape == (16,)


def test_the_linear_velocity_is_in_the_body_frame():
    env = many()
    observation, _ = env.reset(seed=3)
    fleet = env.unwrapped.fleet
    world = np.einsum(
        "nij,nj->ni", rotation_matrix(observation["orientation"]), observation["linear_velocity"]
    )
    assert world == pytest.approx(fleet.state[7:10].T, abs=1e-5)


def test_the_same_seed_gives_the_same_episodes():
    def flown():
        env = many(perturbations=Perturbations(position_noise_m=(0.0, 0.1), action_delay_s=(0.0, 0.02)))
        env.action_space.seed(0)
        env.reset(seed=7)
        for _ in range(40):
            observation, reward, *_ = env.step(env.action_space.sample())
        return np.concatenate([observation["position"], reward[:, None]], axis=1)

    assert np.array_equal(flown(), flown())


def test_a_lost_episode_begins_anew_with_the_next_step():
    env = many(4)
    env.reset(seed=0)
    fleet = env.unwrapped.fleet
    fleet.state[7, 2] = 5.0  # faster than an episode may be
    _, reward, terminated, truncated, _ = env.step(np.zeros((4, 4), np.float32))
    assert terminated.tolist() == [False, False, True, False]
    assert not truncated.any()
    assert reward[2] == -100.0
    observation, reward, terminated, _, _ = env.step(np.zeros((4, 4), np.float32))
    assert not terminated[2]
    assert reward[2] == 0.0
    assert fleet.time_step.tolist() == [2, 2, 0, 2]
    assert np.array_equal(observation["position"][2], fleet.state[:3, 2])


def test_an_episode_that_lasts_is_a_success():
    env = many(
        1, airframe="x500_real", start=StartRules(guidance=1.0, effort=(0.555, 0.555)), episode_steps=3
    )
    env.reset(seed=0)
    hover = np.full((1, 4), 0.11, np.float32)
    ends = [env.step(hover) for _ in range(3)]
    assert [bool(end[3][0]) for end in ends] == [False, False, True]
    assert [bool(end[4]["success"][0]) for end in ends] == [False, False, True]


def test_what_cannot_be_flown_is_refused():
    with pytest.raises(ConfigError, match="num_envs is 0"):
        many(0)
    with pytest.raises(ConfigError, match="no airframe 'x501'"):
        many(2, airframe="x501")
    with pytest.raises(ConfigError, match="a list of seeds"):
        many(2).reset(seed=[1, 2])
