"""The optimisation of behaviour cloning: from demonstrations to the best averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.data import Episode, Layout, Windows, fit_normalisation, make_windows
from policies.bc.model import BcModule


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation during the training found, about the averaged weights."""

    # Gradient steps so far.
    step: int
    # Mean absolute error in standard deviations of the demonstrations: of the batches since the last
    # evaluation, and of the averaged weights on the held-out episodes.
    training_loss: float
    validation_loss: float
    # Roll-outs that succeeded, of how many.
    successes: int
    rollouts: int

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: successes first, then a smaller validation loss."""
        return (float(self.successes), -self.validation_loss)


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

    Returns:
        The best weights and how they were found.

    Raises:
        ConfigError: too few demonstrations, or a term is missing in one.
    """
    training, validation = _split(config, episodes, layout)
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
    random = np.random.default_rng((config.seed, 1))
    history: list[Evaluation] = []
    best: tuple[Evaluation, BcModule] | None = None
    recent: list[float] = []
    stale = 0
    for step in range(1, config.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(step / config.steps)
        rows = torch.from_numpy(random.integers(0, len(inputs), size=config.batch_size))
        loss = (module.normalised(inputs[rows]) - targets[rows]).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        _average(averaged, module, decay=min(config.average_decay, step / (step + 10)))
        recent.append(loss.item())
        if step % config.evaluate_every and step != config.steps:
            continue
        with torch.inference_mode():
            missed = float((averaged.normalised(held_out[0]) - held_out[1]).abs().mean())
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
    return Outcome(best[1], best[0], tuple(history), len(training), len(validation))


def _split(config: TrainConfig, episodes: Sequence[Episode], layout: Layout) -> tuple[Windows, Windows]:
    order = np.random.default_rng((config.seed, 0)).permutation(len(episodes))
    held_out = max(1, round(config.validation_share * len(episodes)))
    if len(episodes) <= held_out:
        raise ConfigError(
            f"{len(episodes)} demonstration(s)",
            where=config.demonstrations,
            expected="more than the share that is held out for validation, at least two",
            mend="record more demonstrations",
        )
    parts = [[episodes[i] for i in part] for part in (order[held_out:], order[:held_out])]
    training, validation = (make_windows(part, layout, horizon=config.horizon) for part in parts)
    return training, validation


def _tensors(windows: Windows, module: BcModule) -> tuple[Tensor, Tensor]:
    """Turn pairs into network inputs and normalised targets."""
    inputs, chunks = torch.from_numpy(windows.observations), torch.from_numpy(windows.chunks)
    origin = inputs[:, module.base.clamp(min=0)] * (module.base >= 0)
    return inputs, (chunks - origin[:, None, :] - module.action_mean) / module.action_scale


def _schedule(share: float) -> float:
    return min(1.0, share / 0.02) * 0.5 * (1.0 + math.cos(math.pi * share))


def _average(averaged: BcModule, module: BcModule, *, decay: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(averaged.parameters(), module.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - decay)
