"""A minute's judgement of a policy, for those who train one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.evaluation.fleet.cases import Case, FleetPolicy, Float32Array
from sim.evaluation.fleet.flight import FleetFlight, fly
from sim.quadrotor.fleet import PAPER
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.sampling import sample_airframes


@dataclass(frozen=True)
class QuickMetrics:
    """What decides whether a policy is good, all with error clipping; rates are shares, 0 to 1."""

    # Lost in hover from the paper's starts (tilted up to 90 degrees).
    hover_crash: float
    # Median error of the last second of that hover, metres.
    hover_rmse_m: float
    # Lost in the figure eight of 5.5 s.
    figure_eight_crash: float
    # Its mean RMSE, metres.
    figure_eight_5_5s_rmse_m: float
    # Lost in that figure eight with actions 10 ms late, the policy at 100 Hz.
    delay_10ms_crash: float


def quick_metrics(policy: FleetPolicy, *, airframes: int = 512, seed: int = 0) -> QuickMetrics:
    """Fly three cases, as the full evaluation does, with fewer airframes.

    Args:
        policy: for instance `policies.raptor.fleet.FleetPilot`.
        airframes: how many are drawn from RAPTOR's training distribution.
        seed: draws them, and the starts. Not the one that the policy was trained with.

    Returns:
        The metrics.
    """
    batch = sample_airframes(airframes, seed=seed)
    controller = policy.controller(clip_errors=True)
    delay = Perturbations(action_delay_s=(0.010, 0.010))
    hover, eight, late = (
        fly(case, batch, controller, seed=seed)
        for case in (
            Case("hover", start=PAPER),
            Case("figure eight", figure_eight_s=5.5),
            Case("delay", figure_eight_s=5.5, perturbations=delay, fine_physics=True),
        )
    )
    return QuickMetrics(
        hover_crash=float(hover.crashed.mean()),
        hover_rmse_m=float(np.median(_survivors(hover))),
        figure_eight_crash=float(eight.crashed.mean()),
        figure_eight_5_5s_rmse_m=float(np.mean(_survivors(eight))),
        delay_10ms_crash=float(late.crashed.mean()),
    )


def _survivors(flight: FleetFlight) -> Float32Array:
    """RMSE of those that were not lost; NaN where nobody was left."""
    values = flight.rmse_m[flight.survived]
    return values if len(values) else np.full(1, np.nan, np.float32)
