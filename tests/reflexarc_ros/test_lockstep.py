"""Lockstep over ROS 2 is seeded and bit-reproducible, whatever else the machine does."""

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from reflexarc_ros.runner import SystemRunner

from sim.twin.trace import Trace

STEPS = 400

pytestmark = pytest.mark.ros


def fly(folder, domain_id, *, seed, name):
    """Fly a figure eight in lockstep for at least STEPS steps; returns the commands that reached the twin."""
    path = Path(folder) / f"{name}.npz"
    lines = []
    arguments = {
        "pace": "lockstep",
        "seed": str(seed),
        "reference": "figure_eight",
        "period": "5.5",
        "latency": "card",
        "trace": str(path),
    }
    with SystemRunner(
        "quadrotor", arguments, on_line=lambda n, line: lines.append(f"[{n}] {line}"), domain_id=domain_id
    ) as runner:
        deadline_s = time.monotonic() + 60.0
        while not any("all active" in line for line in lines) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        # Lockstep runs as fast as the machine can; this is far more than STEPS steps take.
        time.sleep(6.0)
        assert runner.is_running, "\n".join(lines)
    trace = Trace.load(path)
    assert len(trace.command_values) >= STEPS, "\n".join(lines)
    return trace


def burn(seconds):
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


def test_same_seed_same_commands_bit_for_bit_even_beside_busy_loops(folder, domain_id):
    first = fly(folder, domain_id, seed=3, name="first")
    busy = [multiprocessing.get_context("spawn").Process(target=burn, args=(40.0,)) for _ in range(2)]
    for process in busy:
        process.start()
    try:
        second = fly(folder, domain_id, seed=3, name="second")
    finally:
        for process in busy:
            process.kill()
            process.join()
    other = fly(folder, domain_id, seed=4, name="other")
    n = min(len(first.command_values), len(second.command_values))
    assert n >= STEPS
    assert np.array_equal(first.command_time_ns[:n], second.command_time_ns[:n])
    assert first.command_values[:n].tobytes() == second.command_values[:n].tobytes()
    m = min(n, len(other.command_values))
    assert first.command_values[:m].tobytes() != other.command_values[:m].tobytes()
    # The vehicle really flies: it has left the ground and follows the figure.
    assert first.qpos[:, 2].max() > 0.5
