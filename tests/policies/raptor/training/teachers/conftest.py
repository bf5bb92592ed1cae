"""Shared by the tests of teachers: a training that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.raptor.training.teachers.config import TeacherConfig


@pytest.fixture(scope="session")
def small() -> Callable[..., TeacherConfig]:
    """Make a config of few steps and small networks; the tests change what they are about."""

    def make(out: Path | str = "unused", **changes: Any) -> TeacherConfig:
        settings: dict[str, Any] = {
            "count": 2,
            "group": 2,
            "steps": 400,
            "evaluate_every": 200,
            "warm_up": 100,
            "episodes": 4,
            "batch_size": 16,
            "actor_hidden": 8,
            "critic_hidden": 16,
            "environments": 2,
            "minimum_return": -1_000.0,
        }
        return TeacherConfig(out=str(out), **(settings | changes))

    return make
