"""Protects what a task's targets pass: the same arm moves in a task and in the twin behind the gate."""

import numpy as np
import pytest

from hardware import load_robot_card
from hardware.chunk import ActionChunk
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.tasks.push_t import PushTEnv
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE
from sim.worlds.gated import TargetWire
from sim.worlds.panda import HOME
from sim.worlds.pick_cube import PickCubeWorld
from sim.worlds.push_t import PushTWorld

CARD = load_robot_card("panda_push_t")
SPEC = next(iter(CARD.commands.values()))
STEPS, A_STEP = 12, 5


def targets():
    """Jumps as a policy that decides ten times a second makes them."""
    random = np.random.default_rng(3)
    return np.array(HOME) + random.uniform(-0.05, 0.05, (STEPS, len(HOME)))


class Scripted:
    """Commands what it is given, each for a while."""

    card = None

    def __init__(self, values):
        self.values = values

    def reset(self, seed=None):
        self.count = 0

    def act(self, observation, *, now_ns):
        value = self.values[self.count // A_STEP]
        self.count += 1
        return ActionChunk(
            SPEC.kind, SPEC.names, value[None], observation.stamp_ns, SPEC.period_ns, SPEC.max_age_s
        )


def test_a_task_moves_as_the_twin_behind_the_gate():
    task, wanted = PushTEnv(), []
    task.reset(seed=4)
    for value in targets():
        task.step(value)
        wanted.append(task.world.state)
    with ArmTwin(CARD, seed=4, latency=NONE) as twin:
        seen = []
        run_lockstep(
            twin,
            Scripted(targets()),
            make_gate(CARD),
            steps=A_STEP * STEPS,
            seed=4,
            on_step=lambda step: seen.append(twin.state),
        )
    np.testing.assert_allclose(seen[A_STEP::A_STEP], wanted[:-1], atol=1e-9)


def test_what_passes_the_gate_keeps_to_the_robots_accelerations():
    world = PushTWorld()
    world.reset(np.random.default_rng(0))
    wire, told = TargetWire(world), [world.targets]

    def advance(duration_ns):
        told.append(world.targets)
        world.advance(duration_ns)

    wire.hold(world.targets + 0.05, 400_000_000, advance=advance)
    speeds = np.diff(told, axis=0) / (SPEC.period_ns * 1e-9)
    changes = np.abs(np.diff(speeds, axis=0)) / (SPEC.period_ns * 1e-9)
    limits = np.array([SPEC.limits[name].acceleration for name in SPEC.names])
    assert (changes <= limits * 1.001).all()
    assert np.abs(speeds).max() > 0.1
    # Begun anew, it goes on from where the arm is, not from where it was sent before.
    world.reset(np.random.default_rng(1))
    wire.reset()
    before = world.targets
    wire.hold(before, 20_000_000)
    np.testing.assert_allclose(world.targets, before, atol=0.01)


def test_where_no_card_is_named_targets_act_at_once():
    world = PickCubeWorld()
    world.reset(np.random.default_rng(0))
    wanted = world.targets + 0.1
    TargetWire(world).hold(wanted, 40_000_000)
    np.testing.assert_allclose(world.targets, np.clip(wanted, *world.joint_ranges.T))
    assert world.time_ns == 40_000_000


@pytest.mark.parametrize("duration_ns", [10_000_000, 50_000_000, 100_000_000])
def test_time_passes_exactly(duration_ns):
    world = PushTWorld()
    world.reset(np.random.default_rng(0))
    TargetWire(world).hold(world.targets, duration_ns)
    assert world.time_ns == duration_ns
