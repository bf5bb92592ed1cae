"""Protects the Rerun recording: all that was measured, asked for and sent is in it, at its own time."""

from __future__ import annotations

import pytest
from rerun.chunk import RrdReader
from sets import MS, record

from hardware.errors import ConfigError
from recording.rerun_file import write_rerun


def test_everything_is_in_the_file_at_the_time_of_its_capture(tmp_path):
    shown = write_rerun(record(tmp_path / "e.mcap"), tmp_path / "e.rrd")
    assert shown == [
        "joint_position/b", "joint_position/a", "joint_velocity/b", "joint_velocity/a",
        "sent/b", "sent/a", "cameras/front", "events",
    ]  # fmt: skip
    chunks = list(RrdReader(tmp_path / "e.rrd").stream())
    assert {chunk.entity_path.lstrip("/") for chunk in chunks} >= set(shown)
    (table,) = (chunk.to_record_batch() for chunk in chunks if chunk.entity_path == "/joint_position/a")
    values = [row[0] for row in table.column("Scalars:scalars").to_pylist()]
    assert values == [float(at) for at in range(0, 1000, 10)]
    stamps = [int(stamp.value) for stamp in table.column("capture")]
    assert stamps == [(1_000 + at) * MS for at in range(0, 1000, 10)]


def test_nothing_is_overwritten(tmp_path):
    episode = record(tmp_path / "e.mcap")
    (tmp_path / "e.rrd").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="the file exists"):
        write_rerun(episode, tmp_path / "e.rrd")
    assert (tmp_path / "e.rrd").read_bytes() == b"mine"
