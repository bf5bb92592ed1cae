"""Protects the file of demonstrations: what is saved is what is loaded, without pickle, or an error."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.experts.demonstrations import Demonstrations


@pytest.fixture
def three():
    """Three episodes of 2, 1 and 3 steps; the middle one failed."""
    return Demonstrations(
        observations={"joint_position": np.arange(12.0).reshape(6, 2), "height": np.arange(6.0)[:, None]},
        actions=np.arange(6.0).reshape(6, 1),
        executed=np.arange(6.0).reshape(6, 1) + 0.5,
        episode=np.array([0, 0, 1, 2, 2, 2]),
        success=np.array([True, False, True]),
        seeds=np.array([7, 8, 9]),
        action_names=("joint",),
        period_ns=40_000_000,
        task="reflexarc/PickCube-v0",
    )


def same(one, two):
    for name in ("actions", "executed", "episode", "success", "seeds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert getattr(one, name).dtype == getattr(two, name).dtype
    assert list(one.observations) == list(two.observations)
    for name in one.observations:
        np.testing.assert_array_equal(one.observations[name], two.observations[name])
    assert (one.action_names, one.period_ns, one.task) == (two.action_names, two.period_ns, two.task)


def test_saved_is_loaded(three, tmp_path):
    three.save(tmp_path / "three.npz")
    same(Demonstrations.load(tmp_path / "three.npz"), three)


def test_the_file_holds_no_pickle(three, tmp_path):
    three.save(tmp_path / "three.npz")
    with zipfile.ZipFile(tmp_path / "three.npz") as archive:
        for name in archive.namelist():
            assert b"|O" not in archive.read(name)[:128]


def test_only_successful_episodes_are_kept_and_numbered_anew(three):
    good = three.successful()
    np.testing.assert_array_equal(good.episode, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(good.seeds, [7, 9])
    np.testing.assert_array_equal(good.actions.ravel(), [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(good.observations["height"].ravel(), [0, 1, 3, 4, 5])
    assert three.success_rate == pytest.approx(2 / 3)
    assert good.success_rate == 1.0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"actions": np.zeros((5, 1))}, "actions has 5 steps"),
        ({"observations": {"height": np.zeros((7, 1))}}, "observation.height has 7 steps"),
        ({"episode": np.array([0, 1, 0, 2, 2, 2])}, "not numbered in order"),
        ({"episode": np.array([0, 0, 2, 2, 2, 2])}, "not numbered in order"),
        ({"seeds": np.array([1])}, "not numbered in order"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(three, change, text):
    with pytest.raises(ConfigError, match=text):
        replace(three, **change)


@pytest.mark.parametrize("content", [None, b"nothing", b"PK\x03\x04"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "gone.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"gone\.npz: no demonstrations"):
        Demonstrations.load(path)


def test_another_schema_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", schema=np.array("something/9"))
    with pytest.raises(ConfigError, match="schema 'something/9'"):
        Demonstrations.load(tmp_path / "other.npz")
