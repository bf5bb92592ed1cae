"""The 1-D U-Net of Diffusion Policy (Chi et al., 2023, section III.A): convolutions along time with FiLM."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.diffusion.settings import UnetSettings


def step_features(timesteps: Tensor, size: int) -> Tensor:
    """Sines and cosines of the denoising step (Vaswani et al., 2017).

    Args:
        timesteps: shape (B,).
        size: features, even.

    Returns:
        Shape (B, size), sines first.
    """
    half = size // 2
    rates = torch.exp(torch.arange(half, device=timesteps.device) * (-math.log(10_000.0) / (half - 1)))
    angles = timesteps.to(rates.dtype)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _Convolution(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, inputs: int, outputs: int, settings: UnetSettings) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, settings.kernel, padding=settings.kernel // 2)
        self.norm = nn.GroupNorm(settings.groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.mish(self.norm(self.convolution(x)))


class _Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """Two convolutions beside a shortcut; in between, the condition scales and shifts every channel."""

    def __init__(self, inputs: int, outputs: int, settings: UnetSettings) -> None:
        super().__init__()
        self.first = _Convolution(inputs, outputs, settings)
        self.second = _Convolution(outputs, outputs, settings)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        scale, shift = film.unsqueeze(-1).chunk(2, dim=1)
        out: Tensor = self.second(torch.addcmul(shift, scale, self.first(x))) + self.shortcut(x)
        return out


class Unet(nn.Module):  # type: ignore[misc, unused-ignore]
    """The denoiser. All blocks' FiLM factors come out of one matrix product.

    What depends on the denoising step alone and what depends on the observation alone are separate terms of
    those factors: sampling computes the observation's once a chunk, and an exported graph holds the steps'
    as constants.

    Args:
        inputs: numbers of a step that the network sees.
        elements: numbers of an action, D.
        condition: numbers of an observation's encoding.
        observations: of a history, H.
        settings: sizes.
    """

    def __init__(
        self, inputs: int, elements: int, condition: int, observations: int, settings: UnetSettings
    ) -> None:
        """Make the layers with Torch's own initial weights."""
        super().__init__()
        size, channels = settings.step_embedding, settings.channels
        self.embedding = nn.Sequential(nn.Linear(size, 4 * size), nn.Mish(), nn.Linear(4 * size, size))
        self._size = size
        last = channels[-1]
        ins = (inputs, *channels[:-1])
        self.down = nn.ModuleList(
            nn.ModuleList([_Block(a, b, settings), _Block(b, b, settings)])
            for a, b in zip(ins, channels, strict=True)
        )
        self.shrink = nn.ModuleList(nn.Conv1d(c, c, 3, stride=2, padding=1) for c in channels[:-1])
        self.middle = nn.ModuleList([_Block(last, last, settings), _Block(last, last, settings)])
        ups = list(itertools.pairwise(reversed(channels)))
        self.up = nn.ModuleList(
            nn.ModuleList([_Block(2 * a, b, settings), _Block(b, b, settings)]) for a, b in ups
        )
        self.grow = nn.ModuleList(nn.ConvTranspose1d(b, b, 4, stride=2, padding=1) for _, b in ups)
        self.end = _Convolution(channels[0], channels[0], settings)
        self.out = nn.Conv1d(channels[0], elements, 1)
        self._widths = [2 * block.first.convolution.out_channels for block in self.blocks()]
        self.film_step = nn.Linear(size, sum(self._widths))
        self.film_condition = nn.Linear(condition * observations, sum(self._widths), bias=False)

    def blocks(self) -> list[_Block]:
        """The residual blocks in the order in which they are evaluated."""
        groups = [*self.down, self.middle, *self.up]
        return [block for group in groups for block in group]

    def embed(self, timesteps: Tensor) -> Tensor:
        """What the blocks are told about the denoising step.

        Args:
            timesteps: shape (B,).

        Returns:
            Shape (B, F).
        """
        features = self.embedding(step_features(timesteps, self._size))
        told: Tensor = self.film_step(functional.mish(features))
        return told

    def prepare(self, condition: Tensor) -> Tensor:
        """What the blocks are told about the observations.

        Args:
            condition: shape (B, H, C).

        Returns:
            Shape (B, F).
        """
        told: Tensor = self.film_condition(functional.mish(condition.flatten(1)))
        return told

    def forward(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Find the noise, or the chunk, in a noisy chunk.

        Args:
            x: shape (B, T, inputs).
            step: as `embed` gives it.
            condition: as `prepare` gives it.

        Returns:
            Shape (B, T, D).
        """
        films = iter((step + condition).split(self._widths, dim=-1))
        x = x.transpose(1, 2)
        kept = []
        for level, (first, second) in enumerate(self.down):
            x = second(first(x, next(films)), next(films))
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        for block in self.middle:
            x = block(x, next(films))
        for (first, second), grow in zip(self.up, self.grow, strict=True):
            x = torch.cat([x, kept.pop()], dim=1)
            x = grow(second(first(x, next(films)), next(films)))
        out: Tensor = self.out(self.end(x))
        return out.transpose(1, 2)
