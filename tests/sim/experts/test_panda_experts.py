"""Protects the experts of PegInsert and PushT and the planner: they succeed, repeatably, and smoothly."""

import mujoco
import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.experts.collect import ActionNoise, collect
from sim.experts.library import expert_tasks, make_expert
from sim.experts.mppi import Mppi, MppiSettings
from sim.worlds import panda

PEG, PUSH = "reflexarc/PegInsert-v0", "reflexarc/PushT-v0"


def test_the_peg_expert_succeeds_again_and_again_alike():
    data = collect(8, task=PEG)
    assert data.success.all()
    assert data.action_names == panda.JOINTS
    assert (data.task, data.period_ns) == (PEG, 40_000_000)
    again = collect(1, task=PEG, first_seed=7)
    np.testing.assert_array_equal(again.actions, data.actions[data.episode == 7])
    # Smooth: no target lies far from the one before.
    steps = np.diff(data.actions, axis=0)[np.diff(data.episode) == 0]
    assert np.abs(steps).max() < 0.06


def test_the_peg_expert_recovers_from_noise():
    data = collect(4, task=PEG, noise=ActionNoise(std_rad=0.0005), first_seed=100)
    assert data.success.all()
    assert np.abs(data.executed - data.actions).max() > 1e-4


def test_the_peg_expert_remembers_nothing():
    data = collect(1, task=PEG, first_seed=3)
    expert = make_expert(PEG)
    for row in range(0, len(data.actions), 9):
        observation = {name: values[row] for name, values in data.observations.items()}
        np.testing.assert_array_equal(expert.act(observation), data.actions[row])


def test_planning_pushes_the_t_home_and_repeats_by_seed():
    data = collect(1, task=PUSH, tail_s=0.0, first_seed=1)
    assert data.success.all()
    again = collect(1, task=PUSH, duration_s=0.8, first_seed=1)
    assert not again.success.any()
    np.testing.assert_array_equal(again.actions, data.actions[: len(again.actions)])
    # The rod is carried at one height, and never faster than the planner's limit allows.
    assert np.abs(data.observations["tool_position"][:, 2] - 0.01).max() < 0.004
    steps = np.diff(data.observations["tool_position"], axis=0)
    assert np.linalg.norm(steps, axis=1).max() < 0.035


class _Cart:
    """A mass on a rail that is to go to 0.3 m; a control is the force."""

    def __init__(self):
        spec = mujoco.MjSpec()
        body = spec.worldbody.add_body()
        body.add_joint(name="x", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
        body.add_geom(size=[0.05, 0, 0], mass=1.0)
        spec.option.gravity = [0, 0, 0]
        spec.option.timestep = 0.05
        actuator = spec.add_actuator(name="x", target="x", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_motor()
        self.model, self.limits, self.offer = spec.compile(), np.array([1.0]), np.zeros((0, 12, 1))

    def targets(self, controls):
        return controls

    def cost(self, positions, controls):
        return np.abs(positions[..., 0] - 0.3).mean(axis=1) + 0.001 * (controls[..., 0] ** 2).mean(axis=1)

    def proposals(self, steps):
        return self.offer


def _drive(problem, steps, seed=0, **settings):
    planner = Mppi(problem, settings=MppiSettings(steps=12, **settings))
    planner.reset(seed)
    place, speed, told = 0.0, 0.0, []
    for _ in range(steps):
        told.append(float(planner.step(np.array([place]), np.array([speed]))[0]))
        speed += 0.1 * told[-1]
        place += 0.1 * speed
    return place, speed, told


def test_the_planner_drives_any_model_to_its_goal():
    place, speed, told = _drive(_Cart(), 40)
    assert place == pytest.approx(0.3, abs=0.04)
    assert abs(speed) < 0.1
    assert max(np.abs(told)) <= 1.0
    assert _drive(_Cart(), 5)[2] == told[:5]
    assert _drive(_Cart(), 5, seed=1)[2] != told[:5]


def test_more_threads_change_no_number():
    assert _drive(_Cart(), 5, threads=2)[2] == _drive(_Cart(), 5)[2]


def test_a_good_proposal_replaces_the_plan_and_a_bad_one_does_not():
    cart = _Cart()
    # Next to no noise of its own: what moves the cart is the proposal.
    cart.offer = np.ones((1, 12, 1)) * 0.5
    assert _drive(cart, 1, noise=1e-6)[2][0] == pytest.approx(0.5, abs=1e-4)
    cart.offer = -cart.offer
    assert _drive(cart, 1, noise=1e-6)[2][0] == pytest.approx(0.0, abs=1e-4)


def test_every_task_with_an_expert_is_found_and_others_are_refused():
    assert {PEG, PUSH, "reflexarc/PickCube-v0"} == set(expert_tasks())
    with pytest.raises(ConfigError, match="'reflexarc/Quadrotor-v0' has no expert"):
        make_expert("reflexarc/Quadrotor-v0")
    with pytest.raises(ConfigError, match="noise is 0"):
        MppiSettings(noise=0.0)
