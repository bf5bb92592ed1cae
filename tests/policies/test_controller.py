"""Protects the controller's time line when a policy thinks longer than a control step: nothing is skipped
from rest, later chunks are trimmed by time, the policy hears what is committed, the latest observation
wins, and silence of a policy never becomes a command.
"""

import functools
import threading
import time

import numpy as np
import pytest
from chunked import ROBOT, STEP_NS, Ramp, observation

from policies.controller import Controller, ScheduleConfig
from policies.policy import PolicyError
from policies.runtime.inference import Delayed, InferenceThread


def make(policy, inference, **schedule):
    controller = Controller(
        policy,
        ROBOT,
        schedule=ScheduleConfig(**schedule),
        inference=inference,
        steady_clock=time.monotonic_ns,
    )
    controller.reset(0)
    return controller


def late(steps):
    return functools.partial(Delayed, delay_s=steps * STEP_NS * 1e-9)


def run(controller, first, last):
    """The commands of some control steps; None where the controller refuses."""
    given = []
    for index in range(first, last):
        try:
            chunk = controller.act(observation(index * STEP_NS), now_ns=index * STEP_NS)
            given.append(float(chunk.values[0, 0]))
        except PolicyError:
            given.append(None)
    return given


def test_the_first_chunk_is_carried_out_whole_from_its_arrival():
    """Nothing moved while the policy thought, so no step may be skipped."""
    policy = Ramp()
    given = run(make(policy, late(3)), 0, 7)
    assert given[:3] == [None] * 3
    np.testing.assert_allclose(given[3:], [0.0, 0.001, 0.002, 0.003])
    assert policy.stamps == [0]


def test_later_chunks_are_trimmed_by_time():
    policy = Ramp()
    controller = make(policy, late(3))
    given = run(controller, 0, 14)
    # Asked again once four steps of the first chunk (from its arrival) were carried out, at step 7.
    assert policy.stamps[1] == 7 * STEP_NS
    # Until it is there the first chunk goes on; then the second one, three steps in.
    np.testing.assert_allclose(given[7:10], [0.004, 0.005, 0.006])
    np.testing.assert_allclose(given[10:12], 7 * 0.02 + 0.001 * np.array([3, 4]))


def test_a_policy_hears_exactly_what_is_carried_out_until_its_chunk_arrives():
    policy = Ramp()
    given = run(make(policy, late(3)), 0, 40)
    assert policy.contexts[0].committed is None
    assert len(policy.contexts) > 4
    for stamp_ns, context in list(zip(policy.stamps, policy.contexts, strict=True))[1:-1]:
        index = stamp_ns // STEP_NS
        # Four steps: three until it arrives, and the one in force at that very moment.
        assert context.committed.shape == (4, 6)
        np.testing.assert_array_equal(context.committed[:3, 0], given[index : index + 3])
        # What would follow: on along the ramp of the chunk in force, to its end.
        np.testing.assert_allclose(np.diff(context.planned[:, 0]), 0.001, atol=1e-12)
        assert context.planned[0, 0] > context.committed[-1, 0]


def test_without_in_painting_a_policy_hears_nothing():
    policy = Ramp()
    run(make(policy, late(3), inpaint=False), 0, 20)
    assert all(context.committed is context.planned is None for context in policy.contexts)


def test_a_policy_that_follows_what_is_committed_makes_no_step_at_the_seam():
    class Follower(Ramp):
        def act(self, observation, *, context):
            chunk = super().act(observation, context=context)
            values = chunk.values.copy()
            if context.committed is not None:
                known = len(context.committed)
                values[:known] = context.committed
                values[known:] = context.committed[-1]
            return chunk.with_values(values)

    given = run(make(Follower(), late(3)), 3, 40)
    steps = np.diff([value for value in given if value is not None])
    assert np.abs(steps).max() < 0.0011
    jumps = np.diff([v for v in run(make(Ramp(), late(3)), 3, 40) if v is not None])
    assert np.abs(jumps).max() > 0.05


def test_the_latest_observation_wins_while_a_slow_policy_thinks():
    """It takes six steps and is asked again after four: what waited is replaced at every step."""
    policy = Ramp(execute=4)
    run(make(policy, late(6)), 0, 30)
    # The first from rest at 0, due again at 6 + 4; begun there; the next one waits from 14 on, and is
    # begun at 16 with the observation of the step before.
    assert [stamp // STEP_NS for stamp in policy.stamps[:3]] == [0, 10, 15]


def test_the_age_of_the_observation_is_told():
    controller = make(Ramp(), late(3))
    run(controller, 0, 12)
    chunk = controller.act(observation(12 * STEP_NS), now_ns=12 * STEP_NS)
    # The chunk in force answers the observation of step 7.
    assert chunk.observed_ns == 7 * STEP_NS
    assert chunk.age_s(12 * STEP_NS) == pytest.approx(5 * 0.02)
    assert controller.report.age_s == pytest.approx(5 * 0.02)
    # From rest the start of a chunk is moved, not the age.
    fresh = make(Ramp(), late(3))
    run(fresh, 0, 4)
    assert fresh.report.age_s == pytest.approx(3 * 0.02)


def test_a_chunk_that_is_over_when_it_arrives_is_dropped_and_said():
    controller = make(Ramp(), late(11))
    run(controller, 0, 11)
    with pytest.raises(PolicyError, match=r"no chunk .* covers this moment: the chunk came 0.22 s late"):
        controller.act(observation(11 * STEP_NS), now_ns=11 * STEP_NS)


def test_within_the_step_a_refusal_is_a_refusal():
    policy = Ramp()

    def refuse(observation):
        raise PolicyError("not today")

    policy.before.append(refuse)
    controller = Controller(policy, ROBOT, steady_clock=time.monotonic_ns)
    controller.reset(0)
    with pytest.raises(PolicyError, match="not today"):
        controller.act(observation(0), now_ns=0)


# --- the thread ------------------------------------------------------------------------------------


@pytest.fixture
def gate():
    """Lets a policy answer, or not."""
    event = threading.Event()
    yield event
    event.set()


def until(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come true"
        time.sleep(0.001)


def test_a_hanging_policy_holds_no_control_step_up_and_nothing_goes_out(gate):
    policy = Ramp()
    policy.before.append(lambda observation: gate.wait(60))
    controller = make(policy, InferenceThread)
    with pytest.raises(PolicyError, match="covers this moment: the first one is still being made"):
        controller.act(observation(0), now_ns=0)
    assert run(controller, 1, 5) == [None] * 4
    gate.set()
    until(lambda: policy.stamps)
    until(lambda: run(controller, 5, 6) != [None])
    # It hangs again: its last chunk is carried out to its end, then there is silence.
    gate.clear()
    given = run(controller, 6, 40)
    alive = [value is not None for value in given]
    assert alive[0]
    assert alive == sorted(alive, reverse=True)
    assert not alive[-1]
    gate.set()
    controller.close()


def test_a_policy_that_raises_in_the_thread_is_reported_and_asked_again():
    policy = Ramp()

    def break_once(observation):
        if len(policy.stamps) == 1 and not broken:
            broken.append(observation.stamp_ns)
            raise ZeroDivisionError("division by zero")

    broken = []
    policy.before.append(break_once)
    controller = make(policy, InferenceThread)
    run(controller, 0, 1)
    until(lambda: policy.stamps)
    assert None not in run(controller, 1, 6)
    until(lambda: broken)
    # The first chunk lasts ten steps from its arrival at step 1; the fault is told meanwhile.
    until(lambda: run(controller, 6, 7) and "ZeroDivisionError" in controller.report.refusal)
    until(lambda: run(controller, 7, 8) and len(policy.stamps) == 2)
    until(lambda: run(controller, 8, 9) and controller.report.refusal == "")
    controller.close()


def test_a_reset_forgets_what_is_under_way(gate):
    policy = Ramp()
    begun = threading.Event()
    policy.before.append(lambda observation: (begun.set(), gate.wait(60)))
    controller = make(policy, InferenceThread)
    run(controller, 0, 3)
    assert begun.wait(60)
    threading.Timer(0.05, gate.set).start()
    controller.reset(1)
    asked = len(policy.stamps)
    assert asked == 1
    gate.clear()
    assert run(controller, 100, 101) == [None]
    gate.set()
    until(lambda: len(policy.stamps) == 2)
    until(lambda: run(controller, 101, 102) != [None])
    assert policy.stamps[-1] == 100 * STEP_NS
    controller.close()
