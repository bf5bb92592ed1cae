"""Protects the observation history: chosen by time, never of the future, whole from the first step on."""

from __future__ import annotations

import numpy as np

from hardware.robot import Observation
from policies.history import History

STEP_NS = 40_000_000


def at(stamp_ns: int) -> Observation:
    return Observation({"joint_position": np.array([float(stamp_ns)])}, stamp_ns, stamp_ns)


def stamps(history: History) -> list[int]:
    return [seen.stamp_ns for seen in history.past()]


def test_for_every_step_back_it_gives_the_nearest_observation():
    history = History(3, STEP_NS)
    # Fifty a second, with jitter: every other one lies near a step.
    for stamp_ns in (0, 21_000_000, 39_000_000, 61_000_000, 80_500_000, 99_000_000):
        history.add(at(stamp_ns))
    assert stamps(history) == [21_000_000, 61_000_000]


def test_the_oldest_stands_for_what_is_missing():
    history = History(3, STEP_NS)
    assert history.past() == ()
    history.add(at(7))
    assert stamps(history) == [7, 7]
    history.add(at(7 + STEP_NS))
    assert stamps(history) == [7, 7]
    history.add(at(7 + 2 * STEP_NS))
    assert stamps(history) == [7, 7 + STEP_NS]


def test_it_keeps_no_more_than_it_needs():
    history = History(2, STEP_NS)
    for i in range(1000):
        history.add(at(i * 10_000_000))
    assert len(history._seen) <= 6
    single = History(1, STEP_NS)
    single.add(at(0))
    assert single.past() == ()
    assert len(single._seen) == 0


def test_a_clock_that_was_set_back_begins_anew():
    history = History(2, STEP_NS)
    for stamp_ns in (10 * STEP_NS, 11 * STEP_NS, STEP_NS):
        history.add(at(stamp_ns))
    assert stamps(history) == [STEP_NS]
    history.clear()
    assert history.past() == ()
