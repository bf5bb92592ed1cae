"""Protects `reflexarc train` and `reflexarc eval`: a folder comes out, numbers come out, demands decide."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from hardware.errors import ConfigError
from policies.card import load_policy_card
from reflexarc import cli

ROOT = Path(__file__).parents[2]

ROOT = Path(__file__).parents[2]
QUICK = ["--episodes", "2", "--steps", "2", "--rollouts", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A policy folder that was hardly trained at all."""
    folder = tmp_path_factory.mktemp("train") / "policy"
    assert cli.main(["train", "bc", "--out", str(folder), *QUICK]) == 0
    return folder


def test_training_writes_a_policy_folder(trained):
    card = load_policy_card(trained)
    assert (card.method, card.robot_kind) == ("bc", "arm")
    assert "reflexarc train bc --out policy --episodes 2" in (trained / "training.yaml").read_text()


def test_training_in_json_reports_the_history_and_keeps_its_words_to_standard_error(tmp_path, capsys):
    assert cli.main(["train", "bc", "--out", str(tmp_path / "p"), *QUICK, "--json"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["folder"] == str(tmp_path / "p")
    assert [e["step"] for e in document["history"]] == [2]
    assert document["best"] == document["history"][0]
    assert "step      2  training" in shown.err


def test_training_refuses_bad_settings(capsys, tmp_path):
    assert cli.main(["train", "bc", "--out", str(tmp_path), "--robot", "heron"]) == 2
    assert "error: there is no robot card 'heron'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_arm_is_counted_with_an_interval_and_a_demand_decides(trained, capsys, tmp_path):
    words = ["eval", "arm", str(trained), "--episodes", "2", "--duration-s", "0.4"]
    out = tmp_path / "arm.json"
    assert cli.main([*words, "--json", "--out", str(out), "--require", "0.5"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == document
    assert document["ok"] is False
    assert (document["successes"], document["episodes"]) == (0, 2)
    assert document["wilson"]["lower"] == 0.0
    assert 0.6 < document["wilson"]["upper"] < 0.7
    assert [row["seed"] for row in document["rows"]] == [0, 1]
    assert document["duration_s"] is None
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "0 of 2 succeeded (95 % Wilson interval 0.0% to 65.8%)" in text
    assert "seeds that failed: 0, 1" in text


def test_quadrotor_is_measured_beside_the_published_figures(capsys):
    words = ["eval", "quadrotor", "--periods-s", "5.5", "--episodes", "1"]
    assert cli.main([*words, "--json", "--require-hover-m", "0.05", "--require", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["airframe"] == "x500_real"
    assert 0 < document["hover_error_m"] < 0.05
    (eight,) = document["figure_eights"]
    assert eight["reference_rmse_m"] == 0.169
    assert eight["rmse_m"] == pytest.approx(0.169, rel=0.15)
    assert (document["successes"], document["episodes"]) == (1, 1)


def test_quadrotor_that_hovers_worse_than_demanded_exits_with_1(capsys):
    words = ["eval", "quadrotor", "--periods-s", "--episodes", "0", "--require-hover-m", "1e-6"]
    assert cli.main(words) == 1
    text = capsys.readouterr().out
    assert "hover, last 5 s" in text
    assert "recovered" not in text


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["arm", "none/such"], "there is no policy 'none/such'"),
        (["quadrotor", "--robot", "heron"], "there is no robot card 'heron'"),
        (["arm", "raptor/published"], "the policy was made for robots of kind 'quadrotor'"),
        (["arm", "raptor/published", "--episodes", "0"], "episodes is 0"),
        (["quadrotor", "--airframe", "brick"], "airframe"),
    ],
)
def test_bad_input(capsys, words, what):
    assert cli.main(["eval", *words, "--json"]) == 2
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert any(what in error["what"] + error["where"] for error in errors), errors


def test_policy_whose_weights_were_changed_does_not_fly(capsys, tmp_path):
    folder = tmp_path / "raptor"
    shutil.copytree(ROOT / "policies" / "raptor" / "published", folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert cli.main(["eval", "quadrotor", str(folder)]) == 2
    assert "the weights file 'model.safetensors' has SHA-256" in capsys.readouterr().err


def test_the_recorded_command_gives_the_same_settings_again():
    from policies.diffusion.config import DiffusionConfig
    from policies.provenance import command_line
    from reflexarc.commands import parse
    from reflexarc.train import COMMANDS

    wanted = DiffusionConfig(
        out="mine",
        inpaint=False,
        compile=True,
        encoder=(),
        cameras=("front", "wrist"),
        step_s=0.1,
        blend_s=0.0,
    )
    line = command_line(("reflexarc", "train", "diffusion"), wanted, paths=())
    found, _ = parse(("train", "diffusion"), COMMANDS["diffusion"], line.split()[3:])
    assert found == wanted


def from_file(method, *words):
    from reflexarc.commands import parse
    from reflexarc.train import COMMANDS

    return parse(("train", method), COMMANDS[method], words)[0]


# `reflexarc train raptor` takes no file.
RECORDS = sorted(
    path for of in ("bc", "diffusion", "lerobot") for path in ROOT.glob(f"policies/{of}/*/training.yaml")
)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.parent.name)
def test_a_committed_training_is_a_file_of_settings(path):
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = from_file(record["method"], "--config", str(path), "--out", "mine", "--seed", "7")
    assert (found.out, found.seed) == ("mine", 7)
    for name, value in record["config"].items():
        if name not in ("out", "seed"):
            told = getattr(found, name)
            assert (list(told) if isinstance(told, tuple) else told) == value, name


def test_a_file_of_settings_gives_what_the_command_line_does_not(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 30\nnoise-std-rad: 0.5\ninpaint: false\nencoder: []\ncameras: [front, wrist]\n")
    found = from_file("diffusion", "--steps", "40", "--config", str(path), "--out", "p")
    assert (found.steps, found.noise_std_rad, found.inpaint) == (40, 0.5, False)
    assert (found.encoder, found.cameras) == ((), ("front", "wrist"))


def test_a_value_that_the_command_line_refuses_is_traced_to_the_file(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("steps: many\n")
    with pytest.raises(SystemExit):
        from_file("diffusion", "--config", str(path), "--out", "p")
    said = capsys.readouterr().err
    assert "--steps" in said
    assert f"are those of {path}." in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read.*No such file"),
        ("a: [", "cannot be read"),
        ("- steps", "holds no settings"),
        ("stepz: 3", "there is no setting 'stepz'.*one like 'steps'"),
        ("inpaint: 3", "inpaint is 3.*true or false"),
        ("steps: {a: 1}", "steps is a mapping"),
        ("method: bc\nconfig: {steps: 3}", "it is a training of 'bc'.*reflexarc train bc --config"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        from_file("diffusion", "--config", str(path), "--out", "p")
