"""Choose a back end for a policy folder, and prove that it computes what the authors' code computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.network import Backend, NumpyBackend, RaptorWeights, load_tensors
from policies.runtime.engines import BackendName, Device, require_cpu, torch_is_missing

WEIGHTS_FILE = "model.safetensors"
ONNX_FILE = "model.onnx"
EXAMPLE_FILE = "example.safetensors"
# How far an action may lie from the stored example; float32 implementations differ by 1e-6.
EXAMPLE_TOLERANCE = 1e-5


def make_backend(
    name: BackendName, folder: Path, weights: RaptorWeights, *, device: Device = Device.CPU
) -> Backend:
    """Make a back end.

    Args:
        name: which one.
        folder: the policy folder, for the ONNX model.
        weights: the trained arrays, for the others.
        device: where it evaluates; see `RaptorOptions`.

    Returns:
        The back end.

    Raises:
        ConfigError: its library cannot be loaded or does not know the device, or it refuses the model.
    """
    if name is BackendName.NUMPY:
        require_cpu(device)
        return NumpyBackend(weights)
    if name is BackendName.ONNX:
        from policies.raptor.onnx_backend import OnnxBackend

        return OnnxBackend(folder / ONNX_FILE, device=device)
    try:
        from policies.raptor.torch_backend import TorchBackend
    except ImportError as error:
        raise torch_is_missing(error) from error
    return TorchBackend(weights, device=device)


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
