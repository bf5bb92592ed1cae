"""The machine that a measurement was made on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

PROC, SYS = Path("/proc"), Path("/sys")


@dataclass(frozen=True)
class Machine:
    """What a reader must know to judge a measurement."""

    # Processor model as the kernel names it.
    processor: str
    # Cores that this process may use: affinity and container quota.
    cores: float
    # Processes that wanted to run, mean of the last minute.
    load_1min: float
    # Memory of the machine or of the container, and what of it is free for new programs, in bytes.
    memory_bytes: int
    memory_available_bytes: int
    # Kernel release.
    kernel: str
    # Python version.
    python: str

    @property
    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.processor}, {self.cores:g} core(s), load {self.load_1min:.2f},"
            f" {self.memory_available_bytes / 2**30:.1f} of {self.memory_bytes / 2**30:.1f} GiB free,"
            f" Linux {self.kernel}, Python {self.python}"
        )


def describe_machine(proc: Path = PROC, sys: Path = SYS) -> Machine:
    """Look at this machine.

    Args:
        proc: where procfs is mounted.
        sys: where sysfs is mounted.

    Returns:
        Its description.
    """
    memory, available = _memory(proc)
    limit, used = _number(sys / "fs/cgroup/memory.max"), _number(sys / "fs/cgroup/memory.current")
    if limit is not None and limit < memory:
        memory = limit
        available = min(available, limit - (used or 0))
    return Machine(
        processor=_processor(proc),
        cores=_cores(sys),
        load_1min=float(_read(proc / "loadavg", "0").split()[0]),
        memory_bytes=memory,
        memory_available_bytes=available,
        kernel=platform.release(),
        python=platform.python_version(),
    )


def _cores(sys: Path) -> float:
    cores = float(len(os.sched_getaffinity(0)))
    quota, _, period = _read(sys / "fs/cgroup/cpu.max", "max 100000").partition(" ")
    if quota != "max":
        cores = min(cores, float(quota) / float(period))
    return cores


def _memory(proc: Path) -> tuple[int, int]:
    sizes = {}
    for line in _read(proc / "meminfo", "").splitlines():
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)


def _processor(proc: Path) -> str:
    for line in _read(proc / "cpuinfo", "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def _number(path: Path) -> int | None:
    text = _read(path, "max").strip()
    return int(text) if text.isdigit() else None


def _read(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return default
