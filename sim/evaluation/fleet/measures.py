"""What is said of a fleet: rates and statistics with their intervals, one row a case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from sim.evaluation.fleet.flight import BoolArray, FleetFlight
from sim.evaluation.statistics import Interval, bootstrap, bootstrap_median, wilson
from sim.quadrotor.fleet_airframes import Float32Array


@dataclass(frozen=True)
class Rate:
    """How often something happened."""

    # In how many of the trials.
    count: int
    # How many there were.
    trials: int
    # The share, 0 to 1.
    share: float
    # Its 95 % Wilson interval.
    interval: Interval


@dataclass(frozen=True)
class Estimate:
    """A statistic of independent values."""

    # The statistic; NaN without values.
    value: float
    # Its 95 % bootstrap interval.
    interval: Interval


@dataclass(frozen=True)
class Row:
    """What a fleet did in one case. Errors are those of the vehicles that were not lost, in metres."""

    # The case.
    name: str
    # Lost vehicles.
    crash: Rate
    # Vehicles that ever left the box of the training, and after how many control steps on average.
    terminated: Rate
    length: Estimate
    # Error over a vehicle's flight (root mean square): over the vehicles median and mean, with intervals,
    # standard deviation and 95 % quantile.
    rmse_median_m: Estimate
    rmse_mean_m: Estimate
    rmse_std_m: float
    rmse_p95_m: float
    # The horizontal part, mean, and the vertical part, median.
    rmse_horizontal_m: float
    rmse_vertical_m: Estimate
    # When half of the hovers had settled, seconds; infinite when they had not; NaN for figure eights.
    settle_s: Estimate


def rate(happened: BoolArray) -> Rate:
    """Count.

    Args:
        happened: shape (N,), N at least 1.

    Returns:
        The rate.
    """
    count, trials = int(happened.sum()), len(happened)
    return Rate(count, trials, count / trials, wilson(count, trials))


def mean_of(values: Float32Array | FloatArray) -> Estimate:
    """Give the mean with its interval.

    Args:
        values: shape (N,).

    Returns:
        The estimate; NaN without values.
    """
    data = np.asarray(values, dtype=np.float64)
    return Estimate(float(data.mean()), bootstrap(data, resamples=1000)) if len(data) else _NOTHING


def median_of(values: Float32Array | FloatArray) -> Estimate:
    """Give the median with its interval.

    Args:
        values: shape (N,); infinite ones are allowed.

    Returns:
        The estimate; NaN without values.
    """
    data = np.asarray(values, dtype=np.float64)
    return Estimate(float(np.median(data)), bootstrap_median(data)) if len(data) else _NOTHING


_NOTHING = Estimate(float("nan"), Interval(float("nan"), float("nan")))


def summarise(flight: FleetFlight, *, among: BoolArray | None = None) -> Row:
    """Make a table's row.

    Args:
        flight: how the fleet flew.
        among: which vehicles' errors count, shape (N,); all that were not lost when absent.

    Returns:
        The row.
    """
    kept = flight.survived if among is None else among & flight.survived
    rmse = flight.rmse_m[kept].astype(np.float64)
    some = rmse if len(rmse) else np.full(1, np.nan)
    settle_s = flight.settle_s[kept]
    return Row(
        name=flight.case.name,
        crash=rate(flight.crashed),
        terminated=rate(flight.terminated),
        length=mean_of(flight.length.astype(np.float64)),
        rmse_median_m=median_of(rmse),
        rmse_mean_m=mean_of(rmse),
        rmse_std_m=float(some.std()),
        rmse_p95_m=float(np.percentile(some, 95)),
        rmse_horizontal_m=float(flight.rmse_horizontal_m[kept].mean()) if len(rmse) else float("nan"),
        rmse_vertical_m=median_of(flight.rmse_vertical_m[kept]),
        settle_s=median_of(settle_s if np.isfinite(settle_s).any() else settle_s[:0]),
    )
