"""ONNX Runtime sessions for control loops: one thread, fixed shapes, buffers bound once."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

if TYPE_CHECKING:
    import onnxruntime

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)


def import_onnxruntime() -> types.ModuleType:
    """Import ONNX Runtime, which `onnxruntime` and `onnxruntime-gpu` both bring.

    Returns:
        The module.

    Raises:
        ConfigError: neither of the two can be loaded.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"ONNX Runtime cannot be loaded ({error})",
            where="ONNX back end",
            expected="one of the packages onnxruntime and onnxruntime-gpu, never both",
            mend="install the extra reflexarc[cpu] or reflexarc[gpu], or choose another back end",
        ) from error
    module: types.ModuleType = onnxruntime
    return module


def make_session(
    model: Path | str | bytes, *, providers: Sequence[str] = DEFAULT_PROVIDERS, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Load a model.

    One thread is the default: networks of control loops are too small to gain from more, and a pool
    of spinning threads takes the cores that the loop needs.

    Args:
        model: a file, or the model's bytes.
        providers: execution providers, the preferred one first.
        threads: threads within an operator.

    Returns:
        The session.

    Raises:
        ConfigError: ONNX Runtime cannot be loaded, lacks a provider, or refuses the model.
    """
    ort = import_onnxruntime()
    available = ort.get_available_providers()
    where = "ONNX model" if isinstance(model, bytes) else str(model)
    absent = [provider for provider in providers if provider not in available]
    if absent:
        raise ConfigError(
            f"ONNX Runtime has no {', '.join(absent)}",
            where=where,
            expected="some of " + ", ".join(available),
            mend="choose another provider, or install the extra reflexarc[gpu] in place of reflexarc[cpu]",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=list(providers)
        )
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception.
        raise ConfigError(
            f"ONNX Runtime refuses the model ({' '.join(str(error).split())})",
            where=where,
            expected="an ONNX model",
            mend="export the policy again",
        ) from error


class BoundSession:
    """A session whose inputs and outputs live in NumPy arrays that are bound once.

    Write into `inputs`, call `run`, read `outputs`. Nothing is allocated or looked up in between.

    Args:
        session: the session; every input and output must be float32.
        shapes: the shape of every input and output by name, without free dimensions.

    Raises:
        ConfigError: the names differ from the model's.
    """

    def __init__(self, session: onnxruntime.InferenceSession, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Allocate and bind the arrays and run the model once, which warms it up."""
        inputs = [value.name for value in session.get_inputs()]
        outputs = [value.name for value in session.get_outputs()]
        if sorted(shapes) != sorted(inputs + outputs):
            raise ConfigError(
                f"the model's inputs and outputs are {', '.join(inputs + outputs)}",
                where="ONNX model",
                expected=", ".join(shapes),
                mend="export the policy again with these names",
            )
        self.inputs: dict[str, NDArray[np.float32]] = {n: np.zeros(shapes[n], np.float32) for n in inputs}
        self.outputs: dict[str, NDArray[np.float32]] = {n: np.zeros(shapes[n], np.float32) for n in outputs}
        self._session = session
        self._binding: Any = session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self.run()

    def run(self) -> None:
        """Evaluate the model on `inputs` into `outputs`."""
        self._session.run_with_iobinding(self._binding)
