"""`reflexarc bench faults`: wall time from a fault until the robot takes its safe action, over ROS 2."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

# Faults of processes; those of wires are the injector's.
_PROCESS_FAULTS = ("policy killed", "policy stopped", "gate killed")
# How long a fault lasts, and how long the vehicle may take to follow commands again, seconds.
_LASTS_S = 1.0
_RECOVERY_S = 30.0
_CALM_S = 1.5


@dataclass(frozen=True)
class FaultsBench:
    """Which faults, how often."""

    # How often each fault is made.
    repeats: int = 20
    # The faults; empty: all twelve.
    faults: tuple[str, ...] = field(default_factory=tuple)
    # Also write the report, JSON, to this file.
    out: Path | None = None


@dataclass(frozen=True)
class _Injection:
    """One fault that was made."""

    fault: str
    # When, steady clock, nanoseconds.
    steady_ns: int


def measure(config: FaultsBench, progress: Progress) -> BenchReport:
    """Make every fault in flight, again and again, and read the reaction from the robot's own trace.

    Args:
        config: which faults, how often.
        progress: is told after each fault.

    Returns:
        The report; its ratios are the slowest reaction over the time that the robot card allows.

    Raises:
        ConfigError: an unknown fault, a system that does not come up or does not recover, or a
            fault that was not answered with the safe action.
    """
    from reflexarc.checks.ros import require_rmw

    require_rmw(os.environ)
    from reflexarc_ros.fault_injector import Fault

    known = (*_PROCESS_FAULTS, *(f.value for f in Fault))
    wanted = config.faults or known
    for fault in wanted:
        if fault not in known:
            raise ConfigError(
                f"unknown fault {fault!r}",
                where="bench faults",
                expected="some of " + ", ".join(known),
                mend="correct the name",
            )
    machine = describe_machine()
    reactions, allowed_s = _fly(wanted, config.repeats, progress)
    rows = [
        {
            "name": fault,
            "p50_ms": float(np.percentile(times, 50)),
            "p95_ms": float(np.percentile(times, 95)),
            "worst_ms": max(times),
            "samples": len(times),
        }
        for fault, times in reactions.items()
    ]
    return BenchReport(
        name="faults",
        title="From the fault to the robot's safe action, quadrotor over ROS 2, wall time",
        columns=(
            Column("name", "fault"),
            Column("p50_ms", "p50 ms", 1),
            Column("p95_ms", "p95 ms", 1),
            Column("worst_ms", "worst ms", 1),
            Column("samples", "samples", 0),
        ),
        rows=tuple(rows),
        ratios={
            f"allowed time, {fault}": max(times) * 1e-3 / allowed_s for fault, times in reactions.items()
        },
        machine=machine,
        settings={"repeats": config.repeats, "faults": list(wanted)},
        notes=(
            f"The card allows {allowed_s * 1e3:.0f} ms: the gate's timeout and the robot's own on top of it. "
            "A fault can come right after a command, so most of a reaction is the timeout itself.",
        ),
    )


def _fly(faults: tuple[str, ...], repeats: int, progress: Progress) -> tuple[dict[str, list[float]], float]:
    from reflexarc_ros.assembler import pacing_topic
    from reflexarc_ros.bringup import environment
    from reflexarc_ros.domain import OwnDomain
    from reflexarc_ros.fault_injector import FaultInjector, InjectorThread, remappings
    from reflexarc_ros.runner import SystemRunner

    from hardware.cards import load_robot_card

    os.environ.update(environment())
    card = load_robot_card("quadrotor_twin")
    spec = next(iter(card.commands.values()))
    lines: list[str] = []
    injections: list[_Injection] = []
    with tempfile.TemporaryDirectory() as folder, OwnDomain() as domain:
        trace = Path(folder) / "trace.npz"
        with (
            InjectorThread(
                lambda context: FaultInjector(card, namespace="/quadrotor", context=context),
                domain_id=domain.id,
            ) as injector,
            SystemRunner(
                "quadrotor",
                {"trace": str(trace), "height": "2.0"},
                on_line=lambda node, line: lines.append(f"[{node}] {line}"),
                domain_id=domain.id,
                remappings=remappings("policy", pacing_topic(card)),
            ) as runner,
        ):
            done = 0
            for _ in range(repeats):
                for fault in faults:
                    _wait_until_calm(injector, runner, lines)
                    injections.append(_make(fault, injector, runner))
                    done += 1
                    progress(done, repeats * len(faults))
            _wait_until_calm(injector, runner, lines)
        return _reactions(trace, injections), spec.timeout_s + spec.robot_timeout_s


def _wait_until_calm(injector: Any, runner: Any, lines: list[str]) -> None:  # noqa: ANN401
    """Until the vehicle has followed commands for a while."""
    deadline_s = time.monotonic() + _RECOVERY_S
    while injector.following_s() < _CALM_S:
        if not runner.is_running or time.monotonic() > deadline_s:
            raise ConfigError(
                "the vehicle does not follow commands again: " + " | ".join(lines[-5:]),
                where="bench faults",
                expected=f"recovery within {_RECOVERY_S:.0f} s",
                mend="run reflexarc doctor; report the fault if the machine is in order",
            )
        time.sleep(0.02)


def _make(fault: str, injector: Any, runner: Any) -> _Injection:  # noqa: ANN401
    from reflexarc_ros.fault_injector import Fault

    node = {"policy killed": "policy_node", "policy stopped": "policy_node", "gate killed": "gate_node"}
    if fault in node:
        pid = runner.pid(node[fault])
        steady_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGSTOP if fault == "policy stopped" else signal.SIGKILL)
        time.sleep(_LASTS_S)
        if fault == "policy stopped":
            os.kill(pid, signal.SIGCONT)
    else:
        steady_ns = injector.inject(Fault(fault))
        time.sleep(_LASTS_S)
        injector.inject(None)
    return _Injection(fault, steady_ns)


def _reactions(path: Path, injections: list[_Injection]) -> dict[str, list[float]]:
    """Milliseconds from each fault to the first safe stop after it, by fault."""
    from sim.twin.trace import Trace

    trace = Trace.load(path)
    timing: Mapping[str, Any] = json.loads(path.with_suffix(".timing.json").read_text(encoding="utf-8"))
    offset_ns = timing["origin_ns"] - timing["origin_steady_ns"]
    stops_ns = np.array(
        [t for t, n in zip(trace.event_time_ns, trace.event_names, strict=True) if n == "safe_stop"]
    )
    reactions: dict[str, list[float]] = {}
    for injection in injections:
        at_ns = injection.steady_ns + offset_ns
        after = stops_ns[(stops_ns >= at_ns) & (stops_ns < at_ns + round(_LASTS_S * 1e9))]
        if after.size == 0:
            raise ConfigError(
                f"the fault {injection.fault!r} was not answered",
                where="bench faults",
                expected=f"the safe action within {_LASTS_S:.0f} s",
                mend="report this: it is a defect",
            )
        reactions.setdefault(injection.fault, []).append(float(after[0] - at_ns) * 1e-6)
    return reactions
