"""Protects `reflexarc bench`: reports with ratios and the machine, as a table, as JSON and in a file."""

import importlib
import json
import re
import shutil

import pytest

from policies.raptor import onboard_build
from reflexarc import cli
from reflexarc.bench import BENCHES, COMMANDS
from reflexarc.benches import onboard
from reflexarc.benches.report import BenchReport, Column, show_report
from reflexarc.machine import Machine
from reflexarc.output import Output

MACHINE = Machine("processor", 2.0, 0.5, 2**34, 2**33, "6.1", "3.12.1")


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_exists_and_takes_a_file(name):
    module = importlib.import_module(BENCHES[name].module)
    assert callable(getattr(module, BENCHES[name].function))
    assert getattr(module, BENCHES[name].config)().out is None
    assert len(COMMANDS[name].examples) >= 2


def test_raptor_in_json_and_in_a_file(capsys, tmp_path):
    out = tmp_path / "new" / "raptor.json"
    words = ["bench", "raptor", "--steps", "20", "--repeats", "3", "--json", "--out", str(out)]
    assert cli.main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == document
    assert document["schema"] == "reflexarc/bench-report/1"
    assert document["settings"] == {"steps": 20, "repeats": 3}
    assert document["machine"]["cores"] > 0
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["foundation_policy"]["ratio"] == 1.0
    assert set(document["ratios"]) == {
        f"foundation_policy's time, {n}" for n in rows if n != "foundation_policy"
    }
    assert all(row["us_per_step"] > 0 for row in rows.values())


def test_raptor_as_a_table(capsys):
    assert cli.main(["bench", "raptor", "--steps", "20", "--repeats", "3"]) == 0
    text = capsys.readouterr().out
    assert "RAPTOR, one step: our back ends beside foundation_policy" in text
    assert re.search(r"\d\.\d\d × foundation_policy's time, numpy", text)
    assert "core(s), load" in text


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler: apt install build-essential")
def test_onboard_in_json(capsys, monkeypatch):
    # Every other build takes seconds more and shows nothing more.
    monkeypatch.setattr(onboard, "_HOST_OPTIONS", (("-O2",),))
    monkeypatch.setattr(onboard, "_CORTEX_OPTIONS", (("-Os",),))
    assert cli.main(["bench", "onboard", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["host, gcc -O2"]["unit"] == "ns"
    missing = onboard_build.missing_arm_packages()
    if missing:
        assert f"Not measured on a Cortex-M4F: this machine lacks {missing}." in document["notes"]
        return
    assert rows["M4F, -Os"]["unit"] == "instructions"
    assert len(document["ratios"]) == 2
    assert all(0.1 < ratio <= 1.0 for ratio in document["ratios"].values())


def test_bad_counts_are_bad_input(capsys):
    assert cli.main(["bench", "raptor", "--repeats", "0"]) == 2
    assert "error: repeats is 0" in capsys.readouterr().err


def test_report_shows_missing_numbers_and_brackets_as_they_are(capsys):
    report = BenchReport(
        name="x",
        title="A [title]",
        columns=(Column("name", "name"), Column("ms", "ms [p50]", 1)),
        rows=({"name": "a [b]", "ms": 1.25}, {"name": "c", "ms": None}),
        ratios={"c's time, a": 0.5},
        machine=MACHINE,
        notes=("note [1]",),
    )
    show_report(report, Output())
    text = capsys.readouterr().out
    for words in (
        "A [title]",
        "ms [p50]",
        "a [b]",
        "1.2",
        " - ",
        "0.50 × c's time, a",
        "note [1]",
        "2 core(s)",
    ):
        assert words in text


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    report = BenchReport("x", "t", (), ({"ms": float("nan"), "s": float("inf")},), {}, MACHINE)
    show_report(report, Output(json=True))
    assert json.loads(capsys.readouterr().out)["rows"] == [{"ms": None, "s": None}]
