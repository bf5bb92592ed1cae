"""Protects the published policy's figures in our simulator: those that the specs measured in RAPTOR's own.

The everyday part of `reflexarc eval raptor --require-specs`: 256 airframes, the rows that take seconds.
"""

import numpy as np
import pytest

from policies.raptor.fleet import FleetPilot
from sim.evaluation.fleet import fly, quick_metrics
from sim.evaluation.fleet.cases import Case
from sim.evaluation.fleet.measures import summarise
from sim.evaluation.fleet.named import recover
from sim.evaluation.fleet.reference import (
    compare_clipped,
    compare_figure_eight,
    compare_hover,
    compare_recovery,
    compare_sensitivity,
)
from sim.evaluation.fleet.tables import FIGURE_EIGHT, HOVER, SENSITIVITY
from sim.quadrotor.fleet import PAPER
from sim.quadrotor.sampling import sample_airframes

SEED = 0
BATCH = sample_airframes(256, seed=SEED)


@pytest.fixture(scope="module")
def pilot():
    return FleetPilot.load()


def rows(pilot, cases, *, clip_errors=False):
    controller = pilot.controller(clip_errors=clip_errors)
    return [summarise(fly(case, BATCH, controller, seed=SEED)) for case in cases]


def differing(comparisons):
    found = list(comparisons)
    assert found
    return [row for row in found if not (row.agrees or row.within_chance)]


def test_hover_is_that_of_the_specs(pilot):
    assert differing(compare_hover(rows(pilot, HOVER))) == []


def test_hover_with_clipping_is_that_of_the_specs(pilot):
    paper = [case for case in HOVER if case.name == "paper init"]
    assert differing(compare_clipped(rows(pilot, paper, clip_errors=True))) == []


def test_figure_eight_is_that_of_the_specs(pilot):
    eight = [case for case in FIGURE_EIGHT if case.name == "5.5 s"]
    assert differing(compare_figure_eight(rows(pilot, eight))) == []


def test_what_delays_do_to_a_hover_is_what_the_specs_say(pilot):
    chosen = ("none", "action delay 5 ms", "action delay 10 ms", "velocity delay 30 ms", "50 Hz policy")
    hovers = rows(pilot, [case for case in SENSITIVITY if case.name in chosen])
    assert differing(compare_sensitivity([], hovers)) == []
    lost = {row.name: row.crash.share for row in hovers}
    assert lost["none"] < 0.05 < 0.25 < lost["action delay 10 ms"]


def test_recoveries_are_those_of_the_specs(pilot):
    for clipped in (False, True):
        found = recover(pilot.controller(clip_errors=clipped))
        assert differing(compare_recovery(found, clipped=clipped)) == []
    # Section 8 of the specs: everybody is back within three seconds, and none falls far.
    assert all(row.recovered_s < 3.0 and row.altitude_loss_m < 0.7 for row in found)


def test_hidden_state_that_advances_too_often_flies_worse(pilot):
    """The executor's intermediate steps are on a copy: 400 Hz flies like 100 Hz."""
    cases = [
        Case("hover", policy_hz=hz, fine_physics=True, hover_s=4.0, judged_at_end=False) for hz in (100, 400)
    ]
    slow, fast = (summarise(fly(case, BATCH, pilot.controller(clip_errors=False), seed=0)) for case in cases)
    assert fast.rmse_median_m.value == pytest.approx(slow.rmse_median_m.value, rel=0.05)
    naive = pilot.controller(clip_errors=False)
    naive._native_interval_ns = 0
    worse = summarise(fly(cases[1], BATCH, naive, seed=0))
    assert worse.rmse_p95_m > 1.3 * fast.rmse_p95_m


def test_quick_metrics_are_those_of_the_cases(pilot):
    quick = quick_metrics(pilot, airframes=64, seed=3)
    batch = sample_airframes(64, seed=3)
    hover = fly(Case("hover", start=PAPER), batch, pilot.controller(clip_errors=True), seed=3)
    assert quick.hover_crash == hover.crashed.mean() < 0.2
    assert quick.hover_rmse_m == pytest.approx(float(np.median(hover.rmse_m[hover.survived])))
    assert quick.figure_eight_crash < 0.2
    assert quick.figure_eight_5_5s_rmse_m == pytest.approx(0.17, rel=0.1)
    assert 0.3 < quick.delay_10ms_crash < 0.8
