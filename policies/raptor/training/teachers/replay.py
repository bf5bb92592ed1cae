"""Replay buffers of many teachers, filled in step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.raptor.network import ACTION_SIZE
from policies.raptor.training.teachers.bank import PRIVILEGED_SIZE

_OBSERVATION = slice(0, PRIVILEGED_SIZE)
_ACTION = slice(PRIVILEGED_SIZE, PRIVILEGED_SIZE + ACTION_SIZE)
_REWARD = PRIVILEGED_SIZE + ACTION_SIZE
_TERMINATED = _REWARD + 1
_NEXT = slice(_TERMINATED + 1, _TERMINATED + 1 + PRIVILEGED_SIZE)
_WIDTH = _TERMINATED + 1 + PRIVILEGED_SIZE


@dataclass(frozen=True, eq=False)
class Transitions:
    """Steps of teachers, leading axes (T, B), float32."""

    # Privileged observation before the step, (T, B, 26).
    observation: Tensor
    # Action, (T, B, 4).
    action: Tensor
    # Reward, (T, B).
    reward: Tensor
    # 1 where the step ended in a terminal state (not by the limit of time), else 0; (T, B).
    terminated: Tensor
    # Privileged observation after the step, (T, B, 26).
    next_observation: Tensor


class Replay:
    """The last transitions of T teachers; 232 bytes each.

    Args:
        count: T.
        capacity: transitions a teacher; the oldest give way.
        device: where they are kept.
    """

    def __init__(self, count: int, capacity: int, *, device: torch.device | str) -> None:
        """Allocate the whole buffer."""
        self.capacity = capacity
        # Transitions added so far, a teacher.
        self.added = 0
        # One row a transition, so that a sample is one gather.
        self._rows = torch.zeros((count, capacity, _WIDTH), device=device)
        self._first = (torch.arange(count, device=device) * capacity).view(count, 1)

    def __len__(self) -> int:
        """Transitions a teacher that can be drawn."""
        return min(self.added, self.capacity)

    def add(self, step: Transitions) -> None:
        """Keep transitions.

        Args:
            step: leading axes (T, B), B at most the capacity.
        """
        size = step.reward.shape[1]
        start = self.added % self.capacity
        end = min(start + size, self.capacity)
        self._write(slice(start, end), step, slice(0, end - start))
        if end - start < size:
            self._write(slice(0, size - (end - start)), step, slice(end - start, size))
        self.added += size

    def sample(self, uniform: Tensor) -> Transitions:
        """Draw transitions, with repetition.

        Args:
            uniform: numbers in [0, 1), (T, B).

        Returns:
            Leading axes (T, B).
        """
        # Rounding must not reach beyond the last one.
        places = (uniform * len(self)).long().clamp_(max=len(self) - 1).add_(self._first)
        rows = self._rows.view(-1, _WIDTH).index_select(0, places.view(-1)).view(*uniform.shape, _WIDTH)
        return Transitions(
            observation=rows[..., _OBSERVATION],
            action=rows[..., _ACTION],
            reward=rows[..., _REWARD],
            terminated=rows[..., _TERMINATED],
            next_observation=rows[..., _NEXT],
        )

    def tensors(self) -> dict[str, Tensor]:
        """What is needed to go on: the rows in use."""
        return {"rows": self._rows[:, : len(self)]}

    def load(self, tensors: Mapping[str, Tensor], *, added: int) -> None:
        """Go on from what `tensors` gave.

        Args:
            tensors: the rows that were in use.
            added: how many had been added in all.
        """
        rows = tensors["rows"]
        self._rows[:, : rows.shape[1]].copy_(rows)
        self.added = added

    def _write(self, places: slice, step: Transitions, rows: slice) -> None:
        into = self._rows[:, places]
        into[..., _OBSERVATION] = step.observation[:, rows]
        into[..., _ACTION] = step.action[:, rows]
        into[..., _REWARD] = step.reward[:, rows]
        into[..., _TERMINATED] = step.terminated[:, rows]
        into[..., _NEXT] = step.next_observation[:, rows]
