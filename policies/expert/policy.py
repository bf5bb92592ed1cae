"""A scripted expert of `sim.experts` as a policy: over ROS 2, through the gate, recorded like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware import schema
from hardware.chunk import ActionChunk
from hardware.robot import Observation
from policies.card import PolicyCard, load_policy_card
from policies.policy import ActContext, PolicyError, Stateless
from sim.experts.library import Expert, make_expert


@dataclass(frozen=True)
class ExpertOptions:
    """How to run the expert: there is nothing to choose."""


@dataclass(frozen=True)
class ExpertParameters:
    """`parameters` of a policy card with method `expert`."""

    # The task whose expert acts, by its Gymnasium name.
    task: str


class ExpertPolicy(Stateless):
    """An expert, which answers every observation with one action. Implements `policies.policy.Policy`.

    The action is repeated once in the chunk: that is how long the controller may go on with it.

    Args:
        card: our card; its action must be the one of the task.
        expert: who acts.
    """

    def __init__(self, card: PolicyCard, expert: Expert) -> None:
        """Begin with the seed 0."""
        self.card = card
        self._expert = expert
        self._step_ns = round(card.action.step_s * 1e9)
        self.reset()

    @classmethod
    def load(cls, folder: Path | str, options: ExpertOptions | None = None) -> ExpertPolicy:
        """Load a policy folder, which is its card alone.

        Args:
            folder: holds `card.yaml`.
            options: none are known.

        Returns:
            The policy.

        Raises:
            ConfigError: the card names a task without an expert.
        """
        card = load_policy_card(folder)
        where = f"policy card {card.name!r}: parameters"
        parameters = schema.parse(ExpertParameters, dict(card.parameters), where=where)
        return cls(card, make_expert(parameters.task))

    def reset(self, seed: int | None = None) -> None:
        """Begin an attempt; what the expert draws follows from the seed."""
        self._expert.reset(0 if seed is None else seed)

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation.

        Args:
            observation: the terms of the card.
            context: not used; an expert draws from its own seed.

        Returns:
            A chunk that holds one action.

        Raises:
            PolicyError: a term is missing, or the expert finds no way from here.
        """
        absent = [name for name in self.card.observation if name not in observation.values]
        if absent:
            raise PolicyError(f"the observation lacks {', '.join(absent)}")
        action = np.asarray(self._expert.act(observation.values), np.float64)
        if not np.isfinite(action).all():
            raise PolicyError("the expert finds no way from here")
        horizon = self.card.action.horizon
        return ActionChunk(
            kind=self.card.action.kind,
            names=self.card.action.names,
            values=np.tile(action, (horizon, 1)),
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=horizon * self.card.action.step_s,
        )
