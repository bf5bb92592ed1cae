"""Demonstrations: what an expert did, step by step, as arrays without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

DEMONSTRATIONS_SCHEMA = "reflexarc/demonstrations/1"
_TERM = "observation."
_IMAGE = "image."

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Demonstrations:
    """N steps of E episodes, in order."""

    # Term name to values before each step, shape (N, d), units and frames of the robot card.
    observations: Mapping[str, FloatArray]
    # What whoever commands says, shape (N, D), in the order of `action_names`: the expert's is to be learned.
    actions: FloatArray
    # What was executed, shape (N, D): the label plus noise.
    executed: FloatArray
    # Number of the episode that each step belongs to, 0 to E - 1, shape (N,).
    episode: NDArray[np.int64]
    # Whether each episode succeeded, shape (E,).
    success: NDArray[np.bool_]
    # The seed that each episode began with, shape (E,).
    seeds: NDArray[np.int64]
    # The elements of an action.
    action_names: tuple[str, ...]
    # Time between two steps, nanoseconds.
    period_ns: int
    # The task, as gymnasium.make takes it.
    task: str
    # Whether the expert commanded each step, and not a policy that it looks after, (N,); None: all of them.
    intervention: NDArray[np.bool_] | None = None
    # Camera name to what it had seen before each step, (N, height, width, 3).
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the arrays belong together.

        Raises:
            ConfigError: two of them differ in length, or the episodes are not numbered in order.
        """
        steps = len(self.episode)
        flags = {} if self.intervention is None else {"intervention": len(self.intervention)}
        lengths = {"actions": len(self.actions), "executed": len(self.executed), **flags}
        lengths.update({_TERM + name: len(value) for name, value in self.observations.items()})
        lengths.update({_IMAGE + name: len(value) for name, value in self.images.items()})
        for name, length in lengths.items():
            if length != steps:
                raise _broken(f"{name} has {length} steps", f"{steps}, as episode has")
        count = len(self.success)
        numbers = np.unique(self.episode)
        in_order = np.array_equal(numbers, np.arange(count)) and bool((np.diff(self.episode) >= 0).all())
        if len(self.seeds) != count or not in_order:
            raise _broken("episodes are not numbered in order", "0 to E - 1, each with at least one step")

    @property
    def success_rate(self) -> float:
        """Share of successful episodes, 0 to 1."""
        return float(self.success.mean()) if len(self.success) else 0.0

    def successful(self) -> Demonstrations:
        """Keep the successful episodes, numbered anew."""
        kept = self.success[self.episode]
        numbers = np.cumsum(self.success) - 1
        return Demonstrations(
            observations={name: value[kept] for name, value in self.observations.items()},
            actions=self.actions[kept],
            executed=self.executed[kept],
            episode=numbers[self.episode[kept]].astype(np.int64),
            success=self.success[self.success],
            seeds=self.seeds[self.success],
            action_names=self.action_names,
            period_ns=self.period_ns,
            task=self.task,
            intervention=None if self.intervention is None else self.intervention[kept],
            images={name: value[kept] for name, value in self.images.items()},
        )

    def save(self, path: Path | str) -> None:
        """Write a compressed npz without pickle.

        Args:
            path: the file to write.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "schema": np.array(DEMONSTRATIONS_SCHEMA),
            "task": np.array(self.task),
            "period_ns": np.array(self.period_ns, dtype=np.int64),
            "action_names": np.array(self.action_names, dtype=np.str_),
            "actions": self.actions,
            "executed": self.executed,
            "episode": self.episode,
            "success": self.success,
            "seeds": self.seeds,
        }
        if self.intervention is not None:
            arrays["intervention"] = self.intervention
        arrays.update({_TERM + name: value for name, value in self.observations.items()})
        arrays.update({_IMAGE + name: value for name, value in self.images.items()})
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path | str) -> Demonstrations:
        """Read what `save` wrote.

        Args:
            path: the npz file.

        Returns:
            The demonstrations.

        Raises:
            ConfigError: the file is missing, holds something else, or is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            if str(data["schema"]) != DEMONSTRATIONS_SCHEMA:
                raise ValueError(f"schema {str(data['schema'])!r}")
            return Demonstrations(
                observations={
                    name.removeprefix(_TERM): data[name] for name in data if name.startswith(_TERM)
                },
                actions=data["actions"],
                executed=data["executed"],
                episode=data["episode"],
                success=data["success"],
                seeds=data["seeds"],
                action_names=tuple(str(name) for name in data["action_names"]),
                period_ns=int(data["period_ns"]),
                task=str(data["task"]),
                intervention=data.get("intervention"),
                images={name.removeprefix(_IMAGE): data[name] for name in data if name.startswith(_IMAGE)},
            )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"no demonstrations ({error})",
                where=str(path),
                expected=f"an npz of schema {DEMONSTRATIONS_SCHEMA}",
                mend="collect them anew",
            ) from error


def _broken(what: str, expected: str) -> ConfigError:
    return ConfigError(what, where="demonstrations", expected=expected, mend="collect them anew")
