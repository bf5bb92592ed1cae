"""Protects the world of two SO-101: each is the one of the single world, they meet, and either may pick."""

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.experts.pick_cube import PickCubeExpert
from sim.worlds import so101, so101_pair
from sim.worlds.pair_pick_cube import PairPickCubeSettings, PairPickCubeWorld

MS = 1_000_000


@pytest.fixture(scope="module")
def model():
    return so101_pair.build_model()


def test_joints_actuators_and_cameras_have_the_names_of_the_robot_in_order(model):
    assert tuple(model.joint(i).name for i in range(12)) == so101_pair.JOINTS
    assert tuple(model.actuator(i).name for i in range(model.nu)) == so101_pair.JOINTS
    assert (model.nq, model.nv, model.nu) == (19, 18, 12)
    assert {model.camera(i).name for i in range(model.ncam)} == set(so101_pair.CAMERA_FOVY_DEG)


def test_physics_and_looks_have_the_same_state_and_the_same_motion(model):
    visual = so101_pair.build_model(visual=True)
    assert model.nmesh == 0
    assert visual.nmesh == 26
    traces = []
    for each in (model, visual):
        data = mujoco.MjData(each)
        data.qpos[:12] = so101_pair.HOME
        for step in range(200):
            data.ctrl[:] = np.array(so101_pair.HOME) + 0.4 * np.sin(0.02 * step)
            mujoco.mj_step(each, data)
        traces.append(np.concatenate([data.qpos, data.qvel]))
    np.testing.assert_array_equal(traces[0], traces[1])


@pytest.mark.parametrize(("side", "first"), [("left", 0), ("right", 6)])
def test_each_arm_moves_as_the_one_of_the_single_world(model, side, first):
    alone = so101.build_model()
    one, two = mujoco.MjData(alone), mujoco.MjData(model)
    one.qpos[:6], two.qpos[:12] = so101.HOME, so101_pair.HOME
    # The cube lies elsewhere.
    one.qpos[6:9] = two.qpos[12:15] = [0.5, 0.40, 0.2]
    one.ctrl[:], two.ctrl[:] = so101.HOME, so101_pair.HOME
    for step in range(300):
        swing = np.array(so101.HOME) + 0.3 * np.sin(0.02 * step)
        one.ctrl[:], two.ctrl[first : first + 6] = swing, swing
        mujoco.mj_step(alone, one)
        mujoco.mj_step(model, two)
    np.testing.assert_allclose(two.qpos[first : first + 6], one.qpos[:6], atol=1e-6)
    moved = two.site(f"{side}_tool").xpos - one.site("tool").xpos
    np.testing.assert_allclose(moved, [0.0, so101_pair.SIDES_M[side], 0.0], atol=1e-6)
    np.testing.assert_array_equal(model.actuator_forcerange[first : first + 6], alone.actuator_forcerange)


def test_the_arms_stop_at_each_other(model):
    data = mujoco.MjData(model)
    # Side by side, each turned towards the other one.
    data.qpos[:12] = so101_pair.HOME
    data.qpos[12:15] = [0.5, 0.40, 0.2]
    data.ctrl[:] = so101_pair.HOME
    data.ctrl[0], data.ctrl[6] = 1.2, -1.2
    met = set()
    for _ in range(1500):
        mujoco.mj_step(model, data)
        bodies = model.geom_bodyid[data.contact.geom[: data.ncon]]
        met |= {frozenset(model.body(i).name.split("_")[0] for i in pair) for pair in bodies.tolist()}
    assert frozenset({"left", "right"}) in met
    # The servos cannot press them through each other.
    assert data.site("left_tool").xpos[1] > data.site("right_tool").xpos[1]


class OneArm:
    """The expert of the single world, whose base is that of one side."""

    def __init__(self, side):
        self.first, self.y_m = {"left": 0, "right": 6}[side], so101_pair.SIDES_M[side]
        self.expert = PickCubeExpert()

    def act(self, observation):
        mine = slice(self.first, self.first + 6)
        seen = {name: observation[name][mine] for name in ("joint_position", "joint_velocity")}
        seen["cube_position"] = observation["cube_position"] - [0.0, self.y_m, 0.0]
        seen["cube_orientation"] = observation["cube_orientation"]
        targets = np.array(so101_pair.HOME)
        targets[mine] = self.expert.act(seen)
        return targets


@pytest.mark.parametrize("side", ["left", "right"])
def test_either_arm_may_pick_the_cube(side):
    towards = {"left": (0.03, 0.05), "right": (-0.05, -0.03)}[side]
    world = PairPickCubeWorld(settings=PairPickCubeSettings(cube_y_m=towards))
    world.reset(np.random.default_rng(2))
    arm = OneArm(side)
    for _ in range(200):
        world.set_targets(arm.act(world.observe()))
        world.advance(40 * MS)
        if world.success:
            break
    assert world.success


def test_the_cube_starts_where_an_arm_reaches_it():
    with pytest.raises(ConfigError, match=r"0.129 to 0.296 m from the nearer pan axis") as error:
        PairPickCubeSettings(cube_x_m=(0.14, 0.30))
    assert "Expected 0.1 to 0.26 m, in front of the arms" in str(error.value)


def test_the_urdf_has_both_arms_where_they_stand():
    root = ElementTree.fromstring(so101_pair.urdf())
    joints = {joint.get("name"): joint for joint in root.findall("joint")}
    assert set(so101_pair.JOINTS) < set(joints)
    assert joints["right_base"].find("origin").get("xyz") == "0 -0.14 0"
    links = [link.get("name") for link in root.findall("link")]
    assert len(links) == len(set(links))
    ends = {joint.find(end).get("link") for joint in joints.values() for end in ("parent", "child")}
    assert ends == set(links)
    # A tree: every link but the root hangs on one joint.
    children = [joint.find("child").get("link") for joint in joints.values()]
    assert sorted([*children, "base_link"]) == sorted(links)
