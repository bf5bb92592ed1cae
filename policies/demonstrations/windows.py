"""Training pairs: what had been observed, and the actions that went with it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from policies.card import measured
from policies.demonstrations.episode import Episode
from policies.demonstrations.layout import Float32Array, IndexArray, Layout


@dataclass(frozen=True, eq=False)
class Windows:
    """Training pairs: N observations, each with a history of H and the T actions beside it."""

    # Shape (N, O).
    observations: Float32Array
    # Which observations each pair's history has, oldest first, the pair's own last, (N, H).
    history: IndexArray
    # Shape (N, T, D); the first action is that of the oldest observation of the history.
    chunks: Float32Array
    # How often each pair is learned from, in proportion, (N,); with 0 it is only there to be seen in the
    # history of others.
    weight: Float32Array
    # The last pair of each pair's episode, (N,).
    last: IndexArray
    # By camera, (N, height, width, 3), row by row beside `observations`.
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    # Which steps of a chunk are the expert's own, (N, T); the others are no labels. None: all are.
    labels: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.observations)

    @property
    def learned(self) -> IndexArray:
        """The pairs that are learned from, in order."""
        return np.flatnonzero(self.weight > 0.0)

    def draw(self, random: np.random.Generator, size: int) -> IndexArray:
        """Draw pairs to learn from, as often as their weights say.

        Args:
            random: the source of randomness.
            size: how many, B; one may come more than once.

        Returns:
            Shape (B,).
        """
        if self._reached is None:
            return random.integers(0, len(self), size=size)
        at = random.uniform(0.0, self._reached[-1], size=size)
        rows: IndexArray = np.searchsorted(self._reached, at, side="right").astype(np.int64)
        return rows

    def ahead(self, rows: IndexArray, steps: tuple[int, int], random: np.random.Generator) -> IndexArray:
        """Draw a later pair of the same episode for each pair: what it came to.

        Args:
            rows: the pairs, (B,).
            steps: how much later, at least and at most; never behind the episode's end.
            random: the source of randomness.

        Returns:
            Shape (B,).
        """
        later: IndexArray = rows + random.integers(steps[0], steps[1] + 1, size=len(rows))
        return np.minimum(later, self.last[rows])

    @functools.cached_property
    def _reached(self) -> NDArray[np.float64] | None:
        """The sum of the weights up to each pair, (N,); None: they are all alike."""
        return None if (self.weight == self.weight[0]).all() else self.weight.astype(np.float64).cumsum()


def make_windows(
    episodes: Sequence[Episode],
    layout: Layout,
    *,
    horizon: int,
    history: int = 1,
    cameras: Sequence[str] = (),
) -> Windows:
    """Cut demonstrations into training pairs, one for every step.

    The first observation of an episode is repeated before its beginning. The last action is repeated behind
    its end: there the robot stays where it was sent. Where the expert commanded only at times, pairs begin
    while it did, and steps of their chunks in which it did not are no labels.

    Args:
        episodes: at least one.
        layout: the order of the observation vector. A goal's columns hold what was observed: what a pair
            that comes later can ask for.
        horizon: steps of a chunk, T.
        history: observations of a pair, H.
        cameras: whose images to keep.

    Returns:
        One pair for every step of every episode.

    Raises:
        ConfigError: no episodes, nothing to learn from in them, or an episode without one of the terms or
            cameras.
    """
    if not episodes:
        raise ConfigError(
            "no demonstrations",
            where="demonstrations",
            expected="at least one episode",
            mend="record some, or accept more of those that were recorded",
        )
    observations, pasts, chunks, weights, lasts, labels = [], [], [], [], [], []
    start = 0
    for number, episode in enumerate(episodes):
        _check_names(number, "terms", [measured(name) for name in layout.terms], episode.observations)
        _check_names(number, "images", cameras, episode.images)
        steps = len(episode.actions)
        own = np.arange(steps)[:, None]
        following = np.clip(own + np.arange(1 - history, horizon + 1 - history), 0, steps - 1)
        observations.append(layout.vector({n: episode.observations[measured(n)] for n in layout.terms}))
        pasts.append(start + np.maximum(own + np.arange(1 - history, 1), 0))
        chunks.append(episode.actions[following].astype(np.float32))
        expert = np.ones(steps, np.bool_) if episode.expert is None else episode.expert
        weight = np.ones(steps, np.float32) if episode.weight is None else episode.weight
        weights.append(weight * expert)
        labels.append(expert[following])
        start += steps
        lasts.append(np.full(steps, start - 1))
    weight = np.concatenate(weights)
    if not (weight > 0.0).any():
        raise ConfigError(
            f"all {len(weight)} steps have the weight zero",
            where="demonstrations",
            expected="some to learn from",
            mend="record more, or weigh some of them",
        )
    return Windows(
        np.concatenate(observations),
        np.concatenate(pasts),
        np.concatenate(chunks),
        weight,
        np.concatenate(lasts),
        {camera: np.concatenate([episode.images[camera] for episode in episodes]) for camera in cameras},
        None if all(episode.expert is None for episode in episodes) else np.concatenate(labels),
    )


def split_episodes(
    episodes: Sequence[Episode], *, share: float, seed: int, where: str
) -> tuple[list[Episode], list[Episode]]:
    """Hold whole episodes out for validation.

    Args:
        episodes: at least two.
        share: of the episodes that is held out; at least one is.
        seed: of the draw.
        where: the demonstrations' name, for the error.

    Returns:
        Episodes to learn from, and those held out.

    Raises:
        ConfigError: too few episodes.
    """
    order = np.random.default_rng((seed, 0)).permutation(len(episodes))
    held_out = max(1, round(share * len(episodes)))
    if len(episodes) <= held_out:
        raise ConfigError(
            f"{len(episodes)} demonstration(s)",
            where=where,
            expected="more than the share that is held out for validation, at least two",
            mend="record more demonstrations",
        )
    return [episodes[i] for i in order[held_out:]], [episodes[i] for i in order[:held_out]]


def _check_names(number: int, what: str, wanted: Sequence[str], found: object) -> None:
    assert isinstance(found, Mapping)
    absent = [name for name in dict.fromkeys(wanted) if name not in found]
    if absent:
        raise ConfigError(
            f"the {what} {', '.join(absent)} are missing",
            where=f"demonstration {number}",
            expected=", ".join(dict.fromkeys(wanted)),
            mend=f"record the {what} or leave them out of the policy's observation",
        )
