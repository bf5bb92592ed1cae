"""Tiny demonstrations, made once for the tests of all learners."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sim.experts.collect import collect

# What several test modules share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory):
    path = tmp_path_factory.mktemp("demonstrations") / "demonstrations.npz"
    collect(6, first_seed=1_000_000).save(path)
    return path
