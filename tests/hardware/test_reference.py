"""Protects the references: continuous, consistent with their own velocity, and at rest where parts meet."""

import math

import numpy as np
import pytest

from hardware.reference import FigureEight, Hover, sequence

CENTRE = (0.5, -0.25, 1.5)


def sampled(trajectory, until_s, step_s=1e-3):
    times = np.arange(0.0, until_s + step_s / 2, step_s)
    points = [trajectory.sample(t) for t in times]
    return times, np.array([p.position_m for p in points]), np.array([p.velocity_m_s for p in points])


@pytest.mark.parametrize("duration_s", [math.inf, 12.0, 1.5])
def test_velocity_of_a_figure_eight_is_the_derivative_of_its_position(duration_s):
    times, positions, velocities = sampled(FigureEight(CENTRE, 5.5, duration_s), min(duration_s, 15.0))
    assert np.abs(np.gradient(positions, times, axis=0) - velocities)[1:-1].max() < 3e-3


def test_whole_periods_and_a_ramp_end_at_the_centre_at_rest():
    figure = FigureEight(CENTRE, 5.5, duration_s=4 * 5.5 + 1.0)
    for t_s in (0.0, 23.0, 30.0):
        assert figure.sample(t_s).position_m == pytest.approx(CENTRE, abs=1e-9)
        assert figure.sample(t_s).velocity_m_s == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    # At full speed in between, for all but the two ramps: four loops.
    _, positions, _ = sampled(figure, 23.0)
    x = positions[:, 0] - CENTRE[0]
    assert np.count_nonzero(np.diff(np.sign(x[x != 0.0]))) == 2 * 4 - 1


def test_without_an_end_there_is_no_ramp_out():
    endless, ended = FigureEight(CENTRE, 5.5), FigureEight(CENTRE, 5.5, duration_s=12.0)
    assert ended.sample(10.9).position_m == pytest.approx(endless.sample(10.9).position_m)
    assert np.linalg.norm(endless.sample(11.999).velocity_m_s) > 1.0
    assert np.linalg.norm(ended.sample(11.999).velocity_m_s) < 0.01


def test_a_sequence_of_hover_and_figure_eights_has_no_step():
    program = sequence(
        [
            Hover(CENTRE, start_m=(0.5, -0.25, 0.0), duration_s=4.0),
            FigureEight(CENTRE, 10.0, duration_s=11.0),
            FigureEight(CENTRE, 5.5, duration_s=6.5),
            Hover(CENTRE),
        ]
    )
    _, positions, _ = sampled(program, 25.0)
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 3e-3
