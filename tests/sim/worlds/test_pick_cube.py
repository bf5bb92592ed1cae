"""Protects the physics of the pick: repeatable attempts, exact time, and what counts as success."""

import mujoco
import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.experts.pick_cube import PickCubeExpert
from sim.worlds import so101, so101_table
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld

MS = 1_000_000


def world(seed=0, **settings):
    made = PickCubeWorld(settings=PickCubeSettings(**settings))
    made.reset(np.random.default_rng(seed))
    return made


def drive(made, seconds):
    expert = PickCubeExpert()
    for _ in range(round(seconds * 25)):
        made.set_targets(expert.act(made.observe()))
        made.advance(40 * MS)


def test_the_same_random_state_gives_the_same_attempt_and_another_another():
    one, two, other = world(3), world(3), world(4)
    np.testing.assert_array_equal(one.state, two.state)
    assert (one.state[:8] != other.state[:8]).all()
    one.advance(500 * MS)
    one.reset(np.random.default_rng(3))
    np.testing.assert_array_equal(one.state, two.state)
    assert one.time_ns == 0


def test_the_cube_starts_anywhere_in_its_region_and_the_arm_near_home():
    made = world()
    states = []
    for seed in range(400):
        made.reset(np.random.default_rng(seed))
        states.append(made.state)
    states = np.array(states)
    for column, (lower, upper) in ((6, (0.17, 0.27)), (7, (-0.10, 0.10))):
        assert states[:, column].min() == pytest.approx(lower, abs=0.003)
        assert states[:, column].max() == pytest.approx(upper, abs=0.003)
        assert np.histogram(states[:, column], bins=4, range=(lower, upper))[0].min() > 60
    yaw = 2 * np.arctan2(states[:, 12], states[:, 9])
    assert np.abs(yaw).max() <= np.pi / 4
    assert np.histogram(yaw, bins=4)[0].min() > 60
    np.testing.assert_allclose(states[:, 8], so101_table.CUBE_EDGE_M / 2)
    offset = states[:, :6] - so101.HOME
    assert np.abs(offset).max() <= 0.06 + 1e-12
    assert offset.std(axis=0).min() > 0.02


def test_time_may_be_sliced_in_any_way():
    slices = {"whole": [400 * MS], "control": [40 * MS] * 10, "uneven": [6 * MS, 34 * MS, 350 * MS, 10 * MS]}
    states = []
    for pieces in slices.values():
        made = world(1)
        made.set_targets(np.array(so101.HOME) + 0.2)
        for piece in pieces:
            made.advance(piece)
        assert made.time_ns == 400 * MS
        states.append(made.state)
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])


def test_a_command_may_act_between_two_steps():
    early, late = world(1), world(1)
    for made, cut in ((early, 20_300_000), (late, 21_900_000)):
        made.advance(cut)
        made.set_targets(np.array(so101.HOME) + 0.3)
        made.advance(200 * MS - cut)
        assert made.time_ns == 200 * MS
        assert made.data.time == pytest.approx(0.2, abs=1e-12)
    ahead = early.state[:5] - late.state[:5]
    assert (ahead > 0).all()
    assert ahead.max() < 0.01


def test_targets_stop_at_the_joint_limits():
    made = world()
    made.set_targets(np.full(6, 10.0))
    np.testing.assert_array_equal(made.targets, made.joint_ranges[:, 1])
    made.advance(3000 * MS)
    assert (made.state[:6] < made.joint_ranges[:, 1] + 0.02).all()


def test_terms_are_copies_and_the_orientation_has_one_sign():
    made = world(2)
    terms = made.observe()
    before = {name: value.copy() for name, value in terms.items()}
    made.data.qpos[9:13] *= -1.0
    made.set_targets(np.array(so101.HOME) + 0.5)
    made.advance(40 * MS)
    for name, value in terms.items():
        np.testing.assert_array_equal(value, before[name])
    assert made.observe()["cube_orientation"][0] > 0


def test_success_needs_the_whole_hold_without_a_break():
    made = world(0)
    expert = PickCubeExpert()
    for _ in range(200):
        made.set_targets(expert.act(made.observe()))
        made.advance(10 * MS)
        if made.lifted and made.held:
            break
    began_ns = made.time_ns
    while made.time_ns < began_ns + 390 * MS:
        assert not made.success
        made.advance(10 * MS)
    assert made.success
    # Let go: the cube falls, and success with it.
    targets = made.targets
    targets[5] = 1.2
    made.set_targets(targets)
    made.advance(600 * MS)
    assert not made.held
    assert not made.lifted
    assert not made.success


def test_a_cube_in_the_air_that_nobody_holds_is_no_success():
    made = world(0)
    made.model.opt.gravity[:] = 0.0
    made.data.qpos[6:9] = [0.2, 0.3, 0.3]
    made.advance(1000 * MS)
    assert made.lifted
    assert not made.success


def test_a_cube_that_is_held_on_the_table_is_no_success():
    made = world(0, lift_m=0.30)
    drive(made, 4.0)
    assert made.held
    assert not made.lifted
    assert not made.success


def test_lifted_means_the_lowest_corner():
    made = world(0)
    half, tilt = so101_table.CUBE_EDGE_M / 2, np.pi / 4
    made.data.qpos[9:13] = [np.cos(tilt / 2), np.sin(tilt / 2), 0.0, 0.0]
    for height, expected in ((0.05 + half * 1.40, False), (0.05 + half * 1.43, True)):
        made.data.qpos[6:9] = [0.2, 0.3, height]
        mujoco.mj_forward(made.model, made.data)
        assert made.lifted is expected


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cube_x_m": (0.27, 0.17)}, r"cube_x_m \(0.27, 0.17\) is empty"),
        ({"cube_x_m": (0.17, 0.35)}, "m from the pan axis"),
        ({"cube_x_m": (0.05, 0.2)}, "m from the pan axis"),
        ({"cube_y_m": (-0.3, 0.3)}, "in front of the arm"),
        ({"hold_s": 0.0}, "hold_s 0.0"),
        ({"start_noise_rad": -0.1}, "start_noise_rad -0.1"),
        ({"goal_m": (0.2, 0.0)}, r"goal_m \(0.2, 0.0\)"),
        ({"goal_m": (0.2, 0.0, 0.1), "goal_radius_m": 0.0}, "goal_radius_m 0.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        PickCubeSettings(**settings)
