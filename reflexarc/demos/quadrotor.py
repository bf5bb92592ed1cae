"""The quadrotor's stage: fly the plan over ROS 2, kill the policy in flight, come back, land."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reflexarc_ros.runner import SystemRunner

from hardware.cards import load_robot_card
from hardware.command import FloatArray
from hardware.reference import make_program
from reflexarc.demos.metrics import LIFTED_M, RECOVERED_FOR_S, RECOVERED_M
from reflexarc.demos.observer import Observer, gate_counts
from reflexarc.demos.pilots import PILOT
from reflexarc.demos.plan import AIRFRAME, FlightPlan
from reflexarc.demos.progress import Display
from reflexarc.demos.records import FlightRecord, GateCounts, Timing
from reflexarc.demos.stage import StageLog
from sim.twin.trace import Trace

NAMESPACE = "quadrotor"
CARD = "quadrotor_twin"
_BRING_UP_S, _REACTION_S, _RESTART_S, _RECOVERY_S, _LANDING_S = 60.0, 3.0, 45.0, 30.0, 15.0
_PATIENCE_S = 30.0
# How long commands must have passed before the policy is killed.
_STEADY_S = 0.5
# How long the recovered vehicle is shown before it lands.
_AFTERGLOW_S = 2.0
# Slower than this, and near the ground, it has landed; for how long.
_LANDED_M_S, _LANDED_FOR_S = 0.02, 0.3


def fly(
    plan: FlightPlan,
    *,
    folder: Path,
    domain_id: int,
    display: Display,
    view: bool,
    since_start_s: Callable[[], float],
) -> FlightRecord:
    """Fly the plan in real time over ROS 2.

    Args:
        plan: what to fly.
        folder: where the trace and the log go.
        domain_id: the ROS domain.
        display: shows what is going on.
        view: whether to open the live viewer.
        since_start_s: seconds since the user's command was started.

    Returns:
        The record.

    Raises:
        ConfigError: the system does not fit together; nothing has started then.
        StageError: something that had to happen did not.
    """
    began_s = time.monotonic()
    trace_path = folder / "quadrotor.npz"
    trace_path.unlink(missing_ok=True)
    with StageLog(folder / "quadrotor.log") as log:
        runner = SystemRunner(
            "quadrotor", system_arguments(plan, trace_path, view=view), on_line=log.line, domain_id=domain_id
        )
        # The runner leaves last: it removes what a killed process left in shared memory.
        with (
            runner,
            Observer(load_robot_card(CARD), namespace=NAMESPACE, domain_id=domain_id) as observer,
        ):
            pilot = _Pilot(plan, runner, observer, display, log, since_start_s)
            pilot.fly()
        if not trace_path.exists():
            raise log.error("the twin left no trace")
        timing = Timing.load(trace_path)
        return FlightRecord(
            plan=plan,
            trajectory=pilot.trajectory,
            trace=Trace.load(trace_path),
            timing=timing,
            gate=pilot.gate,
            start_ns=pilot.start_ns,
            kill_s=(timing.data_ns(pilot.kill_steady_ns) - pilot.start_ns) * 1e-9,
            reaction_ms=pilot.reaction_ms,
            commands_back_s=pilot.commands_back_s,
            first_motion_s=pilot.first_motion_s,
            estop_s=pilot.estop_s,
            wall_s=time.monotonic() - began_s,
        )


def system_arguments(plan: FlightPlan, trace_path: Path, *, view: bool) -> dict[str, str]:
    """The arguments of the system `quadrotor` for a plan."""
    return {
        "policy": PILOT.policy,
        "airframe": AIRFRAME,
        "program": "; ".join(plan.program),
        "height": f"{plan.height_m:g}",
        "gust": plan.gust_argument,
        "headless": "false" if view else "true",
        "trace": str(trace_path),
    }


class _Pilot:
    """Waits for what the plan says will happen, shows it, and says so when it does not."""

    def __init__(
        self,
        plan: FlightPlan,
        runner: SystemRunner,
        observer: Observer,
        display: Display,
        log: StageLog,
        since_start_s: Callable[[], float],
    ) -> None:
        self._plan, self._runner, self._observer = plan, runner, observer
        self._display, self._log, self._since_start_s = display, log, since_start_s
        self.trajectory = make_program(plan.program, height_m=plan.height_m)
        self.start_ns = 0
        self.kill_steady_ns = 0
        self.reaction_ms = self.commands_back_s = self.first_motion_s = 0.0
        self.gate = GateCounts()
        self.estop_s: float | None = None
        self._near_since_s: float | None = None

    def fly(self) -> None:
        self._bring_up()
        kill_s = self._plan.kill_s
        self._wait(lambda: self._time_s() >= kill_s, kill_s + _PATIENCE_S, "the flight came to no end")
        # Were the gate in its safe action already (a host that was away), the kill would show nothing.
        self._wait(self._passes_steadily, _PATIENCE_S, "the gate did not let commands through")
        self._kill()
        self._come_back()
        end_s = self._time_s() + _AFTERGLOW_S
        self._wait(lambda: self._time_s() >= end_s, 10.0, "the observations stopped")
        self._land()

    # --- the acts ----------------------------------------------------------------------------

    def _bring_up(self) -> None:
        self._display.phase("Bringing up six processes")
        observer = self._observer
        self._wait(
            lambda: observer.latest is not None and observer.number("reference_node", "start_ns") is not None,
            _BRING_UP_S,
            "the system did not come up",
        )
        self.start_ns = observer.number("reference_node", "start_ns") or 0
        ground_m = self._position()[2]
        self._wait(
            lambda: self._position()[2] > ground_m + LIFTED_M, 15.0, "the vehicle did not leave the ground"
        )
        self.first_motion_s = self._since_start_s()
        self._display.note(f"first motion {self.first_motion_s:.1f} s after the start")

    def _kill(self) -> None:
        observer = self._observer
        self._display.note("killing the policy's process (kill -9)")
        process = self._runner.pid("policy_node")
        self.kill_steady_ns = time.monotonic_ns()
        os.kill(process, signal.SIGKILL)
        self._wait(
            lambda: observer.change_after(self.kill_steady_ns, is_safe=True) is not None,
            _REACTION_S,
            "the gate took no safe action",
        )
        change = observer.change_after(self.kill_steady_ns, is_safe=True)
        assert change is not None
        self.reaction_ms = (change.steady_ns - self.kill_steady_ns) * 1e-6
        self._display.note(f"safe action after {self.reaction_ms:.0f} ms: the vehicle descends by itself")
        self._wait(
            lambda: observer.change_after(change.steady_ns, is_safe=False) is not None,
            _RESTART_S,
            "no command passed after the policy had been started anew",
        )
        back = observer.change_after(change.steady_ns, is_safe=False)
        assert back is not None
        self.commands_back_s = (back.steady_ns - self.kill_steady_ns) * 1e-9
        self._display.note(f"the policy is back after {self.commands_back_s:.1f} s")

    def _come_back(self) -> None:
        self._near_since_s = None
        self._wait(
            lambda: self._near_since_s is not None and self._time_s() - self._near_since_s >= RECOVERED_FOR_S,
            _RECOVERY_S,
            "the vehicle did not come back to its reference",
        )
        self.gate = gate_counts(self._observer)

    def _land(self) -> None:
        """Press the emergency stop: the safe action of this robot is to land."""
        self._display.phase("Emergency stop: landing")
        observer, begin_ns = self._observer, time.monotonic_ns()
        self.estop_s = self._time_s()
        low = {"since_s": self._time_s(), "height_m": self._position()[2], "pressed_ns": 0}

        def landed() -> bool:
            now_ns = time.monotonic_ns()
            if now_ns - low["pressed_ns"] > 100_000_000:
                low["pressed_ns"] = now_ns
                observer.press_emergency_stop()
            height_m, now_s = self._position()[2], self._time_s()
            if abs(height_m - low["height_m"]) > _LANDED_M_S * _LANDED_FOR_S:
                low["height_m"], low["since_s"] = height_m, now_s
            has_stopped = observer.change_after(begin_ns, is_safe=True) is not None
            return has_stopped and now_s - low["since_s"] > _LANDED_FOR_S

        self._wait(landed, _LANDING_S, "the vehicle did not land after the emergency stop")

    def _passes_steadily(self) -> bool:
        changes = self._observer.changes
        if not changes or changes[-1].is_safe:
            return False
        return time.monotonic_ns() - changes[-1].steady_ns > _STEADY_S * 1e9

    # --- watching ----------------------------------------------------------------------------

    def _wait(self, is_there: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        if not self._observer.wait_for(is_there, timeout_s=timeout_s, every=self._watch):
            raise self._log.error(f"{otherwise} within {timeout_s:g} s")

    def _watch(self) -> None:
        if not self._runner.is_running:
            raise self._log.error(f"the system ended: {self._runner.failed or 'no reason given'}")
        if self.start_ns == 0 or self._observer.latest is None:
            self._display.update()
            return
        now_s, error_m = self._time_s(), self._error_m()
        if error_m > RECOVERED_M:
            self._near_since_s = None
        elif self._near_since_s is None:
            self._near_since_s = now_s
        if self.estop_s is None:
            self._display.phase(self._plan.at(now_s).title)
        height_m = float(self._position()[2])
        self._display.update(f"{error_m * 100:5.1f} cm from the reference", f"{height_m:.2f} m high")

    def _position(self) -> FloatArray:
        assert self._observer.latest is not None
        return self._observer.latest.terms["position"]

    def _time_s(self) -> float:
        """Seconds since the reference began, by the newest observation."""
        if self._observer.latest is None or self.start_ns == 0:
            return 0.0
        return (self._observer.latest.stamp_ns - self.start_ns) * 1e-9

    def _error_m(self) -> float:
        return float(np.linalg.norm(self._position() - self.trajectory.sample(self._time_s()).position_m))
