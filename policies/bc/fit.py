"""The optimisation of behaviour cloning: from demonstrations to the best averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.bc.config import TrainConfig
from policies.bc.model import BcModule
from policies.demonstrations.episode import Episode
from policies.demonstrations.folder import Evaluation
from policies.demonstrations.layout import IndexArray, Layout
from policies.demonstrations.optimise import average, warm_cosine
from policies.demonstrations.statistics import fit_normalisation
from policies.demonstrations.windows import Windows, make_windows, split_episodes


@dataclass(frozen=True)
class Outcome:
    """What a training run gives."""

    # The best averaged weights.
    module: BcModule
    # The evaluation that they were chosen by.
    best: Evaluation
    # All evaluations, in order.
    history: tuple[Evaluation, ...]
    # Training and held-out pairs.
    training_pairs: int
    validation_pairs: int


# Runs a module in the task from so many seeds and counts the successes.
RollOut = Callable[[BcModule], int]
Progress = Callable[[Evaluation], None]


def fit(
    config: TrainConfig,
    episodes: Sequence[Episode],
    *,
    layout: Layout,
    action_names: Sequence[str],
    roll_out: RollOut | None = None,
    progress: Progress | None = None,
    tick: Callable[[int], None] | None = None,
) -> Outcome:
    """Train a network.

    The same config, demonstrations, versions and number of threads give the same weights. Torch's
    global random state is left as it was.

    Args:
        config: the hyper-parameters.
        episodes: the demonstrations, at least two.
        layout: the order of the observation vector.
        action_names: the elements of an action, in the order of the demonstrations.
        roll_out: counts the successes of a module in the task; None: the validation loss decides alone.
        progress: is told every evaluation.
        tick: is told every gradient step.

    Returns:
        The best weights and how they were found.

    Raises:
        ConfigError: too few demonstrations, or a term is missing in one.
    """
    training, validation = (
        make_windows(part, layout, horizon=config.horizon)
        for part in split_episodes(
            episodes, share=config.validation_share, seed=config.seed, where=config.data or "demonstrations"
        )
    )
    normalisation = fit_normalisation(
        training, layout, relative_to=config.relative_to, action_names=action_names
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        module = BcModule(normalisation, config.hidden)
    averaged = copy.deepcopy(module).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    inputs, targets = _tensors(training, module)
    held_out = _tensors(validation, module)
    checked = validation.learned
    asked = _ask(
        held_out[0], validation, checked, layout, config.goal_steps, np.random.default_rng((config.seed, 2))
    )
    random = np.random.default_rng((config.seed, 1))
    history: list[Evaluation] = []
    best: tuple[Evaluation, BcModule] | None = None
    recent: list[float] = []
    stale = 0
    for step in range(1, config.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * warm_cosine(step / config.steps)
        rows = training.draw(random, config.batch_size)
        seen = _ask(inputs, training, rows, layout, config.goal_steps, random)
        loss = _loss(module.normalised(seen) - targets[rows], training, rows)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        average(averaged, module, decay=config.average_decay, step=step)
        recent.append(loss.item())
        if tick is not None:
            tick(step)
        if step % config.evaluate_every and step != config.steps:
            continue
        with torch.inference_mode():
            missed = float(_loss(averaged.normalised(asked) - held_out[1][checked], validation, checked))
        successes = roll_out(averaged) if roll_out is not None else 0
        found = Evaluation(
            step, sum(recent) / len(recent), missed, successes, config.rollouts if roll_out else 0
        )
        recent.clear()
        history.append(found)
        if progress is not None:
            progress(found)
        stale += 1
        if best is None or found.rank > best[0].rank:
            best, stale = (found, copy.deepcopy(averaged)), 0
        if stale >= config.patience:
            break
    assert best is not None  # The last step is always evaluated.
    return Outcome(best[1], best[0], tuple(history), len(training.learned), len(checked))


def _loss(error: Tensor, windows: Windows, rows: IndexArray) -> Tensor:
    """The mean absolute error of chunks, of their labels alone."""
    if windows.labels is None:
        return error.abs().mean()
    return error[torch.from_numpy(windows.labels[rows])].abs().mean()


def _ask(
    inputs: Tensor,
    windows: Windows,
    rows: IndexArray,
    layout: Layout,
    steps: tuple[int, int],
    random: np.random.Generator,
) -> Tensor:
    """What pairs have observed, asked for what they came to where the policy has a goal."""
    seen = inputs[rows]
    if len(layout.goal):
        seen[:, layout.goal] = inputs[windows.ahead(rows, steps, random)][:, layout.goal]
    return seen


def _tensors(windows: Windows, module: BcModule) -> tuple[Tensor, Tensor]:
    """Turn pairs into network inputs and normalised targets."""
    inputs, chunks = torch.from_numpy(windows.observations), torch.from_numpy(windows.chunks)
    origin = inputs[:, module.base.clamp(min=0)] * (module.base >= 0)
    return inputs, (chunks - origin[:, None, :] - module.action_mean) / module.action_scale
