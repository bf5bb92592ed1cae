"""Protects the gate's answers, case by case and to the nanosecond: who may command, when, and what."""

import dataclasses
import math
import time

import numpy as np
import pytest
from gate_cards import HOME, REFERENCE, arm_card, command, drone_card, drone_state
from gate_line import Line
from gate_oracle import MOTION

from hardware.command import CommandKind, SafeAction
from hardware.errors import ConfigError
from hardware.gate import CommandGate, GateAction, GateConfig

KINDS = list(CommandKind)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
PASS, LIMITED, KEEP, SAFE = GateAction.PASS, GateAction.LIMITED, GateAction.KEEP, GateAction.SAFE


def answer(verdict):
    return verdict.action, verdict.reasons


# --- what passes ------------------------------------------------------------------------------------


@every_kind
def test_a_good_command_passes_as_the_same_object(kind):
    line = Line(kind)
    line.engage()
    given = line.after().command()
    verdict = line.give(given)
    assert answer(verdict) == (PASS, ())
    assert verdict.command is given
    assert line.gate.holder == "policy"


@every_kind
def test_before_the_first_command_the_robot_side_is_safe_and_nothing_is_made_up(kind):
    verdict = Line(kind).tick()
    assert answer(verdict) == (SAFE, ("idle",))
    assert verdict.command is None


@every_kind
def test_between_commands_the_last_one_stays_in_force(kind):
    line = Line(kind)
    line.engage()
    verdict = line.after().tick()
    assert answer(verdict) == (KEEP, ())
    assert verdict.command.values.tolist() == list(line.values)


@every_kind
def test_a_reused_array_does_not_change_the_command_in_force(kind):
    line = Line(kind)
    sent = line.engage().command
    sent.values[:] = 99.0
    verdict = line.after(0.001).tick()
    assert verdict.action is KEEP
    assert verdict.command.values.tolist() == list(line.values)


@every_kind
def test_the_same_object_again_is_no_sign_of_life(kind):
    line = Line(kind)
    given = line.engage().command
    for _ in range(100):
        verdict = line.after(line.spec.timeout_s / 100).give(given)
    assert verdict.action is SAFE
    assert "staleness" in verdict.reasons


# --- silence ----------------------------------------------------------------------------------------


@every_kind
def test_silence_is_judged_at_the_timeout_and_not_a_nanosecond_before(kind):
    line = Line(kind)
    line.engage()
    timeout_ns = round(line.spec.timeout_s * 1e9)
    assert line.after(ns=timeout_ns - 1).tick().action is KEEP
    assert answer(line.after(ns=1).tick()) == (SAFE, ("staleness",))
    assert line.gate.holder is None


@every_kind
def test_silence_is_judged_on_the_steady_clock(kind):
    line = Line(kind, config=GateConfig(clock_stop_s=10.0))
    line.engage()
    data = line.data
    for _ in range(100):
        line.after(line.spec.timeout_s / 100)
        line.data_offset = data - line.now
        verdict = line.tick()
    assert verdict.reasons == ("staleness",)


@every_kind
def test_a_new_command_ends_the_safe_action(kind):
    line = Line(kind)
    line.engage()
    assert line.after(line.spec.timeout_s).tick().action is SAFE
    line.after()
    line.engage()


# --- one command ------------------------------------------------------------------------------------

BAD = {
    "nan": {"index": 0, "value": math.nan},
    "inf": {"index": -1, "value": math.inf},
    "minus_inf": {"index": 1, "value": -math.inf},
}


@every_kind
@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_a_number_that_is_none_is_refused_and_not_filled(kind, bad):
    line = Line(kind)
    line.engage()
    values = list(line.values)
    values[bad["index"]] = bad["value"]
    verdict = line.after().send(values)
    assert answer(verdict) == (KEEP, ("finite",))
    assert verdict.command.values.tolist() == list(line.values)


@every_kind
def test_old_data_is_refused_beyond_the_limit_only(kind):
    line = Line(kind)
    line.engage()
    assert line.after().send(age_s=line.spec.max_age_s).action is PASS
    assert answer(line.after().send(age_s=line.spec.max_age_s + 1e-9)) == (KEEP, ("age",))


@every_kind
def test_an_old_receipt_is_refused(kind):
    line = Line(kind)
    line.engage()
    given = dataclasses.replace(
        line.after().command(), received_steady_ns=line.now - round(line.spec.timeout_s * 1e9)
    )
    assert answer(line.give(given)) == (KEEP, ("age",))


@every_kind
def test_a_stamp_ahead_of_the_clock_is_refused_beyond_the_tolerance_only(kind):
    line = Line(kind)
    line.engage()
    ahead = line.gate.config.future_tolerance_s
    assert line.after().send(age_s=-ahead).action is PASS
    assert answer(line.after().send(age_s=-ahead - 1e-9)) == (KEEP, ("future",))


@every_kind
def test_names_kind_and_shape_are_bound(kind):
    line = Line(kind)
    line.engage()
    other = next(k for k in KINDS if k is not kind)
    fine = line.command()
    for wrong in (
        line.command(names=line.spec.names[::-1]),
        line.command(kind=other),
        line.command(line.values[:-1]),
        dataclasses.replace(fine, values=fine.values.astype(np.float32)),
        dataclasses.replace(fine, values=fine.values[None]),
    ):
        assert answer(line.after().give(wrong)) == (KEEP, ("names",))


@every_kind
def test_an_unknown_source_is_refused(kind):
    line = Line(kind)
    for _ in range(5):
        verdict = line.after().send(source="stranger")
    assert answer(verdict) == (SAFE, ("idle", "source"))


@every_kind
def test_bad_commands_alone_end_in_the_safe_action(kind):
    line = Line(kind)
    line.engage()
    values = [math.nan] * len(line.values)
    verdicts = []
    while not verdicts or verdicts[-1].action is not SAFE:
        verdicts.append(line.after(line.spec.timeout_s / 8).send(values))
    assert len(verdicts) == 8
    assert verdicts[-1].reasons == ("staleness", "finite")


# --- who commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not CommandKind.MOTOR], ids=lambda k: k.value)
def test_the_more_important_source_takes_over_at_once_and_keeps_the_lease(kind):
    line = Line(kind)
    line.engage()
    assert line.after().send(source="operator").action is PASS
    assert line.gate.holder == "operator"
    lease_ns = round(line.spec.timeout_s / 2 * 1e9)
    verdict = line.after(ns=lease_ns - 1).send()
    assert answer(verdict) == (KEEP, ("source",))
    assert answer(line.after(ns=1).send()) == (PASS, ())
    assert line.gate.holder == "policy"


def test_the_lease_can_be_chosen():
    line = Line(CommandKind.RATES_THRUST, config=GateConfig(lease_s=0.03))
    line.engage(source="operator")
    assert line.after(ns=29_999_999).send().action is KEEP
    assert line.after(ns=1).send().action is PASS


def test_motors_want_three_good_commands_from_a_new_source():
    line = Line(CommandKind.MOTOR)
    assert answer(line.send()) == (SAFE, ("idle", "switch"))
    assert answer(line.after().send()) == (SAFE, ("idle", "switch"))
    assert answer(line.after().send()) == (PASS, ())


def test_a_bad_command_begins_the_count_anew():
    line = Line(CommandKind.MOTOR)
    line.send()
    line.after().send()
    assert line.after().send([math.nan] * 4).reasons == ("idle", "finite")
    assert [line.after().send().action for _ in range(3)] == [SAFE, SAFE, PASS]


def test_a_pause_begins_the_count_anew():
    line = Line(CommandKind.MOTOR)
    line.send()
    line.after().send()
    lease_s = line.spec.timeout_s / 2
    assert [line.after(lease_s).send().action, *(line.after().send().action for _ in range(2))] == [
        SAFE,
        SAFE,
        PASS,
    ]


def test_the_holder_of_the_motors_goes_on_while_another_source_proves_itself():
    line = Line(CommandKind.MOTOR)
    line.engage()
    for _ in range(2):
        assert answer(line.after().send(source="operator")) == (KEEP, ("switch",))
        assert line.send().action is PASS
    assert line.after().send(source="operator").action is PASS
    assert line.gate.holder == "operator"


def test_after_a_safe_action_the_motors_want_three_again():
    line = Line(CommandKind.MOTOR)
    line.engage()
    line.after(line.spec.timeout_s).tick()
    assert [line.after().send().action for _ in range(3)] == [SAFE, SAFE, PASS]
    # Also when the silence was noticed only with the command that ended it.
    assert line.after(line.spec.timeout_s).send().action is SAFE


def test_commands_during_a_blocked_situation_do_not_count():
    line = Line(CommandKind.MOTOR)
    line.engage()
    line.gate.report_publishers("policy", 2)
    for _ in range(5):
        assert line.after().send().reasons == ("publishers",)
    line.gate.report_publishers("policy", 1)
    assert [line.after().send().action for _ in range(3)] == [SAFE, SAFE, PASS]


@every_kind
def test_two_publishers_of_one_source_are_not_trusted_while_it_lasts(kind):
    line = Line(kind)
    line.engage()
    line.gate.report_publishers("policy", 2)
    assert answer(line.after().send()) == (SAFE, ("publishers",))
    line.gate.report_publishers("policy", 1)
    line.after()
    line.engage()


# --- emergency stop -----------------------------------------------------------------------------------


@every_kind
def test_the_emergency_stop_stays_until_the_reset_and_then_wants_a_new_command(kind):
    line = Line(kind)
    line.engage()
    line.gate.engage_estop("somebody shouted")
    line.gate.engage_estop("again")
    for _ in range(20):
        assert answer(line.after().send()) == (SAFE, ("estop",))
    assert line.gate.estop_reason == "somebody shouted"
    line.gate.reset()
    assert line.after().send().reasons == ("estop",)
    line.gate.reset_estop()
    assert line.gate.estop_reason is None
    assert answer(line.after().tick()) == (SAFE, ("idle",))
    line.after()
    line.engage()


def test_an_emergency_stop_without_a_reason_is_one():
    line = Line(CommandKind.MOTOR)
    line.gate.engage_estop("")
    assert line.tick().reasons == ("estop",)


def test_an_operator_link_that_was_heard_must_go_on():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    # Nobody misses a link that never was.
    for _ in range(100):
        assert line.after().send().action is PASS
    line.gate.operator_heartbeat(pressed=False, steady_now_ns=line.now)
    heard = line.now
    while line.now < heard + 490_000_000:
        assert line.after().send().action is PASS
    line.now = heard + 499_999_999
    assert line.send().action is PASS
    line.now += 1
    assert line.send().reasons == ("estop",)
    assert line.gate.estop_reason == "the operator link fell silent"
    # A reset does not help while the link is silent.
    line.gate.reset_estop()
    assert line.after().send().reasons == ("estop",)
    line.gate.operator_heartbeat(pressed=False, steady_now_ns=line.now)
    assert line.after().send().reasons == ("estop",)
    line.gate.reset_estop()
    assert line.after().send().action is PASS


def test_a_link_released_on_purpose_may_be_silent():
    line = Line(CommandKind.RATES_THRUST)
    line.gate.operator_heartbeat(pressed=False, steady_now_ns=line.now)
    line.gate.release_operator()
    line.after(5.0)
    line.engage()


def test_the_pressed_stop_holds_against_a_reset():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    line.gate.operator_heartbeat(pressed=True, steady_now_ns=line.now)
    assert line.after().send().reasons == ("estop",)
    line.gate.reset_estop()
    assert line.after().send().reasons == ("estop",)
    assert line.gate.estop_reason == "the operator pressed stop"
    line.gate.operator_heartbeat(pressed=False, steady_now_ns=line.now)
    assert line.after().send().reasons == ("estop",)
    line.gate.reset_estop()
    assert line.after().send().action is PASS


def test_a_new_episode_keeps_the_operator_link():
    line = Line(CommandKind.RATES_THRUST)
    line.gate.operator_heartbeat(pressed=False, steady_now_ns=line.now)
    line.gate.reset()
    line.at(-500.0)
    line.engage()
    assert line.after(0.5).send().reasons == ("estop",)


# --- clocks -------------------------------------------------------------------------------------------


@every_kind
def test_a_data_clock_set_back_is_not_trusted_until_it_has_run_on(kind):
    line = Line(kind)
    line.engage()
    line.data_offset = -1_000_000_000
    back = line.after().now
    assert answer(line.send()) == (SAFE, ("clock",))
    recover_ns = round(line.gate.config.clock_recover_s * 1e9)
    while line.now + line.spec.period_ns < back + recover_ns:
        assert line.after().send().reasons == ("clock",)
    line.now = back + recover_ns - 1
    assert line.send().reasons == ("clock",)
    assert "clock" not in line.after(ns=1).send().reasons
    line.after()
    line.engage()


def test_a_small_correction_of_the_clock_is_borne():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    line.data_offset = -round(line.gate.config.clock_back_tolerance_s * 1e9) - line.spec.period_ns
    assert line.after().send().action is PASS
    line.data_offset -= 1
    assert line.send().reasons == ("clock",)


@every_kind
def test_a_data_clock_that_stops_is_found_out_at_the_limit(kind):
    line = Line(kind, config=GateConfig(clock_stop_s=0.06))
    line.engage()
    data = line.data
    stop = line.now + 60_000_000
    verdicts = []
    for now in (stop - 40_000_000, stop - 20_000_000, stop - 1, stop):
        line.now = now
        line.data_offset = data - now
        verdicts.append(line.send())
    assert [v.action for v in verdicts[:3]].count(SAFE) == 0
    assert answer(verdicts[3]) == (SAFE, ("clock",))
    # It runs again: trusted after a while, in data time and in steady time.
    for _ in range(round(line.gate.config.clock_recover_s / line.period_s) - 1):
        assert line.after().send().reasons == ("clock",)
    line.after()
    line.engage()


def test_a_clock_that_jumps_ahead_after_a_stop_is_not_trusted_for_that():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    line.data_offset = -line.spec.period_ns * 50
    line.after(ns=0)
    line.now += line.spec.period_ns * 50
    assert line.send().reasons == ("clock",)
    line.data_offset += 10**10
    assert line.after().send().reasons == ("clock",)


@every_kind
def test_a_steady_clock_that_goes_back_says_that_nothing_is_known(kind):
    line = Line(kind)
    line.engage()
    line.after(-1.0)
    verdict = line.send()
    assert "clock" in verdict.reasons
    assert verdict.command is None


def test_two_threads_may_bring_their_times_in_the_other_order():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    line.after()
    late = line.now - 300_000
    assert line.send().action is PASS
    given = line.command()
    assert line.gate.filter(given, line.state(), line.data, late).action is PASS


@every_kind
def test_a_new_episode_begins_with_new_clocks(kind):
    line = Line(kind)
    line.engage()
    line.gate.reset()
    line.at(-900.0)
    line.engage()


# --- the state ----------------------------------------------------------------------------------------


@every_kind
def test_without_a_state_nothing_passes(kind):
    line = Line(kind)
    for _ in range(5):
        verdict = line.after().send(state=None)
    assert answer(verdict) == (SAFE, ("state_missing",))


@every_kind
def test_an_incomplete_state_is_none(kind):
    line = Line(kind)
    line.engage()
    state = line.after().state()
    term = next(iter(state.values))
    partial = dataclasses.replace(state, values={k: v for k, v in state.values.items() if k != term})
    short = dataclasses.replace(state, values={**state.values, term: state.values[term][:-1]})
    assert line.send(state=partial).reasons == ("state_missing",)
    assert line.send(state=short).reasons == ("state_missing",)
    assert line.after().send().reasons != ("state_missing",)


@every_kind
def test_only_the_terms_that_are_asked_for_must_be_there(kind):
    needed = "joint_position" if kind is CommandKind.JOINT_POSITION else None
    needed = "tool_position" if kind is CommandKind.CARTESIAN_POSITION else needed or "position"
    line = Line(kind, config=GateConfig(state_terms=(needed,)))
    for _ in range(3):
        state = line.after().state()
        verdict = line.send(state=dataclasses.replace(state, values={needed: state.values[needed]}))
    assert verdict.action is PASS


@every_kind
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_state_with_a_number_that_is_none_is_not_trusted(kind, bad):
    line = Line(kind)
    line.engage()
    for term in line.state().values:
        state = line.after().state()
        state.values[term][-1] = bad
        verdict = line.send(state=state)
        assert verdict.action is SAFE
        assert "state_finite" in verdict.reasons
    assert "state_finite" not in line.after().send().reasons


@every_kind
def test_a_state_that_stops_coming_is_stale_at_its_timeout(kind):
    line = Line(kind, config=GateConfig(state_timeout_s=0.05))
    state = line.state()
    line.engage(state=state)
    line.now = state.received_steady_ns + 49_999_999
    assert line.send(state=None).action is not SAFE
    assert answer(line.after(ns=1).send(state=None)) == (SAFE, ("state_stale",))
    line.after()
    line.engage()


@every_kind
def test_a_state_that_was_captured_long_ago_is_stale_however_late_it_came(kind):
    line = Line(kind, config=GateConfig(state_timeout_s=0.05))
    line.engage()
    old = dataclasses.replace(line.after().state(), stamp_ns=line.data - 50_000_000)
    assert line.send(state=old).reasons == ("state_stale",)
    ahead = dataclasses.replace(line.after().state(), stamp_ns=line.data + 50_000_001)
    assert line.send(state=ahead).reasons == ("state_stale",)


@every_kind
def test_a_frozen_state_is_found_out_at_the_cards_limit(kind):
    line = Line(kind)
    line.card = dataclasses.replace(line.card, frozen_after_s=0.07)
    interface = next(k for k, v in line.card.commands.items() if v is line.spec)
    line.gate = CommandGate(line.card, interface)
    line.engage()
    frozen = line.after().state()
    since = line.now
    assert line.send(state=frozen).action is PASS

    def again():
        line.send(state=dataclasses.replace(frozen, stamp_ns=line.data - 1, received_steady_ns=line.now))
        return line.send(state=dataclasses.replace(frozen, stamp_ns=line.data, received_steady_ns=line.now))

    for later_ns in (35_000_000, 69_999_999):
        line.now = since + later_ns
        assert again().action is not SAFE
    line.now = since + 70_000_000
    assert answer(again()) == (SAFE, ("state_frozen",))
    line.posture = tuple(x + 1e-6 for x in line.posture)
    line.after()
    line.engage()


def test_a_card_that_does_not_ask_for_it_may_have_a_resting_sensor():
    line = Line(CommandKind.JOINT_POSITION, card=arm_card(frozen_after_s=0.0))
    for _ in range(100):
        verdict = line.after().send()
    assert verdict.action is PASS


# --- range, geofence, slew ------------------------------------------------------------------------------


def test_motors_are_clipped_to_their_range_and_nothing_else():
    line = Line(CommandKind.MOTOR)
    line.engage()
    verdict = line.after().send((-0.1, 0.3, 1.0 + 1e-12, 0.0))
    assert answer(verdict) == (LIMITED, ("range",))
    assert verdict.command.values.tolist() == [0.0, 0.3, 1.0, 0.0]
    assert verdict.command.names == line.spec.names
    assert verdict.command.source == "policy"
    # A step from one end to the other passes: a ramp would destabilise the vehicle.
    assert line.after().send((1.0, 0.0, 1.0, 0.0)).action is PASS


def test_a_vehicle_outside_the_geofence_may_not_be_driven_by_rates():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()

    def at(x):
        return line.after().send(state=drone_state(line.data, (x, 0.0, 1.0)))

    assert at(5.0).action is PASS
    assert answer(at(5.001)) == (SAFE, ("geofence",))
    # Back for good only when inside by a margin.
    assert at(4.9).reasons == ("geofence",)
    assert at(4.8).action is PASS
    assert at(4.9).action is PASS


def test_a_reference_is_kept_inside_the_geofence():
    line = Line(CommandKind.REFERENCE)
    line.engage()
    values = list(line.values)
    for _ in range(100):
        verdict = line.after().send((7.0, -7.0, 2.0, 0.0))
    assert answer(verdict) == (LIMITED, ("geofence",))
    assert verdict.command.values.tolist() == [5.0, -5.0, 2.0, 0.0]
    assert line.after().send((5.0, -5.0, 2.0, 0.0)).action is PASS
    assert values == list(line.values)


def test_the_vehicle_may_be_brought_back_by_a_reference():
    line = Line(CommandKind.REFERENCE)
    outside = drone_state(line.data, (6.0, 0.0, 1.0))
    verdict = line.give(line.command((5.0, 0.0, 1.0, 0.0)), state=outside)
    assert verdict.action is PASS


def test_slew_gives_a_credit_of_two_periods_and_no_more():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    # 60 rad/s² at 100 Hz: 0.6 rad/s a period, 1.2 rad/s at once after a rest.
    line.after(0.05)
    assert line.send((1.2, 0.0, 0.0, 0.5)).action is PASS
    verdict = line.after().send((2.0, 0.0, 0.0, 0.5))
    assert answer(verdict) == (LIMITED, ("slew",))
    assert verdict.command.values.tolist() == pytest.approx([1.8, 0.0, 0.0, 0.5], abs=1e-12)
    # A burst gains nothing.
    assert line.send((3.0, 0.0, 0.0, 0.5)).command.values[0] == pytest.approx(1.8, abs=1e-12)
    assert line.after().send((2.4, 0.0, 0.0, 0.5)).command.values[0] == pytest.approx(2.4, abs=1e-12)


def test_a_limited_change_keeps_its_direction():
    line = Line(CommandKind.RATES_THRUST)
    line.engage()
    line.after(0.05)
    verdict = line.send((4.0, -2.0, 1.0, 0.5))
    change = verdict.command.values - np.array(line.values)
    assert change == pytest.approx([1.2, -0.6, 0.3, 0.0], abs=1e-12)


def test_a_reference_starts_at_the_vehicle():
    line = Line(CommandKind.REFERENCE)
    yaw = (math.cos(0.5), 0.0, 0.0, math.sin(0.5))
    state = drone_state(line.data, (1.0, 2.0, 3.0), orientation=yaw)
    verdict = line.give(line.command((4.0, 2.0, 3.0, 1.0)), state=state)
    assert answer(verdict) == (LIMITED, ("slew",))
    assert verdict.command.values.tolist() == pytest.approx([1.6, 2.0, 3.0, 1.0])


def test_yaw_goes_the_short_way_round():
    line = Line(CommandKind.REFERENCE)
    yaw = (math.cos(1.5), 0.0, 0.0, math.sin(1.5))
    state = drone_state(line.data, orientation=yaw)
    line.give(line.command((0.0, 0.0, 1.0, 3.0)), state=state)
    headings = [line.after().send((0.0, 0.0, 1.0, -2.0)).command.values[3] for _ in range(8)]
    unwrapped = np.unwrap([3.0, *headings])
    assert np.all(np.diff(unwrapped) >= -1e-12)
    assert headings[-1] == -2.0
    assert unwrapped[-1] == pytest.approx(2 * math.pi - 2.0)


def test_a_heading_whose_range_is_no_full_turn_is_an_ordinary_number():
    limits = dict(drone_card().commands["reference"].limits)
    limits["yaw"] = dataclasses.replace(limits["yaw"], lower=-2.0, upper=2.0)
    spec = dataclasses.replace(drone_card().commands["reference"], limits=limits)
    line = Line(CommandKind.REFERENCE, card=drone_card(commands={"reference": spec}))
    line.send((0.0, 0.0, 1.0, 0.0))
    for _ in range(12):
        line.after().send((0.0, 0.0, 1.0, 2.0))
    headings = [line.after().send((0.0, 0.0, 1.0, -2.0)).command.values[3] for _ in range(25)]
    assert min(headings) == -2.0
    assert np.all(np.diff([2.0, *headings]) <= 0.0)


# --- the safe action ------------------------------------------------------------------------------------


@every_kind
def test_the_robot_side_owns_every_safe_action_but_a_hold(kind):
    line = Line(kind)
    line.engage()
    verdict = line.after(line.spec.timeout_s).tick()
    assert verdict.action is SAFE
    assert (verdict.command is not None) == (kind in MOTION)


@pytest.mark.parametrize("kind", MOTION, ids=lambda kind: kind.value)
def test_an_arm_that_damps_is_found_where_it_is_when_it_is_engaged_again(kind):
    line = Line(kind)
    interface = "joints" if kind is CommandKind.JOINT_POSITION else "tool"
    spec = dataclasses.replace(line.spec, safe_action=SafeAction.DAMP)
    line = Line(kind, card=arm_card(commands={interface: spec}))
    line.engage()
    assert line.after(line.spec.timeout_s).tick().command is None
    # It sank.
    moved = tuple(x - 0.02 for x in line.values)
    line.posture = moved if kind is CommandKind.JOINT_POSITION else HOME
    line.place = moved if kind is CommandKind.CARTESIAN_POSITION else None
    line.after().tick()
    verdict = line.after().send(moved)
    assert answer(verdict) == (PASS, ())


# --- cost -----------------------------------------------------------------------------------------------


def test_judging_motors_costs_less_than_fifty_microseconds():
    line = Line(CommandKind.MOTOR)
    line.engage()
    best = math.inf
    for _ in range(30):
        calls = []
        for _ in range(100):
            line.after()
            calls.append((line.command(), line.state(), line.data, line.now))
        begun = time.process_time_ns()
        for call in calls:
            line.gate.filter(*call)
        best = min(best, (time.process_time_ns() - begun) / len(calls))
    assert best < 50_000


def test_a_command_is_made_of_the_cards_names():
    given = command(drone_card().commands["reference"], (0.0, 0.0, 1.0, 0.0), 0)
    assert given.names == REFERENCE


# --- what cannot be built ---------------------------------------------------------------------------------


def test_an_unknown_interface_is_named_beside_those_that_exist():
    with pytest.raises(ConfigError) as error:
        CommandGate(drone_card(), "wings")
    assert str(error.value) == (
        "robot card 'test_drone': no command interface 'wings'. Expected one of motors, rates, reference. "
        "To mend: correct the name."
    )


def test_a_geofence_needs_a_measured_position():
    card = drone_card()
    terms = {name: term for name, term in card.observations.items() if name != "position"}
    with pytest.raises(ConfigError, match="a geofence and no observation 'position'.*add the observation"):
        CommandGate(dataclasses.replace(card, observations=terms), "rates")


def test_a_geofence_for_references_needs_coordinates_by_name():
    card = drone_card()
    spec = card.commands["reference"]
    limits = {f"go_{name}": limit for name, limit in spec.limits.items()}
    card = dataclasses.replace(card, commands={"reference": dataclasses.replace(spec, limits=limits)})
    with pytest.raises(ConfigError, match="a geofence and this interface no element named x, y or z"):
        CommandGate(card, "reference")


def test_without_a_geofence_nothing_is_fenced():
    line = Line(CommandKind.REFERENCE, card=drone_card(geofence=None))
    state = drone_state(line.data, (6.0, 0.0, 1.0))
    assert line.give(line.command((6.1, 0.0, 1.0, 0.0)), state=state).action is PASS
    line = Line(CommandKind.RATES_THRUST, card=drone_card(geofence=None))
    assert line.give(line.command(), state=drone_state(line.data, (600.0, 0.0, 1.0))).action is PASS


def test_a_state_term_that_the_card_has_not_is_named():
    with pytest.raises(ConfigError) as error:
        CommandGate(drone_card(), "motors", config=GateConfig(state_terms=("position", "mood")))
    assert "gate config: state_terms: the state term 'mood' is not on the robot card" in str(error.value)
    assert "Expected terms out of position, orientation, linear_velocity, angular_velocity" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sources": ()}, "gate config: sources (). Expected at least one source, each once."),
        (
            {"sources": ("a", "a")},
            "gate config: sources ('a', 'a'). Expected at least one source, each once.",
        ),
        ({"lease_s": 0.0}, "gate config: lease_s is 0.0. Expected a finite number, above 0."),
        ({"switch_count": 0}, "gate config: switch_count is 0. Expected a finite number, above 0."),
        ({"clock_stop_s": math.inf}, "gate config: clock_stop_s is inf. Expected a finite number, above 0."),
        ({"operator_timeout_s": -1.0}, "gate config: operator_timeout_s is -1.0."),
        ({"state_timeout_s": math.nan}, "gate config: state_timeout_s is nan."),
        (
            {"future_tolerance_s": -0.1},
            "gate config: future_tolerance_s is -0.1. Expected a finite number, 0 or more.",
        ),
    ],
)
def test_a_config_that_would_switch_a_rule_off_is_refused(changes, text):
    with pytest.raises(ConfigError) as error:
        GateConfig(**changes)
    assert str(error.value).startswith(text)


def test_zero_is_a_tolerance():
    assert GateConfig(future_tolerance_s=0.0, clock_recover_s=0.0).clock_recover_s == 0.0
