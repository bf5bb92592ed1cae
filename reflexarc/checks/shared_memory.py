"""Shared memory, through which the middleware moves messages on one machine."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reflexarc.checks.finding import Finding, fail, ok, warn

ROOT = Path("/dev/shm")
# A participant of the Fast DDS profile asks for a segment of 32 MiB; a system has seven of them.
SEGMENT_BYTES = 32 * 2**20
WANTED_BYTES = 8 * SEGMENT_BYTES

_FAST_DDS = re.compile(r"^(?:sem\.)?(fastrtps_[A-Za-z0-9]+?)(?:_el|_sl|_mutex)?$")


@dataclass(frozen=True)
class SharedMemory:
    """What is in the shared-memory file system."""

    # Where it is mounted.
    root: Path
    # Whether this user may create files there.
    is_writable: bool
    # Its size and what of it is free, in bytes.
    size_bytes: int
    free_bytes: int
    # Files of Fast DDS that no running process holds, of users that this one may judge.
    leftovers: tuple[str, ...] = ()
    # Their size, in bytes.
    leftover_bytes: int = 0
    # Whether running processes hold other files of Fast DDS there.
    is_in_use: bool = False


def read_shared_memory(root: Path = ROOT, proc: Path = Path("/proc")) -> SharedMemory:
    """Look at the shared-memory file system.

    Args:
        root: where it is mounted.
        proc: where procfs is mounted.

    Returns:
        What was found; sizes are 0 where it is not there.
    """
    try:
        usage = os.statvfs(root)
    except OSError:
        return SharedMemory(root, is_writable=False, size_bytes=0, free_bytes=0)
    # First the files, then who holds them, so that a process that starts meanwhile is not accused.
    files = [name for name in os.listdir(root) if _FAST_DDS.match(name) and _is_ours(root / name)]
    held = _held_names(root, proc)
    leftovers = [name for name in files if _base(name) not in held and (root / name).exists()]
    return SharedMemory(
        root=root,
        is_writable=os.access(root, os.W_OK),
        size_bytes=usage.f_blocks * usage.f_frsize,
        free_bytes=usage.f_bavail * usage.f_frsize,
        leftovers=tuple(sorted(leftovers)),
        leftover_bytes=sum(_size(root / name) for name in leftovers),
        is_in_use=len(leftovers) < len(files),
    )


def check_shared_memory(memory: SharedMemory) -> list[Finding]:
    """Judge the shared-memory file system.

    Args:
        memory: what was found.

    Returns:
        Findings on its size and on files that killed processes left.
    """
    return [_size_finding(memory), _leftovers_finding(memory)]


def _size_finding(memory: SharedMemory) -> Finding:
    where = str(memory.root)
    if not memory.is_writable:
        return fail(
            "shared memory",
            f"{where} is missing or may not be written: nodes on this machine cannot exchange messages"
            " through it.",
            f"mount a tmpfs on {where} that every user may write (mode 1777)",
            f"sudo mount -t tmpfs -o mode=1777,size=1g tmpfs {where}",
        )
    free, size = memory.free_bytes / 2**20, memory.size_bytes / 2**20
    sentence = f"{where} has {free:.0f} of {size:.0f} MiB free"
    mend = f"make it larger (container: --shm-size=1g) or remove what others left in {where}"
    command = f"sudo mount -o remount,size=1g {where}"
    if memory.free_bytes < SEGMENT_BYTES:
        return fail(
            "shared memory",
            f"{sentence}: not one segment of {SEGMENT_BYTES / 2**20:.0f} MiB fits, nodes fail to start.",
            mend,
            command,
        )
    if memory.free_bytes < WANTED_BYTES:
        return warn(
            "shared memory",
            f"{sentence}: less than the {WANTED_BYTES / 2**20:.0f} MiB of a system that moves images.",
            mend,
            command,
        )
    return ok("shared memory", f"{sentence}.")


def _leftovers_finding(memory: SharedMemory) -> Finding:
    if memory.leftovers:
        return warn(
            "leftover files",
            f"{memory.root} holds {len(memory.leftovers)} Fast DDS file(s)"
            f" ({memory.leftover_bytes / 2**20:.1f} MiB) of processes that were killed, such as"
            f" {memory.leftovers[0]!r}.",
            "remove them; no running process holds them",
            _removal(memory),
        )
    return ok("leftover files", f"No killed process left a Fast DDS file in {memory.root}.")


def _removal(memory: SharedMemory) -> str:
    if memory.is_in_use or len(memory.leftovers) <= 4:
        return "rm -f " + " ".join(str(memory.root / name) for name in memory.leftovers)
    return f"rm -f {memory.root}/fastrtps_* {memory.root}/sem.fastrtps_*"


def _base(name: str) -> str:
    found = _FAST_DDS.match(name)
    return found[1] if found else name


def _held_names(root: Path, proc: Path) -> Collection[str]:
    """The base names of the files that some process has mapped or open."""
    held: set[str] = set()
    prefix = f"{root}/"
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            for line in (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
                if prefix in line:
                    held.add(_base(line[line.index(prefix) + len(prefix) :].split(" ")[0]))
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith(prefix):
                    held.add(_base(target[len(prefix) :].split(" ")[0]))
        except OSError:
            # It ended, or belongs to another user, whose files were left out already.
            continue
    return held


def _is_ours(path: Path) -> bool:
    try:
        return os.geteuid() in (0, path.stat().st_uid)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
