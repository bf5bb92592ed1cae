"""Behavior Retrieval: the parts of a large set that are like a small one (Du et al., RSS 2023).

A variational auto-encoder learns to describe what was observed together with what was done about it. A part
of the large set is as useful as its description is near to that of any part of the small set; those that are
near enough are learned from beside the small set, the others are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.demonstrations.episode import DemonstrationSet
from policies.demonstrations.layout import Float32Array, Layout, features
from policies.demonstrations.optimise import warm_cosine
from policies.demonstrations.statistics import fit_normalisation
from policies.demonstrations.windows import Windows, make_windows

# Pairs whose distances are computed at a time.
_ROWS = 2048


@dataclass(frozen=True)
class VaeSettings:
    """Sizes and training of the auto-encoder."""

    # Numbers of a description, and the width of the hidden layers.
    latent: int = 16
    hidden: int = 128
    # What the divergence from the standard normal counts beside a mean squared error of one.
    divergence: float = 1e-3
    # Gradient steps, pairs in each, and the peak learning rate.
    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 2e-3


def retrieve(
    task: DemonstrationSet,
    prior: DemonstrationSet,
    layout: Layout,
    *,
    share: float,
    horizon: int,
    relative_to: str = "",
    seed: int = 0,
    settings: VaeSettings | None = None,
) -> DemonstrationSet:
    """Add to a small set what is like it in a large one.

    What is compared are the pairs of a chunked learner: an observation and the actions that follow. The same
    sets, seed, versions and number of threads give the same result. Torch's global random state is left as it
    was.

    Args:
        task: the small set: the task that is to be learned.
        prior: the large set, whatever it shows.
        layout: the terms that are compared.
        share: of the large set's steps that are kept, those most like the small set, above 0 and at most 1.
        horizon: actions of a pair.
        relative_to: the term that actions are compared as offsets from; empty: as they are.
        seed: of the auto-encoder.
        settings: of the auto-encoder; None: as usual.

    Returns:
        The small set's episodes and, behind them, those of the large set that have steps among the kept ones.
        Their `weight` is 1 where a step is kept and 0 elsewhere.

    Raises:
        ConfigError: a term is missing in an episode.
    """
    order = [prior.action_names.index(name) for name in task.action_names]
    offered = [dataclasses.replace(episode, actions=episode.actions[:, order]) for episode in prior.episodes]
    windows = make_windows([*task.episodes, *offered], layout, horizon=horizon)
    pairs, observed = _pairs(windows, layout, relative_to, task.action_names)
    near = _distances(pairs, observed, task.steps, seed, settings or VaeSettings())
    kept = np.zeros(len(near), np.float32)
    kept[np.argsort(near, kind="stable")[: max(1, round(share * len(near)))]] = 1.0
    cuts = np.cumsum([len(episode.actions) for episode in offered])[:-1]
    found = [
        dataclasses.replace(episode, weight=weight)
        for episode, weight in zip(offered, np.split(kept, cuts), strict=True)
        if weight.any()
    ]
    source = f"{task.source} and the {100 * share:g} % of {prior.source} that are most like it"
    return dataclasses.replace(task, episodes=(*task.episodes, *found), source=source)


class _Vae(nn.Module):  # type: ignore[misc, unused-ignore]
    """Kingma and Welling, 2014: a description and its spread for every pair, and back."""

    def __init__(self, size: int, settings: VaeSettings) -> None:
        super().__init__()
        self.encoder = _layers(size, settings.hidden, 2 * settings.latent)
        self.decoder = _layers(settings.latent, settings.hidden, size)

    def describe(self, pairs: Tensor) -> Tensor:
        """The middle of the description, without its spread."""
        mean: Tensor = self.encoder(pairs).chunk(2, dim=-1)[0]
        return mean

    def loss(self, pairs: Tensor, observed: int, divergence: float) -> Tensor:
        """What was observed and what was done count alike, however many numbers each has."""
        mean, log_variance = self.encoder(pairs).chunk(2, dim=-1)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        found = self.decoder(drawn)
        missed = functional.mse_loss(found[:, :observed], pairs[:, :observed])
        missed = missed + functional.mse_loss(found[:, observed:], pairs[:, observed:])
        apart = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
        return missed + divergence * apart


def _layers(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


def _pairs(
    windows: Windows, layout: Layout, relative_to: str, action_names: Sequence[str]
) -> tuple[Tensor, int]:
    """Features beside actions, all of unit deviation, (N, F + T * D), and how many are features, F."""
    scales = fit_normalisation(windows, layout, relative_to=relative_to, action_names=action_names)
    seen = features(windows.observations, scales.plain, scales.pairs)
    seen = (seen - scales.feature_mean) / scales.feature_scale
    origin = windows.observations[:, scales.base] * (scales.base >= 0)
    done = (windows.chunks - origin[:, None, :] - scales.action_mean) / scales.action_scale
    joined = np.concatenate([seen, done.reshape(len(done), -1)], axis=1)
    return torch.from_numpy(joined.astype(np.float32)), seen.shape[1]


def _distances(pairs: Tensor, observed: int, wanted: int, seed: int, settings: VaeSettings) -> Float32Array:
    """From each pair behind the first `wanted` ones to the nearest of those, as they are described."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _Vae(pairs.shape[1], settings)
        optimiser = torch.optim.AdamW(vae.parameters(), lr=settings.learning_rate)
        for step in range(1, settings.steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * warm_cosine(step / settings.steps)
            rows = torch.randint(0, len(pairs), (settings.batch_size,))
            loss = vae.loss(pairs[rows], observed, settings.divergence)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    with torch.inference_mode():
        described = vae.describe(pairs)
        near = [torch.cdist(part, described[:wanted]).amin(dim=1) for part in described[wanted:].split(_ROWS)]
        found: Float32Array = torch.cat(near).numpy()
    return found
