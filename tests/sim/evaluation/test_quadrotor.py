"""Protects the quadrotor's evaluation: published errors are met, and a bad controller looks bad."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from policies.controller import load_controller
from policies.raptor import PUBLISHED
from sim.evaluation.fleet.reference import NAMED_RMSE_M
from sim.evaluation.quadrotor import evaluate_quadrotor, random_state
from sim.quadrotor.airframes import airframe_names

DRONE = load_robot_card("quadrotor_twin")


def raptor(card):
    return load_controller(PUBLISHED, card, steady_clock=lambda: 0)


def test_raptor_flies_the_x500_as_published():
    runs = {}
    report = evaluate_quadrotor(
        raptor, DRONE, periods_s=(5.5,), seeds=range(3), on_step=lambda run, step: runs.setdefault(run, step)
    )
    assert report.airframe == "x500_real"
    assert list(runs) == ["hover", "figure_eight_5.5s", "recovery_0", "recovery_1", "recovery_2"]
    assert report.hover_error_m < 0.05
    (eight,) = report.figure_eights
    # Specs of RAPTOR, section 3.3: 0.169 m, 0.167 m of it horizontal.
    assert eight.reference_rmse_m == 0.169
    assert eight.rmse_m == pytest.approx(0.169, rel=0.05)
    assert eight.rmse_horizontal_m == pytest.approx(0.167, rel=0.05)
    assert (report.successes, report.episodes) == (3, 3)
    assert report.interval.upper == 1.0
    for row in report.rows:
        assert row.final_m < 0.05 < row.largest_m
        assert row.safe_stops == ()
    assert report.interventions == 0


class Lazy:
    """Lets the motors run at a tenth."""

    card = None

    def reset(self, seed=None):
        pass

    def act(self, observation, *, now_ns):
        names = DRONE.commands["motors"].names
        return ActionChunk(
            CommandKind.MOTOR, names, np.full((1, 4), 0.1), observation.stamp_ns, 10_000_000, 0.02
        )


def test_a_controller_that_does_not_fly_looks_bad():
    report = evaluate_quadrotor(lambda card: Lazy(), DRONE, airframe="crazyflie", periods_s=(), seeds=[0])
    assert report.airframe == "crazyflie"
    assert report.hover_error_m > 0.9
    assert (report.successes, report.figure_eights) == (0, ())
    assert not report.rows[0].success


def test_without_starts_there_is_no_interval():
    assert evaluate_quadrotor(lambda card: Lazy(), DRONE, periods_s=(), seeds=[]).interval is None


def test_starts_are_repeatable_and_within_their_bounds():
    states = [random_state(seed) for seed in range(200)]
    np.testing.assert_array_equal(random_state(7).packed, states[7].packed)
    positions = np.array([s.position for s in states]) - (0.0, 0.0, 1.0)
    assert 0.4 < np.abs(positions).max() <= 0.5
    angles = 2 * np.arccos([s.orientation[0] for s in states])
    assert 0.9 < angles.max() <= 1.0
    assert max(s.effort.max() for s in states) <= 0.5


def test_published_figures_name_airframes_that_exist():
    assert set(NAMED_RMSE_M) <= set(airframe_names())
    # The specs' table has the soft airframe, and none for its rigid twin.
    assert NAMED_RMSE_M["soft"] == {10.0: 0.059, 5.5: 0.160}
    assert "soft_rigid" not in NAMED_RMSE_M
