"""Protects authority: who has it, how it begins and ends, and that everything uncertain ends in hold."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware import Observation, load_robot_card
from hardware.errors import ConfigError
from hardware.kinematics import tool_chains
from hardware.robot import Box, ToolSpec
from hardware.teleop import Event, LinkState, Operator, Reading, ScriptedDevice, load_mapping
from hardware.teleop.mapping import Axis, Follow, Part, PartMode, TeleopMapping
from hardware.teleop.reading import lost

CARD = load_robot_card("so101_twin")
SPEC = CARD.commands["joints"]
HOME = np.array([0.0, -0.55, 0.35, 1.45, 0.0, 0.5])
TICK_NS = 20_000_000


class Bench:
    """An operator at an arm that is where it is told to be."""

    def __init__(self, mapping="gamepad_arm", **fields):
        mapping = mapping if isinstance(mapping, TeleopMapping) else load_mapping(mapping)
        self.operator = Operator(dataclasses.replace(mapping, **fields), CARD, "joints")
        self.now_ns = 1_000_000_000
        self.joints = HOME.copy()
        self.state_age_ns = 0
        self.last = None

    def say(self, steps=1, *, pressed=(), age_ns=0, stopped=False, follow=True, **controls):
        reading = Reading(True, 0, {k: float(v) for k, v in controls.items()}, pressed=frozenset(pressed))
        for _ in range(steps):
            self.now_ns += TICK_NS
            self.take(
                dataclasses.replace(reading, heard_ns=self.now_ns - age_ns), stopped=stopped, follow=follow
            )
        return self.last

    def take(self, reading, *, stopped=False, follow=True):
        received = self.now_ns - self.state_age_ns
        state = Observation({"joint_position": self.joints.copy()}, received, received)
        self.last = self.operator.step(reading, state, self.now_ns, is_stopped=stopped)
        if follow and self.last.targets is not None:
            self.joints = self.last.targets
        return self.last

    def engage(self, steps=1, **controls):
        self.say(2)
        return self.say(steps, right_shoulder=1, **controls)


def tool(joints):
    return tool_chains(CARD, SPEC.names)["arm"].tool_positions(joints[None])[0]


def test_authority_lasts_while_the_deadman_is_held():
    bench = Bench()
    assert bench.say(3).status.state is LinkState.READY
    assert bench.say(left_y=-1).targets is None, "sticks alone move nothing"
    begun = bench.say(right_shoulder=1)
    assert begun.engaged
    assert begun.targets == pytest.approx(HOME)
    assert bench.say(50, right_shoulder=1, left_y=-1).targets is not None
    assert tool(bench.joints)[0] - tool(HOME)[0] == pytest.approx(0.15, abs=0.01)
    ended = bench.say(left_y=-1)
    assert ended.released
    assert ended.targets is None
    assert not bench.say().released, "authority is given up once"


def test_a_deadman_that_is_down_at_the_start_has_to_go_up_first():
    bench = Bench()
    assert not bench.say(5, right_shoulder=1).engaged
    bench.say()
    assert bench.say(right_shoulder=1).engaged


def test_a_toggle_takes_over_and_gives_back():
    bench = Bench("keyboard_arm")
    bench.say(2)
    assert bench.say(space=1).engaged
    assert bench.say(10, space=1).engaged, "a held key is one press"
    assert bench.say(10).engaged
    assert bench.say(space=1).released
    assert not bench.say(5).engaged
    assert bench.say(pressed=["space"]).engaged, "a press too short to be seen held counts"


def test_a_lost_device_ends_in_hold_and_needs_to_be_engaged_anew():
    bench = Bench()
    assert bench.engage(10, left_y=-1).engaged
    bench.now_ns += TICK_NS
    gone = bench.take(lost("unplugged"))
    assert gone.released
    assert gone.targets is None
    assert gone.status.state is LinkState.LOST
    assert gone.status.message == "unplugged"
    assert not bench.say(10, right_shoulder=1, left_y=-1).engaged, "still held down when it came back"
    bench.say()
    assert bench.say(right_shoulder=1).engaged


def test_silence_is_a_lost_device():
    bench = Bench()
    bench.engage(5)
    reading = Reading(True, bench.now_ns, {"right_shoulder": 1.0, "left_y": -1.0})
    engaged = []
    for _ in range(40):
        bench.now_ns += TICK_NS
        engaged.append(bench.take(reading).engaged)
    # lost_after_s of the mapping: half a second, 25 ticks.
    assert engaged == [True] * 25 + [False] * 15
    assert bench.last.status.link_age_s == pytest.approx(0.8)


def test_a_robot_that_is_not_measured_is_not_commanded():
    bench = Bench()
    bench.engage(3)
    bench.state_age_ns = 600_000_000
    ended = bench.say(right_shoulder=1)
    assert ended.released
    assert ended.status.message == "the robot is not measured: holding"
    reading = Reading(True, bench.now_ns, {"right_shoulder": 1.0})
    assert not bench.operator.step(reading, None, bench.now_ns).engaged
    bench.state_age_ns = 0
    bench.joints[0] = math.nan
    bench.say()
    assert not bench.say(right_shoulder=1).engaged


def test_the_emergency_stop_is_said_for_a_second_and_ends_authority():
    bench = Bench()
    bench.engage(3)
    stopped = bench.say(right_shoulder=1, pressed=["b"])
    assert stopped.stop
    assert stopped.released
    assert stopped.status.state is LinkState.STOPPED
    assert bench.say(49, right_shoulder=1).stop
    assert not bench.say(2).stop
    assert bench.say(b=1).stop, "held down counts as well"


def test_a_stop_that_the_gate_has_latched_keeps_authority_away():
    bench = Bench()
    bench.say(2, stopped=True)
    assert not bench.say(right_shoulder=1, stopped=True).engaged
    assert bench.last.status.state is LinkState.STOPPED
    assert "release it on purpose" in bench.last.status.message
    assert not bench.say(right_shoulder=1).engaged, "released while the deadman was held"
    bench.say()
    assert bench.say(right_shoulder=1).engaged


def test_an_emergency_stop_counts_from_a_device_that_is_about_to_go():
    bench = Bench()
    bench.now_ns += TICK_NS
    assert bench.take(Reading(True, 0, {}, pressed=frozenset(["b"]))).stop


def test_words_on_the_episode_are_given_once_each():
    bench = Bench()
    assert bench.say(pressed=["y"]).events == (Event.SUCCESS,)
    assert bench.say(y=1).events == ()
    assert set(bench.say(pressed=["x", "back"]).events) == {Event.FAILURE, Event.DISCARD}


def test_a_process_that_was_stopped_does_not_leap():
    bench = Bench()
    bench.engage(2)
    before = bench.joints.copy()
    bench.now_ns += 60_000_000_000
    bench.say(right_shoulder=1, left_y=-1)
    assert np.linalg.norm(tool(bench.joints) - tool(before)) < 0.016


def test_a_clock_that_goes_back_moves_nothing():
    bench = Bench()
    bench.engage(2)
    bench.now_ns -= 10 * TICK_NS
    assert bench.say(right_shoulder=1, left_y=-1).targets == pytest.approx(HOME)


def test_the_target_never_runs_far_ahead_of_a_robot_that_is_held():
    bench = Bench()
    bench.engage(200, left_trigger=1, left_y=-1, right_y=-1, follow=False)
    assert np.abs(bench.last.targets - HOME).max() <= 0.35 + 1e-9
    assert np.abs(bench.last.targets - HOME).max() > 0.3


def test_the_gripper_and_the_tool_move_together():
    bench = Bench()
    bench.engage(20, left_y=-1, left_trigger=1)
    assert bench.joints[5] > HOME[5] + 0.4
    assert tool(bench.joints)[0] > tool(HOME)[0] + 0.05


LEADER = load_mapping("so101_leader_arm")


def leader(**fields):
    part = dataclasses.replace(LEADER.parts["arm"], **fields)
    return dataclasses.replace(LEADER, parts={"arm": part})


def test_a_follower_closes_the_gap_to_its_leader_slowly_and_then_keeps_up():
    bench = Bench(leader())
    leads = dict.fromkeys(LEADER.parts["arm"].follow, 0.0) | {"shoulder_pan": 0.6}
    bench.say(2, **leads)
    bench.say(25, service=1, **leads)
    assert bench.joints[0] == pytest.approx(0.6 * 25 * 0.02, abs=0.02), "half a second at 0.6 rad/s"
    bench.say(100, service=1, **leads)
    assert bench.joints[0] == pytest.approx(0.6)
    assert bench.joints[5] == pytest.approx(-0.17453), "the gripper's share of its range"
    leads["shoulder_pan"] = 0.64
    bench.say(1, service=1, **leads)
    assert bench.joints[0] == pytest.approx(0.64), "once together, at the joint's own speed"


def test_a_relative_follower_takes_over_the_motion_only():
    bench = Bench(leader(absolute=False))
    leads = dict.fromkeys(LEADER.parts["arm"].follow, 0.3)
    bench.say(2, **leads)
    bench.say(5, service=1, **leads)
    assert bench.joints == pytest.approx(HOME)
    bench.say(5, service=1, **(leads | {"shoulder_pan": 0.4}))
    assert bench.joints == pytest.approx(HOME + [0.1, 0, 0, 0, 0, 0])


def test_a_leader_that_gives_no_number_is_not_followed():
    bench = Bench(leader())
    bench.say(2)
    bench.say(10, service=1, shoulder_pan=math.nan)
    assert bench.joints == pytest.approx(HOME)


# --- robots with several parts ------------------------------------------------------------------------------


def two_arms():
    """A card of two SO-101 side by side, 40 cm apart."""
    names = [f"{side}_{name}" for side in ("left", "right") for name in SPEC.names]
    limits = {f"{side}_{n}": limit for side in ("left", "right") for n, limit in SPEC.limits.items()}
    term = dataclasses.replace(CARD.observations["joint_position"], names=tuple(reversed(names)))
    chain = CARD.tools["arm"].chain
    tools = {}
    for side, y in (("left", 0.2), ("right", -0.2)):
        frames = [dataclasses.replace(f, name=f"{side}_{f.name}" if f.name else "") for f in chain]
        x0, _, z0 = frames[0].origin_m
        frames[0] = dataclasses.replace(frames[0], origin_m=(x0, y, z0))
        tools[side] = ToolSpec(tuple(frames), Box((0.02, y - 0.1, 0.005), (0.42, y + 0.1, 0.42)))
    card = dataclasses.replace(
        CARD,
        commands={"joints": dataclasses.replace(SPEC, limits=limits)},
        observations={"joint_position": term},
        tools=tools,
    )
    return card, names


def two_tools():
    """A mapping of one stick a side."""
    base = load_mapping("gamepad_arm").parts["arm"]
    parts = {
        side: dataclasses.replace(
            base,
            axes={
                "x": Axis(0.15, f"{side}_y"),
                "y": Axis(0.15, f"{side}_x"),
                f"{side}_gripper": Axis(1.0, f"{side}_trigger"),
            },
        )
        for side in ("left", "right")
    }
    return dataclasses.replace(load_mapping("gamepad_arm"), parts=parts)


def steer(operator, card, names, *readings):
    """Let the robot be wherever the targets were last."""
    now, posture = 10**9, dict(zip(names, [*HOME, *HOME], strict=True))
    for controls in readings:
        now += TICK_NS
        # The measurement has another order than the command: bound by name.
        values = np.array([posture[n] for n in card.observations["joint_position"].names])
        state = Observation({"joint_position": values}, now, now)
        step = operator.step(Reading(True, now, controls), state, now)
        if step.targets is not None:
            posture = dict(zip(names, step.targets, strict=True))
    return posture


def test_two_arms_are_moved_each_by_its_own_controls():
    card, names = two_arms()
    start = dict(zip(names, [*HOME, *HOME], strict=True))
    held = {"right_shoulder": 1.0}
    moved = steer(
        Operator(two_tools(), card, "joints"), card, names, {}, {}, held, *[held | {"left_y": 1.0}] * 10
    )
    assert [n for n in names if abs(moved[n] - start[n]) > 1e-3] == [
        "left_shoulder_lift",
        "left_elbow_flex",
        "left_wrist_flex",
    ]


PAIR = load_robot_card("so101_pair_twin")
PAIR_NAMES = PAIR.commands["joints"].names


def sides_moved(before, after):
    return {name.split("_")[0] for name in before if abs(after[name] - before[name]) > 1e-3}


def test_each_arm_of_two_has_its_own_deadman():
    operator = Operator(load_mapping("gamepad_pair"), PAIR, "joints")
    start = dict(zip(PAIR_NAMES, [*HOME, *HOME], strict=True))
    both = {"left_y": -1.0, "right_y": -1.0}
    left, right = {"left_shoulder": 1.0}, {"right_shoulder": 1.0}

    def drive(*readings):
        return steer(operator, PAIR, PAIR_NAMES, {}, {}, *readings)

    # Both sticks are pushed; an arm moves while its own shoulder button is held.
    assert sides_moved(start, drive(*[both | left] * 8)) == {"left"}
    assert sides_moved(start, drive(*[both | right] * 8)) == {"right"}
    assert sides_moved(start, drive(*[both | left | right] * 8)) == {"left", "right"}
    assert sides_moved(start, drive(*[both] * 8)) == set()
    # The one that was let go stays while the other one goes on, and then goes on from where it is.
    halfway = drive(*[both | left | right] * 8, *[both | right] * 2)
    later = drive(*[both | left | right] * 8, *[both | right] * 10)
    assert sides_moved(halfway, later) == {"right"}
    again = drive(*[both | left | right] * 8, *[both | right] * 10, left | right, left | right)
    assert sides_moved(later, again) == set()


def test_a_loss_takes_the_authority_over_both_arms_and_both_deadmen_count_anew():
    operator = Operator(load_mapping("gamepad_pair"), PAIR, "joints")
    held = {"left_shoulder": 1.0, "left_y": -1.0}
    steer(operator, PAIR, PAIR_NAMES, {}, {}, *[held] * 5)
    assert operator.engaged
    state = Observation({"joint_position": np.array([*HOME, *HOME])}, 2 * 10**9, 2 * 10**9)
    step = operator.step(lost("gone"), state, 2 * 10**9)
    assert step.released
    assert step.targets is None
    # Held through the loss, and the other one pressed as well: nothing, until both have been up.
    now = 2 * 10**9
    for controls, engaged in (
        (held, False),
        (held | {"right_shoulder": 1.0}, False),
        ({}, False),
        (held, True),
    ):
        now += TICK_NS
        state = dataclasses.replace(state, stamp_ns=now, received_steady_ns=now)
        assert operator.step(Reading(True, now, controls), state, now).engaged == engaged


def test_the_page_moves_the_arm_that_its_switch_says():
    operator = Operator(load_mapping("browser_pair"), PAIR, "joints")
    start = dict(zip(PAIR_NAMES, [*HOME, *HOME], strict=True))
    pad = {"engage": 1.0, "right_y": 1.0}
    for sides in ({"left"}, {"right"}, {"left", "right"}):
        controls = pad | dict.fromkeys(sides, 1.0)
        assert sides_moved(start, steer(operator, PAIR, PAIR_NAMES, {}, {}, *[controls] * 8)) == sides


def test_each_of_two_tools_stays_in_its_own_workspace():
    card, names = two_arms()
    held = {"right_shoulder": 1.0, "left_x": 1.0, "right_x": -1.0}
    moved = steer(Operator(two_tools(), card, "joints"), card, names, {}, {}, *[held] * 100)
    row = np.array([[moved[name] for name in names]])
    y = {side: c.tool_positions(row)[0][1] for side, c in tool_chains(card, names).items()}
    assert y == pytest.approx({"left": 0.3, "right": -0.3}, abs=2e-3)


def test_a_part_in_space_is_a_tool_of_the_robot():
    mapping = load_mapping("gamepad_arm")
    mapping = dataclasses.replace(mapping, parts={"hand": mapping.parts["arm"]})
    with pytest.raises(ConfigError, match="the robot has no tool 'hand'. Expected one of arm. To mend: name"):
        Operator(mapping, CARD, "joints")


def test_a_humanoids_hands_are_moved_in_space_and_its_waist_by_itself():
    """A hand that is held in space stays where it is while the waist turns; one that is not goes with it."""
    card = load_robot_card("g1_upper_twin")
    names = card.commands["joints"].names
    operator = Operator(load_mapping("gamepad_humanoid"), card, "joints")
    chains = tool_chains(card, names)
    posture = np.array([-0.1 if "shoulder_pitch" in n else 0.1 if "elbow" in n else 0.0 for n in names])
    home = {side: chain.tool_positions(posture[None])[0] for side, chain in chains.items()}
    held = {"left_shoulder": 1.0}
    now = 10**9
    for controls in ({}, {}, held, *[held | {"left_trigger": 1.0}] * 20):
        now += TICK_NS
        state = Observation({"joint_position": posture}, now, now)
        step = operator.step(Reading(True, now, controls), state, now)
        posture = posture if step.targets is None else step.targets
    moved = dict(zip(names, posture, strict=True))
    assert moved["waist_yaw_joint"] == pytest.approx(0.2, abs=1e-3)
    assert moved["waist_roll_joint"] == moved["waist_pitch_joint"] == 0.0
    hands = {side: chain.tool_positions(posture[None])[0] for side, chain in chains.items()}
    assert hands["left"] == pytest.approx(home["left"], abs=6e-3)
    assert [n for n in names if n.startswith("right") and moved[n] not in (0.0, 0.1, -0.1)] == []
    assert np.linalg.norm(hands["right"] - home["right"]) > 0.05


def test_parts_may_follow_a_suit_joint_by_joint():
    card, names = two_arms()
    parts = {
        "arms": Part(
            PartMode.JOINTS, follow={n: Follow(n) for n in names if "gripper" not in n}, absolute=False
        ),
        "hands": Part(
            PartMode.JOINTS, axes={"left_gripper": Axis(1.0, "a"), "right_gripper": Axis(1.0, "b")}
        ),
    }
    mapping = dataclasses.replace(load_mapping("so101_leader_arm"), parts=parts, name="suit")
    operator = Operator(mapping, card, "joints")
    values = np.zeros(12)
    now, lead = 10**9, dict.fromkeys(names, 0.0)
    for i in range(8):
        now += TICK_NS
        controls = {**lead, "service": float(i > 1), "b": 1.0}
        controls["right_wrist_roll"] = 0.05 if i > 3 else 0.0
        state = Observation({"joint_position": values}, now, now)
        step = operator.step(Reading(True, now, controls), state, now)
    moved = dict(zip(names, step.targets, strict=True))
    assert moved.pop("right_wrist_roll") == pytest.approx(0.05)
    assert moved.pop("right_gripper") == pytest.approx(6 * 0.02)
    assert set(moved.values()) == {0.0}


def test_a_scripted_device_sees_what_is_shown():
    seen = []

    def script(now_ns, status):
        seen.append(status)
        return lost("over") if status else Reading(True, 0, {"a": 1.0})

    device = ScriptedDevice(script)
    device.open()
    assert device.read(5) == Reading(True, 5, {"a": 1.0})
    bench = Bench()
    device.show(bench.say().status)
    assert not device.read(6).connected
    assert seen[-1].state is LinkState.READY
    device.close()
    assert device.address == ""


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
READINGS = st.builds(
    Reading,
    st.booleans(),
    st.integers(0, 2**62),
    st.dictionaries(
        st.sampled_from(["right_shoulder", "left_x", "left_y", "right_y", "dpad_up", "left_trigger", "b"]),
        NUMBERS,
    ),
    pressed=st.frozensets(st.sampled_from(["b", "y", "right_shoulder", "nonsense"])),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(READINGS, st.integers(-(10**9), 10**9), st.booleans()), min_size=1, max_size=25))
def test_whatever_a_device_says_targets_stay_finite_near_the_robot_and_in_range(steps):
    bench = Bench()
    bench.say(2)
    bench.say(right_shoulder=1)
    for reading, jump, stopped in steps:
        bench.now_ns += jump
        before = bench.joints.copy()
        step = bench.take(reading, stopped=stopped)
        if step.targets is not None:
            assert np.isfinite(step.targets).all()
            assert (np.abs(step.targets - before) <= 0.35 + 1e-9).all()
            assert (step.targets >= SPEC.limit_array("lower") - 1e-9).all()
            assert (step.targets <= SPEC.limit_array("upper") + 1e-9).all()
