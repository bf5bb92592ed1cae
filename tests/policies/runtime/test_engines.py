"""Protects the one interface of networks: whichever library and device evaluates a policy that we ship, its
actions are the same, and a device that is not there is refused in words.
"""

import numpy as np
import onnxruntime
import pytest
import torch

from hardware.errors import ConfigError
from policies.bc.network import BcWeights
from policies.bc.policy import PICK_CUBE
from policies.bc.policy import make_backend as make_bc
from policies.raptor.backends import make_backend as make_raptor
from policies.raptor.network import RaptorWeights
from policies.raptor.policy import PUBLISHED
from policies.runtime.engines import BackendName, Device, TorchEngine, onnx_engine, providers

BC = BcWeights.load(PICK_CUBE / "model.safetensors")
RAPTOR = RaptorWeights.load(PUBLISHED / "model.safetensors")
# Every library on every device that this machine has.
ENGINES = [(BackendName.TORCH, Device.CPU), (BackendName.ONNX, Device.CPU)]
if torch.cuda.is_available():
    ENGINES.append((BackendName.TORCH, Device.CUDA))
ENGINES += [
    (BackendName.ONNX, device)
    for device in (Device.CUDA, Device.TENSORRT)
    if set(providers(device)) <= set(onnxruntime.get_available_providers())
]
ids = [f"{name}-{device}" for name, device in ENGINES]
# Devices compute in another order, and TensorRT with TF32 products.
TOLERANCE = {Device.CPU: 1e-5, Device.CUDA: 1e-3, Device.TENSORRT: 5e-3}


@pytest.mark.parametrize(("name", "device"), ENGINES, ids=ids)
def test_the_cloned_policy_is_the_same_in_every_engine(name, device):
    reference = make_bc(BackendName.NUMPY, PICK_CUBE, BC)
    backend = make_bc(name, PICK_CUBE, BC, device=device)
    assert backend.name == name
    random = np.random.default_rng(0)
    kept = []
    for _ in range(50):
        seen = random.uniform(-1.0, 1.0, BC.observation_size).astype(np.float32)
        kept.append((backend.evaluate(seen), reference.evaluate(seen)))
    # Compared in the end: a later answer writes into no earlier one.
    assert max(np.abs(a - b).max() for a, b in kept) < TOLERANCE[device]


@pytest.mark.parametrize(("name", "device"), ENGINES, ids=ids)
@pytest.mark.parametrize("batch", [None, 1, 7])
def test_raptor_is_the_same_in_every_engine(name, device, batch):
    reference = make_raptor(BackendName.NUMPY, PUBLISHED, RAPTOR)
    backend = make_raptor(name, PUBLISHED, RAPTOR, device=device)
    random = np.random.default_rng(1)
    rows = () if batch is None else (batch,)
    hidden = [np.broadcast_to(RAPTOR.initial_hidden, (*rows, RAPTOR.hidden_size)).copy() for _ in range(2)]
    for _ in range(40):
        seen = random.standard_normal((*rows, 22)).astype(np.float32)
        (a, hidden[0]), (b, hidden[1]) = backend.step(seen, hidden[0]), reference.step(seen, hidden[1])
        assert a.shape == b.shape == (*rows, 4)
        assert np.abs(a - b).max() < TOLERANCE[device]


def test_an_engine_reads_and_writes_its_own_arrays():
    class Affine(torch.nn.Module):
        def forward(self, a, b):
            return a + 2.0 * b, a * b

    engine = TorchEngine(Affine(), {"a": (2, 3), "b": (2, 3)}, {"sum": (2, 3), "product": (2, 3)})
    out = engine.outputs["sum"]
    engine.inputs["a"][:] = 3.0
    engine.inputs["b"][:] = np.arange(6.0).reshape(2, 3)
    engine.run()
    assert engine.outputs["sum"] is out
    np.testing.assert_array_equal(out, 3.0 + 2.0 * np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(engine.outputs["product"], 3.0 * np.arange(6.0).reshape(2, 3))


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in (Device.CUDA, Device.TENSORRT):
        with pytest.raises(ConfigError, match=f"Torch cannot run on {device.value}"):
            make_bc(BackendName.TORCH, PICK_CUBE, BC, device=device)
        with pytest.raises(ConfigError, match=f"NumPy cannot run on {device.value}"):
            make_raptor(BackendName.NUMPY, PUBLISHED, RAPTOR, device=device)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="has no TensorrtExecutionProvider, CUDAExecutionProvider"):
        onnx_engine(PICK_CUBE / "model.onnx", {}, device=Device.TENSORRT)
