"""Processes of Reflexarc that outlived their system, and systems that run now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reflexarc.checks.finding import Finding, fail, ok, warn

_PACKAGE = "reflexarc_ros"


@dataclass(frozen=True)
class NodeProcess:
    """A process that runs code of `reflexarc_ros`."""

    # Its number.
    pid: int
    # Whether the process that started it has ended: init looks after it now.
    is_orphan: bool
    # One letter, as in ps: R, S, D, T (stopped), Z (ended, not collected).
    state: str
    # Its command line, shortened.
    command: str


def read_processes(proc: Path = Path("/proc"), *, but: int | None = None) -> list[NodeProcess]:
    """Find the processes that run nodes.

    Args:
        proc: where procfs is mounted.
        but: a process to leave out, with its ancestors; None: this one.

    Returns:
        The processes, by number.
    """
    found = []
    parents: dict[int, int] = {}
    inits = _inits(proc)
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            # The name in brackets may hold anything; what follows it does not.
            fields = (entry / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        if _runs_node(words):
            command = " ".join(words).strip()[:80]
            found.append(NodeProcess(int(entry.name), int(fields[1]) in inits, fields[0], command))
    ours, ancestor = set(), os.getpid() if but is None else but
    while ancestor:
        ours.add(ancestor)
        ancestor = parents.get(ancestor, 0)
    return sorted((p for p in found if p.pid not in ours), key=lambda p: p.pid)


def check_processes(processes: Sequence[NodeProcess]) -> list[Finding]:
    """Judge the processes that run nodes.

    Args:
        processes: those found.

    Returns:
        One finding each on orphans, on stopped ones and on systems that run; or that there are none.
    """
    orphans = [p for p in processes if p.is_orphan and p.state != "Z"]
    stopped = [p for p in processes if p.state in "Tt" and p not in orphans]
    running = [p for p in processes if p not in orphans and p not in stopped and p.state != "Z"]
    findings = []
    if orphans:
        findings.append(
            fail(
                "stale processes",
                f"{len(orphans)} node(s) outlived the system that started them: {_list(orphans)}. They"
                " publish beside the next system.",
                "end them",
                f"kill {' '.join(str(p.pid) for p in orphans)}",
            )
        )
    if stopped:
        findings.append(
            warn(
                "stale processes",
                f"{len(stopped)} node(s) are stopped: {_list(stopped)}. They keep their topics and answer"
                " nobody.",
                "let them go on, or end them",
                f"kill -CONT {' '.join(str(p.pid) for p in stopped)}",
            )
        )
    if running:
        findings.append(
            warn(
                "running systems",
                f"{len(running)} node(s) run now: {_list(running)}.",
                "stop that system first (q or Ctrl-C where it was started), or use another ROS_DOMAIN_ID",
            )
        )
    return findings or [ok("stale processes", "No node runs or was left behind.")]


def _runs_node(words: Sequence[str]) -> bool:
    if not Path(words[0]).name.startswith("python"):
        return f"/lib/{_PACKAGE}/" in words[0]
    if len(words) > 2 and words[1] == "-m":
        return words[2] == _PACKAGE or words[2].startswith(f"{_PACKAGE}.")
    return len(words) > 1 and f"/lib/{_PACKAGE}/" in words[1]


def _inits(proc: Path) -> set[int]:
    """The processes that take over orphans; in a container, process 1 may be our own command line."""
    inits = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text(encoding="utf-8").strip()
            command = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if (entry.name == "1" and "reflexarc" not in command) or name == "systemd":
            inits.add(int(entry.name))
    return inits


def _list(processes: Sequence[NodeProcess], count: int = 3) -> str:
    text = ", ".join(f"pid {p.pid} ({p.command})" for p in processes[:count])
    return text + (f" and {len(processes) - count} more" if len(processes) > count else "")
