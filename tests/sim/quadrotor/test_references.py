"""Protects the fleet's references: they agree with the ones that robots fly, and with RAPTOR's statistics."""

import numpy as np
import pytest

from hardware.errors import ConfigError
from hardware.reference import FigureEight
from sim.quadrotor.references import TRAINING, ReferenceKind, ReferenceRules, References, figure_eight

ALL = slice(None)


def started(rules, count, seed=0, dt_s=0.01):
    references = References(rules, count, dt_s, np.random.default_rng(seed))
    references.reset(np.ones(count, np.bool_))
    return references


@pytest.mark.parametrize("period_s", [5.5, 10.0])
def test_the_figure_eight_is_the_one_that_robots_fly(period_s):
    references = started(figure_eight(period_s), 3)
    flown = FigureEight((0.0, 0.0, 0.0), period_s)
    for step in range(1, 1200):
        references.advance()
        point = flown.sample(step * 0.01)
        assert np.allclose(references.position.T, point.position_m, atol=1e-6)
        assert np.allclose(references.velocity.T, point.velocity_m_s, atol=1e-6)


def test_the_walk_has_the_statistics_of_the_spec():
    # Specs of RAPTOR, section 2.3, over 5 s: |p| mean 0.13 m, 95 % 0.27 m; |v| mean 0.19 m/s, 95 % 0.37 m/s.
    references = started(ReferenceRules(langevin=1.0), 4000)
    position, velocity = [], []
    for _ in range(500):
        references.advance()
        position.append(np.linalg.norm(references.position, axis=0))
        velocity.append(np.linalg.norm(references.velocity, axis=0))
    assert np.mean(position) == pytest.approx(0.13, abs=0.01)
    assert np.quantile(position, 0.95) == pytest.approx(0.27, abs=0.015)
    assert np.mean(velocity) == pytest.approx(0.19, abs=0.01)
    assert np.quantile(velocity, 0.95) == pytest.approx(0.37, abs=0.015)


@pytest.mark.parametrize("rules", [ReferenceRules(langevin=1.0), ReferenceRules(waypoints=1.0)])
def test_velocity_is_the_derivative_of_position(rules):
    references = started(rules, 50, dt_s=0.001)
    for _ in range(4000):
        before, slope = references.position.copy(), references.velocity.copy()
        references.advance()
        moved = (references.position - before) / 0.001
        assert np.abs(moved - 0.5 * (slope + references.velocity)).max() < 0.02


def test_waypoints_stay_in_their_box_and_rest_between_legs():
    rules = ReferenceRules(waypoints=1.0, box_m=0.7, speed_m_s=(0.5, 1.0), dwell_s=0.3)
    references = started(rules, 100)
    rested = np.zeros(100, np.bool_)
    farthest = np.zeros(100)
    for _ in range(2000):
        references.advance()
        assert np.abs(references.position).max() <= 0.7 + 1e-6
        # The peak of the profile is 15/8 of its mean.
        assert np.linalg.norm(references.velocity, axis=0).max() <= 1.0 * 15 / 8 + 1e-5
        rested |= (references.velocity == 0.0).all(axis=0)
        farthest = np.maximum(farthest, np.linalg.norm(references.position, axis=0))
    assert rested.all()
    assert farthest.min() > 0.3


def test_shares_are_kept_and_a_position_stays():
    references = started(TRAINING, 10_000)
    walking = references.kind == ReferenceKind.LANGEVIN
    assert walking.mean() == pytest.approx(0.5, abs=0.025)
    assert (references.kind[~walking] == ReferenceKind.POSITION).all()
    for _ in range(100):
        references.advance()
    assert (references.position[:, ~walking] == 0.0).all()
    assert (references.position[:, walking] != 0.0).any(axis=0).all()


def test_a_reset_begins_anew_for_those_it_names():
    references = started(ReferenceRules(langevin=0.4, figure_eight=0.3, waypoints=0.3), 200)
    for _ in range(300):
        references.advance()
    mask = np.arange(200) % 2 == 0
    before = references.position.copy()
    references.reset(mask)
    assert (references.position[:, mask] == 0.0).all()
    assert (references.velocity[:, mask] == 0.0).all()
    assert np.array_equal(references.position[:, ~mask], before[:, ~mask])
    references.advance()
    assert np.abs(references.position[:, mask]).max() < 0.01


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"langevin": 0.8, "waypoints": 0.4}, "shares (0.8, 0.0, 0.4)"),
        ({"langevin": -0.1}, "together at most 1"),
        ({"period_s": (10.0, 5.0)}, "period_s (10.0, 5.0) is no range"),
    ],
)
def test_rules_that_are_none_are_refused(change, text):
    with pytest.raises(ConfigError) as error:
        ReferenceRules(**change)
    assert text in str(error.value)
