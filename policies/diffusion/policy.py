"""A diffusion policy: named terms and images in, chunks drawn by denoising out."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.images import fit_image, fits
from hardware.robot import Observation
from policies.card import ONNX_FILE, WEIGHTS_FILE, PolicyCard, load_policy_card
from policies.demonstrations.layout import Float32Array, Layout
from policies.diffusion.backends import Backend, OnnxBackend, Question, TorchBackend
from policies.diffusion.settings import CameraSettings, ModelSettings, model_settings
from policies.policy import ActContext, PolicyError, Stateless
from policies.runtime.engines import Device

# The weight of a step that is known but not shown as it is.
_NEARLY = 0.999


class BackendName(enum.StrEnum):
    """The libraries that can evaluate the network."""

    ONNX = "onnx"
    TORCH = "torch"


@dataclass(frozen=True)
class DiffusionOptions:
    """How to run the policy."""

    # The library that evaluates the network.
    backend: BackendName = BackendName.ONNX
    # Where it does; tensorrt is for ONNX.
    device: Device = Device.CPU
    # So many planned steps behind the committed ones pull, less and less; 0: none. The soft mask of Black
    # et al., 2025, "Real-Time Execution of Action Chunking Flow Policies", equation 5.
    soft_steps: int = 4

    def __post_init__(self) -> None:
        """Refuse a negative number of steps.

        Raises:
            ConfigError: `soft_steps` is negative.
        """
        if self.soft_steps < 0:
            raise ConfigError(
                f"soft_steps is {self.soft_steps}",
                where="options of the diffusion policy",
                expected="zero or more",
                mend="correct soft_steps",
            )


class DiffusionPolicy(Stateless):
    """Implements `policies.policy.Policy`. It has no memory: earlier observations come with the context.

    Args:
        card: the policy's card.
        backend: what draws chunks.
        options: how to run the policy.

    Raises:
        ConfigError: the card's parameters are not those of a diffusion policy, or do not fit the card.
    """

    def __init__(self, card: PolicyCard, backend: Backend, options: DiffusionOptions | None = None) -> None:
        """Check the card against its parameters."""
        self.card = card
        self._options = options or DiffusionOptions()
        self._model = checked_settings(card)
        self._layout = Layout(card.observation)
        self._backend = backend
        self._step_ns = round(card.action.step_s * 1e9)
        # A chunk may be used until its last step is over.
        self._valid_for_s = card.action.horizon * card.action.step_s

    @classmethod
    def load(cls, folder: Path | str, options: DiffusionOptions | None = None) -> DiffusionPolicy:
        """Load a policy folder and verify its hashes.

        Args:
            folder: holds `card.yaml`, `model.safetensors` and, for the ONNX back end, `model.onnx`.
            options: how to run the policy.

        Returns:
            The policy.

        Raises:
            ConfigError: a file is missing, differs from its hash on the card or has none there, is of another
                version, or the library of the back end cannot be loaded.
        """
        folder = Path(folder)
        options = options or DiffusionOptions()
        card = load_policy_card(folder)
        settings, layout = checked_settings(card), Layout(card.observation)
        needed = ONNX_FILE if options.backend is BackendName.ONNX else WEIGHTS_FILE
        if needed not in card.files:
            raise ConfigError(
                f"the card gives no SHA-256 for {needed}",
                where=f"{folder / 'card.yaml'}: files",
                expected=needed,
                mend="train the policy again with `reflexarc train diffusion`",
            )
        backend: Backend = (
            OnnxBackend(folder / ONNX_FILE, settings, layout, len(card.action.names), device=options.device)
            if options.backend is BackendName.ONNX
            else TorchBackend(folder / WEIGHTS_FILE, settings, layout, device=options.device)
        )
        return cls(card, backend, options)

    @property
    def backend(self) -> str:
        """The name of the back end in use."""
        return self._backend.name

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, which changes nothing: memory and randomness come with the context.

        Args:
            seed: not used.
        """

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation.

        The committed steps of the context are the first ones of every chunk, exactly; the others are drawn to
        go on from them.

        Args:
            observation: the terms on the card, and the images of its cameras.
            context: earlier observations, committed and planned steps, number of proposals, randomness.

        Returns:
            `horizon` steps in the unit of the card; the first one starts at the observation's stamp. Where
            more than one proposal is wanted, the others are in `proposals`.

        Raises:
            PolicyError: a term or an image is missing or too small, or a number is not finite.
        """
        model, action = self._model, self.card.action
        seen = self._seen(observation, context)
        vectors = np.stack([self._vector(past) for past in seen])
        known, weight, kept = self._known(context)
        shape = (context.proposals, self._backend.draws, model.horizon, len(action.names))
        question = Question(
            observation=vectors,
            noise=context.rng.standard_normal(shape, dtype=np.float32),
            known=known,
            weight=weight,
            images={name: self._images(name, camera, seen) for name, camera in model.cameras.items()},
        )
        drawn = self._backend.draw(question)[:, model.past_steps :].astype(np.float64)
        if kept is not None:
            drawn[:, : len(kept)] = kept
        return ActionChunk(
            kind=action.kind,
            names=action.names,
            values=drawn[0],
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self._valid_for_s,
            proposals=drawn[1:] if len(drawn) > 1 else None,
        )

    def _seen(self, observation: Observation, context: ActContext) -> list[Observation]:
        """The history, oldest first; what is missing of it is filled with the oldest that there is."""
        wanted = self._model.past_steps
        past = list(context.past[-wanted:]) if wanted else []
        oldest = past[0] if past else observation
        return [oldest] * (wanted - len(past)) + past + [observation]

    def _vector(self, observation: Observation) -> Float32Array:
        try:
            vector = self._layout.vector(observation.values)
        except KeyError as error:
            raise PolicyError(f"the observation has no term {error}") from error
        if not np.isfinite(vector).all():
            raise PolicyError("the observation is not finite")
        return vector

    def _images(self, name: str, camera: CameraSettings, seen: list[Observation]) -> Float32Array:
        images = []
        for observation in seen:
            image = observation.images.get(name)
            if image is None:
                raise PolicyError(f"the observation has no image of the camera {name!r}")
            if not fits(image.shape, height=camera.height, width=camera.width):
                raise PolicyError(
                    f"the image of the camera {name!r} has shape {image.shape};"
                    f" the policy wants at least {(camera.height, camera.width, 3)}"
                )
            image = fit_image(image, height=camera.height, width=camera.width, where=f"camera {name!r}")
            images.append(image.transpose(2, 0, 1).astype(np.float32))
        return np.stack(images)

    def _known(self, context: ActContext) -> tuple[Float32Array, Float32Array, FloatArray | None]:
        """Known steps and their weights for the network, and those that the chunk must begin with."""
        committed, planned = context.committed, context.planned
        model, size = self._model, len(self.card.action.names)
        known = np.zeros((model.horizon, size), np.float32)
        weight = np.zeros(model.horizon, np.float32)
        if committed is None or not len(committed):
            return known, weight, None
        committed = committed[: self.card.action.horizon]
        if not np.isfinite(committed).all():
            raise PolicyError("the committed steps are not finite")
        if planned is not None and not np.isfinite(planned).all():
            raise PolicyError("the planned steps are not finite")
        first, count = model.past_steps, len(committed)
        known[first : first + count] = committed
        weight[first : first + count] = 1.0
        if model.prefix_steps:
            # More than the network has learned to go on from: what is beyond is in-painted.
            weight[first + model.prefix_steps : first + count] = _NEARLY
        soft = self._options.soft_steps
        if planned is not None and soft:
            planned = planned[: min(soft, model.horizon - first - count)]
            left = 1.0 - np.arange(1, len(planned) + 1) / (soft + 1)
            known[first + count : first + count + len(planned)] = planned
            weight[first + count : first + count + len(planned)] = left * np.expm1(left) / np.expm1(1.0)
        return known, weight, committed


def checked_settings(card: PolicyCard) -> ModelSettings:
    """Read the settings from a card and check that they fit the rest of it.

    Args:
        card: of a diffusion policy.

    Returns:
        The settings.

    Raises:
        ConfigError: another version, or card and settings disagree.
    """
    settings = model_settings(card)
    checks: list[tuple[str, object, object]] = [
        ("method", card.method, "diffusion"),
        ("the horizon", card.action.horizon, settings.horizon - settings.past_steps),
        ("history", card.history, settings.observation_steps),
        ("recurrent", dict(card.recurrent), {}),
    ]
    for name, found, wanted in checks:
        if found != wanted:
            raise ConfigError(
                f"{name} is {found!r}",
                where=f"policy card {card.name!r}",
                expected=f"{wanted!r}, as its parameters say",
                mend="use the card that `reflexarc train diffusion` wrote beside these weights",
            )
    return settings
