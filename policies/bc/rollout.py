"""Attempts of a cloned network in its Gymnasium task, without robot, gate or schedule."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.bc.data import Layout
from policies.bc.network import Backend


def make_task(task: str) -> Any:  # noqa: ANN401
    """Make a task of `sim.tasks`.

    Args:
        task: its Gymnasium name, for instance `reflexarc/PickCube-v0`.

    Returns:
        The environment.
    """
    import gymnasium

    import sim.tasks  # noqa: F401  (registers the tasks)

    return gymnasium.make(task)


def success_of(backend: Backend, environment: Any, layout: Layout, *, execute: int, seed: int) -> bool:  # noqa: ANN401
    """Run one attempt in a Gymnasium task, chunk by chunk.

    Args:
        backend: the network.
        environment: a task with dict observations and `info["success"]`.
        layout: the order of the observation vector.
        execute: steps of each chunk that are carried out.
        seed: of the attempt.

    Returns:
        Whether it succeeded.
    """
    space = environment.action_space
    observation, info = environment.reset(seed=seed)
    while True:
        for action in backend.evaluate(layout.vector(observation))[:execute]:
            observation, _, terminated, truncated, info = environment.step(
                np.clip(action.astype(np.float64), space.low, space.high)
            )
            if terminated or truncated:
                return bool(info["success"])
