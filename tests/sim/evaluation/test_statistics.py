"""Protects the intervals in every report: the numbers of the specs' table, coverage, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.evaluation.statistics import Interval, bootstrap, bootstrap_median, clopper_pearson, wilson

# Specs of evaluation, section 5.2: k, n, Wilson 95 %, Clopper-Pearson 95 %.
TABLE = [
    (0, 10, (0.0, 0.278), (0.0, 0.308)),
    (5, 10, (0.237, 0.763), (0.187, 0.813)),
    (10, 10, (0.722, 1.0), (0.692, 1.0)),
    (8, 20, (0.219, 0.613), (0.191, 0.639)),
    (34, 60, (0.441, 0.684), (0.432, 0.694)),
    (48, 60, (0.682, 0.882), (0.677, 0.892)),
    (50, 50, (0.929, 1.0), (0.929, 1.0)),
    (250, 250, (0.985, 1.0), (0.985, 1.0)),
]


@pytest.mark.parametrize(("successes", "trials", "expected_wilson", "expected_exact"), TABLE)
def test_the_table_of_the_specs(successes, trials, expected_wilson, expected_exact):
    score = wilson(successes, trials)
    exact = clopper_pearson(successes, trials)
    assert (score.lower, score.upper) == pytest.approx(expected_wilson, abs=5e-4)
    assert (exact.lower, exact.upper) == pytest.approx(expected_exact, abs=5.1e-4)


def test_the_ends_of_the_range_are_exact():
    assert wilson(0, 7).lower == 0.0
    assert wilson(7, 7).upper == 1.0


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_swapping_success_and_failure_mirrors_the_interval(interval):
    a, b = interval(13, 40), interval(27, 40)
    assert (a.lower, a.upper) == pytest.approx((1 - b.upper, 1 - b.lower))


def test_the_exact_interval_never_covers_too_little():
    random = np.random.default_rng(3)
    for rate in (0.5, 0.9, 0.97):
        counts = np.bincount(random.binomial(30, rate, size=4000), minlength=31)
        covered = [
            share
            for k, share in enumerate(counts / 4000)
            if clopper_pearson(k, 30).lower <= rate <= clopper_pearson(k, 30).upper
        ]
        assert sum(covered) >= 0.94


def test_more_confidence_is_a_wider_interval():
    assert wilson(9, 12, confidence=0.99).lower < wilson(9, 12, confidence=0.9).lower


def test_the_bootstrap_of_the_mean_agrees_with_theory():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = bootstrap(values, seed=1)
    standard_error = values.std(ddof=1) / 20
    assert found.lower == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.03)
    assert found.upper == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.03)


def test_the_bootstrap_takes_any_statistic_and_a_seed():
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    median = bootstrap(values, statistic=lambda v: float(np.median(v)), seed=5)
    assert median == bootstrap(values, statistic=lambda v: float(np.median(v)), seed=5)
    assert median.lower >= 1.0
    assert median.upper <= 100.0
    assert bootstrap([2.0] * 9, seed=5).lower == 2.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4)])
@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_impossible_counts_are_refused(interval, successes, trials):
    with pytest.raises(
        ConfigError, match=rf"{successes} successes in {trials} trials.*Expected at least one"
    ):
        interval(successes, trials)


def test_an_impossible_confidence_is_refused():
    with pytest.raises(ConfigError, match=r"confidence 95.*Expected a share between 0 and 1"):
        wilson(1, 2, confidence=95)


@pytest.mark.parametrize("count", [1, 2, 7, 200, 201])
def test_median_is_bootstrapped_as_by_drawing_every_value(count):
    values = np.random.default_rng(3).normal(size=count)
    drawn = bootstrap(values, statistic=lambda data: float(np.median(data)), resamples=4000)
    quick = bootstrap_median(values, resamples=4000)
    spread = float(values.std())
    assert quick.lower == pytest.approx(drawn.lower, abs=0.05 * spread + 1e-12)
    assert quick.upper == pytest.approx(drawn.upper, abs=0.05 * spread + 1e-12)


def test_median_of_what_mostly_never_happens_has_an_infinite_upper_end():
    interval = bootstrap_median(np.array([1.0] * 5 + [np.inf] * 4))
    assert interval == Interval(1.0, float("inf"))


def test_median_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="0 successes in 0 trials"):
        bootstrap_median([])
