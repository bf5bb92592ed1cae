"""Protects `reflexarc results`: every committed result with its command, and words for what is not there."""

import json

import pytest

from hardware.errors import ConfigError
from reflexarc import results
from reflexarc.cli import main
from reflexarc.output import Output


def test_every_committed_result_can_be_printed(capsys):
    assert main(["results", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)["results"]
    assert {f"{name}.json" for name in known} == {path.name for path in results.FOLDER.glob("*.json")}
    for name, command in known.items():
        assert main(["results", name, "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["command"] == command
        assert command.startswith("reflexarc ")
        assert printed["result"] == json.loads((results.FOLDER / f"{name}.json").read_text())


def test_people_get_the_command_first(capsys):
    assert main(["results"]) == 0
    assert "eval_arm " in capsys.readouterr().out
    assert main(["results", "eval_arm.json"]) == 0
    assert capsys.readouterr().out.startswith("made by: reflexarc eval arm\n")


def test_an_unknown_result_is_refused(capsys):
    assert main(["results", "no_such", "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["what"] == "there is no result 'no_such'"
    assert "eval_arm" in error["expected"]


def test_without_a_clone_it_says_so(tmp_path):
    with pytest.raises(ConfigError, match="an installed package does not carry them"):
        results.run(results.ResultsConfig(), Output(json=True), folder=tmp_path)
