"""What a diffusion policy is made of: kept on its card, so that the folder alone is enough to load it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hardware import schema
from hardware.errors import ConfigError
from policies.card import PolicyCard

# Changes when weights of an older version would be understood wrongly.
MODEL_VERSION = "reflexarc/diffusion/1"


class Denoiser(enum.StrEnum):
    """The networks that can denoise a chunk."""

    # Convolutions along time, halved and doubled, with the condition in every block (FiLM).
    UNET = "unet"
    # A causal decoder with a token a step, attending to the observations.
    TRANSFORMER = "transformer"


class Scheduler(enum.StrEnum):
    """How noise is taken away; both as in `diffusers`."""

    # Ho et al., 2020: fresh noise in every step.
    DDPM = "ddpm"
    # Song et al., 2021: no fresh noise, few steps.
    DDIM = "ddim"


class Prediction(enum.StrEnum):
    """What the network is trained to tell."""

    # The noise in the chunk.
    EPSILON = "epsilon"
    # The chunk without noise.
    SAMPLE = "sample"


@dataclass(frozen=True)
class UnetSettings:
    """Sizes of the 1-D U-Net."""

    # Channels at each level; every level but the first has half the steps of the one before.
    channels: tuple[int, ...] = (32, 64)
    # Length of the convolutions, odd.
    kernel: int = 3
    # Groups of the normalisation; divides every number of channels.
    groups: int = 8
    # Length of the embedding of the denoising step.
    step_embedding: int = 64


@dataclass(frozen=True)
class TransformerSettings:
    """Sizes of the transformer."""

    # Layers of the decoder.
    layers: int = 4
    # Heads of the attention; divides the width.
    heads: int = 4
    # Length of a token.
    width: int = 96
    # Share of the attention and of the layers' outputs that is dropped in training.
    dropout: float = 0.1


@dataclass(frozen=True)
class NoiseSettings:
    """How noise is added in training and taken away."""

    # How noise is taken away.
    scheduler: Scheduler = Scheduler.DDIM
    # Noise levels in training.
    training_steps: int = 100
    # Evaluations of the network for one chunk.
    inference_steps: int = 10
    # What the network tells.
    prediction: Prediction = Prediction.EPSILON


@dataclass(frozen=True)
class CameraSettings:
    """The images of one camera, as the network takes them."""

    # Height and width that images must have, pixels.
    height: int
    width: int


@dataclass(frozen=True)
class ModelSettings:
    """Everything that shapes the weights, and how chunks are drawn with them: `parameters` of the card."""

    # The version of the weights' meaning.
    version: str = MODEL_VERSION
    # Which network.
    denoiser: Denoiser = Denoiser.UNET
    # Its sizes; only those of the network in use matter.
    unet: UnetSettings = field(default_factory=UnetSettings)
    transformer: TransformerSettings = field(default_factory=TransformerSettings)
    # Noise and its removal.
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    # Observations that the network sees, `step_s` apart, the newest last.
    observation_steps: int = 2
    # Steps that the network denoises; the first `observation_steps - 1` of them lie in the past.
    horizon: int = 16
    # Known steps that the network has learned to go on from, at most; 0: it never saw any.
    prefix_steps: int = 0
    # Widths of the layers that turn features into what the denoiser is told; none: the features themselves.
    encoder: tuple[int, ...] = ()
    # The term that actions are offsets from; empty: absolute set-points.
    relative_to: str = ""
    # Cameras by name.
    cameras: Mapping[str, CameraSettings] = field(default_factory=dict)
    # Share of an image's height and width that the network sees: anywhere in training, its middle later.
    crop: float = 0.9
    # Points of interest of the spatial softmax.
    keypoints: int = 32
    # Channels of the image encoder's first stage, and its stages; 64 and 4 are ResNet-18.
    image_channels: int = 64
    image_stages: int = 4

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ConfigError: another version, or sizes that do not fit.
        """
        if self.version != MODEL_VERSION:
            raise ConfigError(
                f"weights of version {self.version!r}",
                where="diffusion policy",
                expected=repr(MODEL_VERSION),
                mend="train the policy again with this version of Reflexarc, or use the one that made it",
            )
        halvings = 2 ** (len(self.unet.channels) - 1)
        checks = (
            (self.observation_steps >= 1, "observation_steps", self.observation_steps, "at least 1"),
            (
                self.horizon >= self.observation_steps,
                "horizon",
                self.horizon,
                f"at least observation_steps, {self.observation_steps}",
            ),
            (
                0 <= self.prefix_steps < self.horizon - self.observation_steps + 1,
                "prefix_steps",
                self.prefix_steps,
                f"0 to {self.horizon - self.observation_steps}, so that a step is left to draw",
            ),
            (
                self.denoiser is not Denoiser.UNET or self.horizon % halvings == 0,
                "horizon",
                self.horizon,
                f"a multiple of {halvings}, for {len(self.unet.channels)} levels of the U-Net",
            ),
            (len(self.unet.channels) >= 2, "channels", self.unet.channels, "at least two levels"),
            (
                all(c > 0 and c % self.unet.groups == 0 for c in self.unet.channels),
                "channels",
                self.unet.channels,
                f"multiples of groups, {self.unet.groups}",
            ),
            (self.unet.kernel % 2 == 1, "kernel", self.unet.kernel, "an odd number"),
            (
                self.unet.step_embedding >= 4 and self.unet.step_embedding % 2 == 0,
                "step_embedding",
                self.unet.step_embedding,
                "an even number, at least 4",
            ),
            (
                self.transformer.width % self.transformer.heads == 0,
                "width",
                self.transformer.width,
                f"a multiple of heads, {self.transformer.heads}",
            ),
            (0.0 <= self.transformer.dropout < 1.0, "dropout", self.transformer.dropout, "0 to below 1"),
            (
                1 <= self.noise.inference_steps <= self.noise.training_steps,
                "inference_steps",
                self.noise.inference_steps,
                f"1 to training_steps, {self.noise.training_steps}",
            ),
            (all(width > 0 for width in self.encoder), "encoder", self.encoder, "positive widths"),
            (0.0 < self.crop <= 1.0, "crop", self.crop, "above 0 and at most 1"),
            (
                self.image_channels > 0 and self.image_channels % 16 == 0,
                "image_channels",
                self.image_channels,
                "a multiple of 16",
            ),
            (1 <= self.image_stages <= 4, "image_stages", self.image_stages, "1 to 4"),
            (
                all(self.crop * min(c.height, c.width) > self.image_stride for c in self.cameras.values()),
                "the size of an image",
                {name: (c.height, c.width) for name, c in self.cameras.items()},
                f"more than {self.image_stride} pixels of height and width after the crop to {self.crop:g}",
            ),
        )
        for is_good, name, value, expected in checks:
            if not is_good:
                raise ConfigError(
                    f"{name} is {value!r}",
                    where="diffusion policy",
                    expected=expected,
                    mend=f"correct {name}",
                )

    def as_parameters(self) -> dict[str, Any]:
        """Every setting as a plain value, for the card."""

        def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            return {name: list(v) if isinstance(v, tuple) else getattr(v, "value", v) for name, v in pairs}

        return asdict(self, dict_factory=plain)

    @property
    def image_stride(self) -> int:
        """Pixels between two points of what the encoder finds; an image needs two, or there are no places."""
        return int(2 ** (self.image_stages + 1))

    @property
    def past_steps(self) -> int:
        """Steps of what the network denoises that lie before the newest observation."""
        return self.observation_steps - 1


def model_settings(card: PolicyCard) -> ModelSettings:
    """Read the settings from a policy card.

    Args:
        card: of a diffusion policy.

    Returns:
        The settings.

    Raises:
        ConfigErrors: parameters that are no settings of a diffusion policy, or another version's.
    """
    parameters: dict[str, Any] = dict(card.parameters)
    version = parameters.get("version", "none")
    if version != MODEL_VERSION:
        # Other versions may have other fields: their version alone is worth telling.
        return ModelSettings(version=str(version))
    return schema.parse(ModelSettings, parameters, where=f"parameters of policy card {card.name!r}")
