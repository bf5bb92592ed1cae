"""Protects the bench of demonstrations: bad settings are refused, success is judged by the tasks' rules."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.errors import ConfigError
from recording.frames import Frames
from reflexarc.benches.demonstrations import DemonstrationsBench, _tasks, measure


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tasks": ("Juggle",), "episodes": (2,)}, "there is no task 'Juggle'"),
        ({"tasks": ("PickCube",), "episodes": (2, 3)}, "one number of episodes a task"),
        ({"tasks": ("PickCube",), "episodes": (1,)}, "at least two"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(changes, text):
    with pytest.raises(ConfigError, match=text):
        measure(DemonstrationsBench(**changes), lambda done, total: None)


def frames(**terms):
    count = len(next(iter(terms.values())))
    stamps = np.arange(count, dtype=np.int64) * 40_000_000
    return Frames(stamps, terms, dict.fromkeys(terms, stamps), np.zeros((count, 1)), stamps, ("a",))


@pytest.mark.parametrize(("last_m", "wanted"), [(0.10, True), (0.03, False)])
def test_a_cube_counts_when_it_is_held_up_at_the_end(last_m, wanted):
    heights = [0.014] * 10 + [0.10] * 20 + [last_m]
    cube = np.stack([np.zeros(31), np.zeros(31), heights], axis=1)
    assert _tasks()["PickCube"].succeeded(frames(cube_position=cube)) is wanted


@pytest.mark.parametrize(
    ("depth_m", "beside_m", "wanted"), [(0.027, 0.0005, True), (0.020, 0.0, False), (0.027, 0.002, False)]
)
def test_a_peg_counts_when_it_is_deep_and_straight_in_the_hole(depth_m, beside_m, wanted):
    upright = np.tile([1.0, 0.0, 0.0, 0.0], (20, 1))
    hole = np.tile([0.5, 0.0, 0.05], (20, 1))
    peg = hole + [beside_m, 0.0, -depth_m]
    made = frames(peg_position=peg, hole_position=hole, peg_orientation=upright, hole_orientation=upright)
    assert _tasks()["PegInsert"].succeeded(made) is wanted
