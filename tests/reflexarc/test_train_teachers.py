"""Protects `reflexarc train raptor-teachers`: a bank comes out, the JSON tells it, the gate refuses."""

from __future__ import annotations

import json

from policies.raptor.training.teachers.bank import TeacherBank
from reflexarc import cli

QUICK = ("--count", "2", "--steps", "300", "--evaluate-every", "100", "--warm-up", "150", "--episodes", "4")


def test_teachers_are_trained_and_told_of(tmp_path, capsys):
    folder = tmp_path / "teachers"
    words = ["train", "raptor-teachers", "--out", str(folder), *QUICK]
    assert cli.main([*words, "--minimum-return", "-1000", "--json"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["finished"]
    assert document["trained"] == document["accepted"] == len(TeacherBank.load(folder)) == 2
    assert [point["step"] for point in document["groups"][0]["points"]] == [100, 200, 300]
    assert document["core_minutes_each"] > 0.0
    assert "--count 2 --steps 300" in document["command"]
    assert "teachers 0 to 1  step     300" in told.err

    # The same folder, judged as teachers have to be: nothing is trained again, nobody passes.
    assert cli.main([*words, "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["what"].startswith("2 of 2 teachers are too poor (teacher 0: ")
    assert error["expected"] == "a mean return of at least 300 from every teacher"
