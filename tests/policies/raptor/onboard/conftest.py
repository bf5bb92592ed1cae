"""The published policy as C, compiled once and callable from Python."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parent))

from onboard_c import Config, FloatPointer, library  # noqa: E402

from hardware import schema  # noqa: E402
from policies.raptor import PUBLISHED  # noqa: E402
from policies.raptor.contract import raptor_card  # noqa: E402
from policies.raptor.export_c import export_c  # noqa: E402
from policies.raptor.network import NumpyBackend, RaptorWeights  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler: apt install build-essential")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `reflexarc export c` writes for the published policy."""
    folder = tmp_path_factory.mktemp("export")
    export_c(PUBLISHED, folder)
    return folder


@pytest.fixture(scope="session")
def policy_c(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The exported policy as a library."""
    out = tmp_path_factory.mktemp("library") / "raptor.so"
    loaded = library([exported / "raptor_policy.c"], out, [exported])
    loaded.raptor_config_by_count.restype = loaded.raptor_config_by_time.restype = Config
    loaded.raptor_self_test.restype = loaded.raptor_effort.restype = ctypes.c_float
    loaded.raptor_effort.argtypes = [ctypes.c_float]
    loaded.raptor_motor_order_ok.restype = ctypes.c_bool
    loaded.raptor_control.argtypes = [ctypes.c_void_p, ctypes.POINTER(Config), ctypes.c_uint64] + [
        FloatPointer
    ] * 3
    return loaded


@pytest.fixture(scope="session")
def make_policy() -> Callable[..., Path]:
    """Makes a policy folder of any size, with random weights and the example that they compute."""

    def make(folder: Path, *, encoder: int = 16, hidden: int = 16, sequences: int = 2) -> Path:
        rng = np.random.default_rng(encoder + hidden)
        shapes = {
            "encoder_weight": (encoder, 22),
            "encoder_bias": (encoder,),
            "gru_input_weight": (3 * hidden, encoder),
            "gru_input_bias": (3 * hidden,),
            "gru_hidden_weight": (3 * hidden, hidden),
            "gru_hidden_bias": (3 * hidden,),
            "initial_hidden": (hidden,),
            "head_weight": (4, hidden),
            "head_bias": (4,),
        }
        arrays = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
        weights = RaptorWeights(**arrays)
        backend, state = NumpyBackend(weights), np.tile(weights.initial_hidden, (sequences, 1))
        inputs = rng.standard_normal((10, sequences, 22)).astype(np.float32)
        outputs = np.empty((10, sequences, 4), np.float32)
        for step, observation in enumerate(inputs):
            outputs[step], state = backend.step(observation, state)
        folder.mkdir()
        weights.save(folder / "model.safetensors")
        save_file({"input": inputs, "output": outputs}, folder / "example.safetensors")
        files = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "example.safetensors")
        }
        card = raptor_card(name="random", description="Random.", files=files, hidden_size=hidden)
        (folder / "card.yaml").write_text(schema.dump(card), encoding="utf-8")
        return folder

    return make
