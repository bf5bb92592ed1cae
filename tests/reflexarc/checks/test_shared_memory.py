"""Protects the verdicts on /dev/shm."""

import dataclasses
from pathlib import Path

import pytest

from reflexarc.checks import shared_memory
from reflexarc.checks.finding import Level


@pytest.mark.parametrize(
    ("free_mib", "level", "words"),
    [
        (8, Level.FAIL, "has 8 of 64 MiB free: not one segment of 32 MiB fits, nodes fail to start"),
        (60, Level.WARN, "has 60 of 64 MiB free: less than the 256 MiB"),
        (600, Level.OK, "has 600 of 64 MiB free"),
    ],
)
def test_size_of_shared_memory(free_mib, level, words):
    memory = shared_memory.SharedMemory(
        Path("/dev/shm"), is_writable=True, size_bytes=64 * 2**20, free_bytes=free_mib * 2**20
    )
    found = shared_memory.check_shared_memory(memory)[0]
    assert found.level is level
    assert words in found.sentence
    assert level is Level.OK or "--shm-size=1g" in found.mend


def test_shared_memory_that_is_not_mounted(tmp_path, only):
    memory = shared_memory.read_shared_memory(tmp_path / "none")
    found = only(shared_memory.check_shared_memory(memory), Level.FAIL)
    assert "is missing or may not be written" in found.sentence


def test_many_files_are_removed_by_pattern_only_while_no_node_runs():
    names = tuple(f"fastrtps_{i}" for i in range(9))
    memory = shared_memory.SharedMemory(
        Path("/dev/shm"), is_writable=True, size_bytes=2**30, free_bytes=2**30, leftovers=names
    )
    (command,) = shared_memory.check_shared_memory(memory)[1].commands
    assert command == "rm -f /dev/shm/fastrtps_* /dev/shm/sem.fastrtps_*"
    in_use = dataclasses.replace(memory, is_in_use=True)
    (command,) = shared_memory.check_shared_memory(in_use)[1].commands
    assert command.split()[2:] == [f"/dev/shm/{name}" for name in names]
