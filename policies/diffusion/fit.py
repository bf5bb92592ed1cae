"""The optimisation of a diffusion policy: from demonstrations to the best averaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.demonstrations.episode import Episode
from policies.demonstrations.layout import Layout
from policies.demonstrations.learner import Learner
from policies.demonstrations.pairs import Pairs
from policies.demonstrations.statistics import ActionScaling, fit_normalisation
from policies.demonstrations.windows import make_windows, split_episodes
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.settings import MODEL_VERSION

# Held-out pairs that an evaluation looks at, at most, and noise levels that it looks at each with.
_VALIDATION_PAIRS = 1024


class _Objective(nn.Module):  # type: ignore[misc, unused-ignore]
    """The loss as a forward pass, which several processes and compilers want."""

    def __init__(self, network: DiffusionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        chunk: Tensor,
        observation: Tensor,
        images: Mapping[str, Tensor],
        noise: Tensor,
        timesteps: Tensor,
        known: Tensor,
        labels: Tensor | None,
    ) -> Tensor:
        return self.network.loss(
            chunk, observation, images, noise=noise, timesteps=timesteps, known=known, labels=labels
        )


class DiffusionLearner(Learner[DiffusionNetwork]):
    """A training between two gradient steps; `policies.demonstrations.learner.learn` takes it to its end.

    All chance of a step comes from the seed and its number.

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

    config: DiffusionConfig

    def __init__(
        self,
        config: DiffusionConfig,
        episodes: Sequence[Episode],
        layout: Layout,
        action_names: Sequence[str],
        accelerator: Any = None,  # noqa: ANN401
    ) -> None:
        """Begin, or go on from the checkpoint in `config.out`."""
        where = config.data or "demonstrations"
        training, validation = (
            make_windows(
                part,
                layout,
                horizon=config.horizon,
                history=config.observation_steps,
                cameras=config.cameras,
            )
            for part in split_episodes(episodes, share=config.validation_share, seed=config.seed, where=where)
        )
        normalisation = fit_normalisation(
            training,
            layout,
            relative_to=config.relative_to,
            action_names=action_names,
            scaling=ActionScaling.RANGE,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = DiffusionNetwork(config.model(), normalisation)
        super().__init__(config, network, version=MODEL_VERSION, accelerator=accelerator)
        self._training, self._validation = (
            Pairs(part, layout, goal_steps=config.goal_steps, network=self.network, device=self.device)
            for part in (training, validation)
        )
        optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._begin(_Objective(self.network), optimiser, clip_norm=config.clip_norm)

    def _loss(self) -> Tensor:
        config = self.config
        repeats = config.noise_draws
        random = np.random.default_rng((config.seed, 1, self.step))
        rows = self._training.windows.draw(random, self._drawn)
        drawn = self._drawn * repeats
        levels = torch.from_numpy(random.integers(0, config.training_steps, size=drawn))
        seed = int(random.integers(2**62))
        goals = self._training.goals(rows, random)
        batch = self._training.take(self._mine(rows), None if goals is None else self._mine(goals))
        chunk = batch.chunk.repeat(repeats, 1, 1)
        labels = None if batch.labels is None else batch.labels.repeat(repeats, 1, 1)
        known = self._known(random, drawn)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            noise = self._mine(torch.randn(drawn, *chunk.shape[1:]), repeats=repeats)
            if self.accelerator.process_index:
                # Crops and dropout of its own.
                torch.manual_seed(seed + self.accelerator.process_index)
            with self.accelerator.autocast():
                loss: Tensor = self._objective(
                    chunk,
                    batch.observation,
                    batch.images,
                    noise.to(self.device),
                    self._mine(levels, repeats=repeats).to(self.device),
                    self._mine(known, repeats=repeats).to(self.device),
                    labels,
                )
        asked = 1.0 - known
        if self._training.windows.labels is not None:
            ours = self._training.windows.labels[rows].astype(np.float32)[..., None]
            asked = asked * torch.from_numpy(ours).repeat(repeats, 1, 1)
        return self._weighed(loss, float(self._mine(asked, repeats=repeats).sum()), float(asked.sum()))

    def _known(self, random: np.random.Generator, count: int) -> Tensor:
        """Which steps are known, (B, T, 1): as often none as any other number of them."""
        config = self.config
        first = config.observation_steps - 1
        lengths = random.integers(0, config.prefix_steps + 1, size=count)[:, None]
        step = np.arange(config.horizon)[None, :] - first
        known = (step >= 0) & (step < lengths)
        return torch.from_numpy(known.astype(np.float32))[..., None]

    def _validation_loss(self) -> float:
        random = np.random.default_rng((self.config.seed, 0))
        order = random.permutation(self._validation.windows.learned)[:_VALIDATION_PAIRS]
        count = len(order)
        losses = []
        for first in range(0, count, self._drawn):
            rows = order[first : first + self._drawn]
            batch = self._validation.take(rows, self._validation.goals(rows, random))
            noise = torch.from_numpy(random.standard_normal(tuple(batch.chunk.shape), dtype=np.float32))
            levels = torch.from_numpy(random.integers(0, self.config.training_steps, size=len(rows)))
            with torch.inference_mode():
                loss = self.averaged.loss(
                    batch.chunk,
                    batch.observation,
                    batch.images,
                    noise=noise.to(self.device),
                    timesteps=levels.to(self.device),
                    known=self._known(random, len(rows)).to(self.device),
                    labels=batch.labels,
                )
            losses.append(float(loss) * len(rows))
        return sum(losses) / count

    def _pairs(self) -> tuple[int, int]:
        return len(self._training.windows.learned), len(self._validation.windows.learned)
