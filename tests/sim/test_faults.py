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
from policies.bc import PICK_CUBE
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
from sim.twin.arm import ArmTwin
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


# --- the arm ------------------------------------------------------------------------------------------

ARM = load_robot_card("so101_twin")
JOINTS = ARM.commands["joints"]
ARM_BEGIN = 10 * SECOND
# In the middle of the way to the cube, at full speed.
ARM_START = ARM_BEGIN + ns(0.6)
ARM_END = ARM_START + SECOND
ARM_PERIOD = JOINTS.period_ns
ARM_LAST = ARM_START - ARM_PERIOD
ARM_LATE = ns(JOINTS.max_age_s) + ARM_PERIOD
ARM_SILENT = ARM_LAST + ns(JOINTS.timeout_s)
ARM_GRID_END = ARM_END + ARM_PERIOD


@dataclass(frozen=True)
class ArmCase:
    """A fault, when the gate or the robot must act and why, and when the policy must be followed again."""

    fault: type[Fault]
    options: dict[str, object]
    stop: int
    reasons: tuple[str, ...]
    back: int
    between: bool = False


ARM_CASES = {
    "policy_killed": ArmCase(PolicyKilled, {}, ARM_SILENT, ("staleness",), ARM_END),
    # At the end an old chunk arrives first and is answered with the hold; one set-point a period.
    "policy_stopped": ArmCase(PolicyStopped, {}, ARM_SILENT, ("staleness",), ARM_END + ARM_PERIOD),
    "nan_out": ArmCase(NanOut, {}, ARM_SILENT, ("staleness", "finite"), ARM_END),
    "nan_in": ArmCase(NanIn, {"term": "cube_position"}, ARM_START, ("state_finite",), ARM_END),
    "late_chunk": ArmCase(
        LateChunk, {"delay_ns": ARM_LATE}, ARM_SILENT, ("staleness", "age"), ARM_END + ARM_PERIOD
    ),
    "observation_unplugged": ArmCase(
        ObservationUnplugged,
        {},
        ARM_LAST + max(ns(JOINTS.timeout_s), 3 * ARM_PERIOD),
        ("state_stale",),
        ARM_END,
    ),
    "observation_frozen": ArmCase(
        ObservationFrozen, {}, ARM_LAST + ns(ARM.frozen_after_s), ("state_frozen",), ARM_END
    ),
    "clock_back": ArmCase(
        ClockBack, {"by_ns": SECOND}, ARM_START, ("clock",), ARM_START + ns(CONFIG.clock_recover_s)
    ),
    "clock_stopped": ArmCase(
        ClockStopped,
        {},
        ARM_START + ns(CONFIG.clock_stop_s),
        ("clock",),
        ARM_END - ARM_PERIOD + ns(CONFIG.clock_recover_s),
    ),
    "two_publishers_of_one_source": ArmCase(
        TwoCommandPublishers,
        {"topic": "command/policy"},
        ARM_START + BETWEEN,
        ("publishers",),
        ARM_GRID_END,
        between=True,
    ),
    "emergency_stop": ArmCase(EmergencyStop, {}, ARM_START + BETWEEN, ("estop",), ARM_GRID_END, between=True),
}
# Here the robot acts by itself, because the gate is dead or not the only one.
ROBOT_CASES = {
    "gate_killed": ArmCase(
        GateKilled, {}, ARM_LAST + ns(JOINTS.robot_timeout_s), ("command timeout",), ARM_END
    ),
    "two_command_publishers": ArmCase(
        TwoCommandPublishers,
        {},
        ARM_START + BETWEEN,
        ("2 publishers on gate/command",),
        ARM_GRID_END,
        between=True,
    ),
}
# How far a joint may go on once it is told to stop: the ramp to the largest deceleration, and the way it
# then takes from the largest speed.
LIMIT = JOINTS.limits["shoulder_pan"]
BRAKING_RAD = LIMIT.velocity * (LIMIT.velocity / (2 * LIMIT.acceleration) + LIMIT.acceleration / LIMIT.jerk)


class Arm:
    """The cloned policy on its way to the cube."""

    def __init__(self) -> None:
        self.twin = ArmTwin(ARM, seed=0, latency=NONE, start_ns=ARM_BEGIN)
        self.controller = load_controller(PICK_CUBE, ARM, steady_clock=lambda: 0)
        self.steps: list[Step] = []
        self.joints: list[np.ndarray] = []

    def reach(self, case: ArmCase, *, ends: bool, until_s: float) -> LockstepRun:
        self.steps.clear()
        self.joints.clear()
        offset = BETWEEN if case.between else 0
        fault = case.fault(
            start_ns=ARM_START + offset, end_ns=ARM_END + offset if ends else None, **case.options
        )

        def note(step: Step) -> None:
            self.steps.append(step)
            self.joints.append(self.twin.state[:6])

        def is_over(step: Step) -> bool:
            return self.twin.success or step.now_ns >= ARM_BEGIN + ns(until_s)

        return run_lockstep(
            self.twin, self.controller, make_gate(ARM), until=is_over, on_step=note, faults=[fault], seed=2
        )

    def follows_again_at(self, after_ns: int) -> int:
        return next(
            s.now_ns
            for s in self.steps
            if s.now_ns > after_ns and s.command is not None and s.command.source == "policy"
        )

    def stopped_well(self, stop: int) -> bool:
        """Whether it stands half a second later, no farther on than its limits allow."""
        at_stop = next(j for s, j in zip(self.steps, self.joints, strict=True) if s.now_ns >= stop)
        later = [j for s, j in zip(self.steps, self.joints, strict=True) if s.now_ns >= stop + ns(0.5)]
        stands = np.ptp(later, axis=0).max() < 0.01
        return bool(stands and np.abs(later[-1] - at_stop).max() < BRAKING_RAD)


@pytest.fixture(scope="module")
def arm():
    return Arm()


@pytest.mark.parametrize("name", [name for name in ARM_CASES if name != "clock_back"])
def test_an_arm_holds_within_its_limits(arm, name):
    case = ARM_CASES[name]
    run = arm.reach(case, ends=False, until_s=2.2)
    safe = [step for step in arm.steps if step.verdict and step.verdict.action is GateAction.SAFE]
    assert safe[0].now_ns == case.stop
    assert safe[0].verdict.reasons == case.reasons
    # It was on its way, and it is the gate that brakes: the robot never has to help itself.
    assert np.abs(np.diff(run.commands[:25], axis=0)).max() > 0.01
    assert run.safe_stops == ()
    assert arm.stopped_well(case.stop)
    held = run.commands[run.command_ns >= case.stop]
    speeds = np.abs(np.diff(held, axis=0)) / (ARM_PERIOD * 1e-9)
    assert speeds.max() <= LIMIT.velocity * (1 + 1e-9)
    np.testing.assert_array_equal(held[-1], held[-2])


@pytest.mark.parametrize("name", ROBOT_CASES)
def test_an_arm_without_its_gate_holds_by_itself(arm, name):
    case = ROBOT_CASES[name]
    run = arm.reach(case, ends=False, until_s=2.2)
    assert [(stop.at_ns, stop.reason) for stop in run.safe_stops] == [(case.stop, *case.reasons)]
    assert run.command_ns.max() == (ARM_LAST if name == "gate_killed" else ARM_START)
    assert arm.stopped_well(case.stop)


@pytest.mark.parametrize("name", [*ARM_CASES, *ROBOT_CASES])
def test_an_arm_goes_on_and_picks_the_cube(arm, name):
    case = {**ARM_CASES, **ROBOT_CASES}[name]
    arm.reach(case, ends=True, until_s=9.0)
    assert arm.follows_again_at(case.stop) == case.back
    assert arm.twin.success
