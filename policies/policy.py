"""What a policy is to the rest of the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation
from policies.card import PolicyCard


@dataclass(frozen=True)
class ActContext:
    """What a policy may know beyond the observation."""

    # The ROS clock, in nanoseconds.
    now_ns: int
    # The steps that will be carried out whatever the policy answers, shape (K, D); None: none.
    committed: FloatArray | None = None
    # What would be carried out after those if no answer came, (K', D): a policy may be drawn to it.
    planned: FloatArray | None = None
    # How many proposals the steering layer wants (1: none to choose from).
    proposals: int = 1
    # Earlier observations that the card's `history` asks for, oldest first, one a step of the action; the
    # oldest that there is stands for those that are missing. Empty for a history of one.
    past: tuple[Observation, ...] = ()
    # What is to be done, in words, for a policy that understands them; empty: as its card says.
    instruction: str = ""
    # The source of randomness; a policy draws from nothing else.
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))


@runtime_checkable
class Policy(Protocol):
    """Turns observations into chunks. Recurrent state is explicit: `state` shows it, `load_state` sets it."""

    card: PolicyCard

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """A copy of the recurrent state by the names on the card; empty for a policy without one."""

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the recurrent state, as given by `state`."""

    def reset(self, seed: int | None = None) -> None:
        """Begin anew: recurrent state by the rules on the card, randomness from the seed."""

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation.

        Args:
            observation: the terms that the card asks for, as bound.
            context: time, committed and planned steps, number of proposals, instruction, randomness.

        Returns:
            A chunk whose start is absolute: the observation's capture stamp plus whole steps.

        Raises:
            PolicyError: the observation cannot be answered (not finite, a term is missing).
        """


class Stateless:
    """What policies without recurrent state share: `state` is empty, and nothing else can be loaded."""

    card: PolicyCard

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """The recurrent state: there is none."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the recurrent state.

        Args:
            state: as `state` gives it: empty.

        Raises:
            ConfigError: the state is not empty.
        """
        if state:
            raise ConfigError(
                f"a state of {', '.join(state)}",
                where=f"recurrent state of policy {self.card.name!r}",
                expected="an empty one: the policy has no memory",
                mend="pass what the policy's `state` gave",
            )


class PolicyError(Refusal):
    """A policy refuses to answer; the controller reports it and sends nothing."""
