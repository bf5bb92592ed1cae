"""Protects the arm's twin: the Robot protocol on the task's physics, safe action, cameras, determinism."""

from dataclasses import replace

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.command import Command, CommandKind, SafeAction
from hardware.errors import ConfigError
from hardware.robot import CameraSpec, Delay, LatencyCard, Robot
from sim.experts.pick_cube import PickCubeExpert
from sim.twin import NONE
from sim.twin.arm import ArmTwin
from sim.worlds import so101
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld

MS = 1_000_000
CARD = load_robot_card("so101_twin")
HOME = np.array(so101.HOME)


def twin(card=CARD, *, seed=0, latency=NONE, **settings):
    made = ArmTwin(card, seed=seed, latency=latency, **settings)
    made.connect()
    return made


def command(values, names=so101.JOINTS, stamp_ns=0):
    return Command(CommandKind.JOINT_POSITION, names, np.asarray(values, float), stamp_ns, 0)


def with_command(**changes):
    spec = replace(CARD.commands["joints"], **changes)
    return replace(CARD, commands={"joints": spec})


def pick(made, *, steps=200):
    expert = PickCubeExpert()
    for _ in range(steps):
        observation = made.read()
        made.command(command(expert.act(observation.values), stamp_ns=observation.stamp_ns))
        made.advance(made.now_ns + 40 * MS)
        if made.success:
            break
    return made.success


def test_it_is_a_robot_that_measures_what_its_card_names():
    made = twin()
    assert isinstance(made, Robot)
    made.advance(20 * MS)
    observation = made.read()
    assert observation.stamp_ns == 20 * MS
    assert set(observation.values) == set(CARD.observations)
    for name, term in CARD.observations.items():
        assert observation.values[name].shape == (len(term.names),)
    np.testing.assert_allclose(observation.values["joint_position"], HOME, atol=0.08)


def test_a_seed_begins_like_the_task_with_that_seed():
    world = PickCubeWorld()
    made = twin(seed=5)
    for seed in (5, 6):
        made.reset(seed)
        world.reset(np.random.default_rng(seed))
        for name, value in world.observe().items():
            np.testing.assert_array_equal(made.read().values[name], value)


def test_without_latency_it_moves_exactly_as_the_task():
    world, made = PickCubeWorld(), twin(seed=3)
    world.reset(np.random.default_rng(3))
    rng = np.random.default_rng(0)
    for _ in range(20):
        target = HOME + rng.uniform(-0.2, 0.2, 6)
        world.set_targets(target)
        world.advance(40 * MS)
        made.command(command(target))
        made.advance(made.now_ns + 40 * MS)
        np.testing.assert_array_equal(made.state, world.state)


def test_the_cube_is_picked_with_the_latency_of_the_card_and_of_a_worse_one():
    slow = LatencyCard(observation=Delay(0.012, 0.003), command=Delay(0.008, 0.002))
    for latency in (None, slow):
        made = twin(latency=latency)
        successes = 0
        for seed in range(6):
            made.reset(seed)
            successes += pick(made)
        assert successes == 6
    assert "success" in made.trace().event_names


def test_the_same_run_twice_is_the_same_bit_for_bit():
    runs = []
    for _ in range(2):
        made = twin(latency=None, seed=4)
        assert pick(made)
        runs.append(made.trace())
    np.testing.assert_array_equal(runs[0].qpos, runs[1].qpos)
    np.testing.assert_array_equal(runs[0].command_time_ns, runs[1].command_time_ns)
    assert runs[0].qpos.shape[1] == 13


def test_commands_are_bound_by_name():
    straight, shuffled = twin(), twin()
    target = HOME + [0.3, 0.1, -0.1, 0.05, 0.4, 0.2]
    straight.command(command(target))
    shuffled.command(command(target[::-1], so101.JOINTS[::-1]))
    for made in (straight, shuffled):
        made.advance(300 * MS)
    np.testing.assert_array_equal(straight.state, shuffled.state)


def test_a_card_may_order_the_joints_of_a_command_as_it_likes():
    limits = CARD.commands["joints"].limits
    card = with_command(limits={name: limits[name] for name in reversed(so101.JOINTS)})
    usual, reverse = twin(), twin(card)
    target = HOME + [0.3, 0.1, -0.1, 0.05, 0.4, 0.2]
    for made in (usual, reverse):
        made.command(command(target))
        made.advance(300 * MS)
    np.testing.assert_array_equal(usual.state, reverse.state)


def test_a_command_acts_at_its_very_time():
    made = twin()
    before = made.world.targets
    made.command(command(HOME + 0.1), at_ns=13_700_000)
    made.advance(13_700_000)
    np.testing.assert_array_equal(made.world.targets, before)
    made.advance(13_700_001)
    made.advance(14 * MS)
    np.testing.assert_array_equal(made.world.targets, HOME + 0.1)
    assert made.trace().command_time_ns.tolist() == [13_700_000]


def test_silence_stops_the_arm_where_it_is():
    made = twin(with_command(robot_timeout_s=0.15))
    timeout_ns = 150 * MS
    far = HOME + [1.2, 0.0, 0.0, 0.0, 0.0, 0.0]
    made.command(command(far))
    made.advance(timeout_ns)
    assert made.safe_stopped is None
    pan = made.state[0]
    assert pan < far[0] - 0.5
    assert made.world.data.qvel[0] > 2.0
    made.advance(timeout_ns + 1500 * MS)
    assert made.safe_stopped == "command timeout"
    # Braked from more than 2 rad/s, and not gone on to the target, a radian away.
    assert abs(made.state[0] - pan) < 0.15
    assert np.abs(made.read().values["joint_velocity"]).max() < 0.01
    # The next command is followed again.
    made.command(command(far))
    made.advance(made.now_ns + 140 * MS)
    assert made.safe_stopped is None
    assert made.state[0] > pan + 0.2


def test_silence_does_not_drop_what_is_held():
    made = twin()
    assert pick(made)
    made.advance(made.now_ns + 3000 * MS)
    assert made.safe_stopped == "command timeout"
    assert made.world.held
    assert made.read().values["cube_position"][2] > 0.05


def test_a_safe_stop_keeps_the_squeeze_and_holds_the_rest_near():
    made = twin()
    made.command(command([0.8, *HOME[1:5], -0.17]))
    made.advance(60 * MS)
    made.safe_stop("operator")
    made.advance(62 * MS)
    joints, targets = made.state[:6], made.world.targets
    assert targets[5] == -0.17
    assert joints[5] > 0.1
    assert np.abs(targets[:5] - joints[:5]).max() < 0.06


def test_a_safe_stop_acts_at_once_and_forgets_what_was_under_way():
    made = twin()
    made.command(command(HOME + 0.5), at_ns=100 * MS)
    made.advance(50 * MS)
    made.safe_stop("operator")
    made.advance(600 * MS)
    assert made.safe_stopped == "operator"
    assert np.abs(made.state[:6] - HOME).max() < 0.1


def test_success_is_seen_and_reset_begins_anew():
    made = twin(settings=PickCubeSettings(cube_x_m=(0.2, 0.2), cube_y_m=(0.0, 0.0)))
    assert pick(made)
    events = made.trace()
    assert events.event_names.count("success") == 1
    assert events.event_time_ns[0] <= made.now_ns
    made.reset(1)
    assert not made.success
    assert made.now_ns == 0
    np.testing.assert_allclose(made.state[6:8], [0.2, 0.0])
    assert made.trace().event_names == ()


def test_images_are_captured_with_the_joints_and_arrive_with_them():
    cameras = {"front": CameraSpec(64, 48, 10.0, "front_optical", 40.0)}
    card = replace(CARD, cameras=cameras)
    made = twin(card, latency=LatencyCard(observation=Delay(0.030), command=Delay()))
    first, stamp_ns = made.read_camera("front")
    assert stamp_ns == 0
    assert first.shape == (48, 64, 3)
    made.command(command(HOME + [0.8, 0.0, 0.0, 0.0, 0.0, 0.0]))
    # The next one is captured at 100 ms and arrives at 130 ms.
    made.advance(129 * MS)
    assert made.read_camera("front")[1] == 0
    made.advance(130 * MS)
    second, stamp_ns = made.read_camera("front")
    assert stamp_ns == 100 * MS
    assert (second != first).any()
    assert made.read_camera("front")[0] is second
    with pytest.raises(ValueError, match="read-only"):
        second[0, 0] = 0
    made.disconnect()


def test_an_image_shows_the_state_of_its_stamp():
    from sim.worlds.so101_view import So101View

    card = replace(CARD, cameras={"wrist": CameraSpec(48, 48, 25.0, "wrist_optical", 62.0)})
    made = twin(card)
    made.command(command(HOME + 0.2))
    made.advance(310 * MS)
    image, stamp_ns = made.read_camera("wrist")
    assert stamp_ns == 280 * MS
    trace = made.trace()
    row = trace.qpos[trace.time_ns.tolist().index(stamp_ns)]
    with So101View() as view:
        np.testing.assert_array_equal(view.image(row, "wrist", width=48, height=48), image)
    made.disconnect()


def test_the_description_is_the_arms_urdf():
    assert 'name="shoulder_pan"' in twin().description


def test_a_camera_that_is_not_there_and_a_closed_wire_are_refused():
    made = twin()
    with pytest.raises(ConfigError, match="no camera 'top'.*one of front, wrist"):
        made.read_camera("top")
    made.disconnect()
    with pytest.raises(ConfigError, match="read_camera on a robot that is not connected"):
        made.read_camera("front")


def test_a_card_of_another_arm_is_refused():
    limits = CARD.commands["joints"].limits
    five = {name: limits[name] for name in so101.JOINTS[:5]}
    lag = LatencyCard(observation=Delay(), command=Delay(), actuator_lag_s=0.05)
    terms = dict(CARD.observations)
    terms["cube_position"] = replace(terms["cube_position"], frame="world")
    camera = replace(CARD.cameras["front"], fovy_deg=70.0)
    wrong = [
        (with_command(limits=five), "joint position commands shoulder_pan"),
        (with_command(unit="m"), "in m. Expected shoulder_pan"),
        (with_command(safe_action=SafeAction.DAMP), "safe action damp. Expected hold"),
        (replace(CARD, latency=lag), "actuator_lag_s 0.05"),
        (replace(CARD, observations=terms), "frame 'world' of 'cube_position'"),
        (replace(CARD, cameras={"front": camera}), "fovy_deg 70.0. Expected .* fovy_deg 40.0"),
        (replace(CARD, cameras={"top": camera}), "the twin has no camera 'top'"),
    ]
    for card, text in wrong:
        with pytest.raises(ConfigError, match=text):
            ArmTwin(card, seed=0)
