"""ROS 2: whether rclpy loads, and whether two participants on this machine hear each other."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from hardware.errors import ConfigError
from reflexarc.checks.finding import Finding, fail, ok, warn
from reflexarc.checks.probe import ProbeResult, run_probe
from reflexarc.imports import GUARD, add_ros_package, explain_import_error

# An idle machine needs 0.6 s for the import and 1 s for the round trips; a busy one several times that.
LOAD_TIMEOUT_S = 60.0
LOOPBACK_TIMEOUT_S = 60.0
# Two processes on one idle machine take 0.3 ms a way.
ROUND_TRIP_WANTED_S = 0.010
_FALLBACK_DOMAIN = 101
# The middleware of the wheels.
_RMW = "rmw_fastrtps_cpp"

_LOAD = """
import sys
try:
    import rclpy
except ImportError as error:
    report(loaded=False, error=str(error), name=error.name, missing=isinstance(error, ModuleNotFoundError))
    sys.exit(0)
report(loaded=True, path=rclpy.__file__, rmw=rclpy.get_rmw_implementation_identifier())
"""

# Two contexts are two participants. They are spun in turn by one thread, so that the figure is that of
# the middleware and not of Python's thread switches.
_LOOPBACK = """
import sys, time
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import UInt32
domain, topic, match_s = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
contexts = [Context(), Context()]
for context in contexts:
    rclpy.init(context=context, domain_id=domain)
near, far = [rclpy.create_node(f"{topic}_{i}", context=c) for i, c in enumerate(contexts)]
executors = [SingleThreadedExecutor(context=c) for c in contexts]
for executor, node in zip(executors, (near, far)):
    executor.add_node(node)
heard = []
answer = far.create_publisher(UInt32, topic + "/back", 1)
far.create_subscription(UInt32, topic + "/out", answer.publish, 1)
near.create_subscription(UInt32, topic + "/back", lambda message: heard.append(message.data), 1)
ask = near.create_publisher(UInt32, topic + "/out", 1)

def round_trip(number, wait_s):
    begin = time.perf_counter()
    ask.publish(UInt32(data=number))
    while time.perf_counter() - begin < wait_s:
        for executor in reversed(executors):
            executor.spin_once(timeout_sec=0.0005)
        if number in heard:
            return time.perf_counter() - begin
    return None

begin, number, first = time.perf_counter(), 0, None
while first is None and time.perf_counter() - begin < match_s:
    number += 1
    first = round_trip(number, 0.05)
match = time.perf_counter() - begin
trips = [] if first is None else [round_trip(number + 1 + i, 0.5) for i in range(50)]
for executor, node, context in zip(executors, (near, far), contexts):
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
good = sorted(trip for trip in trips if trip is not None)
report(matched=first is not None, match_s=match, sent=len(trips), heard=len(good),
       p50_s=good[len(good) // 2] if good else None, worst_s=good[-1] if good else None)
"""


def probe_rclpy(environment: Mapping[str, str] | None = None) -> ProbeResult:
    """Load rclpy in a process of its own.

    Args:
        environment: its environment; None: that of this process.

    Returns:
        How it ended.
    """
    return run_probe(_LOAD, timeout_s=LOAD_TIMEOUT_S, environment=environment)


def check_rclpy(probe: Callable[[], ProbeResult] = probe_rclpy) -> list[Finding]:
    """Judge whether rclpy loads, and from where.

    Args:
        probe: loads it.

    Returns:
        A finding on rclpy and, where a distribution is sourced beside the wheels, one on that.
    """
    result = probe()
    report = result.report
    if report is not None and report["loaded"]:
        environment = result.environment
        sourced = environment.get("ROS_DISTRO", "")
        findings = [ok("rclpy", f"Loads, with {report['rmw']}, from {Path(report['path']).parent}.")]
        if sourced and "/opt/ros/" not in report["path"]:
            findings.append(
                warn(
                    "ROS environment",
                    f"ROS {sourced} is sourced, and yet rclpy comes from {Path(report['path']).parent}: the"
                    " two may mix libraries.",
                    "use one of them: start from a shell that has not sourced the distribution, or leave"
                    " the virtual environment",
                )
            )
        return findings
    if report is None:
        return [_died(result)]
    error = (ModuleNotFoundError if report["missing"] else ImportError)(report["error"], name=report["name"])
    explained = explain_import_error(error, result.environment)
    if explained is None:
        return [fail("rclpy", f"It cannot load: {report['error'].splitlines()[0]}.", "run `make setup`")]
    commands = (f"unset {GUARD} LD_LIBRARY_PATH",) if GUARD in explained.what else ("make setup",)
    return [fail("rclpy", f"{explained.what[0].upper()}{explained.what[1:]}.", explained.mend, *commands)]


def require_rmw(
    environment: Mapping[str, str], probe: Callable[[Mapping[str, str]], ProbeResult] = probe_rclpy
) -> None:
    """Refuse an RMW_IMPLEMENTATION that is not installed: importing rclpy would end this very process.

    Args:
        environment: the process environment.
        probe: loads rclpy in a process of its own; asked only where the variable names another one than
            the wheels bring.

    Raises:
        ConfigError: rclpy does not load with it.
    """
    wanted = environment.get("RMW_IMPLEMENTATION", "")
    if wanted in ("", _RMW):
        return
    result = probe(environment)
    if result.report is None:
        raise ConfigError(
            f"RMW_IMPLEMENTATION is {wanted!r}, which is not installed ({result.reason})",
            where="environment",
            expected=f"{_RMW}, or another ROS middleware of this installation",
            mend="unset RMW_IMPLEMENTATION, or install that middleware",
        )


def _died(result: ProbeResult) -> Finding:
    wanted = result.environment.get("RMW_IMPLEMENTATION", "")
    if wanted and wanted != _RMW:
        return fail(
            "rclpy",
            f"It ends at once, because RMW_IMPLEMENTATION asks for {wanted!r}, which is not installed"
            f" ({result.reason}).",
            f"unset RMW_IMPLEMENTATION; the wheels bring {_RMW}",
            "unset RMW_IMPLEMENTATION",
        )
    return fail("rclpy", f"Loading it ended the process: {result.reason}.", "run `make setup`", "make setup")


def node_environment() -> dict[str, str]:
    """The environment that nodes run in: this one, completed by the bring-up's defaults."""
    add_ros_package()
    try:
        bringup = importlib.import_module("reflexarc_ros.bringup")
    except ModuleNotFoundError:
        return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **os.environ}
    return {**os.environ, **bringup.environment()}


def probe_loopback(domain: int | None = None, *, match_s: float = 10.0) -> ProbeResult:
    """Send messages there and back between two participants, as the nodes would.

    Args:
        domain: the ROS domain; None: one that nobody here uses.
        match_s: how long they may take to find each other.

    Returns:
        How it ended.
    """
    environment = node_environment()
    with contextlib.ExitStack() as stack:
        if domain is None:
            # Importable once node_environment() has looked for it; without it, nobody claims domains.
            with contextlib.suppress(ModuleNotFoundError):
                claim = importlib.import_module("reflexarc_ros.domain").OwnDomain()
                domain = stack.enter_context(claim).id
        return run_probe(
            _LOOPBACK,
            timeout_s=LOOPBACK_TIMEOUT_S,
            environment=environment,
            arguments=[
                str(_FALLBACK_DOMAIN if domain is None else domain),
                f"doctor_{os.getpid()}",
                str(match_s),
            ],
        )


def check_loopback(probe: Callable[[], ProbeResult] = probe_loopback) -> list[Finding]:
    """Judge whether messages arrive on this machine.

    Args:
        probe: sends them.

    Returns:
        One finding.
    """
    result = probe()
    report = result.report
    if report is None:
        return [
            fail(
                "DDS loopback",
                f"Two participants could not be started: {result.reason}.",
                "mend the findings on rclpy and on shared memory first, then run the doctor again",
            )
        ]
    if not report["matched"]:
        return [
            fail(
                "DDS loopback",
                f"Two participants on this machine did not find each other in {report['match_s']:.0f} s.",
                "let UDP pass on 127.0.0.1 (firewall, `ip link show lo`), free the discovery ports, and"
                " unset ROS_DISCOVERY_SERVER and ROS_STATIC_PEERS",
                "sudo ip link set lo up",
                "unset ROS_DISCOVERY_SERVER ROS_STATIC_PEERS",
            )
        ]
    if report["heard"] < report["sent"]:
        return [
            fail(
                "DDS loopback",
                f"{report['sent'] - report['heard']} of {report['sent']} messages were lost between two"
                " participants on this machine.",
                "free memory in /dev/shm and stop other work, then run the doctor again",
            )
        ]
    sentence = (
        f"Two participants found each other in {report['match_s']:.2f} s; there and back takes"
        f" {report['p50_s'] * 1e3:.2f} ms (p50), {report['worst_s'] * 1e3:.2f} ms (worst)"
    )
    if report["p50_s"] > ROUND_TRIP_WANTED_S:
        return [
            warn(
                "DDS loopback",
                f"{sentence}: too slow for control in real time.",
                "stop other work, then run the doctor again",
            )
        ]
    return [ok("DDS loopback", f"{sentence}.")]
