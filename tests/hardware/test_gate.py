"""Protects the gate's answers, case by case and to the nanosecond: who may command, when, and what."""

import dataclasses
import math

import numpy as np
import pytest
from gate_line import KEEP, KINDS, PASS, SAFE, Line, answer, every_kind

from hardware.command import CommandKind
from hardware.gate import GateConfig

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
