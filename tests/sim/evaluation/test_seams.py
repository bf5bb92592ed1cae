"""Protects the measures of seams against signals whose steps and jerks are known by hand."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from sim.evaluation.seams import measure_borders

T = 0.02


def ramp(count, slope=1.0):
    return np.repeat(slope * T * np.arange(count)[:, None], 2, axis=1)


def borders(commands, seams, window_s=0.1):
    return measure_borders(commands, np.array(seams, np.int64), period_s=T, window_s=window_s)


def test_a_straight_line_has_no_seam():
    found = borders(ramp(40), [10, 20])
    assert found.step_rad_s == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.jerk_rad_s3 == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_jump_is_a_velocity_step_of_its_height_by_the_period():
    commands = ramp(40)
    commands[20:, 1] += 0.01
    found = borders(commands, [20])
    # Up by 0.01 rad in one period, then on with the old velocity.
    assert found.step_rad_s == pytest.approx([0.01 / T])
    # The third differences of a jump h are h, -2 h, h, among the five of the window.
    assert found.jerk_rad_s3 == pytest.approx([np.sqrt(6 / 5) * 0.01 / T**3])
    # Nothing of it is counted as inside.
    assert found.inside_jerk_rad_s3.max() == pytest.approx(0.0, abs=1e-6)


def test_a_kink_is_a_velocity_step_of_the_change_of_slope():
    commands = ramp(40)
    commands[20:, 0] = commands[19, 0] + 3.0 * T * np.arange(1, 21)
    found = borders(commands, [20])
    assert found.step_rad_s == pytest.approx([2.0])


def test_what_a_fade_spreads_is_found_within_the_window_and_is_smaller_than_a_jump():
    jump, fade = ramp(60), ramp(60)
    jump[30:] += 0.02
    fade[30:] += np.clip(np.arange(30) / 4, 0.0, 1.0)[:, None] * 0.02
    assert 0.0 < borders(fade, [30]).step_rad_s[0] < 0.3 * borders(jump, [30]).step_rad_s[0]


def test_rows_are_told_apart_and_the_largest_joint_counts():
    commands = ramp(60)
    commands[25:, 0] += 0.01
    commands[45:, 1] += 0.03
    found = borders(commands, [25, 45])
    assert found.step_rad_s == pytest.approx([0.01 / T, 0.03 / T])


def test_seams_without_room_are_left_out():
    found = borders(ramp(30), [1, 10, 28])
    assert len(found.step_rad_s) == 1
    empty = borders(ramp(3), [])
    assert len(empty.step_rad_s) == len(empty.inside_jerk_rad_s3) == 0


@pytest.mark.parametrize(("period_s", "window_s"), [(0.0, 0.1), (0.02, -1.0), (float("nan"), 0.1)])
def test_times_that_are_none_are_refused(period_s, window_s):
    with pytest.raises(ConfigError, match="expected positive times|Expected positive times"):
        measure_borders(ramp(10), np.array([5]), period_s=period_s, window_s=window_s)
