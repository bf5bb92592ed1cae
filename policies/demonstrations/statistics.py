"""What a network normalises with, measured on the training pairs."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.demonstrations.layout import Float32Array, IndexArray, Layout, features
from policies.demonstrations.windows import Windows

# Deviations below these are not worth a scale of their own: noise on a number that does not vary
# would be blown up. In the number's own unit (rad, m, ...), for features and for action offsets.
_FEATURE_FLOOR = 1e-2
_ACTION_FLOOR = 1e-3


class ActionScaling(enum.StrEnum):
    """What the numbers of a chunk are scaled by."""

    # To zero mean and unit deviation.
    DEVIATION = "deviation"
    # To the range -1 to 1.
    RANGE = "range"


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The untrained arrays of a network. O observation numbers, F features, T steps, D elements."""

    # How many numbers an observation has, O.
    observation_size: int
    # Which observation numbers are features as they are, (P,), and whose products are, (2, Q); F = P + Q.
    plain: IndexArray
    pairs: IndexArray
    # Statistics of the features, (F,).
    feature_mean: Float32Array
    feature_scale: Float32Array
    # What the network's outputs are multiplied by, and what is added: action offsets, (T, D).
    action_scale: Float32Array
    action_mean: Float32Array
    # The observation number that each action element is an offset from, (D,); -1: from zero.
    base: IndexArray


def fit_normalisation(
    windows: Windows,
    layout: Layout,
    *,
    relative_to: str,
    action_names: Sequence[str],
    scaling: ActionScaling = ActionScaling.DEVIATION,
) -> Normalisation:
    """Measure what the network normalises with.

    Args:
        windows: the training pairs.
        layout: the order of the observation vector.
        relative_to: the term that actions are offsets from, element by name; empty: none.
        action_names: the elements of an action, in order.
        scaling: of the actions.

    Returns:
        Features, centres and scales.
    """
    plain, pairs = layout.features()
    observations, chunks = windows.observations[windows.learned], windows.chunks[windows.learned]
    inputs = features(observations, plain, pairs).astype(np.float64)
    base = layout.indices(relative_to, action_names)
    origin = observations[:, base] * (base >= 0)
    offsets = chunks.astype(np.float64) - origin[:, None, :]
    if windows.labels is not None:
        offsets[~windows.labels[windows.learned]] = np.nan
    if scaling is ActionScaling.DEVIATION:
        centre, scale = np.nanmean(offsets, axis=0), np.nanstd(offsets, axis=0)
    else:
        lower, upper = np.nanmin(offsets, axis=0), np.nanmax(offsets, axis=0)
        centre, scale = (upper + lower) / 2, (upper - lower) / 2
    return Normalisation(
        observation_size=layout.size,
        plain=plain,
        pairs=pairs,
        feature_mean=inputs.mean(axis=0).astype(np.float32),
        feature_scale=np.maximum(inputs.std(axis=0), _FEATURE_FLOOR).astype(np.float32),
        action_scale=np.maximum(scale, _ACTION_FLOOR).astype(np.float32),
        action_mean=centre.astype(np.float32),
        base=base,
    )
