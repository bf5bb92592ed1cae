"""Demonstrations as a learner wants them: episodes of named terms, actions and images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T steps."""

    # What was observed before each action, by term name, (T, len(term.names)).
    observations: Mapping[str, FloatArray]
    # What the expert did, (T, D), unit of the action.
    actions: FloatArray
    # What the cameras saw before each action, by camera name, (T, H, W, 3) uint8.
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    # How often each step is learned from, in proportion, (T,); 0: never. None: all alike.
    weight: NDArray[np.float32] | None = None
    # Whether each action was the expert's own, (T,); what another one did is seen, but no label. None: all.
    expert: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check that everything has the same number of steps, and that every number is one.

        Raises:
            ConfigError: no steps, terms and actions of different lengths, a number that is not finite, or a
                weight below zero.
        """
        everything: dict[str, NDArray[np.generic]] = {**self.observations, **self.images}
        if self.expert is not None:
            everything["expert"] = self.expert
        lengths = {name: len(values) for name, values in everything.items()}
        if not len(self.actions) or set(lengths.values()) != {len(self.actions)}:
            raise ConfigError(
                f"{len(self.actions)} actions beside observations of {lengths}",
                where="demonstration",
                expected="at least one step, and one row of every term for every action",
                mend="record the episode again",
            )
        for name, values in {**self.observations, "the action": self.actions}.items():
            rows = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
            if len(rows):
                raise ConfigError(
                    f"{name} is not finite in {len(rows)} step(s), first in step {rows[0]}",
                    where="demonstration",
                    expected="finite numbers",
                    mend="leave the episode out, or record it again",
                )
        weight = self.weight
        if weight is not None and not (
            weight.shape == (len(self.actions),) and np.isfinite(weight).all() and (weight >= 0.0).all()
        ):
            raise ConfigError(
                f"weights of shape {weight.shape}",
                where="demonstration",
                expected=f"{len(self.actions)} finite numbers, zero or more: one a step",
                mend="correct the weights",
            )


@dataclass(frozen=True, eq=False)
class DemonstrationSet:
    """Successful episodes of one robot at one rate."""

    # The episodes, in order.
    episodes: Sequence[Episode]
    # The elements of an action.
    action_names: tuple[str, ...]
    # Time between two steps, nanoseconds.
    period_ns: int
    # The file or folder they come from, or who gave them; never an absolute path.
    source: str

    @property
    def steps(self) -> int:
        """Steps of all episodes together."""
        return sum(len(episode.actions) for episode in self.episodes)

    @property
    def sha256(self) -> str:
        """A hash over observations, actions, episode numbers and images, and over weights and who acted."""
        digest = hashlib.sha256()
        lengths = [len(episode.actions) for episode in self.episodes]
        first = self.episodes[0]
        arrays = {name: [e.observations[name] for e in self.episodes] for name in sorted(first.observations)}
        arrays["action"] = [episode.actions for episode in self.episodes]
        for name, parts in arrays.items():
            _add(digest, name, np.concatenate(parts).astype(np.float64))
        _add(digest, "episode", np.repeat(np.arange(len(lengths), dtype=np.float64), lengths))
        for camera in sorted(first.images):
            for episode in self.episodes:
                _add(digest, camera, episode.images[camera])
        for number, episode in enumerate(self.episodes):
            if episode.weight is not None:
                _add(digest, f"weight {number}", episode.weight)
            if episode.expert is not None:
                _add(digest, f"expert {number}", episode.expert)
        return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, array: NDArray[np.generic]) -> None:
    digest.update(f"{name} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
