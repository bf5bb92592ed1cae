"""Attempts of a whole policy in its Gymnasium task, step by step on the task's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardware.robot import Observation
from policies.demonstrations.rollout import make_task
from policies.history import History
from policies.policy import ActContext, Policy


def count_successes(policy: Policy, task: str, *, seeds: Sequence[int], **options: Any) -> int:  # noqa: ANN401
    """Run one attempt a seed, chunk by chunk, without robot, gate or schedule.

    Args:
        policy: whose terms and cameras the task observes under the same names.
        task: its Gymnasium name.
        seeds: of the attempts.
        options: of the task.

    Returns:
        How many succeeded.
    """
    environment = make_task(task, **options)
    try:
        return sum(_attempt(policy, environment, seed) for seed in seeds)
    finally:
        environment.close()


def _attempt(policy: Policy, environment: Any, seed: int) -> bool:  # noqa: ANN401
    space = environment.action_space
    random = np.random.default_rng(seed)
    step_ns = round(policy.card.action.step_s * 1e9)
    observed, info = environment.reset(seed=seed)
    policy.reset(seed)
    now_ns = 0
    seen = _observation(observed, now_ns)
    history = History(policy.card.history, step_ns)
    history.add(seen)
    while True:
        context = ActContext(now_ns=now_ns, past=history.past(), rng=random)
        chunk = policy.act(seen, context=context)
        for action in chunk.values[: policy.card.action.execute]:
            observed, _, terminated, truncated, info = environment.step(
                np.clip(action, space.low, space.high)
            )
            now_ns += step_ns
            seen = _observation(observed, now_ns)
            history.add(seen)
            if terminated or truncated:
                return bool(info["success"])


def _observation(observed: dict[str, Any], now_ns: int) -> Observation:
    images = {name: value for name, value in observed.items() if value.ndim == 3}
    values = {name: value for name, value in observed.items() if name not in images}
    return Observation(values, now_ns, now_ns, images)
