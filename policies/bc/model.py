"""The network of behaviour cloning in Torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.bc.network import BcWeights
from policies.demonstrations.statistics import Normalisation


class BcModule(nn.Module):  # type: ignore[misc, unused-ignore]
    """Features, normalisation, dense layers and de-normalisation, as `policies.bc.network` says.

    Args:
        normalisation: features and statistics of the demonstrations.
        hidden: widths of the hidden layers.
    """

    plain: Tensor
    pairs: Tensor
    feature_mean: Tensor
    feature_scale: Tensor
    action_scale: Tensor
    action_mean: Tensor
    base: Tensor

    def __init__(self, normalisation: Normalisation, hidden: Sequence[int]) -> None:
        """Make the layers with Torch's own initial weights, drawn from its global random state."""
        super().__init__()
        self.observation_size = normalisation.observation_size
        for name in (
            "plain",
            "pairs",
            "feature_mean",
            "feature_scale",
            "action_scale",
            "action_mean",
            "base",
        ):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(normalisation, name))))
        sizes = [len(normalisation.feature_mean), *hidden, normalisation.action_scale.size]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def normalised(self, observation: Tensor) -> Tensor:
        """Evaluate the network without the last stage, as the loss wants it.

        Args:
            observation: shape (B, O), units of the robot card.

        Returns:
            Shape (B, T, D), offsets from the base in standard deviations of the demonstrations.
        """
        products = observation[:, self.pairs[0]] * observation[:, self.pairs[1]]
        x = torch.cat([observation[:, self.plain], products], dim=1)
        x = (x - self.feature_mean) / self.feature_scale
        for layer in list(self.layers)[:-1]:
            x = torch.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out.reshape(-1, *self.action_scale.shape)

    def normalise(self, chunk: Tensor, observation: Tensor) -> Tensor:
        """Turn chunks into what the network learns.

        Args:
            chunk: shape (B, T, D), unit of the action.
            observation: shape (B, O), units of the robot card.

        Returns:
            Shape (B, T, D), offsets from the base in standard deviations of the demonstrations.
        """
        return (chunk - self._origin(observation) - self.action_mean) / self.action_scale

    def forward(self, observation: Tensor) -> Tensor:
        """Answer observations.

        Args:
            observation: shape (B, O), units of the robot card.

        Returns:
            Chunks, shape (B, T, D), in the unit of the action.
        """
        offsets = self.normalised(observation) * self.action_scale + self.action_mean
        return offsets + self._origin(observation)

    def to_weights(self) -> BcWeights:
        """Copy every array out of the module."""

        def array(tensor: Tensor) -> NDArray[Any]:
            copied: NDArray[Any] = tensor.detach().cpu().numpy()
            return copied

        return BcWeights(
            plain=array(self.plain),
            pairs=array(self.pairs),
            feature_mean=array(self.feature_mean),
            feature_scale=array(self.feature_scale),
            weights=tuple(array(layer.weight) for layer in self.layers),
            biases=tuple(array(layer.bias) for layer in self.layers),
            action_scale=array(self.action_scale),
            action_mean=array(self.action_mean),
            base=array(self.base),
            observation_size=self.observation_size,
        )

    def _origin(self, observation: Tensor) -> Tensor:
        """What actions are offsets from, (B, 1, D)."""
        return (observation[:, self.base.clamp(min=0)] * (self.base >= 0))[:, None, :]

    @classmethod
    def from_weights(cls, weights: BcWeights) -> BcModule:
        """Build the module that holds given arrays.

        Args:
            weights: as `to_weights` gives them.

        Returns:
            The module.
        """
        normalisation = Normalisation(
            observation_size=weights.observation_size,
            plain=weights.plain,
            pairs=weights.pairs,
            feature_mean=weights.feature_mean,
            feature_scale=weights.feature_scale,
            action_scale=weights.action_scale,
            action_mean=weights.action_mean,
            base=weights.base,
        )
        module = cls(normalisation, [len(bias) for bias in weights.biases[:-1]])
        with torch.no_grad():
            for layer, weight, bias in zip(module.layers, weights.weights, weights.biases, strict=True):
                layer.weight.copy_(torch.from_numpy(weight.copy()))
                layer.bias.copy_(torch.from_numpy(bias.copy()))
        return module
