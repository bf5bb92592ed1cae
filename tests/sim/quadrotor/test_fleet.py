"""Protects the fleet: where episodes begin, what a step is worth, when it is lost, and that runs repeat."""

import math

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.quadrotor.fleet import CODE, IMITATION, PAPER, QuadrotorFleet, StartRules, TerminationRules
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.references import TRAINING, figure_eight
from sim.quadrotor.sampling import sample_airframes

ALL_OF_IT = Perturbations(
    action_delay_s=(0.0, 0.02),
    observation_delay_s=(0.0, 0.01),
    velocity_delay_s=(0.0, 0.02),
    position_noise_m=(0.0, 0.01),
    orientation_noise_rad=(0.0, 0.01),
    velocity_noise_m_s=(0.0, 0.05),
    angular_velocity_noise_rad_s=(0.0, 0.05),
    battery_sag=(0.0, 0.1),
    battery_drain_per_s=(0.0, 0.01),
    motor_mismatch=(0.0, 0.05),
    wind_m_s=(0.0, 3.0),
    gust_m_s=(0.0, 1.0),
    drag_per_s=(0.0, 0.3),
    force_scale=1.0,
)


def fleet_of(count=4000, **options):
    return QuadrotorFleet(sample_airframes(count, seed=1), **({"seed": 0} | options))


@pytest.mark.parametrize(
    ("start", "tilt"),
    [(CODE, 1.0), (PAPER, math.pi / 2), (IMITATION, 1.0)],
    ids=["code", "paper", "imitation"],
)
def test_episodes_begin_as_the_rules_say(start, tilt):
    fleet = fleet_of(start=start)
    position, quaternion, velocity, rates, effort = np.split(fleet.state, [3, 7, 10, 13])
    rest = (position == 0.0).all(axis=0)
    assert rest.mean() == pytest.approx(0.1, abs=0.02)
    assert (quaternion[0, rest] == 1.0).all()
    assert (velocity[:, rest] == 0.0).all()
    box = np.full(4000, 0.5) if start is IMITATION else 10.0 * fleet.airframes.arm_m
    share = position[:, ~rest] / box[~rest]
    assert np.abs(share).max() <= 1.0 + 1e-6
    assert share.std(axis=1) == pytest.approx(1.0 / math.sqrt(3.0), abs=0.02)
    angle = 2.0 * np.arccos(quaternion[0, ~rest].clip(-1.0, 1.0))
    assert angle.max() == pytest.approx(tilt, abs=0.01)
    assert angle.mean() == pytest.approx(tilt / 2.0, abs=0.03)
    # The axis has no preferred direction.
    axis = quaternion[1:, ~rest] / np.linalg.norm(quaternion[1:, ~rest], axis=0)
    assert np.abs(axis.mean(axis=1)).max() < 0.04
    assert (axis**2).mean(axis=1) == pytest.approx(1.0 / 3.0, abs=0.02)
    for values in (velocity, rates):
        assert 0.99 < np.abs(values).max() <= 1.0
    assert effort.min() >= 0.0
    assert 0.49 < effort.max() <= 0.5
    assert fleet.previous_action == pytest.approx(2.0 * effort - 1.0)


def test_the_reward_is_the_paper_s():
    fleet = fleet_of(500, reference=TRAINING)
    rng = np.random.default_rng(0)
    for _ in range(20):
        fleet.step(rng.uniform(-1.5, 1.5, (500, 4)).astype(np.float32))
    state, previous = fleet.state.copy(), fleet.previous_action.copy()
    reference = fleet.reference_position.copy()
    action = rng.uniform(-1.5, 1.5, (500, 4)).astype(np.float32)
    fleet.step(action)
    distance = np.linalg.norm(state[:3] - reference, axis=0)
    yaw = 2.0 * np.arccos(1.0 - np.abs(state[6]))
    change = np.linalg.norm(action.T - previous, axis=0)
    assert fleet.reward == pytest.approx(1.5 - distance - 0.1 * yaw - change, abs=1e-4)
    assert np.array_equal(fleet.previous_action, action.T)


@pytest.mark.parametrize(
    ("row", "limit"), [(1, 20.0), (8, 2.0), (12, 35.0)], ids=["position", "velocity", "rate"]
)
def test_an_episode_is_lost_beyond_each_limit(row, limit):
    fleet = fleet_of(2, termination=TerminationRules())
    scale = fleet.airframes.arm_m if row == 1 else np.ones(2)
    state = np.zeros((17, 2), np.float32)
    state[3], state[13:] = 1.0, fleet.airframes.hover_effort
    state[row] = limit * scale * np.array([0.9, -1.1])
    fleet.place(state)
    fleet.step(2.0 * np.tile(fleet.airframes.hover_effort[:, None], 4) - 1.0)
    assert fleet.terminated.tolist() == [False, True]
    assert fleet.reward[1] == -100.0
    assert fleet.reward[0] > -100.0


def test_numbers_that_are_not_finite_lose_the_episode():
    for termination in (None, TerminationRules()):
        fleet = fleet_of(3, termination=termination)
        action = np.zeros((3, 4), np.float32)
        action[1, 2] = np.nan
        fleet.step(action)
        assert fleet.terminated.tolist() == [False, True, False]
        fleet.reset(fleet.terminated)
        fleet.step(np.zeros((3, 4), np.float32))
        assert not fleet.terminated.any()


def test_an_episode_is_truncated_at_its_length():
    fleet = fleet_of(4, episode_steps=5)
    for _ in range(4):
        fleet.step(np.zeros((4, 4), np.float32))
    assert not fleet.truncated.any()
    fleet.reset(np.array([True, False, False, False]))
    fleet.step(np.zeros((4, 4), np.float32))
    assert fleet.truncated.tolist() == [False, True, True, True]
    assert fleet.time_step.tolist() == [1, 5, 5, 5]


def test_a_partial_reset_leaves_the_others_alone():
    fleet = fleet_of(100, perturbations=ALL_OF_IT, reference=TRAINING)
    for _ in range(10):
        fleet.step(np.zeros((100, 4), np.float32))
    mask = np.arange(100) < 30
    state, previous = fleet.state.copy(), fleet.previous_action.copy()
    fleet.reset(mask)
    assert np.array_equal(fleet.state[:, ~mask], state[:, ~mask])
    assert np.array_equal(fleet.previous_action[:, ~mask], previous[:, ~mask])
    assert (fleet.state[:, mask] != state[:, mask]).any(axis=0).all()
    assert fleet.time_step.tolist() == [0] * 30 + [10] * 70


@pytest.mark.parametrize("perturbations", [None, ALL_OF_IT], ids=["bare", "perturbed"])
def test_the_same_seed_flies_the_same_flight(perturbations):
    def flown(seed):
        fleet = fleet_of(
            64, seed=seed, perturbations=perturbations, reference=TRAINING, dt_s=0.005, physics_steps=2
        )
        plan = np.random.default_rng(5).uniform(-1.0, 1.0, (30, 64, 4)).astype(np.float32)
        for step, action in enumerate(plan):
            fleet.step(action)
            if step == 15:
                fleet.reset(np.arange(64) % 3 == 0)
        return np.concatenate([fleet.observe(), fleet.privileged(), fleet.reward[:, None]], axis=1)

    assert np.array_equal(flown(3), flown(3))
    assert not np.array_equal(flown(3), flown(4))


def test_observations_are_relative_to_the_reference():
    fleet = fleet_of(10, reference=figure_eight(5.5))
    for _ in range(200):
        fleet.step(np.zeros((10, 4), np.float32))
    assert np.abs(fleet.reference_position).max() > 0.1
    assert fleet.observe()[:, :3] == pytest.approx((fleet.state[:3] - fleet.reference_position).T, abs=1e-5)
    assert fleet.observe(position_clip_m=0.5, velocity_clip_m_s=1.0)[:, 12:15].max() <= 1.0
    assert fleet.privileged()[:, 22:] == pytest.approx(2.0 * fleet.state[13:17].T - 1.0)


def test_a_control_step_is_its_physics_steps():
    coarse = fleet_of(20, start=StartRules(effort=(0.2, 0.3)), dt_s=0.0025, physics_steps=4)
    fine = fleet_of(20, start=StartRules(effort=(0.2, 0.3)), dt_s=0.0025)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 20, 4)).astype(np.float32):
        coarse.step(action)
        for _ in range(4):
            fine.step(action)
    assert np.array_equal(coarse.state, fine.state)
    assert coarse.time_step[0] == 10


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="physics_steps 0"):
        fleet_of(3, physics_steps=0)
    with pytest.raises(ConfigError, match=r"action has shape \(4, 3\).*Expected \(3, 4\)"):
        fleet_of(3).step(np.zeros((4, 3), np.float32))
