"""Networks behind one interface, arrays to write and to read: ONNX Runtime or Torch, on any device.

`BoundSession` (ONNX Runtime) and `TorchEngine` are engines. What a network computes must not depend on
which of them runs it: `tests/policies/runtime/test_engines.py` compares them on the policies that we ship.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from policies.runtime.onnx_session import BoundSession, make_session

if TYPE_CHECKING:
    from torch import nn


class BackendName(enum.StrEnum):
    """The libraries that can evaluate a network."""

    NUMPY = "numpy"
    TORCH = "torch"
    ONNX = "onnx"


class Device(enum.StrEnum):
    """Where a network is evaluated."""

    CPU = "cpu"
    # A CUDA device.
    CUDA = "cuda"
    # A CUDA device through TensorRT, for ONNX alone; building its plan takes a while at the start.
    TENSORRT = "tensorrt"


# Execution providers of ONNX Runtime, the preferred one first; what one cannot do falls to the next.
_PROVIDERS = {
    Device.CPU: ("CPUExecutionProvider",),
    Device.CUDA: ("CUDAExecutionProvider", "CPUExecutionProvider"),
    Device.TENSORRT: ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}


class Engine(Protocol):
    """A network with fixed shapes. Inputs keep what was written until they are written again."""

    # Float32 arrays by name; write into them, never replace them.
    inputs: dict[str, NDArray[np.float32]]
    # Float32 arrays by name; `run` writes into them.
    outputs: dict[str, NDArray[np.float32]]

    def run(self) -> None:
        """Evaluate the network on `inputs` into `outputs`."""


class TorchEngine:
    """A Torch module as an engine, without gradients.

    Args:
        module: takes the inputs and gives the outputs, in the order of the mappings.
        inputs: shape of every input by name.
        outputs: shape of every output by name.
        device: where it runs.

    Raises:
        ConfigError: there is no such device, or Torch has none of that kind.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
        *,
        device: Device = Device.CPU,
    ) -> None:
        """Move the module, allocate the arrays and run it once, which warms it up."""
        import torch

        self._torch: Any = torch
        self._device = torch_device(device)
        self._module = module.to(self._device).eval().requires_grad_(False)
        self.inputs = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
        self.outputs = {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}
        # On the CPU the tensors are the arrays themselves.
        self._tensors = [torch.from_numpy(array) for array in self.inputs.values()]
        self.run()

    def run(self) -> None:
        """Evaluate the module on `inputs` into `outputs`."""
        with self._torch.inference_mode():
            given = self._module(*(tensor.to(self._device) for tensor in self._tensors))
            for array, tensor in zip(
                self.outputs.values(), given if isinstance(given, tuple) else (given,), strict=True
            ):
                array[:] = tensor.cpu().numpy()


def onnx_engine(
    model: Path | str | bytes, shapes: Mapping[str, tuple[int, ...]], *, device: Device = Device.CPU
) -> BoundSession:
    """Load an ONNX model as an engine.

    Args:
        model: a file, or the model's bytes.
        shapes: the shape of every input and output by name, without free dimensions.
        device: where it runs.

    Returns:
        The engine.

    Raises:
        ConfigError: ONNX Runtime cannot be loaded, has not been built for the device, or refuses the model.
    """
    return BoundSession(make_session(model, providers=providers(device)), shapes)


def providers(device: Device) -> tuple[str, ...]:
    """The execution providers of ONNX Runtime for a device, the preferred one first."""
    return _PROVIDERS[device]


def torch_device(device: Device) -> str:
    """Torch's name of a device.

    Args:
        device: the device.

    Returns:
        The name.

    Raises:
        ConfigError: Torch has no such device here.
    """
    import torch

    if device is not Device.CPU and (device is Device.TENSORRT or not torch.cuda.is_available()):
        raise ConfigError(
            f"Torch cannot run on {device.value}",
            where="Torch back end",
            expected="cpu, or cuda on a machine where torch.cuda.is_available()",
            mend="choose another device, or the ONNX back end for tensorrt",
        )
    return device.value


def require_cpu(device: Device) -> None:
    """Refuse any device but the CPU, for NumPy.

    Raises:
        ConfigError: it is another one.
    """
    if device is not Device.CPU:
        raise ConfigError(
            f"NumPy cannot run on {device.value}",
            where="NumPy back end",
            expected="cpu",
            mend="choose the onnx or torch back end",
        )


def torch_is_missing(error: ImportError) -> ConfigError:
    """Explain that Torch cannot be loaded."""
    return ConfigError(
        f"Torch cannot be loaded ({error})",
        where="Torch back end",
        expected="the package torch",
        mend="install the extra reflexarc[policies], or choose the numpy back end",
    )
