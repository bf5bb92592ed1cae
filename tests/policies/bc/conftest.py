"""Tiny demonstrations of a made-up arm, and a policy folder that was trained on them in seconds."""

from __future__ import annotations

import pytest

from policies.bc.config import TrainConfig
from policies.bc.train import train

TERMS = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")


@pytest.fixture(scope="session")
def small_config(demonstrations):
    def make(out, **changes) -> TrainConfig:
        settings = {
            "data": str(demonstrations),
            "hidden": (24, 24),
            "horizon": 8,
            "execute": 4,
            "steps": 120,
            "evaluate_every": 40,
            "batch_size": 64,
            "rollouts": 0,
        }
        return TrainConfig(out=str(out), **(settings | changes))

    return make


@pytest.fixture(scope="session")
def folder(small_config, tmp_path_factory):
    return train(small_config(tmp_path_factory.mktemp("policy") / "small"))
