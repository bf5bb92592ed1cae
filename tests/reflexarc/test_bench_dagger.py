"""Protects `reflexarc bench dagger`: a real run, small, in which every contender gets what the table says."""

import json

import pytest

from hardware.errors import ConfigError
from reflexarc.benches import dagger
from reflexarc.cli import main


def test_a_small_run_compares_the_same_expert_steps(tmp_path, capsys):
    out = tmp_path / "dagger.json"
    words = "--seeds 4 --episodes 4 --rounds 1 --attempts 3 --steps 60 --rollouts 4 --json".split()
    assert main(["bench", "dagger", *words, "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == report
    rows = {row["name"]: row for row in report["rows"]}
    base, aided = rows[dagger.BASE], rows[dagger.DAGGER]
    assert base["expert_steps"] < aided["expert_steps"]
    for name in (dagger.PLAIN, dagger.NOISY):
        # Whole demonstrations: at least as many steps, and not one demonstration more.
        assert 0 <= rows[name]["expert_steps"] - aided["expert_steps"] < 200
        assert rows[name]["runs"][0]["episodes"] > 4
    for row in rows.values():
        assert row["rollouts"] == 4
        assert 0.0 <= row["lower"] <= row["success_rate"] == row["successes"] / 4 <= row["upper"] <= 1.0
        assert [run["seed"] for run in row["runs"]] == [4]
    (share,) = aided["runs"][0]["expert_share_by_round"]
    assert 0.0 < share <= 1.0


def test_nothing_to_compare_is_refused():
    with pytest.raises(ConfigError, match="rounds is 0"):
        dagger.measure(dagger.DaggerBench(rounds=0), lambda done, total: None)
    with pytest.raises(ConfigError, match=r"seeds \(\)"):
        dagger.measure(dagger.DaggerBench(seeds=()), lambda done, total: None)
