"""What a policy's hidden state knows of its vehicle: a linear read-out of thrust-to-weight.

Source: the RAPTOR paper's probe (R^2 0.949 on its own flights); specs of RAPTOR, section 3.3, for the
flights of this one: hovers from the starts of the imitation phase, split by airframe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from sim.evaluation.fleet.cases import Case, RecurrentController
from sim.evaluation.fleet.flight import Advance, make_fleet
from sim.quadrotor.fleet import IMITATION
from sim.quadrotor.fleet_airframes import Float32Array
from sim.quadrotor.sampling import sample_airframes

PROBE = Case("probe", start=IMITATION)
PROBE_EPISODES, _LATE_STEP, _STRIDE, _TRAINING_SHARE = 4, 400, 5, 0.8
# Fresh airframes: far from the seeds of the tables.
_SEED_OFFSET = 1_000_000


@dataclass(frozen=True)
class Probe:
    """How well a linear function of the hidden state tells the thrust-to-weight ratio of new airframes."""

    # Airframes in all, and how many of them the function was fitted to.
    airframes: int
    fitted: int
    # From step 400 (4 s) on: explained variance and mean squared error on the others.
    late_r2: float
    late_mse: float
    # The same among vehicles that never left the training's box.
    kept_r2: float
    kept_mse: float
    # The same over all steps of all flights.
    all_r2: float
    all_mse: float


def probe_thrust_to_weight(
    controller: RecurrentController, *, airframes: int = 1000, seed: int, advance: Advance | None = None
) -> Probe:
    """Fly fresh airframes and fit the function to four fifths of them.

    Args:
        controller: the policy.
        airframes: how many.
        seed: draws airframes and starts.
        advance: is told the progress.

    Returns:
        The result on the remaining fifth; NaN where nobody was left. Lost vehicles count as long as their
        hidden states are finite.
    """
    batch = sample_airframes(airframes, seed=_SEED_OFFSET + seed)
    fitted = round(_TRAINING_SHARE * airframes)
    flights: list[Float32Array] = []
    kept: list[Float32Array] = []
    for episode in range(PROBE_EPISODES):
        fleet = make_fleet(PROBE, batch, seed=_SEED_OFFSET + seed * PROBE_EPISODES + episode)
        controller.reset(airframes)
        states = []
        is_lost = np.zeros(airframes, np.bool_)
        with np.errstate(all="ignore"):
            for step in range(PROBE.steps):
                action = controller.act(fleet.observe(), step * 10_000_000)
                if step % _STRIDE == 0:
                    states.append(controller.hidden)
                fleet.step(action)
                is_lost |= fleet.terminated
        flights.append(np.array(states))
        kept.append(np.where(is_lost[:, None], np.float32(np.nan), flights[-1][_LATE_STEP // _STRIDE :]))
        if advance is not None:
            advance(PROBE.steps)
    late = [flight[_LATE_STEP // _STRIDE :] for flight in flights]
    late_r2, late_mse = _fit(late, batch.thrust_to_weight, fitted)
    kept_r2, kept_mse = _fit(kept, batch.thrust_to_weight, fitted)
    all_r2, all_mse = _fit(flights, batch.thrust_to_weight, fitted)
    return Probe(airframes, fitted, late_r2, late_mse, kept_r2, kept_mse, all_r2, all_mse)


def _fit(flights: Sequence[Float32Array], wanted: Float32Array, fitted: int) -> tuple[float, float]:
    """Least squares over states (T, N, H); explained variance and error on airframes from `fitted` on."""
    inputs: list[FloatArray] = []
    outputs: list[FloatArray] = []
    owners: list[NDArray[np.int64]] = []
    for states in flights:
        kept = np.flatnonzero(np.isfinite(states).all(axis=(0, 2)))
        chosen = states[:, kept].astype(np.float64)
        inputs.append(chosen.reshape(-1, chosen.shape[2]))
        outputs.append(np.tile(wanted[kept].astype(np.float64), len(chosen)))
        owners.append(np.tile(kept, len(chosen)))
    x = np.concatenate(inputs)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    y, owner = np.concatenate(outputs), np.concatenate(owners)
    training = owner < fitted
    if training.all() or not training.any():
        return float("nan"), float("nan")
    weights = np.linalg.lstsq(x[training], y[training], rcond=None)[0]
    rest = y[~training]
    mse = float(((rest - x[~training] @ weights) ** 2).mean())
    return 1.0 - mse / float(rest.var()), mse
