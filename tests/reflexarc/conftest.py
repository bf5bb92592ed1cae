"""Runs the command line in a process of its own, as a user does, and seeds faults."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from reflexarc_ros.domain import OwnDomain

from reflexarc.checks.finding import Finding, Level

ROOT = Path(__file__).parents[2]
# The helpers beside these tests are importable, whatever the import mode.
sys.path.insert(0, str(Path(__file__).parent))

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_cli() -> RunCli:
    def run(
        *words: str, env: Mapping[str, str | None] | None = None, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        given = {**os.environ, "COLUMNS": "110", **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "reflexarc", *words],
            cwd=ROOT,
            env={name: value for name, value in given.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def only() -> Callable[[Sequence[Finding], Level], Finding]:
    """The one finding of a level."""

    def pick(findings: Sequence[Finding], level: Level) -> Finding:
        found = [finding for finding in findings if finding.level is level]
        assert len(found) == 1, findings
        return found[0]

    return pick


@pytest.fixture
def robots(tmp_path: Path) -> Path:
    """A folder with one robot card, to spoil."""
    folder = tmp_path / "cards"
    folder.mkdir()
    shutil.copy(ROOT / "hardware" / "cards" / "quadrotor_twin.yaml", folder / "quadrotor_twin.yaml")
    return folder


@pytest.fixture
def policy_root(tmp_path: Path) -> Path:
    """A folder with one policy folder, to spoil."""
    published = ROOT / "policies" / "raptor" / "published"
    shutil.copytree(published, tmp_path / "policies" / "raptor" / "published")
    return tmp_path / "policies"


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Any], object]], None]:
    """Changes a YAML file."""

    def change_file(path: Path, change: Callable[[Any], object]) -> None:
        data = yaml.safe_load(path.read_text())
        change(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    return change_file


@pytest.fixture
def hold() -> Iterator[Callable[..., socket.socket]]:
    """Takes UDP ports until the test ends."""
    with contextlib.ExitStack() as stack:

        def take(port: int, *, shared: bool = False) -> socket.socket:
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            if shared:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", port))
            return taken

        yield take


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain that no other test on this machine uses."""
    with OwnDomain() as claimed:
        yield claimed.id
