"""Protects what a user is told whose files cannot be written: before the work, and when it fails after it."""

import errno
import json
import os

import pytest

from reflexarc import cli
from reflexarc.commands import Command, Example
from reflexarc.export import CExport
from reflexarc.files import explain_os_error, require_writable


class Writes:
    """A verb that does nothing but what the test wants."""

    def __init__(self, error=None):
        self.error, self.runs = error, 0

    def __call__(self, config):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def verb(monkeypatch):
    def install(error=None):
        writes = Writes(error)
        examples = (Example("reflexarc writes", "writes"), Example("reflexarc writes --json", "writes"))
        command = Command("Writes.", config="reflexarc.export:CExport", run=writes, examples=examples)
        monkeypatch.setitem(cli.VERBS, "writes", command)
        return writes

    return install


@pytest.mark.parametrize("path", ["file/below", "file/deep/below"])
def test_a_place_below_a_file_is_refused_before_anything_runs(verb, tmp_path, capsys, path):
    (tmp_path / "file").write_text("kept")
    writes = verb()
    assert cli.main(["writes", "--out", str(tmp_path / path)]) == 2
    told = capsys.readouterr().err
    assert f"where     --out {tmp_path / path}" in told
    assert f"{tmp_path / 'file'} is no folder" in told
    assert writes.runs == 0


def test_a_place_where_the_kernel_takes_no_files_is_refused(verb, capsys):
    writes = verb()
    assert cli.main(["writes", "--out", "/proc/reflexarc/x.json", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert "nothing can be written there" in found["errors"][0]["what"]
    assert writes.runs == 0


def test_an_empty_path_is_refused():
    with pytest.raises(ValueError, match="--out: the path is empty"):
        require_writable(type("Settings", (), {"out": ""})())


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "there.json").write_text("kept")
    for path in (tmp_path, tmp_path / "there.json", tmp_path / "new" / "deep" / "file.json"):
        require_writable(CExport(out=path))
    assert [found.name for found in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_text() == "kept"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_block_and_exit_code_1(verb, tmp_path, capsys, number):
    verb(OSError(number, os.strerror(number)))
    assert cli.main(["writes", "--out", str(tmp_path), "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(
        f"error: {os.strerror(number)}\n  where     reflexarc writes --out {tmp_path}"
    )
    assert json.loads(shown.out)["exit_code"] == 1


def test_only_files_that_a_user_named_are_the_users_fault(verb, tmp_path, capsys):
    named = str(tmp_path / "folder" / "result.json")
    verb(IsADirectoryError(errno.EISDIR, "Is a directory", named))
    assert cli.main(["writes", "--out", str(tmp_path / "folder")]) == 1
    assert f"error: Is a directory\n  where     {named}" in capsys.readouterr().err
    ours = FileNotFoundError(errno.ENOENT, "No such file or directory", "/gone/ours.yaml")
    verb(ours)
    with pytest.raises(FileNotFoundError, match="ours"):
        cli.main(["writes", "--out", str(tmp_path)])
    assert explain_os_error(ours, ["writes", "--out", "/other"]) is None
    assert explain_os_error(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ["up"]) is None


def test_a_file_where_a_folder_is_wanted_is_refused_before_anything_is_computed(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert cli.main(["train", "raptor", "--out", str(tmp_path / "file"), "--updates", "1"]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'file'} is a file" in told
    assert "a folder, or a path where one can be made" in told
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("words", [["eval", "arm", "bc/pick_cube"], ["bench", "seams"]])
def test_a_folder_where_a_file_is_wanted_is_refused_before_anything_is_computed(tmp_path, capsys, words):
    assert cli.main([*words, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path} is a folder" in told
    assert str(tmp_path / "result.json") in told
    assert list(tmp_path.iterdir()) == []
