"""Protects the pace: at most one set-point a period, whatever the timing of the calls."""

import random

from hardware.pacing import Pacer

PERIOD = 10_000_000


def taken(times, *, wait=False):
    pacer = Pacer(PERIOD)
    out = []
    for now in times:
        if pacer.due(now, wait=wait):
            pacer.take(now, wait=wait)
            out.append(now)
    return out


def test_the_first_call_is_due():
    assert taken([123]) == [123]


def test_even_calls_all_get_through():
    times = [k * PERIOD for k in range(100)]
    assert taken(times) == times


def test_a_burst_gives_one_per_half_period_at_first_and_one_per_period_in_the_long_run():
    out = taken(range(0, 100 * PERIOD, PERIOD // 20))
    assert min(b - a for a, b in zip(out, out[1:], strict=False)) >= PERIOD // 2
    assert len(out) in (100, 101)


def test_random_calls_never_run_ahead_of_the_grid():
    rng = random.Random(4)
    for _ in range(200):
        now, times = 0, []
        for _ in range(200):
            now += int(PERIOD * rng.choice((0.1, 0.6, 1.0, 1.4, 3.0)) * rng.random())
            times.append(now)
        out = taken(times)
        for i, first in enumerate(out):
            for k, later in enumerate(out[i:]):
                assert later - first >= (k - 1) * PERIOD


def test_waiting_leaves_half_a_period_for_a_late_command():
    pacer = Pacer(PERIOD)
    pacer.take(0, wait=False)
    assert not pacer.due(int(1.5 * PERIOD) - 1, wait=True)
    assert pacer.due(int(1.5 * PERIOD), wait=True)
    pacer.take(int(1.5 * PERIOD), wait=True)
    # What came late in its place did not move the grid.
    assert not pacer.due(int(2.5 * PERIOD) - 1, wait=True)
    assert pacer.due(int(2.5 * PERIOD), wait=True)


def test_a_restart_forgets():
    pacer = Pacer(PERIOD)
    pacer.take(0, wait=False)
    assert pacer.since_ns(5) == 5
    pacer.restart()
    assert pacer.since_ns(5) == 0
    assert pacer.due(1, wait=False)
