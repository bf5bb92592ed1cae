"""Protects `reflexarc bench imitation-options`: goals decide where cubes go, what is retrieved is learned."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from hardware.errors import ConfigError
from policies.demonstrations import retrieve
from reflexarc import cli
from reflexarc.benches import imitation_options
from reflexarc.benches.imitation_options import PLACES, ImitationOptionsBench


@pytest.fixture(autouse=True)
def quick_vae(monkeypatch):
    # A good description of pairs takes seconds more and shows nothing more here.
    monkeypatch.setattr(retrieve, "VaeSettings", functools.partial(retrieve.VaeSettings, steps=50))


def test_all_contenders_learn_from_the_same_and_are_counted(capsys, tmp_path):
    out = tmp_path / "options.json"
    words = "--seeds 1 --demonstrations 3 --few 2 --bc-steps 20 --diffusion-steps 0 --episodes 3".split()
    assert cli.main(["bench", "imitation-options", *words, "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == document
    rows = {(row["name"], row["seed"]): row for row in document["rows"]}
    names = list(dict.fromkeys(name for name, _ in rows))
    assert names == [
        "BC, no goal",
        "BC, goal",
        "BC, few alone",
        "BC, few and all others",
        "BC, few and what is like them",
    ]
    assert all(rows[name, seed]["trials"] == 3 for name in names for seed in ("0", "all"))
    # The same demonstrations with and without a goal; more with retrieval than without, less than all.
    pairs = {name: rows[name, "0"]["pairs"] for name in names}
    assert pairs["BC, no goal"] == pairs["BC, goal"]
    assert pairs["BC, few alone"] < pairs["BC, few and what is like them"] < pairs["BC, few and all others"]
    assert "diffusion, goal" in imitation_options._contenders(ImitationOptionsBench())


def test_seeds_are_taken_together_with_their_interval():
    outcomes = [imitation_options._Outcome(seed, 100, count, 10, 1.0) for seed, count in enumerate((2, 9))]
    row = imitation_options._row("x", "all", outcomes)
    assert (row["successes"], row["trials"]) == (11, 20)
    assert (row["lower"], row["upper"]) == pytest.approx((0.342, 0.742), abs=1e-3)


def test_a_policy_that_learned_with_a_goal_brings_the_cube_nearer_to_it(tmp_path):
    """The bench's own way from demonstrations to an answer, asked for two places from the same start."""
    from hardware.cards import load_robot_card
    from hardware.robot import Observation
    from policies.controller import load_controller

    config = ImitationOptionsBench(seeds=1, demonstrations=8, few=2, bc_steps=400)
    imitation_options._collect(config, 0, tmp_path)
    contender = imitation_options._contenders(config)["BC, goal"]
    policy = imitation_options._train(contender, config, 0, tmp_path, tmp_path / "policy")
    # A cube in the hand, in the air: now it matters where it is to go.
    large = np.load(tmp_path / "large.npz")
    held = int(np.flatnonzero(large["observation.cube_position"][:, 2] > 0.06)[0])
    terms = {
        name.removeprefix("observation."): large[name][held]
        for name in large.files
        if name.startswith("observation.")
    }
    pan = {}
    for place in PLACES:
        controller = load_controller(
            imitation_options._ask(policy, place), load_robot_card("so101_twin"), steady_clock=lambda: 0
        )
        observation = Observation(terms, 1_000_000_000, 1_000_000_000)
        controller.act(observation, now_ns=1_000_000_000)
        # Where the shoulder is to be at the end of the chunk.
        pan[place] = controller._schedule.current.values[-1, 0]
    assert pan["right"] < pan["middle"] - 0.05 < pan["left"] - 0.1


def test_what_measures_nothing_is_refused():
    with pytest.raises(ConfigError, match="episodes is 2.*3 or more"):
        ImitationOptionsBench(episodes=2)
    with pytest.raises(ConfigError, match="few is 1.*2 or more"):
        ImitationOptionsBench(few=1)
