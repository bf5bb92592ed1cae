"""Protects where the gate believes the tool to be: the card's chain against the twin's MuJoCo model."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.kinematics import SerialChain, tool_chains
from hardware.robot import JointFrame, RobotCard, ToolSpec

IDENTITY = (1.0, 0.0, 0.0, 0.0)
# A planar arm with two links of 1 m and 0.5 m, turning about z.
PLANAR = (
    JointFrame("shoulder", (0.0, 0.0, 0.2), IDENTITY),
    JointFrame("elbow", (1.0, 0.0, 0.0), IDENTITY),
    JointFrame("", (0.5, 0.0, 0.0), IDENTITY),
)


def test_planar_arm_by_hand() -> None:
    chain = SerialChain(PLANAR, ("shoulder", "elbow"))
    half = math.pi / 2
    tool = chain.tool_positions(np.array([[0.0, 0.0], [half, 0.0], [0.0, half], [half, -half]]))
    expected = [[1.5, 0.0, 0.2], [0.0, 1.5, 0.2], [1.0, 0.5, 0.2], [0.5, 1.0, 0.2]]
    np.testing.assert_allclose(tool, expected, atol=1e-12)


def test_tilted_axis_and_orientation_by_hand() -> None:
    # The parent frame is turned by 90 degrees about x, so the joint's y axis points up.
    tilt = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
    frames = (
        JointFrame("a", (0.0, 0.0, 0.0), tilt, (0.0, 1.0, 0.0)),
        JointFrame("", (1.0, 0.0, 0.0), IDENTITY),
    )
    chain = SerialChain(frames, ("a",))
    tool = chain.tool_positions(np.array([[math.pi / 2]]))
    np.testing.assert_allclose(tool, [[0.0, 1.0, 0.0]], atol=1e-12)
    rotation = chain.tool_rotations(np.array([[math.pi / 2]]))[0]
    np.testing.assert_allclose(rotation[:, 0], [0.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)


def test_joints_are_bound_by_name() -> None:
    posture = np.array([[0.3, -0.7]])
    straight = SerialChain(PLANAR, ("shoulder", "elbow")).tool_positions(posture)
    swapped = SerialChain(PLANAR, ("elbow", "gripper", "shoulder"))
    np.testing.assert_array_equal(swapped.tool_positions(np.array([[-0.7, 1.0, 0.3]])), straight)


@pytest.mark.parametrize(
    ("frames", "names", "text"),
    [
        ((), ("a",), "no joint"),
        (PLANAR, ("shoulder",), "unknown joints elbow"),
        ((PLANAR[0], PLANAR[0]), ("shoulder",), "a joint comes twice"),
        ((JointFrame("a", (0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)),), ("a",), "orientation_wxyz of a"),
        ((JointFrame("a", (0.0, 0.0, 0.0), IDENTITY, (0.0, 0.0, 2.0)),), ("a",), "axis of a"),
        ((JointFrame("", (0.0, math.nan, 0.0), IDENTITY),), (), "origin_m of the tool"),
    ],
)
def test_a_broken_chain_is_refused(frames: tuple[JointFrame, ...], names: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SerialChain(frames, names)


def test_the_card_of_the_twin_agrees_with_its_physics() -> None:
    import mujoco

    from sim.worlds import so101

    card = load_robot_card("so101_twin")
    names = card.command_of_kind(CommandKind.JOINT_POSITION).names
    model = so101.build_model()
    data = mujoco.MjData(model)
    ranges = so101.joint_ranges(model)
    postures = np.random.default_rng(0).uniform(ranges[:, 0], ranges[:, 1], size=(200, 6))
    columns = [names.index(name) for name in so101.JOINTS]
    in_card_order = np.empty_like(postures)
    in_card_order[:, columns] = postures
    positions = tool_chains(card, names)["arm"].tool_positions(in_card_order)
    rotations = tool_chains(card, names)["arm"].tool_rotations(in_card_order)
    assert positions.shape == (200, 3)
    for posture, position, rotation in zip(postures, positions, rotations, strict=True):
        data.qpos[:6] = posture
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(position, data.site("tool").xpos, atol=1e-6)
        np.testing.assert_allclose(rotation, data.site("tool").xmat.reshape(3, 3), atol=1e-6)


def test_the_card_of_two_arms_agrees_with_its_physics() -> None:
    import mujoco

    from sim.worlds import so101_pair

    card = load_robot_card("so101_pair_twin")
    chains = tool_chains(card, so101_pair.JOINTS)
    model = so101_pair.build_model()
    data = mujoco.MjData(model)
    limits = card.commands["joints"].limits
    assert tuple(limits) == so101_pair.JOINTS
    ranges = np.array([model.joint(name).range for name in so101_pair.JOINTS])
    np.testing.assert_allclose([(x.lower, x.upper) for x in limits.values()], ranges, atol=1e-5)
    postures = np.random.default_rng(0).uniform(ranges[:, 0], ranges[:, 1], size=(100, 12))
    for posture in postures:
        data.qpos[:12] = posture
        mujoco.mj_kinematics(model, data)
        for side, chain in chains.items():
            site = data.site(f"{side}_tool")
            np.testing.assert_allclose(chain.tool_positions(posture[None])[0], site.xpos, atol=1e-6)
            turned = site.xmat.reshape(3, 3)
            np.testing.assert_allclose(chain.tool_rotations(posture[None])[0], turned, atol=1e-6)


def test_one_posture_is_fast_enough_for_the_gate() -> None:
    card = load_robot_card("so101_twin")
    names = card.command_of_kind(CommandKind.JOINT_POSITION).names
    function = tool_chains(card, names)["arm"].tool_positions
    alone = np.array([function(row[None])[0] for row in np.linspace(-1, 1, 60).reshape(10, 6)])
    np.testing.assert_allclose(function(np.linspace(-1, 1, 60).reshape(10, 6)), alone, atol=1e-12)
    began = time.process_time()
    for _ in range(500):
        function(np.zeros((1, 6)))
    # About 0.05 ms each on a laptop; the gate asks at most once a command.
    assert (time.process_time() - began) / 500 < 0.002


# A waist that turns about z, and an arm of one joint at either side of it.
WAIST = JointFrame("waist", (0.0, 0.0, 0.5), IDENTITY)
TWO = {
    side: ToolSpec(
        (
            WAIST,
            JointFrame(f"{side}_elbow", (0.0, y, 0.0), IDENTITY),
            JointFrame("", (0.4, 0.0, 0.0), IDENTITY),
        )
    )
    for side, y in (("left", 0.2), ("right", -0.2))
}


def two_arms() -> RobotCard:
    return replace(load_robot_card("so101_twin"), tools=TWO)


def test_each_tool_has_its_chain_and_none_moves_what_carries_both() -> None:
    names = ("right_elbow", "left_elbow", "waist")
    chains = tool_chains(two_arms(), names)
    posture = np.array([0.0, math.pi / 2, math.pi / 2])
    np.testing.assert_allclose(chains["left"].tool_positions(posture[None])[0], [-0.6, 0.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(chains["right"].tool_positions(posture[None])[0], [0.2, 0.4, 0.5], atol=1e-12)
    assert (chains["left"].joints, chains["right"].joints) == (("left_elbow",), ("right_elbow",))
    _, _, jacobian = chains["left"].jacobian(posture)
    assert np.abs(jacobian[:, 1]).max() == pytest.approx(1.0)
    assert not jacobian[:, [0, 2]].any()
    # The shoulder goes with the waist.
    np.testing.assert_allclose(chains["left"].root(posture), [-0.2, 0.0, 0.5], atol=1e-12)


def test_an_interface_has_the_tools_that_its_joints_move() -> None:
    assert tool_chains(two_arms(), ("gripper",)) == {}
    with pytest.raises(ConfigError, match="unknown joints waist") as error:
        tool_chains(two_arms(), ("left_elbow",))
    assert "robot card 'so101': tools.left.chain" in str(error.value)


def test_a_tool_hangs_on_joints() -> None:
    with pytest.raises(ConfigError, match=r"chain: no joint. Expected the joints from the base to the tool"):
        ToolSpec((JointFrame("", (0.0, 0.0, 0.0), IDENTITY),))
