"""Protects `reflexarc eval task` and `reflexarc eval arm` with experts: results, cards, exit codes."""

import json

import pytest

from hardware.errors import ConfigError
from reflexarc.cli import main
from reflexarc.evals.task import card_of_task


def test_an_expert_is_judged_in_its_task(capsys, tmp_path):
    out = tmp_path / "task.json"
    words = ["eval", "task", "expert/peg_insert", "reflexarc/PegInsert-v0", "--episodes", "2", "--json"]
    assert main([*words, "--require", "1.0", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["successes"], document["episodes"], document["robot"]) == (2, 2, "panda")
    assert [row["seed"] for row in document["rows"]] == [0, 1]
    assert json.loads(out.read_text())["task"] == "reflexarc/PegInsert-v0"


def test_an_expert_is_judged_in_the_twin_through_the_gate(capsys):
    words = ["eval", "arm", "expert/peg_insert", "--robot", "panda_twin", "--episodes", "2", "--json"]
    assert main([*words, "--require", "1.0"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["successes"] == 2
    assert all(not row["safe_stops"] and not row["refusals"] for row in document["rows"])


def test_every_task_with_an_arm_has_a_card():
    assert card_of_task("reflexarc/PickCube-v0").name == "so101"
    assert card_of_task("reflexarc/PushT-v0").name == "panda_push_t"
    assert card_of_task("reflexarc/GymPushT-v0").name == "gym_pusht"
    with pytest.raises(ConfigError, match="no robot card comes with the task 'reflexarc/Moon-v0'"):
        card_of_task("reflexarc/Moon-v0")


def test_a_policy_of_another_robot_is_refused_by_name(capsys):
    assert main(["eval", "task", "bc/pick_cube", "reflexarc/PegInsert-v0", "--episodes", "1"]) != 0
    assert "cube_position" in capsys.readouterr().err
