"""What draws chunks: ONNX Runtime with the exported loop, or Torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hardware.errors import ConfigError
from policies.demonstrations.layout import Float32Array, Layout
from policies.diffusion.settings import ModelSettings
from policies.runtime.engines import Device, providers, torch_device
from policies.runtime.onnx_session import BoundSession, make_session


@dataclass(frozen=True, eq=False)
class Question:
    """What a back end is asked: one observation, and the noise of P chunks."""

    # Units of the robot card, the newest last, (H, O).
    observation: Float32Array
    # Standard normal, (P, N, T, D).
    noise: Float32Array
    # Known steps, unit of the action, (T, D), and how much each counts, 0 to 1, (T,).
    known: Float32Array
    weight: Float32Array
    # By camera, (H, 3, height, width), 0 to 255.
    images: Mapping[str, Float32Array]


class Backend(Protocol):
    """The network, run by one library."""

    # The name by which the back end is chosen.
    name: str
    # Draws of noise that a chunk needs, N.
    draws: int

    def draw(self, question: Question) -> Float32Array:
        """Draw chunks.

        Args:
            question: observation, noise and known steps.

        Returns:
            Shape (P, T, D), unit of the action; a fresh array.
        """


class OnnxBackend:
    """The exported loop in ONNX Runtime.

    Args:
        model: the ONNX file or its bytes.
        settings: from the card.
        layout: the observation's order.
        elements: numbers of an action, D.
        device: where it runs.

    Raises:
        ConfigError: ONNX Runtime cannot be loaded, refuses the model, or the model has other inputs than the
            card describes.
    """

    name = "onnx"

    def __init__(
        self,
        model: Path | str | bytes,
        settings: ModelSettings,
        layout: Layout,
        elements: int,
        *,
        device: Device = Device.CPU,
    ) -> None:
        """Load the model, check it against the card and run it once."""
        self._session = make_session(model, providers=providers(device))
        inputs = {value.name: list(value.shape) for value in self._session.get_inputs()}
        steps, seen = settings.horizon, settings.observation_steps
        self._sizes: dict[str, list[int]] = {
            "observation": [seen, layout.size],
            "noise": [1, steps, elements],
            "known": [steps, elements],
            "weight": [steps, 1],
            **{
                f"image_{name}": [seen, 3, camera.height, camera.width]
                for name, camera in settings.cameras.items()
            },
        }
        if "noise" in inputs:
            self._sizes["noise"][0] = int(inputs["noise"][1])
        found = {name: shape[1:] for name, shape in inputs.items()}
        if found != self._sizes:
            raise ConfigError(
                f"the model's inputs are {found}",
                where="ONNX model" if isinstance(model, bytes) else str(model),
                expected=f"{self._sizes}, as on the card",
                mend="train the policy again with `reflexarc train diffusion`",
            )
        self.draws = self._sizes["noise"][0]
        self._output = (steps, elements)
        self._bound: dict[int, BoundSession] = {}
        self._bind(1)

    def draw(self, question: Question) -> Float32Array:
        """Draw chunks; see `Backend.draw`."""
        bound = self._bind(len(question.noise))
        bound.inputs["observation"][:] = question.observation
        bound.inputs["noise"][:] = question.noise
        bound.inputs["known"][:] = question.known
        bound.inputs["weight"][:] = question.weight[:, None]
        for name, image in question.images.items():
            bound.inputs[f"image_{name}"][:] = image
        bound.run()
        drawn: Float32Array = bound.outputs["action"].copy()
        return drawn

    def _bind(self, proposals: int) -> BoundSession:
        if proposals not in self._bound:
            shapes = {name: (proposals, *shape) for name, shape in self._sizes.items()}
            shapes["action"] = (proposals, *self._output)
            self._bound[proposals] = BoundSession(self._session, shapes)
        return self._bound[proposals]


class TorchBackend:
    """The network in Torch.

    Args:
        path: the safetensors file.
        settings: from the card.
        layout: the observation's order.
        device: where it runs.

    Raises:
        ConfigError: the weights are not those that the card describes, or Torch does not know the device.
    """

    name = "torch"

    def __init__(
        self, path: Path, settings: ModelSettings, layout: Layout, *, device: Device = Device.CPU
    ) -> None:
        """Load the weights."""
        from policies.diffusion.network import DiffusionNetwork

        self._device = torch_device(device)
        self._network = DiffusionNetwork.load(path, settings, layout).to(self._device)
        self.draws = self._network.table.draws

    def draw(self, question: Question) -> Float32Array:
        """Draw chunks; see `Backend.draw`."""
        import torch

        count = len(question.noise)

        def repeated(array: Float32Array) -> torch.Tensor:
            return torch.from_numpy(np.broadcast_to(array, (count, *array.shape)).copy()).to(self._device)

        with torch.inference_mode():
            found = self._network(
                repeated(question.observation),
                torch.from_numpy(question.noise.copy()).to(self._device),
                repeated(question.known),
                repeated(question.weight[:, None]),
                *(repeated(question.images[name]) for name in self._network.encoders),
            )
        drawn: Float32Array = found.cpu().numpy()
        return drawn
