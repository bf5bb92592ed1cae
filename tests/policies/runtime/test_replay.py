"""Protects deterministic mode: a run whose policy thought in a thread, at times that nobody chose, is done
again from its journal with every command bit for bit, and whatever is not the same is noticed.
"""

import contextlib
import dataclasses
import itertools
import shutil
import threading
import time

import numpy as np
import pytest
from chunked import ROBOT, STEP_NS, Ramp, observation

from hardware.chunk import Interpolation
from hardware.errors import ConfigError, ConfigErrors
from policies.bc.policy import PICK_CUBE
from policies.controller import Controller, ScheduleConfig, load_controller
from policies.policy import PolicyError
from policies.runtime.inference import Immediate, InferenceThread
from policies.runtime.journal_file import JournalFile, JournalReader
from policies.runtime.replay import load_for, replay
from sim.evaluation.lockstep import make_gate, run_lockstep
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE

SCHEDULE = ScheduleConfig(blend_s=0.05, interpolation=Interpolation.LINEAR)


class Noisy(Ramp):
    """Noise, what is committed, and a memory, so that order, seeds and arrivals all show in the answer."""

    def __init__(self):
        super().__init__()
        self._sum = 0.0

    def reset(self, seed=None):
        super().reset(seed)
        self._sum = 0.0

    def act(self, observation, *, context):
        chunk = super().act(observation, context=context)
        self._sum = 0.9 * self._sum + float(context.rng.standard_normal())
        values = chunk.values + self._sum + context.rng.standard_normal(chunk.values.shape)
        if context.committed is not None:
            values[: len(context.committed)] += 0.1 * context.committed
        if self._sum > 2.5:
            raise PolicyError(f"too much: {self._sum}")
        return chunk.with_values(values)


class Nudge:
    """A residual layer."""

    name = "nudge"

    def correct(self, observation, action):
        return action + 0.01 * observation.values["cube_position"][0]


def controller_of(policy, inference=Immediate):
    return Controller(
        policy,
        ROBOT,
        schedule=SCHEDULE,
        residual=(Nudge(),),
        inference=inference,
        steady_clock=time.monotonic_ns,
    )


def journal_of(path, controller, policy="none"):
    return JournalFile(
        path,
        robot=ROBOT,
        controller=controller,
        policy=str(policy),
        rate_hz=None,
        steady_clock=time.monotonic_ns,
    )


def fly(controller, path, *, steps, seeds=(5,)):
    """A run with observations that change, some of them not finite; gives what was answered."""
    journal = journal_of(path, controller)
    controller.journal = journal
    random = np.random.default_rng(3)
    given = []
    for seed in seeds:
        controller.reset(seed)
        for index in range(steps):
            seen = observation(index * STEP_NS)
            seen.values["cube_position"][:] = random.standard_normal(3)
            if index % 41 == 40:
                seen.values["cube_position"][1] = np.nan
            if index == steps // 2:
                controller.enable("nudge", on=False)
            try:
                given.append(controller.act(seen, now_ns=index * STEP_NS + 3))
            except PolicyError:
                given.append(None)
            # What the journal kept is its own.
            seen.values["cube_position"][:] = 7.0
            time.sleep(0.0005)
        controller.enable("nudge", on=True)
    controller.close()
    journal.close()
    assert journal.failure == ""
    return given


def replayed(path, policy):
    answers = []
    report = replay(
        JournalReader(path), controller_of(policy), on_step=lambda step, chunk: answers.append(chunk)
    )
    return report, answers


def same(a, b):
    if a is None or b is None:
        return a is b
    return a.values.tobytes() == b.values.tobytes() and a.start_ns == b.start_ns


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """A run in a thread: the policy takes a time that the machine makes up."""
    path = tmp_path_factory.mktemp("journal") / "policy_000000.mcap"
    policy = Noisy()
    slow = itertools.cycle([0.0, 0.004, 0.001, 0.009])
    policy.before.append(lambda seen: time.sleep(next(slow)))
    given = fly(controller_of(policy, InferenceThread), path, steps=250, seeds=(5, 6))
    return path, given


def test_every_command_of_a_threaded_run_comes_out_bit_for_bit(flown):
    path, given = flown
    report, answers = replayed(path, Noisy())
    assert report.is_identical, report.first_difference
    assert report.is_complete
    assert (report.steps, report.commands) == (500, sum(chunk is not None for chunk in given))
    assert report.commands > 100
    assert report.refusals > 5
    assert all(map(same, given, answers))
    # The arrivals are what makes it so: they came at steps that nobody chose.
    steps = [entry for entry in JournalReader(path).entries() if hasattr(entry, "arrived")]
    assert len({step.observation.stamp_ns for step in steps if step.arrived}) > 10


def test_a_run_within_the_step_comes_out_too(tmp_path):
    path = tmp_path / "policy_000000.mcap"
    given = fly(controller_of(Noisy()), path, steps=120)
    report, answers = replayed(path, Noisy())
    assert report.is_identical, report.first_difference
    assert all(map(same, given, answers))


@pytest.mark.parametrize("what", ["noise", "memory", "chunk"])
def test_another_policy_is_noticed(flown, what):
    class Other(Noisy):
        def act(self, observation, *, context):
            if what == "noise" and len(self.stamps) == 9:
                context.rng.random()
            if what == "memory" and len(self.stamps) == 9:
                self._sum += 1e-9
            chunk = super().act(observation, context=context)
            if what == "chunk":
                return chunk.with_values(np.nextafter(chunk.values, np.inf))
            return chunk

    report, _ = replayed(flown[0], Other())
    assert not report.is_identical
    assert report.first_difference.startswith("step ")


def test_a_journal_that_was_cut_short_is_replayed_as_far_as_it_goes(tmp_path):
    controller = controller_of(Noisy())
    journal = journal_of(tmp_path / "policy_000000.mcap", controller)
    controller.journal = journal
    controller.reset(1)
    part = tmp_path / "policy_000000.mcap.part"
    copy = tmp_path / "copy.mcap.part"
    deadline_s = time.monotonic() + 30.0
    # As a power cut would leave it: whatever is on the disk after a while of flying.
    for index in itertools.count():
        with contextlib.suppress(PolicyError):
            controller.act(observation(index * STEP_NS), now_ns=index * STEP_NS)
        if index >= 50 and part.stat().st_size > 20_000:
            break
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    shutil.copy(part, copy)
    controller.close()
    journal.close()
    report, _ = replayed(copy, Noisy())
    assert report.is_identical, report.first_difference
    assert not report.is_complete
    assert 10 < report.steps <= index + 1


def test_the_cloned_policy_is_found_loaded_and_replayed(tmp_path):
    controller = load_controller(PICK_CUBE, ROBOT, steady_clock=time.monotonic_ns)
    controller.use(InferenceThread)
    path = tmp_path / "policy_000000.mcap"
    controller.journal = journal = journal_of(path, controller, PICK_CUBE)
    with ArmTwin(ROBOT, seed=0, latency=NONE) as twin:
        run = run_lockstep(twin, controller, make_gate(ROBOT), steps=60, seed=3)
    controller.close()
    journal.close()
    assert run.steps == 60
    reader = JournalReader(path)
    report = replay(reader, load_for(reader, None, steady_clock=time.monotonic_ns))
    assert report.is_identical, report.first_difference
    assert report.commands > 20
    with pytest.raises(ConfigError, match="cannot be read"):
        load_for(reader, str(tmp_path / "none"), steady_clock=time.monotonic_ns)
    other = tmp_path / "other"
    shutil.copytree(PICK_CUBE, other)
    (other / "controller.yaml").write_text(
        (other / "controller.yaml").read_text().replace("blend_s: 0.08", "blend_s: 0.04")
    )
    (other / "card.yaml").write_text((other / "card.yaml").read_text().replace("execute: 4", "execute: 5"))
    with pytest.raises(ConfigErrors) as raised:
        load_for(reader, str(other), steady_clock=time.monotonic_ns)
    text = str(raised.value)
    assert "policy card: action is" in text
    assert "schedule is {'blend_s': 0.04" in text
    assert "replay with the policy that flew" in text


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    from recording import EpisodeInfo, EpisodeWriter

    writer = EpisodeWriter(tmp_path / "a.mcap", EpisodeInfo("a", 0), steady_clock=time.monotonic_ns)
    writer.finish()
    with pytest.raises(ConfigError, match="this is no journal of a controller: it lacks robot_card.yaml"):
        JournalReader(tmp_path / "a.mcap")


def test_a_full_disk_ends_the_journal_and_not_the_flight(tmp_path, monkeypatch):
    from recording import EpisodeWriter

    controller = controller_of(Noisy())
    journal = journal_of(tmp_path / "policy_000000.mcap", controller)
    controller.journal = journal

    def full(self, *args, **others):
        raise ConfigError("the disk is full", where="disk", expected="room", mend="make room")

    monkeypatch.setattr(EpisodeWriter, "write", full)
    controller.reset(0)
    controller.act(observation(0), now_ns=0)
    deadline_s = time.monotonic() + 30.0
    while not journal.failure:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    assert controller.act(observation(STEP_NS), now_ns=STEP_NS).is_finite
    journal.close()
    assert "the disk is full" in journal.failure


def test_a_journal_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    controller = controller_of(Noisy(), InferenceThread)
    journal = journal_of(tmp_path / "policy_000000.mcap", controller)
    controller.close()
    journal.close()
    assert set(threading.enumerate()) <= before


def test_a_step_is_a_step_whatever_it_holds():
    """The journal's step has a place for everything that `Poll` says."""
    from policies.runtime.inference import Poll
    from policies.runtime.journal import JournalStep

    names = {field.name for field in dataclasses.fields(JournalStep)}
    assert {field.name for field in dataclasses.fields(Poll)} - {"answers"} <= names
