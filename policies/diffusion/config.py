"""What decides a training run of a diffusion policy."""

from __future__ import annotations

from dataclasses import dataclass

from policies.demonstrations.config import ImitationConfig, out_of_range
from policies.diffusion.settings import (
    CameraSettings,
    Denoiser,
    ModelSettings,
    NoiseSettings,
    Prediction,
    Scheduler,
    TransformerSettings,
    UnetSettings,
)


@dataclass(frozen=True)
class DiffusionConfig(ImitationConfig):
    """Everything that decides what a training run gives. A chunk begins with the oldest observation."""

    # The policy's name on its card.
    name: str = "pick-cube-diffusion"
    # Steps of a chunk that are carried out before the next one is asked for.
    execute: int = 8
    # Gradient steps, if nothing ends the training before.
    steps: int = 4_000
    # Training pairs a gradient step, of each process.
    batch_size: int = 128
    # Peak learning rate; it rises over the first 2 % of the steps and falls to zero along a cosine.
    learning_rate: float = 2e-3
    # Decoupled weight decay.
    weight_decay: float = 1e-6
    # Gradient steps between two evaluations, each of which keeps a checkpoint.
    evaluate_every: int = 1_000
    # Roll-outs an evaluation; the most successful weights are kept. 0: the validation loss chooses alone.
    rollouts: int = 20
    # Roll-outs that run side by side in an evaluation.
    parallel_rollouts: int = 20
    # Which network denoises.
    denoiser: Denoiser = Denoiser.UNET
    # U-Net: channels at each level, multiples of 8; length of the convolutions and of the step's embedding.
    channels: tuple[int, ...] = (32, 64)
    kernel: int = 3
    step_embedding: int = 64
    # Transformer: layers, heads, length of a token, and the share that is dropped in training.
    layers: int = 4
    heads: int = 4
    width: int = 96
    dropout: float = 0.1
    # Widths of the layers that turn features into what the denoiser is told; none: the features themselves,
    # as in the paper, which a small denoiser makes much less of.
    encoder: tuple[int, ...] = (256, 256)
    # Observations that the network sees, `step_s` apart.
    observation_steps: int = 1
    # Known steps that the network learns to go on from, at most: what is carried out while it thinks.
    prefix_steps: int = 4
    # How noise is taken away, from how many levels, in how many steps, and what the network tells.
    scheduler: Scheduler = Scheduler.DDIM
    training_steps: int = 100
    inference_steps: int = 10
    prediction: Prediction = Prediction.SAMPLE
    # Cameras whose images the network sees; none: the terms alone.
    cameras: tuple[str, ...] = ()
    # Height and width of the images, pixels.
    image_height: int = 96
    image_width: int = 96
    # Share of the height and width that is seen: somewhere in training, the middle in use.
    crop: float = 0.9
    # Points of interest of each image's encoder.
    keypoints: int = 32
    # Channels of its first stage, a multiple of 16, and its stages: 64 and 4 are ResNet-18; 16 and 3 are a
    # tenth of its work, which a CPU can train, and tell places twice as finely.
    image_channels: int = 64
    image_stages: int = 4
    # How often a gradient step learns each of its pairs, each time from another noise. What was observed is
    # encoded once for all of them: with images, which cost the most, four are hardly slower than one.
    noise_draws: int = 1
    # Largest norm of the gradient.
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range, or sizes do not fit each other.
        """
        super().__post_init__()
        self._check_positive(
            "parallel_rollouts",
            "layers",
            "heads",
            "width",
            "image_height",
            "image_width",
            "keypoints",
            "noise_draws",
            "clip_norm",
        )
        model = self.model()
        if self.execute > self.horizon - model.past_steps:
            raise out_of_range(
                "execute",
                self.execute,
                f"at most {self.horizon - model.past_steps}, the steps that do not lie in the past",
            )

    def model(self) -> ModelSettings:
        """What shapes the weights.

        Raises:
            ConfigError: sizes do not fit each other.
        """
        return ModelSettings(
            denoiser=self.denoiser,
            unet=UnetSettings(channels=self.channels, kernel=self.kernel, step_embedding=self.step_embedding),
            transformer=TransformerSettings(
                layers=self.layers, heads=self.heads, width=self.width, dropout=self.dropout
            ),
            noise=NoiseSettings(
                scheduler=self.scheduler,
                training_steps=self.training_steps,
                inference_steps=self.inference_steps,
                prediction=self.prediction,
            ),
            encoder=self.encoder,
            observation_steps=self.observation_steps,
            horizon=self.horizon,
            prefix_steps=self.prefix_steps,
            relative_to=self.relative_to,
            cameras={
                name: CameraSettings(height=self.image_height, width=self.image_width)
                for name in self.cameras
            },
            crop=self.crop,
            keypoints=self.keypoints,
            image_channels=self.image_channels,
            image_stages=self.image_stages,
        )
