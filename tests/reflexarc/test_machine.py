"""Protects the description of the machine: cores and memory are those of the container, not of the host."""

import os

from reflexarc.machine import describe_machine


def make_host(root, *, cpu="max 100000", memory="max"):
    proc, sys = root / "proc", root / "sys"
    (sys / "fs" / "cgroup").mkdir(parents=True)
    proc.mkdir()
    (proc / "loadavg").write_text("1.50 1.0 1.0 1/2 3\n")
    (proc / "meminfo").write_text("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n")
    (proc / "cpuinfo").write_text("processor : 0\nmodel name : A processor\n")
    (sys / "fs" / "cgroup" / "cpu.max").write_text(f"{cpu}\n")
    (sys / "fs" / "cgroup" / "memory.max").write_text(f"{memory}\n")
    (sys / "fs" / "cgroup" / "memory.current").write_text(f"{2**30}\n")
    return proc, sys


def test_machine_without_limits(tmp_path):
    machine = describe_machine(*make_host(tmp_path))
    assert machine.processor == "A processor"
    assert machine.load_1min == 1.5
    assert machine.cores == len(os.sched_getaffinity(0))
    assert (machine.memory_bytes, machine.memory_available_bytes) == (8 * 2**30, 4 * 2**30)
    assert machine.line.startswith("A processor, ")
    assert "load 1.50, 4.0 of 8.0 GiB free" in machine.line


def test_container_with_a_quota(tmp_path):
    machine = describe_machine(*make_host(tmp_path, cpu="50000 100000", memory=str(3 * 2**30)))
    assert machine.cores == 0.5
    assert (machine.memory_bytes, machine.memory_available_bytes) == (3 * 2**30, 2 * 2**30)


def test_this_machine():
    machine = describe_machine()
    assert machine.cores > 0
    assert 0 < machine.memory_available_bytes <= machine.memory_bytes
