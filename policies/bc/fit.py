"""The optimisation of behaviour cloning: from demonstrations to the best averaged weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.bc.config import TrainConfig
from policies.bc.model import BcModule
from policies.demonstrations.episode import Episode
from policies.demonstrations.layout import Layout
from policies.demonstrations.learner import Learner
from policies.demonstrations.pairs import Pairs
from policies.demonstrations.statistics import fit_normalisation
from policies.demonstrations.windows import make_windows, split_episodes

# Of the checkpoints of an unfinished training.
_VERSION = "reflexarc/bc/1"


class _Objective(nn.Module):  # type: ignore[misc, unused-ignore]
    """The loss as a forward pass, which several processes and compilers want."""

    def __init__(self, module: BcModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, observation: Tensor, chunk: Tensor, labels: Tensor | None) -> Tensor:
        return _mean_error(self.module, observation, chunk, labels)


class BcLearner(Learner[BcModule]):
    """A training between two gradient steps; `policies.demonstrations.learner.learn` takes it to its end.

    Torch's global random state is left as it was.

    Args:
        config: the hyper-parameters.
        episodes: the demonstrations, at least two.
        layout: the order of the observation vector.
        action_names: the elements of an action, in the order of the demonstrations.
        accelerator: of `policies.demonstrations.processes.make_accelerator`; None: one is made.

    Raises:
        ConfigError: too few demonstrations, a term is missing in one, there is no such device, or the folder
            holds another training.
    """

    config: TrainConfig

    def __init__(
        self,
        config: TrainConfig,
        episodes: Sequence[Episode],
        layout: Layout,
        action_names: Sequence[str],
        accelerator: Any = None,  # noqa: ANN401
    ) -> None:
        """Begin, or go on from the checkpoint in `config.out`."""
        where = config.data or "demonstrations"
        training, validation = (
            make_windows(part, layout, horizon=config.horizon)
            for part in split_episodes(episodes, share=config.validation_share, seed=config.seed, where=where)
        )
        normalisation = fit_normalisation(
            training, layout, relative_to=config.relative_to, action_names=action_names
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            module = BcModule(normalisation, config.hidden)
        super().__init__(config, module, version=_VERSION, accelerator=accelerator)
        self._training, self._validation = (
            Pairs(part, layout, goal_steps=config.goal_steps, network=self.network, device=self.device)
            for part in (training, validation)
        )
        checked = validation.learned
        goals = self._validation.goals(checked, np.random.default_rng((config.seed, 2)))
        self._checked = self._validation.take(checked, goals)
        self._random = np.random.default_rng((config.seed, 1))
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._begin(_Objective(self.network), optimiser, chance=self._random)

    def _loss(self) -> Tensor:
        rows = self._training.windows.draw(self._random, self._drawn)
        goals = self._training.goals(rows, self._random)
        batch = self._training.take(self._mine(rows), None if goals is None else self._mine(goals))
        with self.accelerator.autocast():
            loss: Tensor = self._objective(batch.observation[:, 0], batch.chunk, batch.labels)
        labels = self._training.windows.labels
        if labels is None:
            return loss
        asked = labels[rows]
        return self._weighed(loss, float(self._mine(asked).sum()), float(asked.sum()))

    def _validation_loss(self) -> float:
        seen = self._checked
        with torch.inference_mode():
            return float(_mean_error(self.averaged, seen.observation[:, 0], seen.chunk, seen.labels))

    def _pairs(self) -> tuple[int, int]:
        return len(self._training.windows.learned), len(self._validation.windows.learned)


def _mean_error(module: BcModule, observation: Tensor, chunk: Tensor, labels: Tensor | None) -> Tensor:
    """The mean absolute error of chunks, of their labels alone."""
    error = module.normalised(observation) - chunk
    return (error if labels is None else error[labels[..., 0] > 0.0]).abs().mean()
