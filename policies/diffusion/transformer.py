"""The transformer of Diffusion Policy (Chi et al., 2023, section III.A): a causal decoder over the steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.diffusion.settings import TransformerSettings
from policies.diffusion.unet import step_features


class Transformer(nn.Module):  # type: ignore[misc, unused-ignore]
    """The denoiser: each step of the chunk is a token.

    It attends to itself, to the steps before it, to the denoising step and to the observations.

    Args:
        inputs: numbers of a step that the network sees.
        elements: numbers of an action, D.
        condition: numbers of an observation's encoding.
        observations: of a history, H.
        horizon: steps of the chunk, T.
        settings: sizes.
    """

    causal: Tensor

    def __init__(
        self,
        inputs: int,
        elements: int,
        condition: int,
        observations: int,
        horizon: int,
        settings: TransformerSettings,
    ) -> None:
        """Make the layers; positions begin small."""
        super().__init__()
        width = settings.width
        self._width = width
        self.token = nn.Linear(inputs, width)
        self.position = nn.Parameter(torch.randn(1, horizon, width) * 0.02)
        self.observed = nn.Linear(condition, width)
        self.memory_position = nn.Parameter(torch.randn(1, 1 + observations, width) * 0.02)
        self.memory = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        layer = nn.TransformerDecoderLayer(
            width,
            settings.heads,
            4 * width,
            settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerDecoder(layer, settings.layers)
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, elements)
        later = torch.ones(horizon, horizon, dtype=torch.bool).triu(1)
        self.register_buffer("causal", later, persistent=False)

    def embed(self, timesteps: Tensor) -> Tensor:
        """The token of the denoising step.

        Args:
            timesteps: shape (B,).

        Returns:
            Shape (B, 1, W).
        """
        return self._remember(step_features(timesteps, self._width)[:, None], self.memory_position[:, :1])

    def prepare(self, condition: Tensor) -> Tensor:
        """The tokens of the observations.

        Args:
            condition: shape (B, H, C).

        Returns:
            Shape (B, H, W).
        """
        return self._remember(self.observed(condition), self.memory_position[:, 1:])

    def forward(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Find the noise, or the chunk, in a noisy chunk.

        Args:
            x: shape (B, T, inputs).
            step: as `embed` gives it.
            condition: as `prepare` gives it.

        Returns:
            Shape (B, T, D).
        """
        memory = torch.cat([step.expand(condition.shape[0], -1, -1), condition], dim=1)
        tokens = self.layers(self.token(x) + self.position, memory, tgt_mask=self.causal)
        out: Tensor = self.out(self.norm(tokens))
        return out

    def _remember(self, token: Tensor, position: Tensor) -> Tensor:
        placed = token + position
        out: Tensor = placed + self.memory(placed)
        return out
