"""Protects the robot from its policy server: killed, slow, or sending garbage that looks like chunks, through
controller, command gate and twin. The arm never moves faster than its card allows, and stands in the end.
"""

import functools
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from remote_policies import asking, lying, served, token_file
from test_remote import fields_of

from hardware.cards import load_robot_card
from hardware.chunk import Interpolation
from hardware.gate import GateAction
from policies.bc.policy import PICK_CUBE
from policies.card import load_policy_card
from policies.controller import Controller, ScheduleConfig
from policies.registry import load_policy
from policies.runtime.frames import Frame
from policies.runtime.inference import Delayed
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE

ARM = load_robot_card("so101_twin")
LIMITS = ARM.commands["joints"].limits
SECOND = 10**9
# The cloned policy is on its way to the cube then, at full speed.
FAULT_NS = round(0.6 * SECOND)
SCHEDULE = ScheduleConfig(blend_s=0.08, interpolation=Interpolation.LINEAR)


class Watched:
    """A lockstep run that notes what a judge needs."""

    def __init__(self, policy, *, until_s, before=None, **controller):
        self.twin = ArmTwin(ARM, seed=0, latency=NONE)
        self.steps, self.joints = [], []
        self._before = before
        made = Controller(policy, ARM, schedule=SCHEDULE, steady_clock=time.monotonic_ns, **controller)
        self.run = run_lockstep(
            self.twin,
            made,
            make_gate(ARM),
            until=lambda step: step.now_ns >= round(until_s * SECOND),
            on_step=self._note,
            seed=2,
        )
        made.close()

    def _note(self, step):
        self.steps.append(step)
        self.joints.append(self.twin.state[:6].copy())
        if self._before is not None:
            self._before(step)

    @property
    def refusals(self):
        return [step.refusal for step in self.steps if step.refusal]

    def is_safe(self):
        """Whether all that the robot was told, and all that it did, is within the limits of its card."""
        assert np.isfinite(self.run.commands).all()
        for column, (name, limit) in enumerate(LIMITS.items()):
            told = self.run.commands[:, column]
            assert limit.lower <= told.min() <= told.max() <= limit.upper, name
            gaps_s = np.diff(self.run.command_ns) * 1e-9
            # Where commands follow each other; after a hold the gate begins from where the joint is.
            paced = gaps_s < 0.03
            assert (np.abs(np.diff(told))[paced] <= limit.velocity * gaps_s[paced] + 1e-9).all(), name
            speeds = np.abs(np.diff(np.array(self.joints)[:, column])) / 0.02
            # The joint follows its command with a servo that overshoots; it turns at 4.7 rad/s at most.
            assert speeds.max() < 1.5 * limit.velocity, name
        return True

    def holds_at_its_end(self):
        """Whether the gate has long taken the safe action for the policy's silence, and the arm stands."""
        last = self.steps[-25:]
        assert all(step.verdict.action is GateAction.SAFE for step in last)
        assert all("staleness" in step.verdict.reasons for step in last)
        assert all(step.command is None or step.command.source != "policy" for step in last)
        return np.ptp(self.joints[-25:], axis=0).max() < 0.01

    @property
    def last_of_policy_ns(self):
        return max(s.now_ns for s in self.steps if s.command is not None and s.command.source == "policy")


@pytest.fixture
def process(tmp_path):
    """`reflexarc serve policy` in a process of its own, and its address."""
    command = [sys.executable, "-m", "reflexarc", "serve", "policy", "bc/pick_cube", "--json", "--port", "0"]
    words = ["--token-file", str(token_file(tmp_path))]
    made = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
    made.url = json.loads(made.stdout.readline())["url"]
    yield made
    if made.poll() is None:
        made.kill()
    made.wait()
    made.stdout.close()


def test_through_a_server_the_cube_is_picked_as_without_one(tmp_path):
    near = Watched(load_policy(PICK_CUBE), until_s=2.2)
    with served(load_policy(PICK_CUBE), tmp_path) as server, asking(server.url, tmp_path) as far:
        there = Watched(far, until_s=2.2)
    assert there.twin.success
    assert there.run.commands.tobytes() == near.run.commands.tobytes()
    assert there.is_safe()


@pytest.mark.parametrize("delay_s", [None, 0.06])
def test_a_killed_server_is_a_stop_within_the_limits(tmp_path, process, delay_s):
    def kill(step):
        if step.now_ns >= FAULT_NS and process.poll() is None:
            process.kill()
            process.wait()

    how = {} if delay_s is None else {"inference": functools.partial(Delayed, delay_s=delay_s)}
    with asking(process.url, tmp_path) as far:
        watched = Watched(far, until_s=2.4, before=kill, **how)
    assert watched.is_safe()
    assert watched.holds_at_its_end()
    # Within the step silence begins at the next question; else when the last chunk is over.
    assert watched.last_of_policy_ns < FAULT_NS + (0.5 if delay_s is None else 1.2) * SECOND
    assert all("the policy server" in refusal for refusal in watched.refusals[-20:])
    assert "is not connected" in watched.refusals[-1]


def test_a_server_that_becomes_slow_by_500_ms_is_no_danger(tmp_path):
    """Its chunks are trimmed to what is left of them: 0.64 s long, they arrive 0.52 s late."""

    class Slowing(Delayed):
        def poll(self, now_ns):
            self._delay_ns = round((0.02 if now_ns < FAULT_NS else 0.52) * SECOND)
            return super().poll(now_ns)

    with served(load_policy(PICK_CUBE), tmp_path) as server, asking(server.url, tmp_path) as far:
        watched = Watched(far, until_s=4.0, inference=functools.partial(Slowing, delay_s=0.0))
    assert watched.is_safe()
    assert watched.steps[-1].chunk is None or watched.steps[-1].chunk.age_s(watched.steps[-1].now_ns) > 0.5


def test_a_server_that_answers_after_the_deadline_is_silence(tmp_path):
    policy = load_policy(PICK_CUBE)
    slow = [False]
    act = policy.act

    def slowly(observation, *, context):
        if slow[0]:
            time.sleep(0.5)
        return act(observation, context=context)

    policy.act = slowly

    def make_slow(step):
        slow[0] = step.now_ns >= FAULT_NS

    with served(policy, tmp_path) as server, asking(server.url, tmp_path, deadline_s=0.2) as far:
        watched = Watched(far, until_s=1.5, before=make_slow)
    assert watched.is_safe()
    assert watched.holds_at_its_end()
    assert "has not answered within 0.20 s" in watched.refusals[-1]


def garbage(name):
    """A server of the cloned policy that goes mad in the middle of the way."""
    policy = load_policy(PICK_CUBE)
    random = np.random.default_rng(7)

    def answer(frame):
        from policies.policy import ActContext
        from policies.runtime.packing import unpack_observation

        stamp_ns = frame.fields["stamp_ns"]
        seen = unpack_observation(frame, stamp_ns=stamp_ns, received_steady_ns=0)
        chunk = policy.act(seen, context=ActContext(now_ns=0))
        if stamp_ns >= FAULT_NS:
            shape = chunk.values.shape
            if name == "bytes":
                return random.bytes(400)
            if name == "NaN":
                chunk = chunk.with_values(np.full(shape, np.nan))
            if name == "wild":
                chunk = chunk.with_values(random.uniform(-50.0, 50.0, shape))
            if name == "enormous":
                chunk = chunk.with_values(np.full(shape, 1e300) * random.choice([-1, 1], shape))
        return Frame("chunk", *fields_of(frame, chunk))

    return answer


@pytest.mark.parametrize("name", ["bytes", "NaN", "wild", "enormous"])
def test_garbage_moves_nothing_faster_than_the_card_allows(tmp_path, name):
    with lying(load_policy_card(PICK_CUBE), garbage(name)) as url, asking(url, tmp_path) as far:
        watched = Watched(far, until_s=2.0)
    assert watched.is_safe()
    if name in ("bytes", "NaN"):
        assert watched.holds_at_its_end()
        told = {"bytes": "bytes that are no frame", "NaN": "a chunk that is not finite"}[name]
        assert any(told in refusal for refusal in watched.refusals)
    else:
        assert watched.run.interventions > 20
