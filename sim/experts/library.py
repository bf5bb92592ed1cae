"""Finds the expert of a task."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

FloatArray = NDArray[np.float64]

# The Gymnasium name of a task, and what makes its expert.
_EXPERTS = {
    "reflexarc/PickCube-v0": "sim.experts.pick_cube:PickCubeExpert",
    "reflexarc/PushT-v0": "sim.experts.push_t:PushTExpert",
    "reflexarc/PegInsert-v0": "sim.experts.peg_insert:PegInsertExpert",
}


class Expert(Protocol):
    """Who can do a task."""

    def reset(self, seed: int) -> None:
        """Begin an attempt.

        Args:
            seed: of everything that the expert draws; the same seed and observations give the same actions.
        """

    def act(self, observation: Mapping[str, FloatArray]) -> FloatArray:
        """Choose the next action.

        Args:
            observation: the terms of the task, under the names of the robot card.

        Returns:
            The targets in the order of the task's action, shape (D,).
        """


def expert_tasks() -> tuple[str, ...]:
    """The tasks that have an expert, by their Gymnasium names."""
    return tuple(_EXPERTS)


def make_expert(task: str) -> Expert:
    """Make the expert of a task.

    Args:
        task: its Gymnasium name.

    Returns:
        The expert, with its usual settings.

    Raises:
        ConfigError: the task has none.
    """
    if task not in _EXPERTS:
        raise ConfigError(
            f"{task!r} has no expert",
            where="experts",
            expected="one of " + ", ".join(_EXPERTS),
            mend="correct the name, or record demonstrations by teleoperation",
        )
    module, _, kind = _EXPERTS[task].partition(":")
    made: Any = getattr(importlib.import_module(module), kind)()
    expert: Expert = made
    return expert
