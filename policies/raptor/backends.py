"""Choose a back end for a policy folder, and prove that it computes what the authors' code computes."""

from __future__ import annotations

import enum
from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.network import Backend, NumpyBackend, RaptorWeights, load_tensors

WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
EXAMPLE_FILE = "example.safetensors"
# How far an action may lie from the stored example; float32 implementations differ by 1e-6.
EXAMPLE_TOLERANCE = 1e-5


class BackendName(enum.StrEnum):
    """The back ends."""

    NUMPY = "numpy"
    TORCH = "torch"
    ONNX = "onnx"


def make_backend(name: BackendName, folder: Path, weights: RaptorWeights) -> Backend:
    """Make a back end.

    Args:
        name: which one.
        folder: the policy folder, for the ONNX model.
        weights: the trained arrays, for the others.

    Returns:
        The back end.

    Raises:
        ConfigError: its library cannot be loaded, or it refuses the model.
    """
    if name is BackendName.NUMPY:
        return NumpyBackend(weights)
    if name is BackendName.ONNX:
        from policies.raptor.onnx_backend import OnnxBackend

        return OnnxBackend(folder / ONNX_FILE)
    try:
        from policies.raptor.torch_backend import TorchBackend
    except ImportError as error:
        raise ConfigError(
            f"Torch cannot be loaded ({error})",
            where="Torch back end",
            expected="the package torch",
            mend="install the extra reflexarc[policies], or choose the numpy back end",
        ) from error
    return TorchBackend(weights)


def self_test(backend: Backend, weights: RaptorWeights, example: Path) -> float:
    """Run a back end over recorded inputs and compare its actions with the recorded ones.

    Args:
        backend: the back end.
        weights: for the initial hidden state.
        example: safetensors with `input` (T, B, 22) and `output` (T, B, 4): B sequences from a reset.

    Returns:
        The largest difference of any action element.

    Raises:
        ConfigError: the difference exceeds `EXAMPLE_TOLERANCE`.
    """
    tensors = load_tensors(example)
    inputs, outputs = tensors["input"], tensors["output"]
    worst = 0.0
    for sequence in range(inputs.shape[1]):
        hidden = weights.initial_hidden
        for observation, expected in zip(inputs[:, sequence], outputs[:, sequence], strict=True):
            action, hidden = backend.step(observation, hidden)
            # A NaN fails the test below, because no comparison with it holds.
            difference = float(np.abs(action - expected).max())
            worst = difference if not difference <= worst else worst
    if not worst <= EXAMPLE_TOLERANCE:
        raise ConfigError(
            f"the {backend.name} back end differs from the recorded example by {worst:.2g}",
            where=str(example),
            expected=f"at most {EXAMPLE_TOLERANCE:.0e}",
            mend="choose another back end, and convert the checkpoint again if they all differ",
        )
    return worst
