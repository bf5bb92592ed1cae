"""Protects what is printed where: results on standard output, progress on standard error, clear errors."""

import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hardware.command import CommandKind
from hardware.errors import ConfigError, ConfigErrors
from reflexarc import cli
from reflexarc.commands import Command, Example
from reflexarc.output import Output, error_block, shows_colour, to_json

ROOT = Path(__file__).parents[2]
ERROR = ConfigError("unit 'inch'", where="card.yaml", expected="m", mend="convert it")


def test_error_block():
    assert error_block(ERROR, colour=False) == (
        "error: unit 'inch'\n  where     card.yaml\n  expected  m\n  to mend   convert it"
    )
    assert error_block(ERROR, colour=True).startswith("\033[1;31merror:\033[0m \033[1munit 'inch'\033[0m\n")
    other = ConfigError("no unit", where="card.yaml", expected="m", mend="give it")
    several = ConfigErrors([ERROR, other], where="card.yaml")
    assert error_block(several, colour=False) == "\n".join(
        error_block(one, colour=False) for one in (ERROR, other)
    )
    alike = ConfigErrors(
        [ERROR, ConfigError("unit 'foot'", where="card.yaml", expected="m", mend="convert it"), other],
        where="card.yaml",
    )
    assert error_block(alike, colour=False) == (
        "error: unit 'inch'\nerror: unit 'foot'\n  where     card.yaml\n"
        "  expected  m\n  to mend   convert it\n" + error_block(other, colour=False)
    )


def test_colour_only_for_terminals_whose_user_wants_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert shows_colour(Terminal())
    assert not shows_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not shows_colour(Terminal())


def test_json_of_everything_that_results_hold():
    @dataclass(frozen=True)
    class Row:
        kind: CommandKind
        path: Path
        values: np.ndarray

    document = {"row": Row(CommandKind.MOTOR, Path("a/b"), np.array([1.0, np.nan])), "n": (np.int64(3), None)}
    assert json.loads(to_json(document)) == {
        "row": {"kind": "motor", "path": "a/b", "values": [1.0, None]},
        "n": [3, None],
    }


def test_result_is_for_machines_alone(capsys):
    Output().result({"a": 1})
    assert capsys.readouterr().out == ""
    output = Output(json=True)
    output.result({"a": 1})
    output.console.print("for people")
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"a": 1}
    assert shown.err == "for people\n"


def test_progress_without_a_terminal_is_a_line_now_and_then_beside_json(capsys, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr("reflexarc.output.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    output = Output(json=True)
    with output.progress("working") as progress:
        progress(1, 9)
        output.log("a [line]")
        for done in range(2, 8):
            now_s[0] += 4.0
            progress(done, 9)
        output.result({"done": True})
    found = capsys.readouterr()
    assert found.err.splitlines() == ["a [line]", "working: 4 of 9", "working: 7 of 9"]
    assert json.loads(found.out) == {"done": True}


def test_a_table_in_a_file_is_not_cut(capsys, monkeypatch):
    from rich.table import Table

    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(box=None)
    row = [f"{'long ' * 4}{number}" for number in range(6)]
    for word in row:
        table.add_column(word)
    table.add_row(*row)
    Output().console.print(table)
    assert [len(line) > 120 for line in capsys.readouterr().out.splitlines()] == [True, True]


PROGRAM = """
from reflexarc.output import Output
output = Output(json=True)
with output.progress("working hard") as progress:
    progress(1, 2)
    output.log("a [line]")
output.result({"done": True})
"""


def test_progress_in_a_terminal_shows_a_bar_beside_clean_json():
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=60)
    shown = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out) == {"done": True}
    assert b"working hard" in shown
    assert b"a [line]" in shown


@dataclass(frozen=True)
class FakeDemo:
    """Stands for the demo's settings."""

    # Where the report goes.
    out: Path


def run_fake_demo(config):
    sys.stdout.write("words for people\n")
    config.out.mkdir()
    (config.out / "summary.json").write_text('{"arm": {"successes": 9}}')
    return 1


def test_demo_in_json_prints_its_summary_alone(monkeypatch, capsys, tmp_path):
    command = Command("Demo.", f"{__name__}:FakeDemo", run_fake_demo, (Example("a", "b"), Example("c", "d")))
    monkeypatch.setitem(cli.VERBS, "demo", command)
    monkeypatch.setattr("reflexarc.commands.resolve", lambda target: FakeDemo)
    assert cli.main(["demo", "--out", str(tmp_path / "r"), "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "ok": False,
        "exit_code": 1,
        "out": str(tmp_path / "r"),
        "summary": {"arm": {"successes": 9}},
    }
    assert shown.err == "words for people\n"
