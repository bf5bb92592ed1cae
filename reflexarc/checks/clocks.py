"""Clocks, wake-ups and the permission for real-time scheduling."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reflexarc.checks.finding import Finding, fail, ok, warn

SOURCE_FILE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
# Read by a system call and a device access each, in microseconds instead of nanoseconds.
SLOW_SOURCES = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")
# Coarser than this, a stamp is no stamp.
RESOLUTION_WANTED_NS = 1_000
# At 100 Hz a tenth of the period; an idle machine stays below 0.6 ms.
LATENESS_WANTED_NS = 1_000_000
# The wall clock may be slewed by a time service, not stepped.
STEP_WANTED_NS = 5_000_000
PERIOD_NS = 5_000_000


@dataclass(frozen=True)
class ClockFacts:
    """What was measured of the clocks."""

    # The kernel's clock source; empty where it does not say.
    source: str
    # Resolution of the steady clock, in nanoseconds.
    resolution_ns: float
    # How often the steady clock went back between two reads, on whatever cores.
    steps_back: int
    # Reads of the steady clock.
    reads: int
    # How much wall clock and steady clock disagreed on the duration of the measurement, in nanoseconds.
    wall_step_ns: int
    # How late a thread woke up after each deadline, in nanoseconds, ascending.
    lateness_ns: tuple[int, ...]


def measure_clocks(duration_s: float = 0.5, source_file: Path = SOURCE_FILE) -> ClockFacts:
    """Measure the clocks.

    Args:
        duration_s: how long to measure wake-ups.
        source_file: where the kernel names its clock source.

    Returns:
        What was found.
    """
    wall_ns, steady_ns = time.time_ns(), time.monotonic_ns()
    steps_back, reads = _count_steps_back(time.monotonic_ns)
    lateness = _wake_ups(duration_s)
    wall_step_ns = (time.time_ns() - wall_ns) - (time.monotonic_ns() - steady_ns)
    try:
        source = source_file.read_text(encoding="utf-8").strip()
    except OSError:
        source = ""
    return ClockFacts(
        source=source,
        resolution_ns=time.get_clock_info("monotonic").resolution * 1e9,
        steps_back=steps_back,
        reads=reads,
        wall_step_ns=wall_step_ns,
        lateness_ns=tuple(sorted(lateness)),
    )


def check_clocks(facts: ClockFacts) -> list[Finding]:
    """Judge the clocks.

    Args:
        facts: what was measured.

    Returns:
        Findings on the clock source, the steady clock, the wall clock and wake-ups.
    """
    return [_source(facts), _steady(facts), _wall(facts), _lateness(facts.lateness_ns)]


def _source(facts: ClockFacts) -> Finding:
    if facts.source in SLOW_SOURCES:
        return warn(
            "clock source",
            f"The kernel reads time from {facts.source!r}, which is slow and coarse.",
            "boot with clocksource=tsc tsc=reliable, or choose another virtual machine type",
        )
    return ok("clock source", f"{facts.source or 'not named by the kernel'}.")


def _steady(facts: ClockFacts) -> Finding:
    if facts.steps_back:
        return fail(
            "steady clock",
            f"The steady clock went back {facts.steps_back} times in {facts.reads} reads: timeouts and"
            " pacing cannot be trusted.",
            "update the kernel or the hypervisor; boot with clocksource=hpet until then",
        )
    if facts.resolution_ns > RESOLUTION_WANTED_NS:
        return warn(
            "steady clock",
            f"It ticks every {facts.resolution_ns / 1e3:.0f} µs; stamps finer than that are not true.",
            "use a kernel with high-resolution timers",
        )
    return ok(
        "steady clock",
        f"Never went back in {facts.reads} reads across cores; resolution {facts.resolution_ns:.0f} ns.",
    )


def _wall(facts: ClockFacts) -> Finding:
    if abs(facts.wall_step_ns) > STEP_WANTED_NS:
        return warn(
            "wall clock",
            f"The wall clock jumped by {facts.wall_step_ns / 1e6:.1f} ms while it was watched; stamps made"
            " of it jump too, and the gate then takes the safe action.",
            "let a time service slew the clock instead of stepping it (chrony: no makestep after boot)",
        )
    return ok("wall clock", "Ran beside the steady clock without a jump.")


def _lateness(lateness_ns: Sequence[int]) -> Finding:
    p50, p99 = (lateness_ns[int(share * (len(lateness_ns) - 1))] for share in (0.50, 0.99))
    sentence = (
        f"A thread wakes {p50 / 1e3:.0f} µs (p50), {p99 / 1e3:.0f} µs (p99),"
        f" {lateness_ns[-1] / 1e3:.0f} µs (worst) late"
    )
    if p99 > LATENESS_WANTED_NS:
        return warn(
            "wake-ups",
            f"{sentence}: control loops in real time will have jitter.",
            "stop other work, allow real-time scheduling, or use pace:=lockstep where time does not matter",
        )
    return ok("wake-ups", f"{sentence}.")


def check_realtime(try_realtime: Callable[[], str]) -> list[Finding]:
    """Judge whether control loops may ask for real-time scheduling.

    Args:
        try_realtime: asks for it; returns why it was refused, or nothing.

    Returns:
        One finding.
    """
    refused = try_realtime()
    if refused:
        return [
            warn(
                "real time",
                f"SCHED_FIFO is refused ({refused}): control loops run beside all other programs, not"
                " before them.",
                "allow rtprio for your user and log in again (container: --cap-add=SYS_NICE --ulimit"
                " rtprio=99)",
                'echo "$USER - rtprio 80" | sudo tee /etc/security/limits.d/reflexarc.conf',
            )
        ]
    return [ok("real time", "SCHED_FIFO is allowed.")]


def try_fifo() -> str:
    """Ask for SCHED_FIFO in a thread that ends at once.

    Returns:
        Why it was refused; empty when it was granted.
    """
    refused: list[str] = []

    def ask() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError as error:
            refused.append(error.strerror or str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return "".join(refused)


def _count_steps_back(clock_ns: Callable[[], int]) -> tuple[int, int]:
    """Read a clock while hopping from core to core; affinity is changed in a thread of its own."""
    found: list[tuple[int, int]] = []

    def watch() -> None:
        back = reads = 0
        last = clock_ns()
        cores = sorted(os.sched_getaffinity(0))
        for hop in range(50):
            os.sched_setaffinity(0, {cores[hop % len(cores)]})
            for _ in range(200):
                now = clock_ns()
                back += now < last
                reads += 1
                last = now
        found.append((back, reads))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    return found[0]


def _wake_ups(duration_s: float) -> list[int]:
    lateness = []
    deadline = time.monotonic_ns()
    for _ in range(max(20, round(duration_s * 1e9 / PERIOD_NS))):
        deadline += PERIOD_NS
        time.sleep(max(0, deadline - time.monotonic_ns()) * 1e-9)
        lateness.append(max(0, time.monotonic_ns() - deadline))
    return lateness
