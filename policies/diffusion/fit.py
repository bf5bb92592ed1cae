"""The optimisation of a diffusion policy: from demonstrations to the best averaged weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardware.errors import ConfigError
from policies.checkpoint import (
    adam_tensors,
    load_adam,
    load_checkpoint,
    load_module,
    module_tensors,
    require_same,
    save_checkpoint,
)
from policies.demonstrations.episode import Episode
from policies.demonstrations.folder import Evaluation
from policies.demonstrations.layout import IndexArray, Layout
from policies.demonstrations.optimise import average, warm_cosine
from policies.demonstrations.statistics import ActionScaling, fit_normalisation
from policies.demonstrations.windows import Windows, make_windows, split_episodes
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.settings import MODEL_VERSION

# Held-out pairs that an evaluation looks at, at most, and noise levels that it looks at each with.
_VALIDATION_PAIRS = 1024
# Settings that change nothing about the weights; another call may have others.
FREE_SETTINGS = ("out", "device", "compile", "trackers", "parallel_rollouts")


@dataclass(frozen=True)
class Outcome:
    """What a training run gives."""

    # The best averaged weights, on the CPU.
    network: DiffusionNetwork
    # The evaluation that they were chosen by.
    best: Evaluation
    # All evaluations, in order.
    history: tuple[Evaluation, ...]
    # Training and held-out pairs.
    training_pairs: int
    validation_pairs: int


# Runs a network in the task from so many seeds and counts the successes.
RollOut = Callable[[DiffusionNetwork], int]
Progress = Callable[[Evaluation], None]
# Told the gradient steps done.
Tick = Callable[[int], None]


def fit(
    config: DiffusionConfig,
    episodes: Sequence[Episode],
    *,
    layout: Layout,
    action_names: Sequence[str],
    roll_out: RollOut | None = None,
    progress: Progress | None = None,
    tick: Tick | None = None,
) -> Outcome:
    """Train a network, or go on with a training that was interrupted.

    Every evaluation leaves a checkpoint in `config.out`; a later call with the same settings goes on from it
    and ends with the same weights as if there had been no interruption. The same config, demonstrations,
    versions, device and number of threads give the same weights. Started by `accelerate launch` in several
    processes, all of them compute gradients.

    Args:
        config: the hyper-parameters.
        episodes: the demonstrations, at least two.
        layout: the order of the observation vector.
        action_names: the elements of an action, in the order of the demonstrations.
        roll_out: counts the successes of a network in the task; None: the validation loss decides alone.
        progress: is told every evaluation, those before an interruption too.
        tick: is told every gradient step.

    Returns:
        The best weights and how they were found.

    Raises:
        ConfigError: too few demonstrations, a term is missing in one, there is no such device, or the folder
            holds another training.
    """
    learner = Learner(config, episodes, layout, action_names)
    if progress is not None:
        for found in learner.history:
            progress(found)
    while learner.step < config.steps and learner.stale < config.patience:
        learner.advance()
        if tick is not None:
            tick(learner.step)
        if learner.step % config.evaluate_every and learner.step != config.steps:
            continue
        found = learner.evaluate(roll_out)
        learner.save()
        if progress is not None:
            progress(found)
    return learner.finish()


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


class Learner:
    """The state of a training between two gradient steps; see `fit` for what it needs and refuses.

    Args:
        config: the hyper-parameters.
        episodes: the demonstrations, at least two.
        layout: the order of the observation vector.
        action_names: the elements of an action, in the order of the demonstrations.
    """

    def __init__(
        self,
        config: DiffusionConfig,
        episodes: Sequence[Episode],
        layout: Layout,
        action_names: Sequence[str],
    ) -> None:
        """Begin, or go on from the checkpoint in `config.out`."""
        self.config = config
        where = config.data or "demonstrations"
        model = config.model()
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
        self._accelerator = _accelerator(config)
        self._device = self._accelerator.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._network = DiffusionNetwork(model, normalisation)
        self._averaged = copy.deepcopy(self._network).requires_grad_(False).eval().to(self._device)
        self._best_network = copy.deepcopy(self._averaged)
        self._network.to(self._device)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(),
            lr=config.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._training = _Pairs(training, layout, config, self._network, self._device)
        self._validation = _Pairs(validation, layout, config, self._network, self._device)
        self.step = 0
        self.stale = 0
        self.history: list[Evaluation] = []
        self._best: Evaluation | None = None
        self._recent: list[Tensor] = []
        self._resume()
        objective: nn.Module = _Objective(self._network)
        if config.compile:
            objective = torch.compile(objective)
        self._objective, self._optimiser = self._accelerator.prepare(objective, self._optimiser)

    def advance(self) -> None:
        """Take one gradient step. All its chance comes from the seed and its number."""
        config = self.config
        self.step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * warm_cosine(self.step / config.steps)
        stream = (config.seed, 1 + self._accelerator.process_index, self.step)
        random = np.random.default_rng(stream)
        rows = self._training.windows.draw(random, config.batch_size)
        drawn = config.batch_size * config.noise_draws
        levels = torch.from_numpy(random.integers(0, config.training_steps, size=drawn))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**62)))
            chunk, observation, images = self._training.take(rows, random)
            chunk = chunk.repeat(config.noise_draws, 1, 1)
            noise = torch.randn(chunk.shape).to(self._device)
            known = self._known(random, drawn).to(self._device)
            with self._accelerator.autocast():
                labels = self._training.labels(rows)
                if labels is not None:
                    labels = labels.repeat(config.noise_draws, 1, 1)
                loss = self._objective(
                    chunk, observation, images, noise, levels.to(self._device), known, labels
                )
            self._optimiser.zero_grad(set_to_none=True)
            self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._network.parameters(), config.clip_norm)
        self._optimiser.step()
        average(self._averaged, self._network, decay=config.average_decay, step=self.step)
        self._recent.append(loss.detach())

    def evaluate(self, roll_out: RollOut | None) -> Evaluation:
        """Evaluate the averaged weights; keep them if they are the best so far."""
        config = self.config
        successes = roll_out(copy.deepcopy(self._averaged).cpu()) if roll_out is not None else 0
        found = Evaluation(
            step=self.step,
            training_loss=float(torch.stack(self._recent).mean()),
            validation_loss=self._validation_loss(),
            successes=successes,
            rollouts=config.rollouts if roll_out is not None else 0,
        )
        self._recent.clear()
        self.history.append(found)
        self.stale += 1
        if self._best is None or found.rank > self._best.rank:
            self._best, self.stale = found, 0
            self._best_network.load_state_dict(self._averaged.state_dict())
        self._accelerator.log(
            {
                "training loss": found.training_loss,
                "validation loss": found.validation_loss,
                **({"success rate": found.successes / found.rollouts} if found.rollouts else {}),
            },
            step=found.step,
        )
        return found

    def save(self) -> None:
        """Write the checkpoint."""
        if not self._accelerator.is_main_process:
            return
        tensors = {
            **module_tensors("network", self._network),
            **module_tensors("averaged", self._averaged),
            **module_tensors("best", self._best_network),
            **adam_tensors("optimiser", self._plain_optimiser()),
        }
        save_checkpoint(
            Path(self.config.out),
            tensors,
            {
                "version": MODEL_VERSION,
                "settings": _settings(self.config),
                "step": self.step,
                "stale": self.stale,
                "history": [dataclasses.asdict(evaluation) for evaluation in self.history],
            },
        )

    def finish(self) -> Outcome:
        """Give the best weights."""
        self._accelerator.end_training()
        assert self._best is not None  # The last step is always evaluated.
        return Outcome(
            self._best_network.cpu().eval(),
            self._best,
            tuple(self.history),
            len(self._training.windows.learned),
            len(self._validation.windows.learned),
        )

    # --- private ------------------------------------------------------------------------------

    def _resume(self) -> None:
        folder = Path(self.config.out)
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return
        tensors, document = checkpoint
        if document.get("version") != MODEL_VERSION:
            raise ConfigError(
                f"the checkpoint is of version {document.get('version')!r}",
                where=str(folder),
                expected=repr(MODEL_VERSION),
                mend="train with the version of Reflexarc that began it, or give another --out",
            )
        require_same(document, _settings(self.config), {}, folder)
        load_module("network", self._network, tensors)
        load_module("averaged", self._averaged, tensors)
        load_module("best", self._best_network, tensors)
        load_adam("optimiser", self._optimiser, tensors)
        self.step, self.stale = document["step"], document["stale"]
        self.history = [Evaluation(**row) for row in document["history"]]
        self._best = max(self.history, key=lambda evaluation: evaluation.rank)

    def _plain_optimiser(self) -> torch.optim.AdamW:
        found: torch.optim.AdamW = getattr(self._optimiser, "optimizer", self._optimiser)
        return found

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
        for first in range(0, count, self.config.batch_size):
            rows = order[first : first + self.config.batch_size]
            chunk, observation, images = self._validation.take(rows, random)
            noise = torch.from_numpy(random.standard_normal(tuple(chunk.shape), dtype=np.float32))
            levels = torch.from_numpy(random.integers(0, self.config.training_steps, size=len(rows)))
            with torch.inference_mode():
                loss = self._averaged.loss(
                    chunk,
                    observation,
                    images,
                    noise=noise.to(self._device),
                    timesteps=levels.to(self._device),
                    known=self._known(random, len(rows)).to(self._device),
                    labels=self._validation.labels(rows),
                )
            losses.append(float(loss) * len(rows))
        return sum(losses) / count


class _Pairs:
    """Training pairs as tensors on the device; chunks normalised, images as they were seen."""

    def __init__(
        self,
        windows: Windows,
        layout: Layout,
        config: DiffusionConfig,
        network: DiffusionNetwork,
        device: torch.device,
    ) -> None:
        self.windows = windows
        self._goal, self._goal_steps = layout.goal, config.goal_steps
        self._observations = torch.from_numpy(windows.observations).to(device)
        self.history = torch.from_numpy(windows.history).to(device)
        chunks = torch.from_numpy(windows.chunks).to(device)
        self._chunks = network.normalise(chunks, self._observations)
        self._images = {name: torch.from_numpy(images) for name, images in windows.images.items()}
        self._device = device

    def labels(self, drawn: IndexArray) -> Tensor | None:
        """Which steps are to be learned, (B, T, 1); None: all."""
        labels = self.windows.labels
        if labels is None:
            return None
        return torch.from_numpy(labels[drawn].astype(np.float32))[..., None].to(self._device)

    def take(
        self, drawn: IndexArray, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Chunks (B, T, D), observations (B, H, O), and images (B, H, 3, height, width)."""
        rows = torch.from_numpy(drawn).to(self._device)
        history = self.history[rows]
        images = {
            name: seen[history.cpu()].to(self._device).permute(0, 1, 4, 2, 3).float()
            for name, seen in self._images.items()
        }
        observations = self._observations[history]
        if len(self._goal):
            later = torch.from_numpy(self.windows.ahead(drawn, self._goal_steps, random)).to(self._device)
            observations[..., self._goal] = self._observations[later][:, None, self._goal]
        return self._chunks[rows], observations, images


def _settings(config: DiffusionConfig) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in FREE_SETTINGS
    }


def _accelerator(config: DiffusionConfig) -> Any:  # noqa: ANN401
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "there is no CUDA device",
            where="device",
            expected="a GPU that Torch can use",
            mend="choose --device cpu, or auto",
        )
    # The settings of an earlier training in this process are not those of this one.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision=config.precision,
        log_with=list(config.trackers) or None,
        project_dir=config.out,
    )
    if config.trackers:
        accelerator.init_trackers(config.name)
    return accelerator
