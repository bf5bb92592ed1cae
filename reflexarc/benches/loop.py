"""`reflexarc bench loop`: photon to motor over ROS 2 beside the same loop in one process."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

_SETTLE_S = 2.0


@dataclass(frozen=True)
class LoopBench:
    """What to measure and for how long."""

    # Seconds of each case, over ROS 2 and in process.
    seconds: float = 15.0
    # Rates of the quadrotor's loop, Hz.
    rates: tuple[float, ...] = (100.0, 400.0)
    # Whether to measure the arm's loop too, at its card's rate.
    arm: bool = True
    # Also write the report, JSON, to this file.
    out: Path | None = None


@dataclass(frozen=True)
class _Case:
    """One system at one rate."""

    name: str
    system: str
    arguments: Mapping[str, str]
    rate_hz: float | None


def measure(config: LoopBench, progress: Progress) -> BenchReport:
    """Time from the capture of an observation until the motor has the command that answers it.

    Both loops use the same twin, controller and gate at the same absolute deadlines; the one over
    ROS 2 adds three hops between processes (robot, policy, gate, robot).

    Args:
        config: what and how long.
        progress: is told after each case.

    Returns:
        The report; its ratios are medians over ROS 2 over those in process.

    Raises:
        ConfigError: a system does not come up.
    """
    from reflexarc.checks.ros import require_rmw

    require_rmw(os.environ)
    cases = [
        _Case(f"quadrotor {rate:g} Hz", "quadrotor", {"rate": f"{rate:g}"}, rate) for rate in config.rates
    ]
    if config.arm:
        cases.append(_Case("arm", "arm", {}, None))
    machine = describe_machine()
    rows: list[Mapping[str, str | float | int | None]] = []
    ratios: dict[str, float] = {}
    for number, case in enumerate(cases):
        inside_ms = _in_process(case, config.seconds)
        across_ms, misses = _over_ros(case, config.seconds)
        inside, across = (np.percentile(x, (50, 95, 99)) for x in (inside_ms, across_ms))
        rows.append(
            {
                "name": case.name,
                "ros_p50_ms": across[0],
                "ros_p95_ms": across[1],
                "ros_p99_ms": across[2],
                "in_process_p50_ms": inside[0],
                "in_process_p99_ms": inside[2],
                "cost_p50_ms": across[0] - inside[0],
                "misses": misses,
                "samples": len(across_ms),
            }
        )
        ratios[f"in-process latency, {case.name}"] = float(across[0] / inside[0])
        progress(number + 1, len(cases))
    return BenchReport(
        name="loop",
        title="Photon to motor: ROS 2 (three hops) beside the same loop in one process",
        columns=(
            Column("name", "loop"),
            Column("ros_p50_ms", "ROS 2 p50 ms"),
            Column("ros_p95_ms", "p95"),
            Column("ros_p99_ms", "p99"),
            Column("in_process_p50_ms", "in process p50 ms"),
            Column("in_process_p99_ms", "p99"),
            Column("cost_p50_ms", "cost of ROS p50 ms"),
            Column("misses", "missed periods", 0),
            Column("samples", "samples", 0),
        ),
        rows=tuple(rows),
        ratios=ratios,
        machine=machine,
        settings={"seconds": config.seconds, "rates": list(config.rates), "arm": config.arm},
        notes=(
            "Capture is the deadline at which the twin's observation is due; physics of the elapsed "
            "period, serialising and transport all count.",
        ),
    )


def _over_ros(case: _Case, seconds: float) -> tuple[FloatArray, int]:
    from reflexarc_ros.domain import OwnDomain
    from reflexarc_ros.runner import SystemRunner

    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder, OwnDomain() as domain:
        trace = Path(folder) / "trace.npz"
        arguments = {**case.arguments, "trace": str(trace)}
        with SystemRunner(
            case.system,
            arguments,
            on_line=lambda node, line: lines.append(f"[{node}] {line}"),
            domain_id=domain.id,
        ) as runner:
            deadline_s = time.monotonic() + 60.0
            while not any("all active" in line for line in lines):
                if not runner.is_running or time.monotonic() > deadline_s:
                    raise ConfigError(
                        f"the system {case.system!r} does not come up: " + " | ".join(lines[-5:]),
                        where="bench loop",
                        expected="all nodes active within a minute",
                        mend="run reflexarc doctor",
                    )
                time.sleep(0.05)
            time.sleep(_SETTLE_S + seconds)
        timing = json.loads(trace.with_suffix(".timing.json").read_text(encoding="utf-8"))
    latencies = np.array(timing["photon_to_motor_ms"], dtype=np.float64)
    settled = latencies[round(len(latencies) * _SETTLE_S / (_SETTLE_S + seconds)) :]
    return settled, int(timing["deadline_misses"])


def _in_process(case: _Case, seconds: float) -> FloatArray:
    from reflexarc_ros.bringup import nodes
    from reflexarc_ros.twin_drive import make_twin

    from hardware.cards import load_robot_card
    from hardware.gate import CommandGate
    from hardware.robot import with_rate
    from policies.controller import load_controller

    parameters = {spec.name: spec.parameters for spec in nodes(case.system, case.arguments)}
    card = load_robot_card(str(parameters["robot_node"]["card"]))
    if case.rate_hz is not None:
        card = with_rate(card, case.rate_hz)
    settings = {"airframe": "", "gust": [0.0], **parameters["robot_node"]}
    controller = load_controller(
        parameters["policy_node"]["policy"], card, steady_clock=time.monotonic_ns, rate_hz=case.rate_hz
    )
    gate = CommandGate(card, controller.binding.interface_name)
    robot = make_twin(card, settings, start_ns=1_000_000_000)
    reference = _reference(is_wanted=bool(controller.binding.reference_terms))
    latencies: list[float] = []
    with robot, _realtime(parameters["robot_node"].get("realtime_priority", 0)):
        controller.reset(0)
        period_ns, origin_ns = robot.observation_period_ns, robot.now_ns
        start_ns = time.monotonic_ns()
        for index in range(round((_SETTLE_S + seconds) * 1e9 / period_ns)):
            deadline_ns = start_ns + index * period_ns
            rest_ns = deadline_ns - time.monotonic_ns()
            if rest_ns > 0:
                time.sleep(rest_ns * 1e-9)
            now_ns = origin_ns + index * period_ns
            robot.advance(now_ns)
            seen = robot.read()
            state = Observation(seen.values, seen.stamp_ns, time.monotonic_ns())
            chunk = controller.act(reference(state), now_ns=now_ns)
            steady_ns = time.monotonic_ns()
            verdict = gate.filter(chunk.command_at(0, received_steady_ns=steady_ns), state, now_ns, steady_ns)
            if verdict.command is not None:
                robot.command(verdict.command, at_ns=now_ns)
            latencies.append((time.monotonic_ns() - deadline_ns) * 1e-6)
        robot.safe_stop("bench ended")
    return np.array(latencies[round(len(latencies) * _SETTLE_S / (_SETTLE_S + seconds)) :])


@contextlib.contextmanager
def _realtime(priority: int) -> Iterator[None]:
    """The scheduler that the nodes ask for, so that both loops are given the same chance."""
    from reflexarc_ros.loops import allow_sleep, keep_awake

    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        if priority > 0:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            keep_awake()
    try:
        yield
    finally:
        allow_sleep()
        os.sched_setscheduler(0, *before)


def _reference(*, is_wanted: bool) -> Callable[[Observation], Observation]:
    goal: dict[str, FloatArray] = {}
    if is_wanted:
        goal = {
            "reference_position": np.array([0.0, 0.0, 1.0]),
            "reference_velocity": np.zeros(3),
            "reference_yaw": np.zeros(1),
        }
    return lambda seen: Observation({**seen.values, **goal}, seen.stamp_ns, seen.received_steady_ns)
