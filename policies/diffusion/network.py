"""The whole network of a diffusion policy: from observations and noise to a chunk in the robot's units."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hardware.errors import ConfigError
from policies.demonstrations.layout import Layout
from policies.demonstrations.statistics import Normalisation
from policies.diffusion.schedule import denoising_table, training_scheduler
from policies.diffusion.settings import Denoiser, ModelSettings, Prediction
from policies.diffusion.transformer import Transformer
from policies.diffusion.unet import Unet
from policies.diffusion.vision import ImageEncoder

_ARRAYS = ("plain", "pairs", "feature_mean", "feature_scale", "action_scale", "action_mean", "base")


class DiffusionNetwork(nn.Module):  # type: ignore[misc, unused-ignore]
    """Features, image encoders, denoiser and both normalisations, all in one file of weights.

    Chunks have `horizon` steps of D elements. The first `past_steps` of them lie before the newest
    observation, as in Diffusion Policy.

    Args:
        settings: sizes and noise.
        normalisation: features and statistics of the demonstrations.
    """

    plain: Tensor
    pairs: Tensor
    feature_mean: Tensor
    feature_scale: Tensor
    action_scale: Tensor
    action_mean: Tensor
    base: Tensor

    def __init__(self, settings: ModelSettings, normalisation: Normalisation) -> None:
        """Make the layers, drawn from Torch's global random state."""
        super().__init__()
        self.settings = settings
        self.observation_size = normalisation.observation_size
        for name in _ARRAYS:
            self.register_buffer(name, torch.from_numpy(np.array(getattr(normalisation, name))))
        self.encoders = nn.ModuleDict(
            {
                name: ImageEncoder(
                    height=camera.height,
                    width=camera.width,
                    crop=settings.crop,
                    keypoints=settings.keypoints,
                    channels=settings.image_channels,
                    stages=settings.image_stages,
                )
                for name, camera in settings.cameras.items()
            }
        )
        elements = len(normalisation.base)
        condition = len(normalisation.feature_mean) + sum(e.size for e in self.encoders.values())
        widths = (condition, *settings.encoder)
        layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Mish(), nn.Linear(a, b))]
        self.encoder = nn.Sequential(*layers[1:])
        condition = widths[-1]
        # One more number tells which steps are known, to a network that has learned to go on from them.
        inputs = elements + (1 if settings.prefix_steps else 0)
        seen = settings.observation_steps
        self.denoiser: Unet | Transformer = (
            Unet(inputs, elements, condition, seen, settings.unet)
            if settings.denoiser is Denoiser.UNET
            else Transformer(inputs, elements, condition, seen, settings.horizon, settings.transformer)
        )
        self.table = denoising_table(settings.noise)
        self._levels = training_scheduler(settings.noise).alphas_cumprod

    @property
    def parameter_count(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def normalise(self, chunk: Tensor, observation: Tensor) -> Tensor:
        """Turn chunks into what is denoised.

        Args:
            chunk: shape (B, T, D), unit of the action.
            observation: the newest, shape (B, O).

        Returns:
            Shape (B, T, D), in general -1 to 1.
        """
        return (chunk - self._origin(observation) - self.action_mean) / self.action_scale

    def condition(self, observation: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        """Encode what was observed.

        Args:
            observation: shape (B, H, O).
            images: by camera, shape (B, H, 3, height, width), 0 to 255.

        Returns:
            Shape (B, H, C).
        """
        products = observation[..., self.pairs[0]] * observation[..., self.pairs[1]]
        features = torch.cat([observation[..., self.plain], products], dim=-1)
        parts = [(features - self.feature_mean) / self.feature_scale]
        for name, encoder in self.encoders.items():
            seen = images[name]
            parts.append(encoder(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]))
        encoded: Tensor = self.encoder(torch.cat(parts, dim=-1))
        return encoded

    def loss(
        self,
        chunk: Tensor,
        observation: Tensor,
        images: Mapping[str, Tensor],
        *,
        noise: Tensor,
        timesteps: Tensor,
        known: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The mean squared error of what the network finds in noisy chunks.

        Known steps are shown without noise and are no part of the error: what is learned is to go on from
        them (Black et al., 2025, "Training-Time Action Conditioning for Efficient Real-Time Chunking").

        Args:
            chunk: shape (K B, T, D), normalised; that of each observation comes K times, B rows apart, but
                the observation is encoded once for all of them.
            observation: shape (B, H, O).
            images: by camera, shape (B, H, 3, height, width), 0 to 255.
            noise: shape (K B, T, D).
            timesteps: the level of the noise, shape (K B,), whole numbers.
            known: 1 where a step is known and 0 elsewhere, shape (K B, T, 1); None: nowhere.
            labels: 1 where a step is to be learned and 0 elsewhere, shape (K B, T, 1); None: everywhere.

        Returns:
            A number.
        """
        self._levels = self._levels.to(chunk.device)
        level = self._levels[timesteps][:, None, None]
        noisy = level.sqrt() * chunk + (1.0 - level).sqrt() * noise
        known = torch.zeros_like(chunk[..., :1]) if known is None else known
        seen = self.condition(observation, images)
        condition = self.denoiser.prepare(seen.repeat(len(chunk) // len(seen), 1, 1))
        found = self.denoiser(self._shown(noisy, chunk, known), self.denoiser.embed(timesteps), condition)
        wanted = noise if self.settings.noise.prediction is Prediction.EPSILON else chunk
        if not self.settings.prefix_steps and labels is None:
            return functional.mse_loss(found, wanted)
        asked = 1.0 - known if labels is None else (1.0 - known) * labels
        asked = asked.expand_as(chunk)
        return ((found - wanted).square() * asked).sum() / asked.sum().clamp(min=1.0)

    def forward(
        self, observation: Tensor, noise: Tensor, known: Tensor, weight: Tensor, *images: Tensor
    ) -> Tensor:
        """Draw chunks: the whole loop of denoising.

        Where the weight is 1 the chunk is known. A network that has learned to go on from known steps is
        shown them as they are; to any other one their noisy form is shown in the place of what was denoised
        (in-painting). With a part of the weight the noisy form pulls what was denoised, in all networks.

        Args:
            observation: shape (B, H, O), units of the robot card, the newest last.
            noise: shape (B, N, T, D), standard normal; N as `table.draws` says.
            known: shape (B, T, D), unit of the action.
            weight: how much of each known step counts, shape (B, T, 1), 0 to 1.
            images: one a camera, in order, shape (B, H, 3, height, width), 0 to 255.

        Returns:
            Chunks, shape (B, T, D), in the unit of the action.
        """
        named = dict(zip(self.encoders, images, strict=True))
        condition = self.denoiser.prepare(self.condition(observation, named))
        target = self.normalise(known, observation[:, -1])
        steps = self.denoiser.embed(torch.from_numpy(self.table.timesteps).to(noise.device))
        held = (weight >= 1.0).to(noise.dtype)
        x = first = noise[:, 0]
        table = self.table
        drawn = 1
        for i in range(len(table.timesteps)):
            signal, share = float(table.signal[i]), float(table.noise[i])
            x = x + weight * (signal * target + share * first - x)
            found = self.denoiser(self._shown(x, target, held), steps[i : i + 1], condition)
            if self.settings.noise.prediction is Prediction.EPSILON:
                chunk, eps = (x - share * found) / signal, found
            else:
                chunk, eps = found, (x - signal * found) / share
            after = float(table.from_chunk[i]) * chunk.clamp(-1.0, 1.0)
            if table.from_eps[i]:
                after = after + float(table.from_eps[i]) * eps
            if table.from_x[i]:
                after = after + float(table.from_x[i]) * x
            if table.from_fresh[i]:
                after = after + float(table.from_fresh[i]) * noise[:, drawn]
                drawn += 1
            x = after
        x = x + weight * (target - x)
        return x * self.action_scale + self.action_mean + self._origin(observation[:, -1])

    def save(self, path: Path | str) -> None:
        """Write all arrays as safetensors."""
        from safetensors.torch import save_file

        save_file({name: array.contiguous() for name, array in self.state_dict().items()}, str(path))

    @classmethod
    def load(cls, path: Path | str, settings: ModelSettings, layout: Layout) -> DiffusionNetwork:
        """Read weights that `save` wrote.

        Args:
            path: the safetensors file.
            settings: what they are weights of.
            layout: the observation's order.

        Returns:
            The network, for evaluation.

        Raises:
            ConfigError: the file cannot be read, or holds other arrays.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        mend = "train the policy again with `reflexarc train diffusion`"
        try:
            arrays = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"cannot be read as safetensors ({error})",
                where=str(path),
                expected="a safetensors file",
                mend=f"copy the policy folder again, or {mend}",
            ) from error
        try:
            normalisation = Normalisation(
                observation_size=layout.size, **{name: arrays[name].numpy() for name in _ARRAYS}
            )
            with torch.random.fork_rng(devices=[]):
                network = cls(settings, normalisation)
            network.load_state_dict(arrays)
        except (KeyError, RuntimeError) as error:
            raise ConfigError(
                f"other arrays than the card describes ({' '.join(str(error).split())})",
                where=str(path),
                expected="the weights that the card's parameters shape",
                mend=mend,
            ) from error
        broken = [name for name, array in arrays.items() if not torch.isfinite(array).all()]
        if broken:
            raise ConfigError(
                f"{', '.join(broken)} hold numbers that are not finite",
                where=str(path),
                expected="finite numbers",
                mend=mend,
            )
        network.eval()
        return network

    def _shown(self, noisy: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
        if not self.settings.prefix_steps:
            return noisy
        return torch.cat([noisy + known * (chunk - noisy), known], dim=-1)

    def _origin(self, observation: Tensor) -> Tensor:
        origin: Tensor = observation[:, self.base.clamp(min=0)] * (self.base >= 0)
        return origin[:, None, :]
