"""Protects `reflexarc eval raptor`: its objects for machines, tables, plots, demands and refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from policies.raptor.policy import PUBLISHED
from reflexarc import cli
from sim.evaluation.fleet import evaluation, tables

# A fleet so small that it says nothing, and flies in seconds.
SMALL = ["eval", "raptor", "--airframes", "8", "--seed", "3"]
METRICS = (
    *("hover_crash", "hover_rmse_m", "figure_eight_10s_rmse_m", "figure_eight_5_5s_rmse_m"),
    *("figure_eight_crash", "delay_10ms_crash"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the published policy under another name."""
    path = tmp_path_factory.mktemp("policies") / "mine"
    shutil.copytree(PUBLISHED, path)
    return path


@pytest.fixture(scope="module")
def compared(folder, tmp_path_factory):
    """The comparison of the published policy with a copy of itself: its document, its file and its plots."""
    out = tmp_path_factory.mktemp("out")
    words = [*SMALL, "--policy", str(folder), "--only", "comparison", "recovery", "--plots", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "COMPARISON", tuple(replace(c, loops=1) for c in evaluation.COMPARISON))
        assert cli.main([*words, "--out", str(out / "result.json")]) == 0
    return json.loads((out / "result.json").read_text(encoding="utf-8")), out


def test_one_object_a_policy_with_its_metrics_and_intervals(compared):
    document, _ = compared
    for name in ("published", "mine"):
        found = document[name]
        assert found["policy"] == "raptor-published"
        for metric in METRICS:
            interval = found["intervals"][metric]
            assert interval["lower"] <= found[metric] <= interval["upper"], metric
        assert 0.0 <= found["hover_crash"] <= 1.0
        assert [row["name"] for row in found["comparison"]][-1] == "5.5 s, actions 10 ms late"
    # A copy flies like the original, on the same airframes with the same chances.
    assert document["published"] == document["mine"]
    assert (document["airframes"], document["seed"], document["sensitivity_airframes"]) == (8, 3, 8)


def test_published_policy_stands_beside_the_specs(compared):
    document, _ = compared
    tables = {row["table"] for row in document["specs"]}
    assert tables == {"with clipping", "recovery", "recovery with clipping"}
    assert all(row["agrees"] for row in document["specs"] if row["quantity"] == "came back")


def test_plots_are_drawn(compared):
    document, out = compared
    assert document["plots"] == [
        *("eval_raptor_rmse.png", "eval_raptor_torque_to_inertia.png", "eval_raptor_recovery.png")
    ]
    for name in document["plots"]:
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_the_rest_is_printed_as_tables_and_as_json(capsys):
    words = [*SMALL, "--policy", "raptor/published", "--only", "hover", "probe"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    for part in ("published: hover", "imitation init", "thrust-to-weight", "figures of"):
        assert part in text
    assert cli.main([*SMALL, "--policy", "raptor/published", "--only", "hover", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["published"]["hover"]][0] == "init as in code"
    assert document["published"]["hover_crash"] is None
    assert document["published"]["probe"] is None


def test_delays_are_tabled_and_drawn(capsys, tmp_path, monkeypatch):
    chosen = ("none", "action delay 10 ms", "action delay 10 ms, 400 Hz executor", "noise, large")
    few = tuple(replace(c, loops=1, hover_s=2.0) for c in tables.SENSITIVITY if c.name in chosen)
    for module in (evaluation, tables):
        monkeypatch.setattr(module, "SENSITIVITY", few)
    words = ["eval", "raptor", "--airframes", "2", "--policy", "raptor/published", "--only", "sensitivity"]
    assert cli.main([*words, "--json", "--plots", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plots"] == ["eval_raptor_delay.png"]
    rows = document["published"]["sensitivity"]
    assert rows[0]["name"] == "none"
    assert rows[0]["figure_eight"]["crash_count"] in (0, 1, 2)
    assert [row["name"] for row in rows] == list(chosen)
    assert len(document["published"]["sensitivity_with_clipping"]) == 4
    assert {row["row"] for row in document["specs"]} == set(chosen)
    assert (tmp_path / "eval_raptor_delay.png").stat().st_size > 10_000


def test_a_policy_that_does_not_fly_is_not_that_of_the_specs(monkeypatch, capsys):
    from policies.raptor.fleet import RaptorFleet

    act = RaptorFleet.act
    monkeypatch.setattr(RaptorFleet, "act", lambda self, seen, now_ns: 0.0 * act(self, seen, now_ns) - 1.0)
    words = [*SMALL, "--policy", "raptor/published", "--only", "recovery", "--require-specs", "--json"]
    assert cli.main(words) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--policy", "none/such"], "there is no policy 'none/such'"),
        (["--seed", "-1"], "seed is -1"),
        (["--policy", "bc/pick_cube"], "the card gives no SHA-256 for example.safetensors"),
        (["--airframes", "0"], "airframes is 0"),
        (["--airframes", "4", "--sensitivity-airframes", "0"], "sensitivity_airframes 0"),
    ],
)
def test_bad_input(capsys, words, what):
    assert cli.main(["eval", "raptor", *words, "--json"]) == 2
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert any(what in error["what"] + error["where"] for error in errors), errors


def test_policy_whose_weights_were_changed_does_not_fly(capsys, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(PUBLISHED, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert cli.main(["eval", "raptor", "--policy", str(folder)]) == 2
    assert "has SHA-256" in capsys.readouterr().err
