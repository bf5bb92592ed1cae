"""Protects lockstep: the order of operations, exact times with and without latency, and repeatability."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from hardware.errors import ConfigError, Refusal
from hardware.gate import GateAction
from hardware.reference import Hover, Waypoints
from hardware.robot import Delay, LatencyCard, Observation
from policies.bc import PICK_CUBE
from policies.controller import load_controller
from policies.raptor import PUBLISHED
from sim.evaluation.faults import Fault, PolicyKilled
from sim.evaluation.lockstep import Step, make_gate, run_lockstep
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE
from sim.twin.quadrotor import QuadrotorTwin

DRONE = load_robot_card("quadrotor_twin")
ARM = load_robot_card("so101_twin")
PERIOD = 10_000_000
SLOW = LatencyCard(observation=Delay(mean_s=0.003), command=Delay(mean_s=0.002))


class StandIn:
    """A controller of a few lines: motors at one effort, drawn from the seed; refuses when told to."""

    card = None

    def __init__(self, refuses=lambda number: False):
        self.refuses = refuses
        self.reset()

    def reset(self, seed=None):
        self.effort = float(np.random.default_rng(seed).uniform(0.2, 0.4))
        self.asked = []

    def act(self, observation, *, now_ns):
        self.asked.append((observation, now_ns))
        if self.refuses(len(self.asked) - 1):
            raise Refusal("not this one")
        return ActionChunk(
            CommandKind.MOTOR,
            DRONE.commands["motors"].names,
            np.full((1, 4), self.effort),
            observation.stamp_ns,
            PERIOD,
            0.02,
        )


@pytest.fixture
def twin():
    return QuadrotorTwin(DRONE, seed=0, latency=NONE)


def run(twin, controller, **options):
    steps: list[Step] = []
    result = run_lockstep(
        twin, controller, make_gate(twin.card), on_step=steps.append, **({"steps": 8, "seed": 1} | options)
    )
    return result, steps


def test_every_observation_is_answered_once_at_its_own_time(twin):
    controller = StandIn()
    result, steps = run(twin, controller)
    assert [step.now_ns for step in steps] == [k * PERIOD for k in range(8)]
    assert [(o.stamp_ns, now) for o, now in controller.asked] == [(k * PERIOD, k * PERIOD) for k in range(8)]
    # The gate gives motors away with the third command in a row; from then on each goes out as it came.
    assert [step.verdict.action for step in steps[:3]] == [GateAction.SAFE, GateAction.SAFE, GateAction.PASS]
    assert result.command_ns.tolist() == [k * PERIOD for k in range(2, 8)]
    np.testing.assert_array_equal(result.commands, controller.effort)
    assert result.verdicts == {"safe": 2, "pass": 6}
    assert (result.steps, result.refusals, result.interventions) == (8, 0, 0)
    # The robot acted on them at these very times.
    assert twin.trace().command_time_ns.tolist() == [k * PERIOD for k in range(2, 7)]


def test_the_reference_of_the_same_instant_joins_the_observation(twin):
    controller = StandIn()
    twin.reset(0, start_ns=5_000_000_000)
    track = Waypoints(((0.0, 0.0, 1.0), (1.0, 0.0, 1.0)), speed_m_s=1.0, dwell_s=0.0)
    run(twin, controller, reference=track, seed=None)
    observation, _ = controller.asked[4]
    # Its time begins with the first observation, wherever the robot's clock stands.
    np.testing.assert_allclose(observation.values["reference_position"], [0.04, 0.0, 1.0])
    np.testing.assert_allclose(observation.values["reference_velocity"], [1.0, 0.0, 0.0])
    assert observation.values["reference_yaw"].tolist() == [0.0]


def test_with_latency_everything_happens_when_it_arrives():
    twin = QuadrotorTwin(DRONE, seed=0, latency=SLOW)
    controller = StandIn()
    result, steps = run(twin, controller)
    # The first observation is there; each later one is 3 ms old when it is answered.
    assert [step.now_ns for step in steps] == [0, *(k * PERIOD + 3_000_000 for k in range(1, 8))]
    assert [step.observation.stamp_ns for step in steps] == [k * PERIOD for k in range(8)]
    assert result.command_ns[0] == 2 * PERIOD + 3_000_000
    assert twin.trace().command_time_ns[0] == 2 * PERIOD + 5_000_000


def test_a_lost_observation_passes_as_a_silent_tick():
    lossy = LatencyCard(observation=Delay(drop_rate=0.4), command=Delay())
    twin = QuadrotorTwin(DRONE, seed=0, latency=lossy)
    controller = StandIn()
    _, steps = run(twin, controller, steps=60)
    silent = [step for step in steps if step.observation is None]
    assert 10 < len(silent) < 50
    assert all(step.chunk is None and step.verdict is not None for step in silent)
    # The clock goes on all the same, in steps of at most one and a half periods.
    assert np.diff([step.now_ns for step in steps]).max() <= 1.5 * PERIOD
    assert len(controller.asked) == len(steps) - len(silent)


def test_a_refusal_is_a_tick_without_a_command(twin):
    result, steps = run(twin, StandIn(refuses=lambda number: number == 5))
    assert steps[5].refusal == "not this one"
    assert steps[5].chunk is None
    assert steps[5].verdict.action is GateAction.KEEP
    assert steps[5].command is None
    assert result.refusals == 1
    assert (5 * PERIOD) not in result.command_ns
    assert steps[6].verdict.action is GateAction.PASS


def test_an_error_that_is_no_refusal_is_not_hidden(twin):
    class Broken(StandIn):
        def act(self, observation, *, now_ns):
            raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match="shapes do not fit"):
        run(twin, Broken())


def test_a_condition_ends_the_run(twin):
    result, steps = run(twin, StandIn(), steps=None, until=lambda step: step.now_ns >= 4 * PERIOD)
    assert steps[-1].now_ns == 4 * PERIOD
    assert result.steps == 5
    assert twin.now_ns == 4 * PERIOD


def test_without_a_seed_a_run_goes_on_where_the_last_one_ended(twin):
    controller, gate = StandIn(), make_gate(DRONE)
    run_lockstep(twin, controller, gate, steps=4, seed=0)
    second = run_lockstep(twin, controller, gate, steps=4)
    # The observation of the last instant is seen again; nobody has to win the motors anew.
    assert second.command_ns.tolist() == [k * PERIOD for k in (3, 4, 5, 6)]
    assert second.safe_stops == ()


def test_a_run_without_an_end_is_refused(twin):
    with pytest.raises(ConfigError, match="steps None, until None.*a positive number of steps"):
        run_lockstep(twin, StandIn(), make_gate(DRONE))
    with pytest.raises(ConfigError, match="steps 0"):
        run_lockstep(twin, StandIn(), make_gate(DRONE), steps=0)


def test_a_fault_that_ends_before_it_starts_is_refused():
    with pytest.raises(ConfigError, match="PolicyKilled: it ends at 5 ns.*after its start at 7 ns"):
        PolicyKilled(start_ns=7, end_ns=5)


def test_a_fault_is_switched_at_its_exact_time(twin):
    calls = []

    class Noted(Fault):
        def begin(self, stack, now_ns):
            calls.append(("begin", now_ns, stack.seed))

        def finish(self, stack, now_ns):
            calls.append(("finish", now_ns, stack.seed))

    run(twin, StandIn(), faults=[Noted(start_ns=12_345_678, end_ns=34_567_890)], steps=12)
    assert calls == [("begin", 12_345_678, 1), ("finish", 34_567_890, 1)]


def test_the_gate_of_an_arm_knows_where_the_tool_is():
    with pytest.raises(ConfigError, match="no command interface 'wings'.*joints"):
        make_gate(ARM, "wings")
    gate = make_gate(ARM)
    far = dataclasses.replace(ARM, workspace=dataclasses.replace(ARM.workspace, upper_m=(0.15, 0.34, 0.42)))
    twin = ArmTwin(ARM, seed=0, latency=NONE)
    twin.connect()
    state = twin.read()

    def command(stamp_ns):
        spec = ARM.commands["joints"]
        return ActionChunk(
            spec.kind, spec.names, state.values["joint_position"][None], stamp_ns, PERIOD, 0.1
        ).command_at(0, received_steady_ns=stamp_ns)

    assert gate.filter(command(0), state, 0, 0).action is not GateAction.SAFE
    # The tool is 20 cm in front of the base: outside of a workspace of 15.
    assert make_gate(far).filter(command(0), state, 0, 0).reasons == ("idle", "workspace")


# --- repeatability ------------------------------------------------------------------------------------

JITTER = LatencyCard(observation=Delay(0.001, 0.0005, 0.02), command=Delay(0.001, 0.0005, 0.02))


@pytest.mark.parametrize("latency", [NONE, JITTER], ids=["ideal", "jitter"])
def test_the_same_seed_gives_the_same_flight_bit_for_bit(latency):
    def fly(seed):
        twin = QuadrotorTwin(DRONE, seed=99, latency=latency)
        controller = load_controller(PUBLISHED, DRONE, steady_clock=lambda: 0)
        reference = Hover((0.0, 0.0, 1.0), start_m=(0.0, 0.0, 0.0))
        return run_lockstep(twin, controller, make_gate(DRONE), steps=300, reference=reference, seed=seed)

    one, again, other = fly(4), fly(4), fly(5)
    assert one.commands.tobytes() == again.commands.tobytes()
    assert one.command_ns.tobytes() == again.command_ns.tobytes()
    assert len(one.commands) > 250
    if latency is JITTER:
        # The start on the ground is the same for every seed; the wire is not.
        assert one.commands.tobytes() != other.commands.tobytes()


def test_the_same_seed_gives_the_same_grasp_bit_for_bit_also_in_a_used_twin():
    controller, gate = load_controller(PICK_CUBE, ARM, steady_clock=lambda: 0), make_gate(ARM)
    twin = ArmTwin(ARM, seed=0, latency=ARM.latency)

    def reach(seed):
        return run_lockstep(twin, controller, gate, steps=80, seed=seed)

    one, other, again = reach(4), reach(5), reach(4)
    assert one.commands.tobytes() == again.commands.tobytes()
    assert one.command_ns.tobytes() == again.command_ns.tobytes()
    assert one.commands[:60].tobytes() != other.commands[:60].tobytes()


def test_how_the_host_paces_the_run_does_not_matter():
    """A slow controller changes nothing: no clock of the host is read."""
    import time

    class Sleepy(StandIn):
        def act(self, observation, *, now_ns):
            time.sleep(0.002)
            return super().act(observation, now_ns=now_ns)

    results = [
        run(QuadrotorTwin(DRONE, seed=0, latency=JITTER), controller, steps=40)[0]
        for controller in (StandIn(), Sleepy())
    ]
    assert results[0].commands.tobytes() == results[1].commands.tobytes()
    assert results[0].command_ns.tobytes() == results[1].command_ns.tobytes()


def test_observations_are_not_changed_by_the_run(twin):
    controller = StandIn()
    run(twin, controller)
    assert all(
        isinstance(o, Observation) and set(o.values) == set(DRONE.observations) for o, _ in controller.asked
    )
