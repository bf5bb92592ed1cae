"""Protects `reflexarc train raptor`: a policy folder comes out, the JSON tells it, bad settings are told."""

from __future__ import annotations

import json

from policies.raptor.policy import RaptorPolicy
from reflexarc import cli

QUICK = (
    *(
        "--updates",
        "2",
        "--vehicles",
        "4",
        "--steps",
        "5",
        "--executor-vehicles",
        "2",
        "--executor-steps",
        "2",
    ),
    *("--judged-airframes", "4", "--judge-updates", "1"),
)


def test_a_student_is_trained_and_told_of(tmp_path, capsys):
    folder = tmp_path / "mine"
    assert cli.main(["train", "raptor", "--out", str(folder), *QUICK, "--name", "raptor-mine", "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["finished"]
    assert 0.0 <= document["judgement"]["hover_crash"] <= 1.0
    assert document["core_minutes"] > 0.0
    assert "tuning     2  loss" in told.err
    assert RaptorPolicy.load(folder).card.name == "raptor-mine"


def test_a_training_without_anything_to_do_is_told(tmp_path, capsys):
    assert cli.main(["train", "raptor", "--out", str(tmp_path), "--json"]) == 2
    told = capsys.readouterr()
    assert "neither imitation nor tuning" in told.out + told.err
    assert "--updates N" in told.out + told.err
