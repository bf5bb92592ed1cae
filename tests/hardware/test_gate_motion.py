"""Protects how joint and Cartesian commands move: exactly where they can, else within the limits."""

import dataclasses
import math

import numpy as np
import pytest
from gate_cards import HOME, JOINTS, arm_card, joint_spec, tool_of
from gate_line import KEEP, LIMITED, PASS, SAFE, Line

from hardware.command import Command, CommandKind, SafeAction
from hardware.gate import GATE_SOURCE, CommandGate, GateConfig
from hardware.kinematics import tool_chains
from hardware.robot import Box, JointFrame, Limit, Observation, TermSpec, ToolSpec


def joint_line(*, config=None, workspace=None, **changes):
    """A gate for the test arm's joints; without a workspace unless given."""
    card = arm_card(commands={"joints": joint_spec(**changes)}, workspace=workspace)
    return Line(CommandKind.JOINT_POSITION, card=card, config=config)


def excess(line, positions):
    """How far the worst finite difference of even set-points is beyond its limit (negative: inside)."""
    x = np.vstack([[HOME]] * 3 + [np.asarray(positions)])
    dt = line.period_s
    v = np.diff(x, axis=0) / dt
    a = np.diff(v, axis=0) / dt
    j = np.diff(a, axis=0) / dt
    limits = line.spec.limit_array
    shares = [
        np.abs(v) / limits("velocity"),
        np.abs(a) / limits("acceleration"),
        np.abs(j) / limits("jerk"),
    ]
    ranges = max((limits("lower") - x).max(), (x - limits("upper")).max())
    return max(float(share.max()) for share in shares) - 1.0, ranges


def smooth(t, duration_s):
    """From 0 to 1 without a jerk at the ends."""
    s = np.clip(t / duration_s, 0.0, 1.0)
    return s**4 * (35.0 - 84.0 * s + 70.0 * s**2 - 20.0 * s**3)


def test_a_sequence_within_the_limits_passes_bit_for_bit():
    line = joint_line()
    t = np.arange(1, 400)[:, None] * line.period_s
    swing = np.array([1.5, 0.6, 1.1]) * np.sin(t * np.array([1.3, 1.7, 1.1]) + 0.3)
    path = np.array(HOME) + smooth(t, 3.0) * (swing + np.array([0.0, 0.1, 0.0]))
    assert excess(line, path)[0] < -0.02
    for row in path:
        given = line.command(row)
        verdict = line.give(given)
        assert verdict.action is PASS, verdict
        assert verdict.command is given
        line.after()


def test_a_swing_that_touches_the_end_of_the_range_passes_bit_for_bit():
    """Stopping plans must not be more careful than the limits are."""
    line = joint_line()
    t = np.arange(1, 800) * line.period_s
    high, low = 0.5, -1.5
    swing = (high + low) / 2 + (high - low) / 2 * np.sin(1.8 * t - 0.4) * smooth(t, 4.0)
    path = np.tile(HOME, (len(t), 1))
    path[:, 1] = swing * smooth(t, 2.0) + HOME[1] * (1 - smooth(t, 2.0))
    assert path[:, 1].max() > high - 1e-3
    assert excess(line, path)[0] < 0.0
    assert all(line.give(line.command(row)).action is PASS and line.after() for row in path)


def test_motion_at_exactly_the_limits_passes_bit_for_bit():
    """Full jerk up to full acceleration up to full speed, and back to rest."""
    line = joint_line()
    dt, limit = line.period_s, line.spec.limits["turn"]
    ramp, hold, cruise = 3, 9, 20
    a = limit.acceleration * np.concatenate(
        [np.linspace(0, 1, ramp + 1)[1:], np.ones(hold), np.linspace(1, 0, ramp + 1)[1:]]
    )
    a = np.concatenate([a, np.zeros(cruise), -a])
    v = np.cumsum(a) * dt
    assert limit.acceleration / ramp / dt == pytest.approx(limit.jerk)
    assert v.max() == pytest.approx(0.96 * limit.velocity)
    path = np.tile(HOME, (len(a), 1))
    path[:, 0] = -1.0 + np.cumsum(v) * dt
    line.posture = (-1.0, *HOME[1:])
    for row in path:
        verdict = line.send(row)
        assert verdict.action is PASS, verdict
        line.after()
    assert path[-1, 0] < limit.upper


def test_a_step_is_limited_and_arrives_exactly():
    line = joint_line()
    goal = (1.0, -0.2, 0.4)
    sent = []
    while not sent or sent[-1].action is LIMITED:
        sent.append(line.send(goal))
        line.after()
    assert sent[0].reasons == ("acceleration", "jerk", "velocity")
    assert sent[0].command.source == "policy"
    path = np.array([v.command.values for v in sent])
    assert path[-1].tolist() == list(goal)
    limits, ranges = excess(line, path)
    assert limits < 1e-9
    assert ranges <= 0.0
    # Without overshoot, and nearly as fast as anything could: 0.9 rad at 12 rad/s² and 200 rad/s³.
    assert np.all(np.diff(path[:, 0]) >= 0.0)
    fastest_s = 2.0 * math.sqrt(0.9 / 12.0) + 12.0 / 200.0
    assert len(path) * line.period_s < 1.1 * fastest_s


def test_a_target_that_runs_ahead_is_caught_up_with_and_then_passes():
    line = joint_line()
    path = []
    for k in range(250):
        t = k * line.period_s
        verdict = line.send((1.0 + 0.8 * math.sin(1.5 * t), HOME[1], HOME[2]))
        path.append(verdict.command.values)
        line.after()
    assert verdict.action is PASS
    assert excess(line, path)[0] < 1e-9


def test_a_command_beyond_the_range_stops_at_its_end():
    line = joint_line()
    for _ in range(120):
        verdict = line.send((50.0, -1e308, HOME[2]))
        line.after()
    assert verdict.reasons == ("range",)
    assert verdict.command.values.tolist() == [2.0, -1.5, HOME[2]]


def test_ticks_without_a_command_go_on_towards_the_last_one():
    line = joint_line(timeout_s=2.0, robot_timeout_s=3.0, max_age_s=2.0)
    goal = (0.4, -0.5, 1.0)
    path = [line.send(goal).command.values]
    for _ in range(60):
        verdict = line.after().tick()
        if verdict.action is not KEEP:
            path.append(verdict.command.values)
    assert verdict.action is KEEP
    assert verdict.command.values.tolist() == list(goal)
    assert excess(line, path)[0] < 1e-9


def test_a_late_command_is_waited_for_half_a_period():
    line = joint_line()
    line.engage()
    moving = [HOME[0] + 1.6e-3 * k**3 / 6 for k in range(1, 4)]
    for x in moving:
        assert line.after().send((x, *HOME[1:])).action is PASS
    assert line.after(1.49 * line.period_s).tick().action is KEEP
    braking = line.after(0.02 * line.period_s).tick()
    assert braking.action is LIMITED
    assert braking.command.values[0] > moving[-1]


def test_a_burst_moves_one_period_and_the_newest_counts():
    line = joint_line()
    line.engage()
    line.after()
    first = line.send((HOME[0] + 1e-4, *HOME[1:]))
    assert first.action is PASS
    for k in range(2, 9):
        verdict = line.after(0.0005).send((HOME[0] + k * 1e-4, *HOME[1:]))
        assert (verdict.action, verdict.reasons) == (KEEP, ("pace",))
        assert verdict.command.values[0] == HOME[0] + 1e-4
    # At the next place on the grid, the newest of them goes out: a copy, the array may be reused.
    line.after(0.0165)
    verdict = line.tick()
    assert verdict.action is PASS
    assert verdict.command.values[0] == HOME[0] + 8e-4


def test_a_command_that_waited_goes_out_as_it_was_judged():
    line = joint_line()
    line.engage()
    waiting = line.after(0.001).command((HOME[0] + 1e-4, *HOME[1:]))
    assert line.give(waiting).action is KEEP
    waiting.values[:] = math.nan
    verdict = line.after(0.02).tick()
    assert verdict.action is PASS
    assert verdict.command.values.tolist() == [HOME[0] + 1e-4, *HOME[1:]]


def test_jitter_of_half_a_period_loses_no_command():
    line = joint_line()
    line.engage()
    begun = line.now
    lateness = np.random.default_rng(3).integers(0, line.spec.period_ns // 2, 600)
    lateness[:4] = 0, 10_000_000, 0, 10_000_000
    for k, late in enumerate(lateness.tolist(), start=1):
        line.now = begun + k * line.spec.period_ns + late
        assert line.send((HOME[0] + 1e-5 * k, *HOME[1:])).action is PASS


# --- where motion starts ----------------------------------------------------------------------------------


def test_motion_starts_at_the_measured_posture():
    line = joint_line()
    line.posture = (-1.0, 0.2, 0.3)
    verdict = line.send(HOME)
    assert verdict.action is LIMITED
    # One period of full jerk from rest.
    jerk = line.spec.limit_array("jerk") * line.period_s**3
    assert np.all(np.abs(verdict.command.values - line.posture) <= jerk * (1 + 1e-9))


def test_a_posture_far_out_of_range_is_no_start():
    line = joint_line()
    # Two per cent of the range of 2.5 rad are 0.05 rad.
    line.posture = (HOME[0], HOME[1], -0.051)
    verdict = line.send()
    assert (verdict.action, verdict.reasons, verdict.command) == (SAFE, ("idle", "start"), None)
    line.posture = (HOME[0], HOME[1], -0.049)
    verdict = line.after().send()
    assert verdict.action is LIMITED
    assert 0.0 <= verdict.command.values[2] <= 300.0 * line.period_s**3


def test_a_start_outside_the_workspace_is_refused():
    line = Line(CommandKind.JOINT_POSITION)
    line.posture = (1.9, -0.7, 1.2)
    verdict = line.send()
    assert (verdict.action, verdict.reasons) == (SAFE, ("idle", "workspace"))
    line.posture = HOME
    assert line.after().send().action is PASS


def test_after_a_short_gap_motion_restarts_from_rest_at_the_last_set_point():
    line = joint_line(timeout_s=1.0, max_age_s=1.0, robot_timeout_s=2.0)
    for _ in range(15):
        moving = line.send((2.0, *HOME[1:]))
        line.after()
    # Nothing called the gate for a while; the robot has long arrived at the last set-point.
    line.posture = tuple(moving.command.values)
    verdict = line.after(0.5).send((2.0, *HOME[1:]))
    first = verdict.command.values[0] - moving.command.values[0]
    assert 0.0 < first <= 200.0 * line.period_s**3 * (1 + 1e-9)


def test_after_a_long_gap_motion_restarts_at_the_measured_posture():
    line = joint_line()
    line.engage()
    line.posture = (-0.5, -0.5, 1.0)
    verdict = line.after(line.spec.robot_timeout_s).send(HOME)
    assert np.allclose(verdict.command.values, line.posture, atol=4e-3)


def test_a_robot_that_acted_by_itself_is_not_followed_from_the_old_set_point():
    line = joint_line(timeout_s=5.0, max_age_s=5.0)
    line.engage()
    verdict = line.after(line.spec.robot_timeout_s).tick()
    assert (verdict.action, verdict.reasons, verdict.command) == (SAFE, ("staleness",), None)


# --- holding ----------------------------------------------------------------------------------------------


def test_a_hold_brakes_within_the_limits_and_stays():
    line = joint_line()
    path = []
    for _ in range(18):
        path.append(line.send((2.0, -1.4, 2.4)).command.values)
        line.after()
    assert abs(path[-1][0] - path[-2][0]) > 0.5 * 3.0 * line.period_s
    line.gate.engage_estop("test")
    holds = []
    for _ in range(60):
        holds.append(line.send((2.0, -1.4, 2.4)))
        line.after()
    assert all(v.action is SAFE and v.command.source == GATE_SOURCE for v in holds)
    held = [v.command.values for v in holds]
    limits, ranges = excess(line, path + held)
    assert limits < 1e-9
    assert ranges <= 0.0
    assert held[-1].tolist() == held[-20].tolist()
    # It really brakes: not much longer than full deceleration needs.
    assert abs(held[-1][0] - path[-1][0]) < 3.0**2 / 12.0
    assert all(np.diff([row[0] for row in held]) >= 0.0)


def test_after_a_hold_motion_goes_on_from_the_held_set_point():
    line = joint_line()
    for _ in range(18):
        line.send((2.0, -1.4, 2.4))
        line.after()
    held = None
    for _ in range(40):
        held = line.tick().command
        line.after()
    # The servo has an error; the set-point must not jump by it.
    line.posture = tuple(held.values + 0.02)
    verdict = line.send((2.0, -1.4, 2.4))
    assert np.all(np.abs(verdict.command.values - held.values) < 4e-3)


def test_a_hold_goes_on_for_as_long_as_it_takes():
    line = joint_line()
    line.engage()
    for _ in range(500):
        verdict = line.after().tick()
    assert verdict.command.values.tolist() == list(HOME)
    assert verdict.command.stamp_ns == line.data


# --- authority --------------------------------------------------------------------------------------------


def test_authority_grows_from_the_posture_at_engagement():
    line = joint_line(authority_ramp_s=1.0)
    goal = (HOME[0] + 0.4, *HOME[1:])
    for k in range(51):
        verdict = line.send(goal)
        way = verdict.command.values[0] - HOME[0]
        assert -1e-12 <= way <= 0.4 * (k / 50 + 0.06)
        if k < 50:
            assert verdict.action is LIMITED
            assert "authority" in verdict.reasons
        line.after()
    for _ in range(10):
        verdict = line.send(goal)
        line.after()
    assert verdict.action is PASS
    # Another source begins anew.
    verdict = line.send((HOME[0], *HOME[1:]), source="operator")
    assert "authority" in verdict.reasons
    assert verdict.command.values.tolist() == list(goal)


def test_authority_begins_anew_after_a_safe_action():
    line = joint_line(authority_ramp_s=0.1)
    line.send()
    assert line.after(0.1).send().action is PASS
    line.after(line.spec.timeout_s).tick()
    verdict = line.after().send((0.2, *HOME[1:]))
    assert verdict.reasons == ("authority",)
    assert verdict.command.values.tolist() == list(HOME)


# --- workspace --------------------------------------------------------------------------------------------


def test_the_tool_stays_in_the_workspace_and_slides_along_its_side():
    line = Line(CommandKind.JOINT_POSITION)
    path = []
    for _ in range(150):
        verdict = line.send((-1.0, -0.9, 1.7))
        path.append(verdict.command.values)
        line.posture = tuple(verdict.command.values)
        line.after()
    tool = np.array([tool_of(row) for row in path])
    assert "workspace" in verdict.reasons
    assert tool[:, 1].min() >= -0.3 - 1e-9
    assert tool[-1, 1] < -0.295
    assert path[-1][1:].tolist() == pytest.approx([-0.9, 1.7])
    assert excess(line, path)[0] < 1e-9
    # And comes back from it.
    for _ in range(100):
        verdict = line.send()
        line.after()
    assert verdict.action is PASS


def test_every_tool_stays_in_its_own_workspace_and_does_not_hold_the_other_back():
    """Two of the test arm at one base; the right one may go less far to its side than the card says."""
    arm, spec = arm_card(), joint_spec()
    names = [f"{side}_{name}" for side in ("left", "right") for name in spec.limits]
    tools = {
        side: ToolSpec(
            tuple(dataclasses.replace(f, name=f"{side}_{f.name}" if f.name else "") for f in chain),
            Box((0.05, -0.1, 0.02), (0.5, 0.3, 0.45)) if side == "right" else None,
        )
        for side, chain in (("left", arm.tools["arm"].chain), ("right", arm.tools["arm"].chain))
    }
    card = arm_card(
        tools=tools,
        commands={"joints": joint_spec(limits=dict(zip(names, [*spec.limits.values()] * 2, strict=True)))},
        observations={"joint_position": TermSpec(tuple(names), "rad")},
    )
    gate = CommandGate(card, "joints")
    now, posture = 10**9, np.array([*HOME, *HOME])
    lowest = {"left": 0.0, "right": 0.0}
    causes = set()
    # The left arm swings inside; the right one is told to go out by its side, then both are.
    for k in range(300):
        left = HOME[0] + 0.1 * (1.0 - math.cos(0.05 * k)) if k < 200 else -1.0
        wanted = np.array([left, *HOME[1:], -0.6, *HOME[1:]])
        command = Command(CommandKind.JOINT_POSITION, tuple(names), wanted, now, now, "operator")
        state = Observation({"joint_position": posture}, now, now)
        verdict = gate.filter(command, state, now, now)
        posture = verdict.command.values
        for side, row in (("left", posture[:3]), ("right", posture[3:])):
            lowest[side] = min(lowest[side], tool_of(row)[1])
        if k < 200:
            causes |= set(verdict.reasons)
            assert posture[0] == pytest.approx(left, abs=1e-12), "the left arm is held back"
        now += spec.period_ns
    assert "workspace" in causes
    assert -0.1 - 1e-9 <= lowest["right"] < -0.098
    assert -0.3 - 1e-9 <= lowest["left"] < -0.295


def test_tools_on_one_waist_are_kept_inside_together():
    """The waist takes one tool out of its box where it brings the other one in."""
    upright = (1.0, 0.0, 0.0, 0.0)
    waist = JointFrame("turn", (0.0, 0.0, 0.0), upright)
    tools = {
        side: ToolSpec(
            (waist, JointFrame(name, (0.0, y, 0.1), upright), JointFrame("", (0.3, 0.0, 0.0), upright)),
            Box((-0.1, y - 0.15, 0.0), (0.6, y + 0.15, 0.5)),
        )
        for side, name, y in (("left", "lift", 0.2), ("right", "bend", -0.2))
    }
    line = joint_line()
    card = arm_card(tools=tools, workspace=None, commands={"joints": joint_spec()})
    line.gate = CommandGate(card, "joints")
    line.posture = (0.0, 0.0, 0.0)
    chains = tool_chains(card, card.commands["joints"].names)
    random = np.random.default_rng(3)
    told = set()
    for _ in range(40):
        goal = random.uniform((-1.0, -1.0, 0.0), (1.0, 0.5, 2.0))
        for _ in range(15):
            verdict = line.send(tuple(goal))
            line.posture = tuple(verdict.command.values)
            line.after()
            told |= set(verdict.reasons)
            for side, chain in chains.items():
                x, y, _ = chain.tool_positions(verdict.command.values[None])[0]
                box = tools[side].workspace
                assert box.lower_m[0] - 1e-9 <= x <= box.upper_m[0] + 1e-9
                assert box.lower_m[1] - 1e-9 <= y <= box.upper_m[1] + 1e-9
    assert "workspace" in told


def test_cartesian_commands_stop_at_the_workspace_and_say_so():
    line = Line(CommandKind.CARTESIAN_POSITION)
    for _ in range(100):
        verdict = line.send((0.7, 0.1, 0.2))
        line.after()
    # 0.7 is out of range as well as of the workspace, 0.55 of the workspace alone.
    assert verdict.reasons == ("range",)
    assert verdict.command.values.tolist() == [0.5, 0.1, 0.2]
    assert line.send((0.55, 0.1, 0.2)).reasons == ("workspace",)


# --- cards that do not fit ----------------------------------------------------------------------------------


def test_the_posture_that_a_card_measures_must_be_what_it_commands():
    spec = joint_spec(limits=dict(reversed(joint_spec().limits.items())))
    with pytest.raises(ValueError, match="'joint_position' does not measure what is commanded") as error:
        CommandGate(arm_card(commands={"joints": spec}), "joints")
    assert "Expected bend, lift, turn in rad, in this order" in str(error.value)
    assert "posture_term" in str(error.value)


def test_another_posture_term_can_be_named():
    card = arm_card()
    terms = {"measured": card.observations["joint_position"]}
    card = dataclasses.replace(card, observations=terms, workspace=None)
    gate = CommandGate(card, "joints", config=GateConfig(posture_term="measured"))
    line = joint_line()
    state = line.state()
    state = dataclasses.replace(state, values={"measured": state.values["joint_position"]})
    assert gate.filter(line.command(), state, line.data, line.now).action is PASS


def test_a_workspace_needs_kinematics():
    card = dataclasses.replace(arm_card(), tools={})
    with pytest.raises(ValueError, match="robot card 'test_arm': workspace: the card has a workspace"):
        CommandGate(card, "joints")


def test_a_workspace_must_leave_room():
    card = arm_card(workspace=dataclasses.replace(arm_card().workspace, lower_m=(0.7, -0.3, 0.0),
                                                  upper_m=(0.9, 0.3, 0.4)))  # fmt: skip
    with pytest.raises(ValueError, match=r"range and workspace leave nothing for 'x' \(0.7 to 0.6\)"):
        CommandGate(card, "tool")


def test_an_axis_that_never_stops_is_refused():
    slow = {name: Limit(-2.0, 2.0, velocity=1.0, acceleration=0.01, jerk=1.0) for name in JOINTS}
    with pytest.raises(ValueError, match="stopping 'turn' from full speed takes 100 s"):
        CommandGate(arm_card(commands={"joints": joint_spec(limits=slow)}), "joints")


def test_a_safe_action_other_than_hold_is_left_to_the_robot():
    line = joint_line(safe_action=SafeAction.RAMP_TO_ZERO)
    line.engage()
    assert line.after(line.spec.timeout_s).tick().command is None
