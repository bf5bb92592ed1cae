"""Protects the benchmark's arithmetic, and the promise to be faster than the authors' Python package."""

from __future__ import annotations

import itertools
import sys

import pytest

from hardware.errors import ConfigError
from policies.raptor.bench import REFERENCE, bench_backends


def test_times_and_ratios_come_from_the_clock_in_turn():
    # Four contenders, read before and after: each run in the round takes 1, 2, 3 and 4 us by its place.
    ticks = itertools.accumulate(itertools.cycle([0, 1000, 0, 2000, 0, 3000, 0, 4000]))
    rows = {row.name: row for row in bench_backends(5, 4, clock_ns=lambda: next(ticks))}
    assert set(rows) == {REFERENCE, "numpy", "torch", "onnx"}
    # The order moves on by one each repeat, so in four repeats everyone had every place once.
    for row in rows.values():
        assert row.us_per_step == pytest.approx(2.5 / 5)
        assert row.best_us_per_step == pytest.approx(1.0 / 5)
    assert rows[REFERENCE].ratio == 1.0
    # First after the reference: 2/1, 3/2, 4/3 and, when the reference comes last, 1/4.
    assert rows["numpy"].ratio == pytest.approx((3 / 2 + 4 / 3) / 2)


def test_our_fastest_back_end_takes_at_most_seven_tenths():
    rows = {row.name: row for row in bench_backends(300, 9)}
    assert min(row.ratio for name, row in rows.items() if name != REFERENCE) <= 0.7
    assert [row.us_per_step for row in rows.values()] == sorted(row.us_per_step for row in rows.values())


def test_counts_and_packages_are_checked(monkeypatch):
    with pytest.raises(ConfigError, match="bench raptor: repeats is 0. Expected 1 or more"):
        bench_backends(10, 0)
    monkeypatch.setitem(sys.modules, "foundation_policy", None)
    with pytest.raises(ConfigError, match="foundation-policy cannot be loaded"):
        bench_backends(10, 1)
