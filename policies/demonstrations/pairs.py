"""Training pairs as tensors on the device that computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from policies.demonstrations.layout import IndexArray, Layout
from policies.demonstrations.windows import Windows


class Normalises(Protocol):
    """A network that knows how its actions are scaled."""

    def normalise(self, chunk: Tensor, observation: Tensor) -> Tensor:
        """Turn chunks (B, T, D), in the unit of the action, into what is learned; observations (B, O)."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs on the device."""

    # Normalised, (B, T, D).
    chunk: Tensor
    # The history of each pair, oldest first, (B, H, O); where there is a goal, its columns hold it.
    observation: Tensor
    # By camera, (B, H, 3, height, width), 0 to 255.
    images: dict[str, Tensor]
    # 1 where a step is to be learned and 0 elsewhere, (B, T, 1); None: everywhere.
    labels: Tensor | None


class Pairs:
    """Windows on the device; images stay where they are until they are drawn.

    Args:
        windows: the pairs.
        layout: the order of the observation vector.
        goal_steps: how many steps later a goal is, at least and at most.
        network: normalises the chunks; on the device.
        device: where to put them.
    """

    def __init__(
        self,
        windows: Windows,
        layout: Layout,
        *,
        goal_steps: tuple[int, int],
        network: Normalises,
        device: torch.device,
    ) -> None:
        """Copy observations and chunks to the device."""
        self.windows = windows
        self._goal, self._goal_steps = layout.goal, goal_steps
        self._observations = torch.from_numpy(windows.observations).to(device)
        self._history = torch.from_numpy(windows.history).to(device)
        chunks = torch.from_numpy(windows.chunks).to(device)
        self._chunks = network.normalise(chunks, self._observations)
        self._images = {name: torch.from_numpy(images) for name, images in windows.images.items()}
        self._device = device

    def goals(self, rows: IndexArray, random: np.random.Generator) -> IndexArray | None:
        """Draw what each pair is asked for: what a later one of its episode has observed.

        Args:
            rows: the pairs, (B,).
            random: the source of randomness; untouched where there is no goal.

        Returns:
            A pair for each, (B,); None: the policy has no goal.
        """
        return self.windows.ahead(rows, self._goal_steps, random) if len(self._goal) else None

    def take(self, rows: IndexArray, goals: IndexArray | None) -> Batch:
        """Put pairs together.

        Args:
            rows: the pairs, (B,).
            goals: what each is asked for, as `goals` gave it.
        """
        at = torch.from_numpy(rows).to(self._device)
        history = self._history[at]
        images = {
            name: seen[history.cpu()].to(self._device).permute(0, 1, 4, 2, 3).float()
            for name, seen in self._images.items()
        }
        observation = self._observations[history]
        if goals is not None:
            later = torch.from_numpy(goals).to(self._device)
            observation[..., self._goal] = self._observations[later][:, None, self._goal]
        labels = self.windows.labels
        asked = None
        if labels is not None:
            asked = torch.from_numpy(labels[rows].astype(np.float32))[..., None].to(self._device)
        return Batch(self._chunks[at], observation, images, asked)
