"""Protects the verdicts on clocks, wake-ups and real-time scheduling."""

import dataclasses
import os

import pytest

from reflexarc.checks import clocks
from reflexarc.checks.finding import Level

CLOCKS = clocks.ClockFacts("tsc", 1.0, 0, 10_000, 0, tuple(range(0, 100_000, 1000)))


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"source": "hpet"}, Level.WARN, "The kernel reads time from 'hpet'"),
        ({"steps_back": 3}, Level.FAIL, "The steady clock went back 3 times in 10000 reads"),
        ({"resolution_ns": 4e6}, Level.WARN, "It ticks every 4000 µs"),
        ({"wall_step_ns": -80_000_000}, Level.WARN, "The wall clock jumped by -80.0 ms"),
        ({"lateness_ns": (1000,) * 50 + (9_000_000,) * 50}, Level.WARN, "9000 µs (p99)"),
    ],
)
def test_clocks(change, level, words, only):
    assert {f.level for f in clocks.check_clocks(CLOCKS)} == {Level.OK}
    found = only(clocks.check_clocks(dataclasses.replace(CLOCKS, **change)), level)
    assert words in found.sentence
    assert found.mend


def test_clocks_are_measured_across_cores_and_affinity_is_left_alone():
    before = os.sched_getaffinity(0)
    facts = clocks.measure_clocks(0.1)
    assert os.sched_getaffinity(0) == before
    assert facts.reads == 10_000
    assert len(facts.lateness_ns) == 20
    assert list(facts.lateness_ns) == sorted(facts.lateness_ns)
    assert facts.source


def test_clock_that_goes_back_is_counted():
    values = iter([10, 11, 9] + list(range(12, 20_000)))
    assert clocks._count_steps_back(lambda: next(values)) == (1, 10_000)


def test_realtime_permission(only):
    found = only(clocks.check_realtime(lambda: "Operation not permitted"), Level.WARN)
    assert "SCHED_FIFO is refused (Operation not permitted)" in found.sentence
    assert "rtprio" in found.commands[0]
    assert only(clocks.check_realtime(lambda: ""), Level.OK)
    policy = os.sched_getscheduler(0)
    clocks.try_fifo()
    assert os.sched_getscheduler(0) == policy
