"""Protects a quiet Ctrl-C: a signal that comes while a node still imports ends it with exit code 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A node whose import says that it has begun, and then takes as long as torch does on a bad day.
SLOW = """
import time
print("importing", flush=True)
time.sleep(60)
"""
QUICK = """
import sys
def main():
    print(sys.argv)
    return 3
"""


@pytest.fixture
def start(tmp_path: Path) -> list[str]:
    """The command line that starts a node, with a stand-in for robot_node in front of ours."""
    line = (
        "import runpy, sys, reflexarc_ros; reflexarc_ros.__path__.insert(0, sys.argv.pop(1));"
        "runpy.run_module('reflexarc_ros.start', run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", line, str(tmp_path)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_importing(number: int, start: list[str], tmp_path: Path) -> None:
    (tmp_path / "robot_node.py").write_text(SLOW)
    process = subprocess.Popen(
        [*start, "robot_node"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 0
    assert errors == ""


def test_node_gets_its_arguments_and_gives_its_exit_code(start: list[str], tmp_path: Path) -> None:
    (tmp_path / "gate_node.py").write_text(QUICK)
    done = subprocess.run([*start, "gate_node", "--ros-args", "-p", "a:=b"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout == "['gate_node', '--ros-args', '-p', 'a:=b']\n"


@pytest.mark.parametrize("words", [[], ["no_such_node"]])
def test_unknown_node(words: list[str], start: list[str]) -> None:
    done = subprocess.run([*start, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: python -m reflexarc_ros.start {robot_node,gate_node," in done.stderr
