"""A small ACT policy that LeRobot trained and saved, and observations of the arm."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.robot import Observation

sys.path.insert(0, str(Path(__file__).parent))

from saved_policies import ACT, FEATURES, train_and_save

from policies.lerobot import describe


@pytest.fixture(scope="session")
def robot():
    return load_robot_card("so101_twin")


@pytest.fixture(scope="session")
def saved_act(tmp_path_factory):
    """A folder as LeRobot leaves it, without a card of ours."""
    return train_and_save("act", ACT, tmp_path_factory.mktemp("lerobot") / "act")


@pytest.fixture
def act_folder(saved_act, robot, tmp_path):
    folder = tmp_path / "act"
    shutil.copytree(saved_act, folder)
    describe(folder, robot, features=FEATURES, fps=25)
    return folder


@pytest.fixture
def observe(robot):
    def make(stamp_ns=0, *, seed=0, images=None):
        random = np.random.default_rng(seed)
        values = {
            name: random.uniform(-1.0, 1.0, len(spec.names)) for name, spec in robot.observations.items()
        }
        return Observation(values, stamp_ns, stamp_ns, images or {})

    return make
