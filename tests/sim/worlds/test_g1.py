"""Protects the world of a Unitree G1's upper body: names, limits, servos, contacts, marks and its URDF."""

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.kinematics import tool_chains
from sim.worlds import g1
from sim.worlds.two_hand_reach import TwoHandReachSettings, TwoHandReachWorld

MS = 1_000_000


@pytest.fixture(scope="module")
def model():
    return g1.build_spec().compile()


def test_joints_have_the_names_and_the_order_of_the_robots_motors(model):
    arm = (
        "shoulder_pitch",
        "shoulder_roll",
        "shoulder_yaw",
        "elbow",
        "wrist_roll",
        "wrist_pitch",
        "wrist_yaw",
    )
    expected = [
        "waist_yaw",
        "waist_roll",
        "waist_pitch",
        *(f"{s}_{n}" for s in ("left", "right") for n in arm),
    ]
    assert [f"{name}_joint" for name in expected] == list(g1.JOINTS)
    assert [model.joint(i).name for i in range(17)] == list(g1.JOINTS)
    assert [model.actuator(i).name for i in range(model.nu)] == list(g1.JOINTS)
    assert (model.nq, model.nu) == (17, 17)


def test_the_right_arm_is_the_left_one_in_a_mirror(model):
    data = mujoco.MjData(model)
    random = np.random.default_rng(4)
    for _ in range(50):
        for left in (i for i, name in enumerate(g1.JOINTS) if name.startswith("left")):
            right = g1.JOINTS.index(g1.JOINTS[left].replace("left", "right"))
            flips = 1.0 if model.jnt_axis[left][1] else -1.0
            assert sorted(flips * model.jnt_range[left]) == pytest.approx(list(model.jnt_range[right]))
            data.qpos[left] = random.uniform(*model.jnt_range[left])
            data.qpos[right] = flips * data.qpos[left]
        mujoco.mj_forward(model, data)
        left, right = (data.site(f"{side}_tool").xpos for side in ("left", "right"))
        np.testing.assert_allclose(right, left * [1.0, -1.0, 1.0], atol=1e-5)
    # And as heavy: about 4 kg each, of the robot's 35.
    masses = {s: sum(x.mass_kg for x in g1.LINKS if x.name.startswith(s)) for s in ("left", "right")}
    assert masses["left"] == masses["right"] == pytest.approx(3.52, abs=0.01)


def test_the_card_agrees_with_the_physics(model):
    card = load_robot_card("g1_upper_twin")
    limits = card.commands["joints"].limits
    assert tuple(limits) == g1.JOINTS
    np.testing.assert_allclose([(x.lower, x.upper) for x in limits.values()], model.jnt_range, atol=1e-6)
    chains = tool_chains(card, g1.JOINTS)
    assert all(not name.startswith("waist") for chain in chains.values() for name in chain.joints)
    data = mujoco.MjData(model)
    for posture in np.random.default_rng(0).uniform(model.jnt_range[:, 0], model.jnt_range[:, 1], (100, 17)):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        for side, chain in chains.items():
            site = data.site(f"{side}_tool")
            np.testing.assert_allclose(chain.tool_positions(posture[None])[0], site.xpos, atol=1e-6)
            turned = site.xmat.reshape(3, 3)
            np.testing.assert_allclose(chain.tool_rotations(posture[None])[0], turned, atol=1e-6)


def test_home_is_free_of_contact_held_and_inside_the_workspace(model):
    data = mujoco.MjData(model)
    data.qpos[:] = data.ctrl[:] = g1.HOME
    mujoco.mj_step(model, data, nstep=1000)
    assert data.ncon == 0
    assert np.abs(data.qpos - g1.HOME).max() < 0.02
    assert np.abs(data.qvel).max() < 1e-3
    card = load_robot_card("g1_upper_twin")
    for side in card.tools:
        box, tool = card.workspace_of(side), data.site(f"{side}_tool").xpos
        assert (np.array(box.lower_m) + 0.05 < tool).all()
        assert (tool < np.array(box.upper_m) - 0.05).all()


def test_a_hand_stops_at_the_body_and_at_the_other_hand(model):
    for targets in ({"left_shoulder_yaw_joint": 2.4, "left_elbow_joint": -0.6},
                    {"left_shoulder_yaw_joint": 1.2, "right_shoulder_yaw_joint": -1.2}):  # fmt: skip
        data = mujoco.MjData(model)
        data.qpos[:] = data.ctrl[:] = g1.HOME
        for name, angle in targets.items():
            data.ctrl[g1.JOINTS.index(name)] = angle * (-1.0 if len(targets) == 2 and "yaw" in name else 1.0)
        met = 0
        for _ in range(1000):
            mujoco.mj_step(model, data)
            met += data.ncon
        assert met > 0
        assert np.isfinite(data.qpos).all()


def test_both_hands_at_their_marks_is_success():
    world = TwoHandReachWorld()
    world.reset(np.random.default_rng(5))
    card = load_robot_card("g1_upper_twin")
    from hardware.teleop.inverse_kinematics import move_tool

    posture, limits = world.observe()["joint_position"], world.joint_ranges
    for side, chain in tool_chains(card, g1.JOINTS).items():
        for _ in range(60):
            posture = move_tool(
                chain,
                posture,
                position_m=world.observe()[f"{side}_mark_position"],
                rotation=np.eye(3),
                lower=limits[:, 0],
                upper=limits[:, 1],
                step_rad=0.1,
            )
        world.set_targets(posture)
        world.advance(1500 * MS)
        # One hand is not enough.
        assert world.success == (side == "right")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"lower_m": (0.2, -0.1, 0.1)}, "to the left of the middle"),
        ({"upper_m": (0.1, 0.2, 0.3)}, "lower <= upper"),
        ({"radius_m": 0.0}, "a positive distance and time"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        TwoHandReachSettings(**fields)


def test_the_urdf_describes_the_same_tree(model):
    root = ElementTree.fromstring(g1.urdf())
    joints = root.findall("joint")
    assert [joint.get("name") for joint in joints] == list(g1.JOINTS)
    links = {link.get("name") for link in root.findall("link")}
    assert {joint.find(end).get("link") for joint in joints for end in ("parent", "child")} == links
    shoulder = next(joint for joint in joints if joint.get("name") == "left_shoulder_pitch_joint")
    roll, pitch, yaw = (float(x) for x in shoulder.find("origin").get("rpy").split())
    quaternion = np.empty(4)
    # About x, then y, then z of the fixed frame, as URDF means it.
    mujoco.mju_euler2Quat(quaternion, np.array([roll, pitch, yaw]), "XYZ")
    body = model.body("left_shoulder_pitch_link").quat
    assert abs(float(quaternion @ body)) == pytest.approx(1.0, abs=1e-6)
