"""Protects the verdicts on cores, load and memory."""

import dataclasses

import pytest

from reflexarc.checks.finding import Level
from reflexarc.checks.machine import check_machine
from reflexarc.machine import Machine

MACHINE = Machine("processor", 4.0, 0.5, 16 * 2**30, 12 * 2**30, "6.1", "3.12.1")


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"cores": 1.0}, Level.WARN, "This process may use 1 core(s)"),
        ({"load_1min": 9.0}, Level.WARN, "9.0 processes want to run on 4 core(s)"),
        ({"memory_available_bytes": 2**29}, Level.FAIL, "0.5 of 16.0 GiB are free: a system with its twin"),
        ({"memory_available_bytes": 2**31}, Level.WARN, "2.0 of 16.0 GiB are free: enough to run"),
    ],
)
def test_machine(change, level, words, only):
    assert {f.level for f in check_machine(MACHINE)} == {Level.OK}
    found = only(check_machine(dataclasses.replace(MACHINE, **change)), level)
    assert words in found.sentence
    assert found.mend
