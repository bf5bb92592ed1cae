"""Protects `reflexarc bench diffusion-options`: one choice changed a row, the same starts, honest counts."""

import json

import pytest

from hardware.errors import ConfigError
from reflexarc.benches import diffusion_options
from reflexarc.cli import main

QUICK = ["--seeds", "1", "--rollouts", "2", "--episodes", "4", "--steps", "4"]


def test_every_row_changes_what_it_says_and_the_report_is_kept(tmp_path, capsys, monkeypatch):
    trained, counted = [], []
    fit, count = diffusion_options._fit, diffusion_options._count

    def fitting(config, demonstrations, tick):
        trained.append((config.encoder, config.average_decay, config.seed))
        return fit(config, demonstrations, tick)

    def counting(config, network):
        counted.append(len(network.table.timesteps))
        return count(config, network)

    monkeypatch.setattr(diffusion_options, "_fit", fitting)
    monkeypatch.setattr(diffusion_options, "_count", counting)
    choices = ["--choices", "encoder", "average", "2 steps"]
    out = tmp_path / "options.json"
    assert main(["bench", "diffusion-options", *choices, *QUICK, "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(out.read_text())
    assert [row["choice"] for row in report["rows"]] == ["as usual", "encoder", "average", "2 steps"]
    assert trained == [((256, 256), 0.998, 0), ((), 0.998, 0), ((256, 256), 0.0, 0)]
    # The usual weights are used twice: with ten steps, and with two.
    assert counted == [10, 2, 10, 10]
    for row in report["rows"]:
        assert row["rate"] == int(row["seeds"]) / 2
        assert row["lower"] <= row["rate"] <= row["upper"]


def test_choices_about_images_are_made_where_there_are_cameras(tmp_path, capsys, monkeypatch):
    trained = []
    fit = diffusion_options._fit

    def fitting(config, demonstrations, tick):
        trained.append(
            (config.cameras, config.crop, config.noise_draws, config.image_stages, config.observation)
        )
        return fit(config, demonstrations, tick)

    monkeypatch.setattr(diffusion_options, "_fit", fitting)
    assert diffusion_options.OptionsBench(cameras=("front",)).changed() == ("crop", "one draw", "stages")
    quick = ["--seeds", "1", "--rollouts", "1", "--episodes", "2", "--steps", "1"]
    words = ["--cameras", "wrist", "--choices", "crop", "one draw"]
    assert main(["bench", "diffusion-options", *words, *quick, "--json"]) == 0
    assert [row["choice"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["as usual", *words[3:]]
    told = ("joint_position", "joint_velocity")
    assert trained == [
        (("wrist",), 0.9, 4, 2, told),
        (("wrist",), 1.0, 4, 2, told),
        (("wrist",), 0.9, 1, 2, told),
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"choices": ("luck",)}, "luck"),
        ({"choices": ("encoder",), "cameras": ("front",)}, "encoder"),
        ({"seeds": 0}, "seeds 0"),
        ({"episodes": 1}, "episodes 1"),
    ],
)
def test_what_measures_nothing_is_refused(wrong, told):
    with pytest.raises(ConfigError, match=told):
        diffusion_options.OptionsBench(**wrong)
