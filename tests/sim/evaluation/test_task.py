"""Protects the evaluation in Gymnasium tasks: seeds, success, refusals, and what is wrong by name."""

from types import SimpleNamespace

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError, Refusal
from sim.evaluation.task import evaluate_task
from sim.experts.library import make_expert

PEG = "reflexarc/PegInsert-v0"


class Pilot:
    """Answers with what a function says of the observation."""

    card = None

    def __init__(self, say, *, refuses=()):
        self._say, self._refuses = say, refuses
        self.seeds, self.stamps = [], []

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.stamps.append([])

    def act(self, observation, *, now_ns):
        assert observation.stamp_ns == now_ns
        self.stamps[-1].append(now_ns)
        if len(self.stamps[-1]) in self._refuses:
            raise Refusal("not now")
        return SimpleNamespace(values=np.asarray(self._say(observation))[None])


def test_an_expert_succeeds_and_who_stays_does_not():
    expert = make_expert(PEG)
    pilot, asked, told = Pilot(lambda seen: expert.act(seen.values)), [], []

    def make(card, rate_hz):
        asked.append((card.name, rate_hz))
        return pilot

    card = load_robot_card("panda_twin")
    report = evaluate_task(make, card, PEG, seeds=(4, 5), on_episode=told.append)
    assert asked == [("panda", 25.0)]
    assert pilot.seeds == [4, 5]
    assert tuple(told) == report.rows
    assert [row.success for row in report.rows] == [True, True]
    assert report.successes == 2
    assert report.interval.lower < 0.5 < report.interval.upper
    assert set(np.diff(pilot.stamps[0])) == {40_000_000}
    assert report.rows[0].duration_s == pytest.approx(report.rows[0].steps / 25)

    still = Pilot(lambda seen: seen.values["joint_position"])
    report = evaluate_task(lambda *_: still, card, PEG, seeds=(4,))
    assert (report.rows[0].success, report.rows[0].duration_s) == (False, pytest.approx(10.0))


def test_refusals_are_counted_and_the_last_action_holds():
    pilot = Pilot(lambda seen: seen.values["tool_position"], refuses=(2, 3))
    report = evaluate_task(
        lambda *_: pilot, load_robot_card("gym_pusht"), "reflexarc/GymPushT-v0", seeds=(0,)
    )
    assert (report.rows[0].refusals, report.rows[0].steps) == (2, 300)
    mute = Pilot(lambda seen: None, refuses=(1,))
    report = evaluate_task(lambda *_: mute, load_robot_card("gym_pusht"), "reflexarc/GymPushT-v0", seeds=(0,))
    assert (report.rows[0].refusals, report.rows[0].steps, report.rows[0].success) == (1, 0, False)


def test_the_wrong_task_or_card_is_named():
    with pytest.raises(ConfigError, match="there is no task 'reflexarc/Moon-v0'.*reflexarc/PushT-v0"):
        evaluate_task(lambda *_: None, load_robot_card("panda_twin"), "reflexarc/Moon-v0")
    with pytest.raises(ConfigError, match="the task shows .*tool_position.*robot card 'panda'"):
        evaluate_task(lambda *_: None, load_robot_card("panda_twin"), "reflexarc/PushT-v0")
