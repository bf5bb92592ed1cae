"""References must be continuous, agree with their own velocity, and be refused when they make no sense."""

import numpy as np
import pytest

from hardware import ConfigError
from hardware.reference import (
    FigureEight,
    Hover,
    Waypoints,
    make_program,
    make_trajectory,
    sequence,
)

CENTRE = (0.5, -0.5, 1.5)
TRAJECTORIES = {
    "hover": Hover(CENTRE, start_m=(0.0, 0.0, 0.0)),
    "figure_eight": FigureEight(CENTRE, 5.5),
    "figure_eight_at_once": FigureEight(CENTRE, 5.5, ramp_s=0.0),
    "waypoints": Waypoints(((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (1.0, 2.0, 1.5))),
    "program": make_program(["hover 8", "figure_eight 10 20", "figure_eight 5.5 11"], height_m=1.0),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_velocity_is_the_derivative_of_position_wherever_there_is_one(name):
    trajectory, step_s = TRAJECTORIES[name], 1e-4
    times = np.arange(0.005, 25.0, 0.0137)
    errors = []
    for t in times:
        before, here, after = (trajectory.sample(t + d) for d in (-step_s, 0.0, step_s))
        slope = (after.position_m - before.position_m) / (2 * step_s)
        errors.append(np.abs(slope - here.velocity_m_s).max())
    # Corners of straight legs are single moments; everywhere else the two agree.
    assert np.quantile(errors, 0.98) < 1e-4


@pytest.mark.parametrize("name", ["hover", "figure_eight", "waypoints", "program"])
def test_position_has_no_step(name):
    trajectory = TRAJECTORIES[name]
    points = np.array([trajectory.sample(t).position_m for t in np.arange(0.0, 45.0, 0.005)])
    assert np.abs(np.diff(points, axis=0)).max() < 0.02


def test_figure_eight_is_the_lissajous_of_the_paper():
    """x = sin, y = 0.5 sin of twice the phase; one loop a period once the ramp is over."""
    eight = FigureEight((0.0, 0.0, 1.0), 10.0)
    points = np.array([eight.sample(t).position_m for t in np.linspace(1.0, 11.0, 2001)])
    assert points[:, 0].max() == pytest.approx(1.0, abs=1e-4)
    assert points[:, 1].max() == pytest.approx(0.5, abs=1e-4)
    assert np.allclose(points[0], points[-1], atol=1e-9)
    assert np.allclose(
        points[:, 1], points[:, 0] * np.sqrt(1 - points[:, 0] ** 2) * np.sign(_cosine(eight)), atol=1e-3
    )
    # Half the phase of a full-speed second has passed after the ramp of one second.
    phase = np.arcsin(points[0, 0])
    assert phase == pytest.approx(2 * np.pi / 10.0 * 0.5)


def _cosine(eight):
    return np.array([eight.sample(t).velocity_m_s[0] for t in np.linspace(1.0, 11.0, 2001)])


def test_a_sequence_goes_through_its_parts_and_stays_with_the_last():
    plan = sequence(
        [Hover((0, 0, 1), duration_s=2.0), FigureEight((0, 0, 1), 5.0, duration_s=5.0), Hover((0, 0, 2))]
    )
    assert plan.sample(1.0).position_m.tolist() == [0, 0, 1]
    assert plan.sample(2.0 + 1.0).velocity_m_s[0] > 0.5
    assert plan.sample(100.0).position_m.tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: make_program(["loop 3"], height_m=1.0), "'loop 3' cannot be read"),
        (lambda: make_program(["hover soon"], height_m=1.0), "'hover soon' cannot be read"),
        (lambda: make_program(["figure_eight 5"], height_m=1.0), "'figure_eight 5' cannot be read"),
        (
            lambda: make_trajectory("spiral", height_m=1.0, period_s=5.0, waypoints=[]),
            "no reference 'spiral'",
        ),
        (lambda: make_trajectory("waypoints", height_m=1.0, period_s=5.0, waypoints=[1.0, 2.0]), "2 numbers"),
        (lambda: Waypoints(()), "no waypoints"),
        (lambda: sequence([]), "0 part(s)"),
        (lambda: sequence([Hover((0, 0, 1)), Hover((0, 0, 2))]), "never ends before the last"),
    ],
)
def test_what_cannot_be_flown_is_refused_in_words(make, text):
    with pytest.raises(ConfigError) as raised:
        make()
    assert text in str(raised.value)
    assert "Expected" in str(raised.value)
