"""Protects interventions in the twin: who commands follows the rule, and every step says who did."""

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from hardware.errors import ConfigError, Refusal
from sim.experts.collect import collect
from sim.experts.demonstrations import Demonstrations
from sim.experts.intervene import InterventionRule, Referee, intervene
from sim.experts.pick_cube import PickCubeExpert
from sim.worlds import so101

TASK = "reflexarc/PickCube-v0"
CARD = load_robot_card("so101_twin")


class Actor:
    """A policy made of a function of time and observation; None refuses."""

    card = None

    def __init__(self, act):
        self._act, self.resets, self._begin_ns = act, 0, 0

    def reset(self, seed=None):
        self.resets += 1

    def act(self, observation, *, now_ns):
        action = self._act(now_ns * 1e-9 - 1.0, observation.values)
        if action is None:
            raise Refusal("nothing to say")
        return ActionChunk(
            CommandKind.JOINT_POSITION, so101.JOINTS, np.array([action]), now_ns, 40_000_000, 0.1
        )


def lost(start_s, end_s):
    """The expert, but for a while it turns the wrist away."""
    expert = PickCubeExpert()

    def act(time_s, terms):
        if start_s <= time_s < end_s:
            return terms["joint_position"] + np.array([0.0, 0.0, 0.0, 0.0, 0.5, 0.0])
        return expert.act(terms)

    return act


# --- the rule ----------------------------------------------------------------------------------


def judge(distances, *, succeeded_from=None, **settings):
    rule = InterventionRule(
        **{
            "takeover_rad": 0.2,
            "return_rad": 0.1,
            "takeover_s": 0.2,
            "return_s": 0.3,
            "patience_share": 1.0,
            **settings,
        }
    )
    referee = Referee(rule, period_s=0.1, duration_s=1.0)
    return [
        referee.judge(d, has_succeeded=succeeded_from is not None and i >= succeeded_from)
        for i, d in enumerate(distances)
    ]


def test_the_expert_takes_over_after_the_time_and_gives_back_after_the_other():
    far, between, near = 0.3, 0.15, 0.05
    assert judge([far, far, far]) == [False, True, True]
    assert judge([far, near, far, near]) == [False] * 4
    # Between the thresholds nothing changes hands, in either direction.
    assert judge([between] * 5) == [False] * 5
    assert judge([far, far] + [between] * 5) == [False] + [True] * 6
    assert judge([far, far, near, near, near, near]) == [False, True, True, True, False, False]


def test_a_policy_without_an_answer_is_taken_over_at_once():
    assert judge([0.0, np.inf, 0.0]) == [False, True, True]


def test_an_attempt_that_lasts_too_long_is_finished_by_the_expert():
    assert judge([0.0] * 6, patience_share=0.4) == [False] * 4 + [True] * 2
    assert judge([0.0] * 6, patience_share=0.4, succeeded_from=3) == [False] * 6


def test_rules_that_flutter_are_refused():
    with pytest.raises(ConfigError, match="0 < return_rad <= takeover_rad"):
        InterventionRule(takeover_rad=0.1, return_rad=0.2)


# --- attempts ----------------------------------------------------------------------------------


def test_a_policy_that_is_right_is_left_alone():
    expert = PickCubeExpert()
    found = intervene(Actor(lambda _, terms: expert.act(terms)), CARD, 2, task=TASK, first_seed=10)
    assert not found.intervention.any()
    assert found.success.all()
    # Attempts begin and go on as the expert's own do.
    plain = collect(2, first_seed=10)
    np.testing.assert_array_equal(found.actions, plain.actions)
    np.testing.assert_array_equal(found.episode, plain.episode)


def test_a_policy_that_is_lost_is_taken_over_and_given_back_and_every_step_says_so():
    actor = Actor(lost(0.4, 1.0))
    found = intervene(actor, CARD, 2, task=TASK, first_seed=10)
    assert found.success.all()
    for number in range(2):
        flags = found.intervention[found.episode == number]
        # Once, 0.2 s after the policy has lost its way, and given back 0.2 s after it has found it.
        assert np.flatnonzero(np.diff(flags.astype(int)) == 1).size == 1
        begin, end = np.flatnonzero(flags)[[0, -1]]
        assert begin == 14
        assert end == 28
        assert not flags[-1]
    # What was executed is what whoever commanded said; the expert's steps are what it says of them.
    np.testing.assert_allclose(found.executed, found.actions)
    expert = PickCubeExpert()
    for row in np.flatnonzero(found.intervention)[::5]:
        terms = {name: values[row] for name, values in found.observations.items()}
        np.testing.assert_array_equal(found.actions[row], expert.act(terms))


def test_the_policy_begins_anew_from_where_it_is_given_back():
    """Every step of the expert, and only those, resets the policy: what it proposes then is from there."""
    actor = Actor(lost(0.4, 1.0))
    found = intervene(actor, CARD, 1, task=TASK, first_seed=10)
    assert actor.resets == 1 + found.intervention.sum()


def test_a_policy_that_never_answers_is_done_without():
    found = intervene(Actor(lambda *_: None), CARD, 1, task=TASK, first_seed=10)
    assert found.intervention.all()
    np.testing.assert_array_equal(found.actions, collect(1, first_seed=10).actions)


def test_flags_survive_the_file_and_the_choice_of_successes(tmp_path):
    found = intervene(Actor(lost(0.4, 1.0)), CARD, 2, task=TASK, first_seed=10)
    found.save(tmp_path / "a.npz")
    again = Demonstrations.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.intervention, found.intervention)
    np.testing.assert_array_equal(again.successful().intervention, found.intervention)
    collect(1).save(tmp_path / "b.npz")
    assert Demonstrations.load(tmp_path / "b.npz").intervention is None


def test_bad_numbers_and_another_robot_are_refused():
    expert = PickCubeExpert()
    actor = Actor(lambda _, terms: expert.act(terms))
    with pytest.raises(ConfigError, match="episodes -1"):
        intervene(actor, CARD, -1, task=TASK)
    with pytest.raises(ConfigError, match="Expected panda_joint1"):
        intervene(
            Actor(lambda *_: np.zeros(6)), load_robot_card("panda_twin"), 1, task="reflexarc/PegInsert-v0"
        )
