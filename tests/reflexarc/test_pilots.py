"""Protects the switch of the demo's policy: the flight, its bounds and the story follow one constant."""

import pytest
from demo_runs import flight_record, whole_run

from reflexarc.demos import quadrotor
from reflexarc.demos.judge import flight_figures, judge_flight, passed
from reflexarc.demos.pilots import PILOT, PUBLISHED, REFLEXARC
from reflexarc.demos.plan import plan_flight
from reflexarc.demos.summary import summarise
from reflexarc.report import page
from reflexarc.report.pieces import Media


@pytest.mark.parametrize("pilot", [PUBLISHED, REFLEXARC], ids=lambda pilot: pilot.policy)
def test_flight_and_story_follow_the_pilot(pilot, monkeypatch, tmp_path):
    monkeypatch.setattr(quadrotor, "PILOT", pilot)
    monkeypatch.setattr(page, "PILOT", pilot)
    arguments = quadrotor.system_arguments(plan_flight(5.0), tmp_path / "t.npz", view=False)
    assert arguments["policy"] == pilot.policy
    run = whole_run()
    text = page.make_page(run, summarise(run), Media())
    assert pilot.introduction in text
    assert (PUBLISHED.introduction in text) is (pilot is PUBLISHED)


def test_a_better_policy_need_not_be_as_bad_as_the_published_one():
    figures = flight_figures(flight_record())
    assert passed(judge_flight(figures, PUBLISHED))
    twice_as_good = type(figures)(**{**vars(figures), "figure_eight_5_5s_rmse_m": 0.08})
    assert not passed(judge_flight(twice_as_good, PUBLISHED))
    assert passed(judge_flight(twice_as_good, REFLEXARC))
    worse = type(figures)(**{**vars(figures), "figure_eight_5_5s_rmse_m": 0.25})
    assert not passed(judge_flight(worse, REFLEXARC))


def test_the_constant_is_one_of_them():
    assert PILOT in (PUBLISHED, REFLEXARC)
