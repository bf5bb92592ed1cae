"""The training that all learners from demonstrations share: steps, averages, evaluations, checkpoints.

A method says what its network is and what a batch's loss is. In several processes, each takes its part of one
batch that they all draw: P processes with B pairs each take the step that one takes with P * B.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Callable
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
from policies.demonstrations.config import FREE_SETTINGS, ImitationConfig
from policies.demonstrations.folder import Evaluation
from policies.demonstrations.optimise import average, warm_cosine
from policies.demonstrations.processes import begin_trackers, leave, make_accelerator, require_alike

# Runs a network, on the CPU, in the task from so many seeds and counts the successes.
type RollOut[N: nn.Module] = Callable[[N], int]
Progress = Callable[[Evaluation], None]
# Told the gradient steps done.
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Outcome[N: nn.Module]:
    """What a training run gives."""

    # The best averaged weights, on the CPU.
    network: N
    # The evaluation that they were chosen by.
    best: Evaluation
    # All evaluations, in order.
    history: tuple[Evaluation, ...]
    # Training and held-out pairs.
    training_pairs: int
    validation_pairs: int


class Learner[N: nn.Module](abc.ABC):
    """The state of a training between two gradient steps.

    A method's own `__init__` builds the rest from `network` and `device`, and ends with `_begin`.

    Args:
        config: the hyper-parameters.
        network: with its initial weights.
        version: of the method; a checkpoint of another one is refused.
        accelerator: of `make_accelerator`; None: one is made.
    """

    def __init__(
        self,
        config: ImitationConfig,
        network: N,
        *,
        version: str,
        accelerator: Any = None,  # noqa: ANN401
    ) -> None:
        """Put the network and its averages on the device."""
        self.config = config
        self.accelerator = accelerator or make_accelerator(config)
        self.device: torch.device = self.accelerator.device
        self.network = network
        self.averaged = copy.deepcopy(network).requires_grad_(False).eval().to(self.device)
        self.network.to(self.device)
        self.step = 0
        self.stale = 0
        self.history: list[Evaluation] = []
        self._version = version
        self._best: Evaluation | None = None
        self._best_network = copy.deepcopy(self.averaged)
        self._recent: list[Tensor] = []

    # --- what a method says -------------------------------------------------------------------

    @abc.abstractmethod
    def _loss(self) -> Tensor:
        """Draw the next batch, and pass this process's part of it through `self._objective`."""

    @abc.abstractmethod
    def _validation_loss(self) -> float:
        """The loss of the averaged weights on the held-out pairs."""

    @abc.abstractmethod
    def _pairs(self) -> tuple[int, int]:
        """How many pairs are learned from and held out."""

    # --- steps --------------------------------------------------------------------------------

    def advance(self) -> None:
        """Take one gradient step."""
        config = self.config
        self.step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * warm_cosine(self.step / config.steps)
        loss = self._loss()
        self._optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        if self._clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self._clip_norm)
        self._optimiser.step()
        average(self.averaged, self.network, decay=config.average_decay, step=self.step)
        self._recent.append(loss.detach())

    def evaluate(self, roll_out: RollOut[N] | None) -> Evaluation:
        """Evaluate the averaged weights; keep them if they are the best so far.

        Args:
            roll_out: counts their successes; None: there are no roll-outs. Only the main process asks it.

        Returns:
            What the main process found, in all processes.
        """
        from accelerate.utils import broadcast

        losses = self.accelerator.reduce(torch.stack(self._recent), "mean").tolist()
        self._recent.clear()
        successes = rollouts = 0
        missed = 0.0
        if self.accelerator.is_main_process:
            missed = self._validation_loss()
            if roll_out is not None:
                successes, rollouts = roll_out(copy.deepcopy(self.averaged).cpu()), self.config.rollouts
        told = torch.tensor([missed, successes, rollouts], dtype=torch.float64, device=self.device)
        missed, successes, rollouts = broadcast(told).tolist()
        found = Evaluation(
            step=self.step,
            training_loss=sum(losses) / len(losses),
            validation_loss=missed,
            successes=int(successes),
            rollouts=int(rollouts),
        )
        self.history.append(found)
        self.stale += 1
        if self._best is None or found.rank > self._best.rank:
            self._best, self.stale = found, 0
            self._best_network.load_state_dict(self.averaged.state_dict())
        self.accelerator.log(
            {
                "training loss": found.training_loss,
                "validation loss": found.validation_loss,
                **({"success rate": found.successes / found.rollouts} if found.rollouts else {}),
            },
            step=found.step,
        )
        return found

    def save(self) -> None:
        """Write the checkpoint, in the main process."""
        if not self.accelerator.is_main_process:
            return
        tensors = {
            **module_tensors("network", self.network),
            **module_tensors("averaged", self.averaged),
            **module_tensors("best", self._best_network),
            **adam_tensors("optimiser", self._plain_optimiser()),
        }
        document = {
            "version": self._version,
            "settings": self._settings(),
            "step": self.step,
            "stale": self.stale,
            "history": [dataclasses.asdict(evaluation) for evaluation in self.history],
            "chance": None if self._chance is None else self._chance.bit_generator.state,
        }
        save_checkpoint(Path(self.config.out), tensors, document)

    def finish(self) -> Outcome[N]:
        """Give the best weights, and leave the other processes."""
        # What averages gradients keeps the connections open as long as anything keeps it.
        del self._objective, self._optimiser
        leave(self.accelerator)
        assert self._best is not None  # The last step is always evaluated.
        return Outcome(self._best_network.cpu().eval(), self._best, tuple(self.history), *self._pairs())

    # --- private ------------------------------------------------------------------------------

    def _begin(
        self,
        objective: nn.Module,
        optimiser: torch.optim.AdamW,
        *,
        clip_norm: float | None = None,
        chance: np.random.Generator | None = None,
    ) -> None:
        """Go on from the checkpoint in `config.out` if there is one, and get ready for steps.

        Args:
            objective: the loss as a forward pass; called as `self._objective`.
            optimiser: of the network.
            clip_norm: largest norm of the gradient; None: any.
            chance: what steps draw from beside their number, the same in all processes.
        """
        self._clip_norm, self._chance = clip_norm, chance
        self._optimiser = optimiser
        self._resume()
        require_alike(self.accelerator, str(self.step), what="the steps of the checkpoint")
        if self.config.compile:
            objective = torch.compile(objective)
        self._objective, self._optimiser = self.accelerator.prepare(objective, optimiser)
        begin_trackers(self.accelerator, self.config, self._settings())

    def _resume(self) -> None:
        folder = Path(self.config.out)
        checkpoint = load_checkpoint(folder)
        if checkpoint is None:
            return
        tensors, document = checkpoint
        if document.get("version") != self._version:
            raise ConfigError(
                f"the checkpoint is of version {document.get('version')!r}",
                where=str(folder),
                expected=repr(self._version),
                mend="train with the version of Reflexarc that began it, or give another --out",
            )
        require_same(document, self._settings(), {"processes": 1}, folder)
        load_module("network", self.network, tensors)
        load_module("averaged", self.averaged, tensors)
        load_module("best", self._best_network, tensors)
        load_adam("optimiser", self._optimiser, tensors)
        self.step, self.stale = document["step"], document["stale"]
        self.history = [Evaluation(**row) for row in document["history"]]
        self._best = max(self.history, key=lambda evaluation: evaluation.rank)
        if self._chance is not None:
            self._chance.bit_generator.state = document["chance"]

    def _settings(self) -> dict[str, Any]:
        """What another call has to say alike to go on."""
        kept = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self.config).items()
            if name not in FREE_SETTINGS
        }
        return kept | {"processes": self.accelerator.num_processes}

    def _plain_optimiser(self) -> torch.optim.AdamW:
        found: torch.optim.AdamW = getattr(self._optimiser, "optimizer", self._optimiser)
        return found

    @property
    def _drawn(self) -> int:
        """Pairs that all processes draw together."""
        return self.config.batch_size * int(self.accelerator.num_processes)

    def _mine(self, drawn: Any, *, repeats: int = 1) -> Any:  # noqa: ANN401
        """This process's part of an array or tensor that was drawn for all, (K P B, ...) to (K B, ...)."""
        shape = (repeats, self.accelerator.num_processes, self.config.batch_size, *drawn.shape[1:])
        part = drawn.reshape(shape)[:, self.accelerator.process_index]
        return part.reshape(repeats * self.config.batch_size, *drawn.shape[1:])

    def _weighed(self, loss: Tensor, mine: float, of_all: float) -> Tensor:
        """A mean over this process's labels, such that the mean over the processes is that over all labels.

        Args:
            loss: the mean.
            mine: labels of this process, at least 1.
            of_all: of all of them.
        """
        if self.accelerator.num_processes == 1:
            return loss
        return loss * (mine * self.accelerator.num_processes / of_all)


def learn[N: nn.Module](
    learner: Learner[N],
    *,
    roll_out: RollOut[N] | None = None,
    progress: Progress | None = None,
    tick: Tick | None = None,
) -> Outcome[N]:
    """Train to the end: the last step, or so many evaluations without a better one.

    Args:
        learner: at its beginning, or where a checkpoint brought it.
        roll_out: counts the successes of a network in the task; None: the validation loss decides alone.
        progress: is told every evaluation, those before an interruption too.
        tick: is told every gradient step.

    Returns:
        The best weights and how they were found. Only the main process asks `roll_out` and tells anything.
    """
    config = learner.config
    if not learner.accelerator.is_main_process:
        roll_out, progress, tick = None, None, None
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
