"""Protects imitation: the compiled network along recorded observations, its resets and its derivative."""

import numpy as np
import torch

from policies.raptor.network import NumpyBackend, RaptorWeights
from policies.raptor.policy import PUBLISHED
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.sequence import follow

STEPS, ROWS = 15, 70


def _rows(seed=0):
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((STEPS, 22, ROWS)).astype(np.float32)
    kept = (rng.random((STEPS, ROWS)) > 0.2).astype(np.float32)
    return observations, kept


def test_it_is_the_network_with_its_resets():
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    observations, kept = _rows()
    actions = follow(RaptorModule.from_weights(weights), observations, kept).detach().numpy()
    backend, hidden = NumpyBackend(weights), np.zeros((ROWS, 16), np.float32)
    for step in range(STEPS):
        expected, hidden = backend.step(observations[step].T, hidden * kept[step][:, None])
        np.testing.assert_allclose(actions[step].T, expected, atol=1e-5)


def test_the_gradient_is_that_of_torch():
    weights = RaptorWeights.load(PUBLISHED / "model.safetensors")
    observations, kept = _rows(1)
    labels = torch.randn((STEPS, 4, ROWS), generator=torch.Generator().manual_seed(0))
    compiled, exact = RaptorModule.from_weights(weights), RaptorModule.from_weights(weights).double()
    for module in (compiled, exact):
        (follow(module, observations, kept) - labels).square().mean().backward()
    for (name, mine), right in zip(compiled.named_parameters(), exact.parameters(), strict=True):
        error = (mine.grad - right.grad).abs().max() / right.grad.abs().max()
        assert error < 1e-5, name
