"""Protects `reflexarc export`: the committed schemas are true, policy folders can be made again."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from policies.card import load_policy_card
from reflexarc import cli
from reflexarc.export import schema_texts

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", schema_texts())
def test_committed_schema_is_up_to_date(path):
    assert (ROOT / path).read_text() == schema_texts()[path], "run `reflexarc export schema` and commit"


@pytest.mark.parametrize(
    ("schema", "cards"),
    [
        ("hardware/cards/robot-card.schema.json", "hardware/cards/*.yaml"),
        ("policies/policy-card.schema.json", "policies/*/*/card.yaml"),
    ],
)
def test_every_card_satisfies_its_schema_and_a_spoilt_one_does_not(schema, cards):
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / schema).read_text()))
    paths = sorted(ROOT.glob(cards))
    assert paths
    for path in paths:
        card = yaml.safe_load(path.read_text())
        validator.validate(card)
        for spoilt in (
            {key: value for key, value in card.items() if key != "name"},
            {**card, "unknown": 1},
            {**card, "name": 3},
        ):
            with pytest.raises(jsonschema.ValidationError):
                validator.validate(spoilt)


def test_schemas_are_written_compared_and_written_again(tmp_path, capsys):
    assert cli.main(["export", "schema", "--root", str(tmp_path), "--check"]) == 1
    assert "to mend: run `reflexarc export schema` and commit the files" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["export", "schema", "--root", str(tmp_path)]) == 0
    assert "policies/policy-card.schema.json: written" in capsys.readouterr().out
    assert cli.main(["export", "schema", "--root", str(tmp_path), "--check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert set(document["files"].values()) == {"up to date"}
    (tmp_path / "policies" / "policy-card.schema.json").write_text("{}")
    assert cli.main(["export", "schema", "--root", str(tmp_path), "--check"]) == 1


def test_published_raptor_can_be_made_again(tmp_path, capsys):
    folder = tmp_path / "raptor"
    assert cli.main(["export", "raptor-published", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == dict(load_policy_card(ROOT / "policies" / "raptor" / "published").files)
    assert document["files"] == dict(load_policy_card(folder).files)


def test_raptor_as_c(tmp_path, capsys):
    assert cli.main(["export", "c", "--out", str(tmp_path / "c"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["flies"] == ["raptor_policy.h", "raptor_policy.c"]
    assert all(Path(path).is_file() for path in document["files"].values())
    assert cli.main(["export", "c", "--out", str(tmp_path / "c")]) == 0
    assert "gcc -std=c99 -O2 raptor_policy.c raptor_test.c -lm" in capsys.readouterr().out


def test_raptor_for_px4_and_numpy(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = str(ROOT / "policies" / "raptor" / "published")
    assert cli.main(["export", "px4", "--policy", published, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == (tmp_path / "policy.tar").stat().st_size
    assert cli.main(["export", "numpy", "--policy", published, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == "raptor-published.npz"
    with np.load(tmp_path / document["file"]) as arrays:
        assert {name: list(arrays[name].shape) for name in arrays.files} == document["arrays"]
    assert sum(math.prod(shape) for shape in document["arrays"].values()) == 2084
    assert cli.main(["export", "px4", "--out", "other.tar"]) == 0
    assert "raptor/policy.tar on the vehicle" in capsys.readouterr().out


def test_export_of_what_is_no_policy_is_bad_input(tmp_path, capsys):
    for words in (["c", "--out", str(tmp_path / "c")], ["px4"], ["numpy"]):
        assert cli.main(["export", *words, "--policy", str(tmp_path)]) == 2
        assert "card.yaml" in capsys.readouterr().err


def test_policies_go_by_the_names_that_eval_knows(tmp_path, capsys):
    out = tmp_path / "weights.npz"
    assert cli.main(["export", "numpy", "--policy", "raptor/published", "--out", str(out)]) == 0
    assert out.is_file()
    capsys.readouterr()
    assert cli.main(["export", "c", "--policy", "raptor/publishes", "--out", str(tmp_path / "c")]) == 2
    told = capsys.readouterr().err
    assert "there is no policy 'raptor/publishes'" in told
    assert "where     reflexarc export c" in told
    assert "did you mean 'raptor/published'?" in told
    assert not (tmp_path / "c").exists()
