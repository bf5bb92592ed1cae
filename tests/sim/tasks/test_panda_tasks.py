"""Protects PushT and PegInsert: the Gymnasium contract, the robot cards' names, seeds, ranges and success."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim.tasks  # noqa: F401 (registers the tasks)
from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from sim.worlds import panda, peg_insert, push_t
from sim.worlds.arm_view import ArmView
from sim.worlds.coverage import coverage, intersection_area
from sim.worlds.library import find_world, make_world
from sim.worlds.panda_reach import PandaReach, pointing_down
from sim.worlds.peg_insert import PegInsertSettings, PegInsertWorld
from sim.worlds.push_t import PushTSettings, PushTWorld

TASKS = {"reflexarc/PushT-v0": "panda_push_t", "reflexarc/PegInsert-v0": "panda_twin"}
MS = 1_000_000


@pytest.mark.parametrize("name", TASKS)
def test_gymnasium_accepts_it_with_images_of_both_cameras(name):
    made = gymnasium.make(name, image_size=(96, 96), render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        check_env(made.unwrapped, skip_render_check=True)
    observation, _ = made.reset(seed=0)
    for camera in made.unwrapped.world.CAMERAS:
        assert observation[camera].shape == (96, 96, 3)
        assert observation[camera].std() > 10
    assert made.render().shape == (480, 640, 3)
    made.close()


@pytest.mark.parametrize(("name", "card_name"), TASKS.items())
def test_terms_and_actions_are_those_of_the_robot_card(name, card_name):
    card, made = load_robot_card(card_name), gymnasium.make(name)
    observation, info = made.reset(seed=0)
    assert set(observation) == set(card.observations)
    for term, spec in card.observations.items():
        assert observation[term].shape == (len(spec.names),)
    assert info["success"] is False
    limits = card.commands["joints"].limits
    assert tuple(limits) == panda.JOINTS
    np.testing.assert_allclose(made.action_space.low, [limit.lower for limit in limits.values()])
    np.testing.assert_allclose(made.action_space.high, [limit.upper for limit in limits.values()])
    world = made.unwrapped.world
    assert {name: camera.fovy_deg for name, camera in card.cameras.items()} == world.CAMERAS
    assert isinstance(make_world(card), type(world))
    assert find_world(name) is type(world)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_and_actions_give_the_same_episode_bit_for_bit(name):
    made = gymnasium.make(name)

    def play(seed):
        observation, _ = made.reset(seed=seed)
        start, rng = observation["joint_position"], np.random.default_rng(seed)
        seen = [observation]
        for _ in range(8):
            seen.append(made.step(start + rng.uniform(-0.05, 0.05, 7))[0])
        return np.array([np.concatenate(list(each.values())) for each in seen])

    one, other, again = play(5), play(6), play(5)
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).any()


def test_doing_nothing_is_truncated_without_success():
    made = gymnasium.make("reflexarc/PegInsert-v0", duration_s=0.2)
    observation, _ = made.reset(seed=0)
    for step in range(1, 6):
        _, reward, terminated, truncated, info = made.step(observation["joint_position"])
        assert (reward, terminated, truncated, info["success"]) == (0.0, False, step == 5, False)


def test_the_t_and_the_rod_start_anywhere_in_their_ranges():
    world, settings = PushTWorld(), PushTSettings()
    rows = []
    for seed in range(150):
        world.reset(np.random.default_rng(seed))
        rows.append([*world.block_pose, *world.observe()["tool_position"]])
        assert np.hypot(*(world.block_pose[:2] - rows[-1][3:5])) >= settings.clear_m - 1e-3
        assert not world.reached
    rows = np.array(rows)
    turn = (rows[:, 2] - push_t.GOAL[2] + np.pi) % (2 * np.pi) - np.pi
    for values, (lower, upper) in (
        (rows[:, 0], settings.block_x_m),
        (rows[:, 1], settings.block_y_m),
        (turn, (-settings.block_turn_rad, settings.block_turn_rad)),
    ):
        assert lower <= values.min() <= values.max() <= upper
        assert np.histogram(values, bins=4, range=(lower, upper))[0].min() > 15
    np.testing.assert_allclose(rows[:, 5], push_t.CARRY_HEIGHT_M, atol=1e-4)


def test_hole_and_peg_start_anywhere_in_their_ranges():
    world, settings = PegInsertWorld(), PegInsertSettings()
    rows = []
    for seed in range(150):
        world.reset(np.random.default_rng(seed))
        hole = world.observe()
        yaw = 2 * np.arctan2(hole["hole_orientation"][3], hole["hole_orientation"][0])
        rows.append([*hole["hole_position"][:2], yaw, world.depth, world.tilt])
        assert not world.reached
    rows = np.array(rows)
    for column, (lower, upper) in enumerate(
        (settings.hole_x_m, settings.hole_y_m, (-settings.hole_yaw_rad, settings.hole_yaw_rad))
    ):
        assert lower <= rows[:, column].min() <= rows[:, column].max() <= upper
        assert np.histogram(rows[:, column], bins=4, range=(lower, upper))[0].min() > 15
    assert rows[:, 3].max() < -0.03
    assert 0.02 < rows[:, 4].max() < 0.06


def test_coverage_is_the_shared_area_of_the_two_ts():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert intersection_area(square, square + [0.5, 0.25]) == pytest.approx(0.375)
    assert intersection_area(square, square + [2.0, 0.0]) == 0.0
    goal = np.array(push_t.GOAL)
    assert coverage(push_t.PARTS, goal, goal) == pytest.approx(1.0)
    # Moved by a tenth of a unit along the stem.
    across = push_t.UNIT_M * 0.1 * np.array([np.sin(goal[2]), -np.cos(goal[2]), 0.0])
    shifted = coverage(push_t.PARTS, goal + across, goal)
    # By hand: bar over bar 4 x 0.9, stem over stem 2.9, and the bar's lower edge over the stem 1 x 0.1.
    assert shifted == pytest.approx((3.6 + 2.9 + 0.1) / 7)
    # The same by counting points.
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (200_000, 2))

    def inside(pose):
        sine, cosine = np.sin(pose[2]), np.cos(pose[2])
        local = (points + goal[:2] - pose[:2]) @ np.array([[cosine, -sine], [sine, cosine]])
        return np.any([((local >= p.min(0)) & (local <= p.max(0))).all(1) for p in push_t.PARTS], axis=0)

    pose = goal + [0.011, -0.007, 0.2]
    expected = (inside(pose) & inside(goal)).sum() / inside(goal).sum()
    assert coverage(push_t.PARTS, pose, goal) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("away", "is_done"), [((0.0, 0.0, 0.0), True), ((0.03, 0.0, 0.0), False)])
def test_the_t_on_its_goal_is_success_and_beside_it_is_not(away, is_done):
    world = PushTWorld()
    world._lay_out(np.array([0.40, 0.15]), np.array(push_t.GOAL) + away)
    world.advance(200 * MS)
    assert world.success is is_done
    assert (world.progress()["coverage"] > 0.99) is is_done


def test_the_rod_pushes_the_t():
    world, reach = PushTWorld(), PandaReach()
    world._lay_out(np.array([0.40, 0.0]), np.array([0.52, 0.0, 0.0]))
    before, joints = world.block_pose, world.targets
    for step in range(20):
        joints = push_t.rod_joints(reach, np.array([0.40 + 0.006 * step, 0.0]), joints)
        world.set_targets(joints)
        world.advance(100 * MS)
    assert world.block_pose[0] - before[0] > 0.012
    # It slides flat on the table and stops when the rod does.
    assert world.data.qpos[9] == pytest.approx(push_t.HEIGHT_M / 2, abs=5e-4)
    assert np.abs(world.data.qvel[7:]).max() < 0.15


def test_the_peg_goes_in_straight_and_not_beside_the_hole():
    def press(beside_m):
        world, reach = PegInsertWorld(), PandaReach()
        world._lay_out(np.array([0.5, 0.0, 0.0]), np.array([beside_m, 0.0, 0.01, 0.0]), np.zeros(5))
        joints = world.targets
        for step in range(80):
            place = np.array([0.5 + beside_m, 0.0, peg_insert.BLOCK_HEIGHT_M + 0.06 - 0.0005 * step])
            joints = reach.inverse(joints, place, pointing_down(0.0))
            world.set_targets(joints)
            world.advance(20 * MS)
        world.advance(300 * MS)
        return world

    inside = press(0.0)
    assert inside.success
    assert 0.025 <= inside.depth <= peg_insert.HOLE_DEPTH_M + 5e-4
    # The chamfer guides a millimetre, but not five.
    assert press(0.001).success
    beside = press(0.005)
    assert not beside.success
    assert beside.depth < 0.002


def test_the_inverse_kinematics_is_that_of_the_card():
    from hardware import kinematics

    reach = PandaReach()
    card = load_robot_card("panda_push_t")
    tool = kinematics.tool_chains(card, panda.JOINTS)["arm"].tool_positions
    for place in ([0.4, -0.2, 0.2], [0.65, 0.1, 0.06]):
        joints = reach.inverse(np.array(panda.HOME), np.array(place), pointing_down(0.3))
        position, rotation = reach.forward(joints)
        np.testing.assert_allclose(position, place, atol=1e-6)
        np.testing.assert_allclose(rotation, pointing_down(0.3), atol=1e-5)
        expected = position + rotation @ [0.0, 0.0, push_t.ROD_LENGTH_M]
        np.testing.assert_allclose(tool(joints[None])[0], expected, atol=1e-5)


def test_a_view_shows_where_the_hole_is():
    world = PegInsertWorld()
    with ArmView(PegInsertWorld) as view:
        images = []
        for seed in (1, 2):
            world.reset(np.random.default_rng(seed))
            images.append(view.image(world.state, "front", width=64, height=48).astype(int))
    # The block's blue-grey lies elsewhere.
    masks = [(image[..., 2] > image[..., 0] + 20) & (image[..., 2] < 200) for image in images]
    assert all(mask.sum() > 20 for mask in masks)
    assert (masks[0] != masks[1]).sum() > 20


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (lambda: PushTSettings(block_x_m=(0.1, 0.5)), r"block_x_m is \(0.1, 0.5\)"),
        (lambda: PushTSettings(coverage=1.5), "coverage 1.5"),
        (lambda: PushTSettings(clear_m=0.9), "clear_m is 0.9"),
        (lambda: PegInsertSettings(hole_y_m=(0.2, 0.1)), r"hole_y_m is \(0.2, 0.1\)"),
        (lambda: PegInsertSettings(grasp_turn_rad=1.0), "grasp_turn_rad is 1.0"),
        (lambda: PegInsertSettings(hold_s=0.0), "hold_s is 0.0"),
        (lambda: find_world("moon"), "there is no world 'moon'"),
        (lambda: gymnasium.make("reflexarc/PushT-v0").unwrapped.step(np.zeros(6)), "seven finite joint"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        settings()
