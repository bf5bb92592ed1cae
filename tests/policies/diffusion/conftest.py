"""A small diffusion network without training, and a policy folder that was trained for seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardware.robot import Observation
from policies.demonstrations import Normalisation
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.settings import ModelSettings, NoiseSettings, TransformerSettings, UnetSettings
from policies.diffusion.train import train

OBSERVED, ELEMENTS, HORIZON = 7, 3, 8
SMALL = {
    "unet": UnetSettings(channels=(16, 32), kernel=3, step_embedding=16),
    "transformer": TransformerSettings(layers=1, heads=2, width=16, dropout=0.1),
    "noise": NoiseSettings(training_steps=50, inference_steps=2),
    "observation_steps": 2,
    "horizon": HORIZON,
    "keypoints": 4,
}


def small_network(seed: int = 0, **changes) -> DiffusionNetwork:
    """Numbers that are features as they are, and actions as they are denoised."""
    normalisation = Normalisation(
        observation_size=OBSERVED,
        plain=np.arange(OBSERVED),
        pairs=np.zeros((2, 0), np.int64),
        feature_mean=np.zeros(OBSERVED, np.float32),
        feature_scale=np.ones(OBSERVED, np.float32),
        action_scale=np.ones((HORIZON, ELEMENTS), np.float32),
        action_mean=np.zeros((HORIZON, ELEMENTS), np.float32),
        base=np.full(ELEMENTS, -1),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DiffusionNetwork(ModelSettings(**(SMALL | changes)), normalisation).eval()


@pytest.fixture(scope="session")
def small_config(demonstrations):
    def make(out, **changes) -> DiffusionConfig:
        settings = {
            "data": str(demonstrations),
            "channels": (16, 32),
            "step_embedding": 16,
            "horizon": 8,
            "execute": 4,
            "inference_steps": 1,
            "training_steps": 50,
            "steps": 6,
            "evaluate_every": 2,
            "batch_size": 16,
            "rollouts": 0,
            "device": "cpu",
        }
        return DiffusionConfig(out=str(out), **(settings | changes))

    return make


@pytest.fixture(scope="session")
def folder(small_config, tmp_path_factory):
    return train(small_config(tmp_path_factory.mktemp("policy") / "small", observation_steps=2))


@pytest.fixture
def observe():
    def make(seed: int = 0, stamp_ns: int = 120_000_000) -> Observation:
        random = np.random.default_rng(seed)
        quaternion = random.standard_normal(4)
        terms = {
            "joint_position": random.uniform(-0.5, 0.5, 6),
            "joint_velocity": random.uniform(-0.5, 0.5, 6),
            "cube_position": random.uniform(-0.2, 0.2, 3),
            "cube_orientation": quaternion / np.linalg.norm(quaternion),
        }
        return Observation(terms, stamp_ns, stamp_ns)

    return make
