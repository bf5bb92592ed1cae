"""Protects the expert's geometry: inverse kinematics against forward, limits, and gravity droop."""

import mujoco
import numpy as np
import pytest

from sim.experts.inverse_kinematics import ToolSolver
from sim.worlds import so101


@pytest.fixture(scope="module")
def solver():
    return ToolSolver()


@pytest.mark.parametrize("yaw", [-0.7, 0.0, 0.7])
@pytest.mark.parametrize("place", [(0.17, -0.10, 0.014), (0.20, 0.05, 0.05), (0.27, 0.10, 0.014)])
def test_the_tool_arrives_pointing_down(solver, place, yaw):
    joints = solver.inverse(np.array(so101.HOME), position_m=np.array(place), yaw_rad=yaw)
    position, rotation = solver.forward(joints)
    np.testing.assert_allclose(position, place, atol=5e-4)
    # Out of the hand is down; the closing axis has the yaw.
    assert rotation[2, 2] < -0.99
    assert np.arctan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(yaw, abs=0.01)


def test_forward_is_the_twins_own(solver):
    model = so101.build_model()
    data = mujoco.MjData(model)
    for posture in np.random.default_rng(0).uniform(-1.0, 1.0, (20, 6)):
        data.qpos[:6] = posture
        mujoco.mj_forward(model, data)
        position, rotation = solver.forward(posture)
        np.testing.assert_allclose(position, data.site("tool").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation.ravel(), data.site("tool").xmat, atol=1e-12)


def test_out_of_reach_gives_the_nearest_posture_within_limits(solver):
    ranges = so101.joint_ranges(so101.build_model())[:5]
    joints = solver.inverse(np.array(so101.HOME), position_m=np.array([0.9, 0.3, 0.2]), yaw_rad=0.0)
    assert (joints >= ranges[:, 0]).all()
    assert (joints <= ranges[:, 1]).all()
    position, _ = solver.forward(joints)
    direction = np.arctan2(position[1], position[0] - so101.PAN_AXIS_X_M)
    assert direction == pytest.approx(np.arctan2(0.3, 0.9 - so101.PAN_AXIS_X_M), abs=0.15)
    assert np.linalg.norm(position[:2]) > 0.3


def test_droop_cancels_gravity(solver):
    model = so101.build_model()
    data = mujoco.MjData(model)
    wanted = np.array([0.3, 0.1, 0.3, 1.1, 0.4, 0.6])
    data.qpos[:6] = wanted
    data.qpos[6:9] = [0.2, 0.4, 0.014]
    without = data.qpos.copy()
    data.ctrl[:] = wanted + solver.droop(wanted)
    mujoco.mj_step(model, data, nstep=1000)
    assert np.abs(data.qpos[:6] - wanted).max() < 1e-3
    data.qpos[:], data.qvel[:] = without, 0.0
    data.ctrl[:] = wanted
    mujoco.mj_step(model, data, nstep=1000)
    assert np.abs(data.qpos[:6] - wanted).max() > 5e-3
