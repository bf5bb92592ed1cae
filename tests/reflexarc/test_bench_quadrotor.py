"""Protects `reflexarc bench quadrotor`: its rows, its ratios, and what it says where l2f was not made."""

import json
from pathlib import Path

import numpy as np
import pytest

from hardware.errors import ConfigError
from reflexarc import cli
from reflexarc.benches import l2f, quadrotor
from reflexarc.benches.quadrotor import QuadrotorBench, measure

QUICK = ["bench", "quadrotor", "--vehicles", "64", "--repeats", "1", "--seconds", "0.02", "--json"]


def test_it_measures_simulator_and_policies(capsys):
    assert cli.main(QUICK) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {(row["name"], row["vehicles"]): row for row in document["rows"]}
    assert rows["ours", 64]["million_per_s"] > 0
    assert rows["foundation_policy", 1]["ratio"] == 1.0
    assert rows["numpy", 1]["ratio"] > 0
    assert rows["C99 export, gcc -O2", 1]["million_per_s"] > 0
    assert "foundation_policy's policy steps/s, numpy, 1 vehicle" in document["ratios"]
    if l2f.l2f_is_there():
        assert rows["l2f", 64]["ratio"] == 1.0
        assert "l2f's simulator steps/s, ours, 64 vehicles" in document["ratios"]
    else:
        assert any("make env NAME=l2f" in note for note in document["notes"])


@pytest.fixture
def answers(monkeypatch):
    """Rates of made-up processes: ours three and then five times as fast as theirs."""
    made = iter(
        [
            {"rates": [_rate("ours", 3e6), _rate("l2f", 1e6)], "notes": ["a note"]},
            {"rates": [_rate("ours", 5e6), _rate("l2f", 1e6)], "notes": ["a note"]},
        ]
    )
    monkeypatch.setattr(quadrotor, "_measure_once", lambda config: next(made))


def _rate(name, steps_per_s):
    return {"kind": "simulator", "name": name, "vehicles": 256, "steps_per_s": steps_per_s}


@pytest.mark.usefixtures("answers")
def test_ratios_are_medians_within_repeats():
    seen = []
    report = measure(QuadrotorBench(repeats=2), lambda done, total: seen.append((done, total)))
    assert report.ratios == {"l2f's simulator steps/s, ours, 256 vehicles": 4.0}
    assert report.rows[0]["million_per_s"] == 4.0
    assert report.rows[1]["ratio"] == 1.0
    assert "a note" in report.notes
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--vehicles", "1000"],
            "vehicles is (1000,)\n  where     bench quadrotor\n  expected  powers of two up to 8192",
        ),
        (["--repeats", "0"], "repeats is 0\n  where     bench quadrotor\n  expected  a positive number"),
        (["--seconds", "-1"], "seconds is -1.0"),
    ],
)
def test_bad_settings_are_bad_input(capsys, words, text):
    assert cli.main(["bench", "quadrotor", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_missing_l2f_says_how_to_make_it(monkeypatch):
    monkeypatch.setattr(l2f, "L2F_PYTHON", Path("/nowhere/.env-l2f/bin/python"))
    with pytest.raises(ConfigError, match=r"l2f is not there.*make env NAME=l2f"):
        l2f.l2f_steps_per_s(64, 0.1)


def test_a_failing_l2f_says_its_last_words(monkeypatch, tmp_path):
    python = tmp_path / ".env-l2f" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ImportError: no l2f' >&2\nexit 1\n")
    python.chmod(0o755)
    (tmp_path / ".env-l2f" / "setup-stamp").touch()
    monkeypatch.setattr(l2f, "L2F_PYTHON", python)
    with pytest.raises(ConfigError, match="l2f failed: ImportError: no l2f"):
        l2f.l2f_next_states([], np.zeros((0, 1, 17)), np.zeros((0, 1, 4)), dt_s=0.01)
