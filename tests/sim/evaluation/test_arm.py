"""Protects the arm's evaluation: what counts as success, what is reported, and the policy that we ship."""

from __future__ import annotations

import math

import pytest

from hardware.cards.library import load_robot_card
from hardware.errors import Refusal
from policies.bc import PICK_CUBE
from policies.controller import load_controller
from sim.evaluation.arm import ArmReport, evaluate_arm
from sim.worlds.arm_view import ArmView

ARM = load_robot_card("so101_twin")


def cloned(card):
    return load_controller(PICK_CUBE, card, steady_clock=lambda: 0)


class Silent:
    """Refuses everything."""

    card = None

    def reset(self, seed=None):
        pass

    def act(self, observation, *, now_ns):
        raise Refusal("no")


def test_the_policy_that_we_ship_picks_the_cube():
    told = []
    report = evaluate_arm(cloned, ARM, seeds=range(10), on_episode=told.append)
    assert report.successes >= 9
    assert report.episodes == 10
    assert list(report.rows) == told
    assert [row.seed for row in report.rows] == list(range(10))
    assert report.interval.lower > 0.55
    assert 1.0 < report.duration_s < 4.0
    # Most commands pass the gate as they are; the rest is mainly the ramp of authority at the start.
    assert 0.0 < report.intervention_rate < 0.35
    assert all(row.refusals == 0 and row.safe_stops == () for row in report.rows)
    # The same seed anew, alone and with everything else fresh, is the same attempt.
    assert evaluate_arm(cloned, ARM, seeds=[7]).rows[0] == report.rows[7]


def test_it_picks_the_cube_through_the_latency_of_the_card_too():
    assert evaluate_arm(cloned, ARM, seeds=range(5), latency=ARM.latency).successes >= 4


class Looking(Silent):
    """Looks at one of its two cameras, once in five observations."""

    def __init__(self):
        self.cameras = {"front": None, "wrist": None}
        self.seen = []

    def act(self, observation, *, now_ns):
        assert set(observation.images) == {"front", "wrist"}
        self.seen.append((observation.stamp_ns, dict(observation.image_stamps_ns)))
        if len(self.seen) % 5 == 1:
            assert observation.images["front"].shape == (240, 320, 3)
        return super().act(observation, now_ns=now_ns)


def test_a_controller_that_sees_gets_the_newest_images_and_only_those_it_looks_at_are_drawn(monkeypatch):
    drawn = []
    image = ArmView.image
    monkeypatch.setattr(ArmView, "image", lambda *a, **k: drawn.append(a[2]) or image(*a, **k))
    looking = Looking()
    evaluate_arm(lambda card: looking, ARM, seeds=[0], duration_s=0.5)
    assert len(looking.seen) == 26
    for stamp_ns, images_ns in looking.seen:
        # 15 images a second, captured with the joints: up to one period and one capture old, never newer.
        assert all(0 <= stamp_ns - at_ns < 1e9 / 15 + 20e6 for at_ns in images_ns.values())
    assert len({images_ns["front"] for _, images_ns in looking.seen}) == 8
    assert drawn == ["front"] * 6


def test_a_controller_that_does_nothing_fails_and_says_so():
    report = evaluate_arm(lambda card: Silent(), ARM, seeds=[0], duration_s=0.5)
    row = report.rows[0]
    assert not row.success
    assert row.duration_s == pytest.approx(0.5)
    # An observation every 20 ms, the first one at zero.
    assert (row.steps, row.refusals, row.interventions) == (26, 26, 0)
    assert row.safe_stops == ("the gate takes the safe action: idle",)
    assert math.isnan(report.duration_s)


def test_a_report_counts_what_it_holds():
    report = evaluate_arm(lambda card: Silent(), ARM, seeds=[0, 1], duration_s=0.1)
    assert (report.successes, report.episodes) == (0, 2)
    assert report.interval.lower == 0.0
    assert ArmReport(report.rows[:1]).episodes == 1
