"""Cores, load and memory."""

from __future__ import annotations

from reflexarc.checks.finding import Finding, fail, ok, warn
from reflexarc.machine import Machine

# A system is five processes, of which two have deadlines.
CORES_WANTED = 2
# One system with its twin and renderer; torch alone takes about 0.5 GiB.
MEMORY_NEEDED_BYTES = 1 * 2**30
MEMORY_WANTED_BYTES = 3 * 2**30


def check_machine(machine: Machine) -> list[Finding]:
    """Judge what the machine has.

    Args:
        machine: its description.

    Returns:
        One finding each on cores, load and memory.
    """
    return [_cores(machine), _load(machine), _memory(machine)]


def _cores(machine: Machine) -> Finding:
    if machine.cores < CORES_WANTED:
        return warn(
            "cores",
            f"This process may use {machine.cores:g} core(s); the gate, the policy and the robot share"
            " them and will miss deadlines in real time.",
            f"give it {CORES_WANTED} or more (container: --cpus={CORES_WANTED}), or use pace:=lockstep",
        )
    return ok("cores", f"{machine.cores:g} cores ({machine.processor}).")


def _load(machine: Machine) -> Finding:
    if machine.load_1min > machine.cores:
        return warn(
            "load",
            f"{machine.load_1min:.1f} processes want to run on {machine.cores:g} core(s): latencies"
            " measured now are those of a busy machine.",
            "stop other work before a bench or a flight in real time",
        )
    return ok("load", f"{machine.load_1min:.2f} on {machine.cores:g} core(s).")


def _memory(machine: Machine) -> Finding:
    free = machine.memory_available_bytes
    sentence = f"{free / 2**30:.1f} of {machine.memory_bytes / 2**30:.1f} GiB are free"
    if free < MEMORY_NEEDED_BYTES:
        return fail(
            "memory",
            f"{sentence}: a system with its twin does not fit.",
            f"stop other programs; {MEMORY_WANTED_BYTES / 2**30:.0f} GiB free are comfortable",
        )
    if free < MEMORY_WANTED_BYTES:
        return warn(
            "memory",
            f"{sentence}: enough to run, scarce to train.",
            f"stop other programs; {MEMORY_WANTED_BYTES / 2**30:.0f} GiB free are comfortable",
        )
    return ok("memory", f"{sentence}.")
