"""Protects the promise that every fault ends in the card's safe action, at an exact simulated time.

Twelve faults meet the published RAPTOR policy in the quadrotor twin (safe action: land), and those that
an arm can meet the cloned policy in the SO-101 twin (safe action: hold). The expected times are worked
out from the cards and the gate's config, never from a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.gate import GateAction, GateConfig
from hardware.reference import Hover
from policies.controller import load_controller
from policies.raptor import PUBLISHED
from sim.evaluation.faults import (
    ClockBack,
    ClockStopped,
    EmergencyStop,
    Fault,
    GateKilled,
    LateChunk,
    NanIn,
    NanOut,
    ObservationFrozen,
    ObservationUnplugged,
    PolicyKilled,
    PolicyStopped,
    TwoCommandPublishers,
)
from sim.evaluation.lockstep import LockstepRun, Step, make_gate, run_lockstep
from sim.quadrotor.dynamics import make_state
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin

CONFIG = GateConfig()
SECOND = 1_000_000_000
START = round(1.5 * SECOND)
END = START + SECOND
# An instant between two observations.
BETWEEN = 3_456_789


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


# --- the quadrotor ------------------------------------------------------------------------------------

DRONE = load_robot_card("quadrotor_twin")
MOTORS = DRONE.commands["motors"]
PERIOD = MOTORS.period_ns
# The last command that was accepted before START answered the observation one period earlier.
LAST = START - PERIOD
# After the safe action a source gets hold of motors with the last of so many acceptable commands in a row.
TAKE_OVER = (CONFIG.switch_count - 1) * PERIOD
# Too late for the gate, but not so late that commands come apart.
DELAY = ns(MOTORS.max_age_s) + PERIOD
FROZEN = ns(DRONE.frozen_after_s)


@dataclass(frozen=True)
class Case:
    """A fault, when it must end in the safe action and why, and when the vehicle must follow again."""

    fault: type[Fault]
    options: dict[str, object]
    start: int
    end: int
    stop: int
    reason: str
    back: int


GATE = "the gate takes the safe action: "
GRID_END = END + PERIOD
CASES = {
    "policy_killed": Case(
        PolicyKilled, {}, START, END, LAST + ns(MOTORS.timeout_s), GATE + "staleness", END + TAKE_OVER
    ),
    "policy_stopped": Case(
        PolicyStopped, {}, START, END, LAST + ns(MOTORS.timeout_s), GATE + "staleness", END + TAKE_OVER
    ),
    "nan_out": Case(
        NanOut, {}, START, END, LAST + ns(MOTORS.timeout_s), GATE + "staleness, finite", END + TAKE_OVER
    ),
    "nan_in": Case(
        NanIn, {"term": "angular_velocity"}, START, END, START, GATE + "state_finite", END + TAKE_OVER
    ),
    # The last late one arrives DELAY after the last observation of the fault, and spoils the row once more.
    "late_chunk": Case(
        LateChunk,
        {"delay_ns": DELAY},
        START,
        END,
        LAST + ns(MOTORS.timeout_s),
        GATE + "staleness, age",
        END - PERIOD + DELAY + TAKE_OVER,
    ),
    "observation_unplugged": Case(
        ObservationUnplugged,
        {},
        START,
        END,
        LAST + max(ns(MOTORS.timeout_s), 3 * PERIOD),
        GATE + "state_stale",
        END + TAKE_OVER,
    ),
    "observation_frozen": Case(
        ObservationFrozen, {}, START, END, LAST + FROZEN, GATE + "state_frozen", END + TAKE_OVER
    ),
    # The clock is trusted again once both clocks have run on for a while, right or not.
    "clock_back": Case(
        ClockBack,
        {"by_ns": SECOND},
        START,
        END,
        START,
        GATE + "clock",
        START + ns(CONFIG.clock_recover_s) + TAKE_OVER,
    ),
    "clock_stopped": Case(
        ClockStopped,
        {},
        START,
        END,
        START + ns(CONFIG.clock_stop_s),
        GATE + "clock",
        END - PERIOD + ns(CONFIG.clock_recover_s) + TAKE_OVER,
    ),
    # Nobody is left but the robot itself.
    "gate_killed": Case(
        GateKilled, {}, START, END, LAST + ns(MOTORS.robot_timeout_s), "command timeout", END + TAKE_OVER
    ),
    # What others do needs no observation to be noticed. The gate never lost its trust in the policy here.
    "two_command_publishers": Case(
        TwoCommandPublishers,
        {},
        START + BETWEEN,
        END + BETWEEN,
        START + BETWEEN,
        "2 publishers on gate/command",
        GRID_END,
    ),
    "two_publishers_of_one_source": Case(
        TwoCommandPublishers,
        {"topic": "command/policy"},
        START + BETWEEN,
        END + BETWEEN,
        START + BETWEEN,
        GATE + "publishers",
        GRID_END + TAKE_OVER,
    ),
    "emergency_stop": Case(
        EmergencyStop,
        {},
        START + BETWEEN,
        END + BETWEEN,
        START + BETWEEN,
        GATE + "estop",
        GRID_END + TAKE_OVER,
    ),
}


class Drone:
    """RAPTOR hovering a metre above the ground."""

    def __init__(self) -> None:
        self.twin = QuadrotorTwin(DRONE, seed=0, latency=NONE)
        effort = self.twin.airframe.hover_effort
        self.twin.place(make_state(position=(0.0, 0.0, 1.0), effort=effort))
        self.controller = load_controller(PUBLISHED, DRONE, steady_clock=lambda: 0)
        self.tilts_rad: list[float] = []
        self.heights_m: list[float] = []

    def fly(self, fault: Fault, *, until_ns: int) -> LockstepRun:
        return run_lockstep(
            self.twin,
            self.controller,
            make_gate(DRONE),
            until=lambda step: step.now_ns >= until_ns,
            reference=Hover((0.0, 0.0, 1.0)),
            on_step=self._watch,
            faults=[fault],
            seed=0,
        )

    def _watch(self, step: Step) -> None:
        w, x, y, z = self.twin.state.orientation
        self.tilts_rad.append(float(np.arccos(np.clip(1 - 2 * (x * x + y * y), -1.0, 1.0))))
        self.heights_m.append(float(self.twin.state.position[2]))


@pytest.fixture(scope="module")
def drone():
    return Drone()


@pytest.fixture
def fresh(drone):
    drone.tilts_rad.clear()
    drone.heights_m.clear()
    return drone


def stops_in_flight(run: LockstepRun) -> list[tuple[int, str]]:
    """Safe stops without the one at the very start, where nobody has authority over the motors yet."""
    assert run.safe_stops[0].at_ns == 0
    return [(stop.at_ns, stop.reason) for stop in run.safe_stops[1:]]


# A clock that was set back runs on, and is trusted again while it is still wrong: nothing stays.
@pytest.mark.parametrize("name", [name for name in CASES if name != "clock_back"])
def test_a_fault_that_stays_ends_on_the_ground(fresh, name):
    case = CASES[name]
    run = fresh.fly(case.fault(start_ns=case.start, **case.options), until_ns=case.stop + 5 * SECOND)
    assert stops_in_flight(run) == [(case.stop, case.reason)]
    assert fresh.twin.on_ground
    assert max(fresh.tilts_rad) < np.deg2rad(10.0)
    # It comes down, gently: never up by more than it was high, never faster than a metre a second.
    heights = np.array(fresh.heights_m)
    assert heights.max() < 1.1
    assert np.diff(heights).min() > -1.0 * PERIOD * 1e-9
    assert np.hypot(*fresh.twin.state.position[:2]) < 0.3
    # The motors are off at the end.
    assert not fresh.twin.state.effort.max() > 0.01


@pytest.mark.parametrize("name", CASES)
def test_a_fault_that_ends_gives_the_vehicle_back_to_the_policy(fresh, name):
    case = CASES[name]
    fault = case.fault(start_ns=case.start, end_ns=case.end, **case.options)
    run = fresh.fly(fault, until_ns=END + 5 * SECOND)
    assert stops_in_flight(run) == [(case.stop, case.reason)]
    resumed = run.command_ns[run.command_ns > case.stop][0]
    assert resumed == case.back
    assert fresh.twin.safe_stopped is None
    assert max(fresh.tilts_rad) < np.deg2rad(45.0)
    # Five seconds later it hovers where it should, as if nothing had been.
    assert np.linalg.norm(fresh.twin.state.position - (0.0, 0.0, 1.0)) < 0.05


def test_without_a_fault_nothing_stops(fresh):
    run = fresh.fly(Fault(start_ns=START, end_ns=END), until_ns=2 * SECOND)
    assert stops_in_flight(run) == []
    assert run.verdicts == {GateAction.SAFE.value: 2, GateAction.PASS.value: 199}


def test_a_chunk_that_is_late_but_young_enough_still_flies(fresh):
    fault = LateChunk(delay_ns=ns(0.004), start_ns=START)
    run = fresh.fly(fault, until_ns=START + 2 * SECOND)
    assert stops_in_flight(run) == []
    late = run.command_ns[run.command_ns > START]
    assert set((late % PERIOD).tolist()) == {ns(0.004)}
    assert np.linalg.norm(fresh.twin.state.position - (0.0, 0.0, 1.0)) < 0.05
