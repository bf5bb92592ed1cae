"""The steps of denoising as a table of numbers, taken from the schedulers of `diffusers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.demonstrations.layout import Float32Array
from policies.diffusion.settings import NoiseSettings, Scheduler

# The squared cosine of Nichol and Dhariwal, 2021, as in Diffusion Policy.
_BETAS = "squaredcos_cap_v2"


@dataclass(frozen=True, eq=False)
class DenoisingTable:
    """S steps from noise to a chunk.

    A step turns x, with the chunk `x0` and noise `eps` that the network finds in it, into

        from_chunk * clip(x0, -1, 1) + from_eps * eps + from_x * x + from_fresh * fresh noise.
    """

    # The noise level that the network is told, (S,).
    timesteps: NDArray[np.int64]
    # Share of the chunk in x before the step: the root of the cumulated alpha, and of its rest for the noise.
    signal: Float32Array
    noise: Float32Array
    # The factors of the step, (S,).
    from_chunk: Float32Array
    from_eps: Float32Array
    from_x: Float32Array
    from_fresh: Float32Array

    @property
    def draws(self) -> int:
        """Draws of noise that a chunk needs: one to begin with, and one for every step that adds some."""
        return 1 + int((self.from_fresh > 0).sum())


def training_scheduler(settings: NoiseSettings) -> Any:  # noqa: ANN401
    """Make the scheduler of `diffusers` that the settings describe.

    Args:
        settings: of the noise.

    Returns:
        A `DDPMScheduler` or `DDIMScheduler`; chunks are clipped to -1 to 1 in every step.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    kind = DDPMScheduler if settings.scheduler is Scheduler.DDPM else DDIMScheduler
    return kind(
        num_train_timesteps=settings.training_steps,
        beta_schedule=_BETAS,
        prediction_type=settings.prediction.value,
        clip_sample=True,
    )


def denoising_table(settings: NoiseSettings) -> DenoisingTable:
    """Work out the factors of every step.

    Args:
        settings: of the noise.

    Returns:
        The table: what `step` of the scheduler of `diffusers` computes, number for number.
    """
    scheduler = training_scheduler(settings)
    scheduler.set_timesteps(settings.inference_steps)
    cumulated = scheduler.alphas_cumprod.double().numpy()
    timesteps = np.asarray(scheduler.timesteps, np.int64)
    before = timesteps - settings.training_steps // settings.inference_steps
    now = cumulated[timesteps]
    after = np.where(before >= 0, cumulated[np.maximum(before, 0)], 1.0)
    none = np.zeros(len(timesteps))
    if settings.scheduler is Scheduler.DDIM:
        # Song et al., 2021, equation 12 with eta 0.
        factors = [np.sqrt(after), np.sqrt(1.0 - after), none, none]
    else:
        # Ho et al., 2020, equations 6 and 7.
        alpha = now / after
        beta = 1.0 - alpha
        variance = np.maximum((1.0 - after) / (1.0 - now) * beta, 1e-20)
        factors = [
            np.sqrt(after) * beta / (1.0 - now),
            none,
            np.sqrt(alpha) * (1.0 - after) / (1.0 - now),
            np.where(timesteps > 0, np.sqrt(variance), 0.0),
        ]
    return DenoisingTable(
        timesteps,
        *(column.astype(np.float32) for column in (np.sqrt(now), np.sqrt(1.0 - now), *factors)),
    )
