"""Protects rates, statistics and the comparison with the specs: intervals, empty fleets, rounding, chance."""

import math

import numpy as np
import pytest

from sim.evaluation.fleet.cases import Case
from sim.evaluation.fleet.flight import FleetFlight
from sim.evaluation.fleet.measures import mean_of, median_of, rate, summarise
from sim.evaluation.fleet.probe import Probe
from sim.evaluation.fleet.reference import (
    compare_clipped,
    compare_figure_eight,
    compare_hover,
    compare_probe,
    compare_sensitivity,
)
from sim.evaluation.fleet.tables import FIGURE_EIGHT, HOVER, SENSITIVITY
from sim.evaluation.statistics import wilson


def flight(name="5.5 s", *, crashed, rmse_m, settle_s=np.inf):
    crashed = np.asarray(crashed)
    rmse = np.asarray(rmse_m, np.float32)
    return FleetFlight(
        case=Case(name),
        crashed=crashed,
        terminated=crashed,
        length=np.where(crashed, 100, 500),
        rmse_m=rmse,
        rmse_horizontal_m=rmse,
        rmse_vertical_m=0.5 * rmse,
        settle_s=np.full(len(rmse), settle_s, np.float32),
    )


def test_rate_counts_and_has_wilsons_interval():
    found = rate(np.array([True, False, False, True]))
    assert (found.count, found.trials, found.share) == (2, 4, 0.5)
    assert found.interval == wilson(2, 4)


def test_statistics_come_with_intervals_and_nothing_gives_no_number():
    for statistic in (mean_of, median_of):
        found = statistic(np.arange(100.0))
        assert found.value == 49.5
        assert 30 < found.interval.lower < 49.5 < found.interval.upper < 70
        assert math.isnan(statistic(np.empty(0)).value)


def test_only_survivors_have_errors():
    row = summarise(flight(crashed=[False, False, True], rmse_m=[0.1, 0.3, np.nan]))
    assert row.crash.count == 1
    assert row.rmse_mean_m.value == pytest.approx(0.2)
    assert row.rmse_vertical_m.value == pytest.approx(0.1)
    assert row.length.value == pytest.approx(1100 / 3)
    assert math.isnan(row.settle_s.value)


def test_errors_can_be_those_of_vehicles_that_others_kept_too():
    flown = flight(crashed=[False, False, True], rmse_m=[0.1, 0.3, np.nan])
    assert summarise(flown, among=np.array([False, True, True])).rmse_mean_m.value == pytest.approx(0.3)
    assert math.isnan(summarise(flown, among=np.array([False, False, True])).rmse_mean_m.value)


def test_half_that_never_settles_makes_the_median_infinite():
    found = flight(crashed=[False] * 4, rmse_m=[0.02] * 4, settle_s=1.0)
    found.settle_s[2:] = np.inf
    assert math.isinf(summarise(found).settle_s.value)


def test_every_row_of_the_specs_is_flown():
    from sim.evaluation.fleet import reference

    assert set(reference._HOVER) == {case.name for case in HOVER}
    assert set(reference._FIGURE_EIGHT) == {case.name for case in FIGURE_EIGHT}
    assert set(reference._SENSITIVITY) <= {case.name for case in SENSITIVITY}
    assert len({case.name for case in SENSITIVITY}) == len(SENSITIVITY)


def crashes(count, trials=1024, *, rmse_m=0.167):
    return np.arange(trials) < count, np.full(trials, rmse_m)


def compared(name, count, rmse_m, *, compare=compare_figure_eight):
    crashed, rmse = crashes(count, rmse_m=rmse_m)
    found = list(compare([summarise(flight(name, crashed=crashed, rmse_m=rmse))]))
    return {row.quantity: row for row in found}


def test_specs_agree_with_themselves_and_not_with_something_else():
    same = compared("5.5 s", 25, 0.167)
    assert same["crash"].agrees
    assert same["crash"].specs == pytest.approx((24 + 20 + 30) / 3072)
    assert same["RMSE, median"].agrees
    other = compared("5.5 s", 100, 0.2)
    assert not other["crash"].agrees
    assert not other["RMSE, median"].agrees
    # Every airframe has the same error here: nothing is left to chance.
    assert other["RMSE, median"].within_chance is False


def test_five_percent_and_half_the_last_digit_are_allowed():
    for rmse_m, agrees in ((0.0648, True), (0.0655, True), (0.0658, False), (0.0586, True), (0.0583, False)):
        assert compared("10 s", 20, rmse_m)["RMSE, median"].agrees is agrees, rmse_m


def test_a_median_of_few_may_differ_by_chance():
    crashed = np.zeros(64, bool)
    rmse = np.random.default_rng(0).normal(0.2, 0.1, 64)
    row = summarise(flight("10 s", crashed=crashed, rmse_m=rmse - np.median(rmse) + 0.066))
    (found,) = (c for c in compare_figure_eight([row]) if c.quantity == "RMSE, median")
    assert not found.agrees
    assert found.within_chance


def test_rows_that_the_specs_do_not_have_are_passed_over():
    assert compared("of our own", 10, 0.1) == {}
    assert compared("of our own", 10, 0.1, compare=compare_hover) == {}
    assert compared("init as in code", 10, 0.1, compare=compare_clipped) == {}


def test_sensitivity_is_compared_in_both_halves():
    crashed, rmse = crashes(1, 256, rmse_m=0.165)
    row = summarise(flight("none", crashed=crashed, rmse_m=rmse))
    found = list(compare_sensitivity([row], [row]))
    assert [(c.table.split(", ")[1], c.quantity, c.agrees) for c in found] == [
        ("figure eight", "crash", True),
        ("figure eight", "RMSE, median", True),
        ("hover", "crash", True),
        ("hover", "RMSE, median", False),
        ("hover", "vertical RMSE, median", False),
    ]


def test_probe_is_compared():
    good = Probe(1000, 800, 0.93, 0.07, 0.98, 0.02, 0.80, 0.2)
    assert [row.agrees for row in compare_probe(good)] == [True, True]
