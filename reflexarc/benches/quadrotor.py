"""`reflexarc bench quadrotor`: our simulator beside l2f, our policy and its C beside foundation_policy."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from reflexarc.benches import quadrotor_contenders
from reflexarc.benches.quadrotor_contenders import AUTHORS, L2F
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress


@dataclass(frozen=True)
class QuadrotorBench:
    """What to measure, and how long."""

    # Fleets' sizes: powers of two up to 8192, since l2f has no others.
    vehicles: tuple[int, ...] = (256, 1024, 4096)
    # Repeats; ours and theirs run in each, one after the other.
    repeats: int = 5
    # Time of one measurement, seconds.
    seconds: float = 1.0
    # Vehicles on a GPU, where there is one.
    gpu_vehicles: int = 65536
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: QuadrotorBench, progress: Progress) -> BenchReport:
    """Time simulators and policies.

    Args:
        config: what and how long.
        progress: is told after each repeat.

    Returns:
        The report; its ratios are our rate over the reference's, each taken within a repeat, median.

    Raises:
        ConfigError: a setting out of range, or a library is missing.
    """
    for name, bad in (
        ("vehicles", not config.vehicles or any(n < 1 or n > 8192 or n & (n - 1) for n in config.vehicles)),
        ("repeats", config.repeats < 1),
        ("seconds", not 0.0 < config.seconds <= 60.0),
        ("gpu_vehicles", config.gpu_vehicles < 1),
    ):
        if bad:
            raise ConfigError(
                f"{name} is {getattr(config, name)}",
                where="bench quadrotor",
                expected="powers of two up to 8192" if name == "vehicles" else "a positive number",
                mend=f"correct {name}",
            )
    machine = describe_machine()
    rates: dict[tuple[str, str, int], list[float]] = {}
    notes: list[str] = []
    for repeat in range(config.repeats):
        answer = _measure_once(config)
        notes = answer["notes"]
        for rate in answer["rates"]:
            key = (rate["kind"], rate["name"], rate["vehicles"])
            rates.setdefault(key, []).append(rate["steps_per_s"])
        progress(repeat + 1, config.repeats)
    rows: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    for kind, name, count in rates:
        reference = L2F if kind == "simulator" else AUTHORS
        ratio = _ratio(rates, (kind, name, count), (kind, reference, count))
        median = statistics.median(rates[kind, name, count])
        rows.append(
            {"kind": kind, "name": name, "vehicles": count, "million_per_s": median / 1e6, "ratio": ratio}
        )
        if ratio is not None and name != reference:
            ratios[f"{reference}'s {kind} steps/s, {name}, {count} vehicle{'s' * (count > 1)}"] = ratio
    return BenchReport(
        name="quadrotor",
        title="Quadrotors: simulator and policy, millions of vehicle steps a second",
        columns=(
            Column("kind", "what"),
            Column("name", "contender"),
            Column("vehicles", "vehicles"),
            Column("million_per_s", "million steps/s", 3),
            Column("ratio", "× theirs"),
        ),
        rows=tuple(rows),
        ratios=ratios,
        machine=machine,
        settings={
            "vehicles": list(config.vehicles),
            "repeats": config.repeats,
            "seconds": config.seconds,
            "dt_s": 0.01,
        },
        notes=(
            f"{config.repeats} repeats; in each the fastest of ten stretches, {config.seconds:g} s in all, a "
            f"contender; median of the repeats. Theirs: {L2F} and {AUTHORS}. Processor time, one thread. A "
            "simulator step is one Runge-Kutta step of 10 ms.",
            *notes,
        ),
    )


def _measure_once(config: QuadrotorBench) -> dict[str, Any]:
    """All contenders once, in a process whose libraries keep to one thread."""
    asked = {
        "vehicles": list(config.vehicles),
        "seconds": config.seconds,
        "gpu_vehicles": config.gpu_vehicles,
    }
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", quadrotor_contenders.__name__, json.dumps(asked)],
        env=os.environ | one,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ConfigError(
            f"a contender failed: {words[-1]}",
            where="bench quadrotor",
            expected="the libraries of the extras reflexarc[sim,policies]",
            mend="make setup, or read the words above",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _ratio(
    rates: Mapping[tuple[str, str, int], list[float]],
    ours: tuple[str, str, int],
    theirs: tuple[str, str, int],
) -> float | None:
    if theirs not in rates:
        return None
    return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))
