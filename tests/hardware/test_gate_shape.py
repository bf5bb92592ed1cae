"""Protects range, geofence, slew and the safe action, and what the gate says of cards that do not fit."""

import dataclasses
import math
import time

import numpy as np
import pytest
from gate_cards import HOME, REFERENCE, arm_card, command, drone_card, drone_state
from gate_line import LIMITED, PASS, SAFE, Line, answer, every_kind
from gate_oracle import MOTION

from hardware.command import CommandKind, SafeAction
from hardware.errors import ConfigError
from hardware.gate import CommandGate, GateConfig

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


def test_a_reference_is_kept_inside_the_geofence():
    line = Line(CommandKind.REFERENCE)
    line.engage()
    values = list(line.values)
    for _ in range(100):
        verdict = line.after().send((7.0, -7.0, 2.0, 0.0))
    assert answer(verdict) == (LIMITED, ("reference_geofence",))
    assert verdict.command.values.tolist() == [5.0, -5.0, 2.0, 0.0]
    assert line.after().send((5.0, -5.0, 2.0, 0.0)).action is PASS
    assert values == list(line.values)


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
