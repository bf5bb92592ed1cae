"""The nine named airframes: figure eights, hover offset, training starts, and the recovery of Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.evaluation.fleet.cases import Case, FleetController
from sim.evaluation.fleet.flight import RECORD_HZ, Advance, at_rest, fly, make_fleet, record
from sim.evaluation.fleet.measures import Estimate, Rate, mean_of, rate
from sim.quadrotor.airframes import airframe_names, load_airframe
from sim.quadrotor.fleet import IMITATION
from sim.quadrotor.fleet_airframes import AirframeBatch, Float32Array

# Episodes from training starts, for each airframe.
EPISODES = 256
_EIGHTS = (Case("10 s", figure_eight_s=10.0), Case("5.5 s", figure_eight_s=5.5))
_HOVER = Case("hover")
_STARTS = Case("imitation init", start=IMITATION)
NAMED_CASES = (*_EIGHTS, _HOVER, _STARTS)
RECOVERY = Case("recovery", hover_s=5.0)
# Figure 3 of the paper: displaced by this much, nose down or up by 90 degrees, at rest.
_DISPLACED_M, _PITCHED_RAD = (2.0, 2.0, 0.0), -np.pi / 2
_BACK_M, _STAYS_M = 0.12, 0.2


@dataclass(frozen=True)
class NamedRow:
    """How one named airframe flew."""

    # The airframe.
    airframe: str
    # Figure eights of 10 s and 5.5 s: RMSE and its horizontal part, metres.
    figure_eight_10s_rmse_m: float
    figure_eight_10s_horizontal_m: float
    figure_eight_5_5s_rmse_m: float
    figure_eight_5_5s_horizontal_m: float
    # Distance from the reference after a hover of 5 s, metres: its last second, root mean square.
    hover_offset_m: float
    # From the starts of the imitation phase: how often it left the training's box, and after how many
    # steps on average, of 500.
    terminated: Rate
    length: Estimate


@dataclass(frozen=True)
class RecoveryRow:
    """One airframe, started 2.8 m away and pitched by 90 degrees."""

    # The airframe.
    airframe: str
    # Whether it came back within the 5 s that were flown.
    success: bool
    # When it first was within 12 cm, never to be further than 20 cm away again, seconds; else infinite.
    recovered_s: float
    # How far it fell on the way, metres.
    altitude_loss_m: float
    # Distance from the hover point, 20 a second, metres.
    distance_m: tuple[float, ...]


def fly_named(
    controller: FleetController,
    *,
    seed: int,
    names: Sequence[str] | None = None,
    advance: Advance | None = None,
) -> tuple[NamedRow, ...]:
    """Fly every named airframe.

    Args:
        controller: the policy.
        seed: draws the training starts.
        names: which airframes; all when absent.
        advance: is told the progress.

    Returns:
        One row an airframe.
    """
    names = airframe_names() if names is None else tuple(names)
    batch = AirframeBatch.of([load_airframe(name) for name in names])
    slow, fast, hover = (
        fly(case, batch, controller, seed=seed, advance=advance) for case in (*_EIGHTS, _HOVER)
    )
    many = batch.take(np.repeat(np.arange(len(names)), EPISODES))
    starts = fly(_STARTS, many, controller, seed=seed, advance=advance)
    terminated, length = (array.reshape(-1, EPISODES) for array in (starts.terminated, starts.length))
    return tuple(
        NamedRow(
            airframe=name,
            figure_eight_10s_rmse_m=float(slow.rmse_m[i]),
            figure_eight_10s_horizontal_m=float(slow.rmse_horizontal_m[i]),
            figure_eight_5_5s_rmse_m=float(fast.rmse_m[i]),
            figure_eight_5_5s_horizontal_m=float(fast.rmse_horizontal_m[i]),
            hover_offset_m=float(hover.rmse_m[i]),
            terminated=rate(terminated[i]),
            length=mean_of(length[i].astype(np.float64)),
        )
        for i, name in enumerate(names)
    )


def recover(
    controller: FleetController, *, names: Sequence[str] | None = None, advance: Advance | None = None
) -> tuple[RecoveryRow, ...]:
    """Start named airframes where Figure 3 of the paper does: (2, 2, 0) m away, pitched by -90 degrees.

    Args:
        controller: the policy.
        names: which airframes; all when absent.
        advance: is told the progress.

    Returns:
        One row an airframe.
    """
    names = airframe_names() if names is None else tuple(names)
    batch = AirframeBatch.of([load_airframe(name) for name in names])
    fleet = make_fleet(RECOVERY, batch, seed=0)
    state = at_rest(batch)
    state[0:3] = np.array(_DISPLACED_M, np.float32)[:, None]
    state[3], state[5] = np.cos(_PITCHED_RAD / 2), np.sin(_PITCHED_RAD / 2)
    fleet.place(state)
    errors = record(fleet, RECOVERY, controller, advance=advance)
    with np.errstate(all="ignore"):
        distance = np.sqrt((errors * errors).sum(axis=1))
    return tuple(_recovery(name, distance[:, i], errors[:, 2, i]) for i, name in enumerate(names))


def _recovery(name: str, distance: Float32Array, height: Float32Array) -> RecoveryRow:
    outside = np.flatnonzero(np.logical_not(distance <= _STAYS_M))
    stays = int(outside[-1]) + 1 if len(outside) else 0
    back = np.flatnonzero(distance[stays:] < _BACK_M)
    recovered_s = (stays + int(back[0]) + 1) / RECORD_HZ if len(back) else float("inf")
    return RecoveryRow(
        airframe=name,
        success=bool(np.isfinite(recovered_s)),
        recovered_s=recovered_s,
        altitude_loss_m=max(0.0, -float(height.min())),
        distance_m=tuple(np.round(distance[4::5], 4).tolist()),
    )
