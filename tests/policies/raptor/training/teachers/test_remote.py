"""Protects training through Ray: a task gives what the same training gives here, and only actors travel."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest
import torch

from hardware.errors import ConfigError
from policies.raptor.training.teachers.bank import TeacherBank
from policies.raptor.training.teachers.remote import _train_group, _unpack
from policies.raptor.training.teachers.train import _settings, train_teachers


def test_what_a_task_sends_back_is_actors_and_curves(small):
    document = _train_group(dataclasses.asdict(small(steps=200)), 2, 1)
    assert sorted(document) == ["actors", "first", "points", "returns", "steps"]
    result = _unpack(document)
    assert (result.first, result.count) == (2, 1)
    assert result.actors.dtype == np.float32
    # 26-8-8-8 with biases: nothing but one actor.
    assert result.actors.size == 8 * 27 + 8 * 9 + 8 * 9


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the training extra (ray)")
def test_a_training_by_ray_gives_the_same_bank(small, tmp_path, monkeypatch):
    """A cluster of this machine alone, on the loopback interface, ended with the call."""
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    changes = {"count": 1, "steps": 200}
    outcome = train_teachers(small(tmp_path / "ray", **changes, ray="local"))
    assert outcome.finished
    assert not ray.is_initialized()
    train_teachers(small(tmp_path / "here", **changes))
    ours, theirs = TeacherBank.load(tmp_path / "ray"), TeacherBank.load(tmp_path / "here")
    assert torch.equal(ours.weight_1, theirs.weight_1)
    np.testing.assert_array_equal(ours.returns, theirs.returns)


def test_a_machine_without_ray_says_so(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed.*reflexarc\[distributed\]"):
        train_teachers(small(tmp_path, ray="local"))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the training extra (ray)")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "127.0.0.1:none"])
def test_an_address_where_nobody_answers_is_refused(small, tmp_path, address):
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at .* within 5 s.*ray start --head"):
        train_teachers(small(tmp_path, ray=address))


def test_ray_and_machines_do_not_count_as_settings(small):
    assert _settings(small("a", ray="10.0.0.1:6379", device="cuda")) == _settings(small("b"))
