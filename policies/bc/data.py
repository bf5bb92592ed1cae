"""Demonstrations for behaviour cloning: windows of observation and following actions, and statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from policies.bc.network import Float32Array, IndexArray, feature_indices, features
from policies.card import PolicyTerm

# Deviations below these are not worth a scale of their own: noise on a number that does not vary
# would be blown up. In the number's own unit (rad, m, ...), for features and for action offsets.
_FEATURE_FLOOR = 1e-2
_ACTION_FLOOR = 1e-3


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T steps."""

    # What was observed before each action, by term name, (T, len(term.names)).
    observations: Mapping[str, FloatArray]
    # What the expert did, (T, D), unit of the action.
    actions: FloatArray

    def __post_init__(self) -> None:
        """Check that everything has the same number of steps.

        Raises:
            ConfigError: no steps, or terms and actions of different lengths.
        """
        lengths = {name: len(values) for name, values in self.observations.items()}
        if not len(self.actions) or set(lengths.values()) != {len(self.actions)}:
            raise ConfigError(
                f"{len(self.actions)} actions beside observations of {lengths}",
                where="demonstration",
                expected="at least one step, and one row of every term for every action",
                mend="record the episode again",
            )


@dataclass(frozen=True)
class Layout:
    """How named terms become the observation vector, in the order of the policy card."""

    # The terms by name.
    terms: Mapping[str, PolicyTerm]

    @property
    def size(self) -> int:
        """Length of the vector, O."""
        return sum(len(term.names) for term in self.terms.values())

    def vector(self, values: Mapping[str, FloatArray]) -> Float32Array:
        """Join the terms.

        Args:
            values: arrays by term name, (..., len(term.names)).

        Returns:
            Shape (..., O).

        Raises:
            KeyError: a term is missing.
        """
        return np.concatenate([values[name] for name in self.terms], axis=-1).astype(np.float32)

    def indices(self, term: str, names: Sequence[str]) -> IndexArray:
        """Find elements of a term in the vector.

        Args:
            term: its name; empty: nowhere.
            names: the elements.

        Returns:
            One index a name; -1 where the term has no such element.
        """
        start = 0
        for name, spec in self.terms.items():
            if name == term:
                found = {element: start + index for index, element in enumerate(spec.names)}
                return np.array([found.get(element, -1) for element in names], np.int64)
            start += len(spec.names)
        return np.full(len(names), -1, np.int64)

    def features(self) -> tuple[IndexArray, IndexArray]:
        """Say which features the vector has: `plain` and `pairs` of `policies.bc.network.BcWeights`."""
        return feature_indices([(len(term.names), term.unit == "quaternion") for term in self.terms.values()])


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The untrained arrays of the network; see `policies.bc.network.BcWeights` for each."""

    # How many numbers an observation has.
    observation_size: int
    # Which features there are.
    plain: IndexArray
    pairs: IndexArray
    # Statistics of the features, (F,).
    feature_mean: Float32Array
    feature_scale: Float32Array
    # Statistics of the action offsets, (T, D).
    action_scale: Float32Array
    action_mean: Float32Array
    # The observation number that each action element is an offset from, (D,); -1: from zero.
    base: IndexArray


@dataclass(frozen=True, eq=False)
class Windows:
    """Training pairs: N observations, each with the T actions that followed."""

    # Shape (N, O).
    observations: Float32Array
    # Shape (N, T, D).
    chunks: Float32Array

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.observations)


def make_windows(episodes: Sequence[Episode], layout: Layout, *, horizon: int) -> Windows:
    """Cut demonstrations into training pairs, one for every step.

    The last action of an episode is repeated behind its end: there the robot stays where it was sent.

    Args:
        episodes: at least one.
        layout: the order of the observation vector.
        horizon: steps of a chunk, T.

    Returns:
        One pair for every step of every episode.

    Raises:
        ConfigError: no episodes, or an episode without one of the terms.
    """
    if not episodes:
        raise ConfigError(
            "no demonstrations",
            where="behaviour cloning",
            expected="at least one episode",
            mend="record some, or accept more of those that were recorded",
        )
    observations, chunks = [], []
    for number, episode in enumerate(episodes):
        absent = [name for name in layout.terms if name not in episode.observations]
        if absent:
            raise ConfigError(
                f"the terms {', '.join(absent)} are missing",
                where=f"demonstration {number}",
                expected=", ".join(layout.terms),
                mend="record the terms or leave them out of the policy's observation",
            )
        steps = len(episode.actions)
        following = np.minimum(np.arange(steps)[:, None] + np.arange(horizon), steps - 1)
        observations.append(layout.vector(episode.observations))
        chunks.append(episode.actions[following].astype(np.float32))
    return Windows(np.concatenate(observations), np.concatenate(chunks))


def fit_normalisation(
    windows: Windows, layout: Layout, *, relative_to: str, action_names: Sequence[str]
) -> Normalisation:
    """Measure what the network normalises with.

    Args:
        windows: the training pairs.
        layout: the order of the observation vector.
        relative_to: the term that actions are offsets from, element by name; empty: none.
        action_names: the elements of an action, in order.

    Returns:
        Features, means and deviations.
    """
    plain, pairs = layout.features()
    inputs = features(windows.observations, plain, pairs).astype(np.float64)
    base = layout.indices(relative_to, action_names)
    origin = windows.observations[:, base] * (base >= 0)
    offsets = windows.chunks.astype(np.float64) - origin[:, None, :]
    return Normalisation(
        observation_size=layout.size,
        plain=plain,
        pairs=pairs,
        feature_mean=inputs.mean(axis=0).astype(np.float32),
        feature_scale=np.maximum(inputs.std(axis=0), _FEATURE_FLOOR).astype(np.float32),
        action_scale=np.maximum(offsets.std(axis=0), _ACTION_FLOOR).astype(np.float32),
        action_mean=offsets.mean(axis=0).astype(np.float32),
        base=base,
    )
