"""Attempts of a learner in its Gymnasium task, without robot, gate or schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from policies.demonstrations.layout import Float32Array

# Answers attempts that all ask at the same time: for each what it has observed so far, step by step, the
# present last. Gives one chunk each, (T, D); its first step is for the present.
Plan = Callable[[Sequence[Sequence[dict[str, Any]]]], Sequence[Float32Array]]


def make_task(task: str, **settings: Any) -> Any:  # noqa: ANN401
    """Make a task of `sim.tasks`.

    Args:
        task: its Gymnasium name, for instance `reflexarc/PickCube-v0`.
        settings: of the task.

    Returns:
        The environment.
    """
    import gymnasium

    import sim.tasks  # noqa: F401  (registers the tasks)

    return gymnasium.make(task, **settings)


def successes(plan: Plan, environments: Sequence[Any], *, execute: int, seeds: Sequence[int]) -> list[bool]:
    """Run attempts side by side, chunk by chunk, so that a network answers many at once.

    Args:
        plan: the learner.
        environments: copies of a task with dict observations and `info["success"]`; so many attempts run
            side by side.
        execute: steps of each chunk that are carried out.
        seeds: one for each attempt.

    Returns:
        Whether each attempt succeeded, in the order of the seeds.
    """
    results: list[bool] = []
    for first in range(0, len(seeds), len(environments)):
        results += _side_by_side(plan, environments, execute, seeds[first : first + len(environments)])
    return results


def _side_by_side(plan: Plan, environments: Sequence[Any], execute: int, seeds: Sequence[int]) -> list[bool]:
    results = [False] * len(seeds)
    seen = {i: [environments[i].reset(seed=seed)[0]] for i, seed in enumerate(seeds)}
    while seen:
        chunks = plan(list(seen.values()))
        for i, chunk in zip(list(seen), chunks, strict=True):
            space = environments[i].action_space
            for action in chunk[:execute]:
                observation, _, terminated, truncated, info = environments[i].step(
                    np.clip(action.astype(np.float64), space.low, space.high)
                )
                seen[i].append(observation)
                if terminated or truncated:
                    results[i] = bool(info["success"])
                    del seen[i]
                    break
    return results
