"""Intervals for what was measured: success rates and means, with the number of trials they rest on.

Source: Wilson (1927) and Clopper and Pearson (1934) for k successes in n trials; Efron (1979) for the
bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.errors import ConfigError


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends included."""

    # The smallest value that the data does not contradict.
    lower: float
    # The largest one.
    upper: float


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Give the Wilson score interval of a success rate, the default for reports.

    Args:
        successes: how many trials succeeded.
        trials: how many there were; they must be independent of each other.
        confidence: the share of such intervals that hold the true rate, 0 to 1.

    Returns:
        The interval, inside 0 to 1.

    Raises:
        ConfigError: no trials, more successes than trials, or a confidence outside 0 to 1.
    """
    _check(successes, trials, confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / denominator
    half = z / denominator * math.sqrt(rate * (1.0 - rate) / trials + z * z / (4.0 * trials * trials))
    # At the ends of the range the formula gives them exactly; rounding must not move them.
    lower = 0.0 if successes == 0 else max(0.0, centre - half)
    upper = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(lower, upper)


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Give the exact interval of a success rate, which never covers too little: for safety claims.

    Args:
        successes: how many trials succeeded.
        trials: how many there were; they must be independent of each other.
        confidence: the share of such intervals that at least hold the true rate, 0 to 1.

    Returns:
        The interval, inside 0 to 1.

    Raises:
        ConfigError: no trials, more successes than trials, or a confidence outside 0 to 1.
    """
    _check(successes, trials, confidence)
    tail = (1.0 - confidence) / 2

    def at_least(rate: float) -> float:
        return _binomial_mass(rate, trials, range(successes, trials + 1))

    def at_most(rate: float) -> float:
        return _binomial_mass(rate, trials, range(successes + 1))

    lower = 0.0 if successes == 0 else _bisect(lambda rate: at_least(rate) < tail)
    upper = 1.0 if successes == trials else _bisect(lambda rate: at_most(rate) >= tail)
    return Interval(lower, upper)


def bootstrap(
    values: Sequence[float] | FloatArray,
    *,
    statistic: Callable[[FloatArray], float] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give the percentile bootstrap interval of a statistic of independent values.

    Args:
        values: one number a trial, shape (N,).
        statistic: what to compute from N values; None: their mean.
        confidence: the share of the resampled statistics that the interval holds, 0 to 1.
        resamples: how often to draw N of the N values with replacement.
        seed: makes the draws repeatable.

    Returns:
        The interval.

    Raises:
        ConfigError: no values, or a confidence outside 0 to 1.
    """
    data = np.asarray(values, dtype=np.float64)
    _check(0, len(data), confidence)
    random = np.random.default_rng(seed)
    chosen: NDArray[np.int64] = random.integers(0, len(data), size=(resamples, len(data)))
    if statistic is None:
        drawn = data[chosen].mean(axis=1)
    else:
        drawn = np.array([statistic(data[row]) for row in chosen])
    tail = 50.0 * (1.0 - confidence)
    lower, upper = np.percentile(drawn, [tail, 100.0 - tail])
    return Interval(float(lower), float(upper))


def bootstrap_median(
    values: Sequence[float] | FloatArray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Give the percentile bootstrap interval of the median, without drawing N values for every resample.

    The median of a resample is one value of the sorted data, or the mean of two; which ones is the order
    statistic of N uniform numbers, and those have a beta distribution.

    Args:
        values: one number a trial, shape (N,); infinite ones are allowed.
        confidence: the share of the resampled medians that the interval holds, 0 to 1.
        resamples: how many medians to draw.
        seed: makes the draws repeatable.

    Returns:
        The interval; its ends are values of the data, or means of two.

    Raises:
        ConfigError: no values, or a confidence outside 0 to 1.
    """
    data = np.sort(np.asarray(values, dtype=np.float64))
    count = len(data)
    _check(0, count, confidence)
    random = np.random.default_rng(seed)
    rank = (count + 1) // 2
    lower = random.beta(rank, count - rank + 1, resamples)
    upper = lower if count % 2 else lower + (1.0 - lower) * random.beta(1, count - rank, resamples)
    first, second = (
        data[np.minimum((count * place).astype(np.int64), count - 1)] for place in (lower, upper)
    )
    # Where both are the same infinity, its half is added to itself.
    drawn = np.sort(0.5 * first + 0.5 * second)
    tail = 0.5 * (1.0 - confidence)
    ends = [min(resamples - 1, round(share * (resamples - 1))) for share in (tail, 1.0 - tail)]
    return Interval(float(drawn[ends[0]]), float(drawn[ends[1]]))


def _check(successes: int, trials: int, confidence: float) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(
            f"{successes} successes in {trials} trials",
            where="interval",
            expected="at least one trial and 0 to that many successes",
            mend="count again",
        )
    if not 0.0 < confidence < 1.0:
        raise ConfigError(
            f"confidence {confidence}",
            where="interval",
            expected="a share between 0 and 1, for instance 0.95",
            mend="correct the confidence",
        )


def _binomial_mass(rate: float, trials: int, counts: range) -> float:
    if rate <= 0.0 or rate >= 1.0:
        return float((0 if rate <= 0.0 else trials) in counts)
    log_all = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            log_all
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(rate)
            + (trials - k) * math.log1p(-rate)
        )
        for k in counts
    )


def _bisect(is_below: Callable[[float], bool]) -> float:
    lower, upper = 0.0, 1.0
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if is_below(middle) else (lower, middle)
    return (lower + upper) / 2
