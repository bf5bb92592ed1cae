"""Protects what the gate makes of its surroundings: emergency stop, clocks and state, to the nanosecond."""

import dataclasses
import math

import pytest
from gate_cards import arm_card
from gate_line import PASS, SAFE, Line, answer, every_kind

from hardware.command import CommandKind
from hardware.gate import CommandGate, GateConfig

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
