"""Flies a vehicle through its whole stack: bring-up, arming, take-off, the course, landing, disarming."""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reflexarc_ros.domain import OwnDomain
from reflexarc_ros.runner import SystemRunner

from hardware.cards import load_robot_card
from hardware.reference import make_program
from reflexarc.demos.metrics import figure_eight_rmse_m, hover_error_m, make_flight
from reflexarc.demos.observer import Observer, gate_counts
from reflexarc.demos.records import FlightRecord, Timing
from reflexarc.demos.stage import StageError, StageLog
from reflexarc.flights.plan import Course
from sim.twin.trace import Trace

# The first bring-up of a simulated flight controller compiles its firmware.
_BRING_UP_S, _ARM_S, _TAKE_OFF_S, _LAND_S = 900.0, 60.0, 60.0, 90.0
_PATIENCE_S = 20.0
# How long to show what comes after the course, and after the landing.
_PAUSE_S, _REST_S = 1.5, 1.0
# So low, and with motors so slow, a vehicle has landed.
_GROUND_M, _OFF = 0.15, 0.02


@dataclass(frozen=True)
class VehicleFlight:
    """A flight with what it came to."""

    # The states that the simulated world was truly in, with everything that the demo's plots want.
    record: FlightRecord
    # Firmware of the flight controller, as its driver was told.
    firmware: str
    # RMS of the distance from the reference while hovering, and over the figure eight at full speed, metres.
    hover_error_m: float | None
    figure_eight_rmse_m: float | None
    # Whether it stood on the ground at the end, disarmed, with its motors off.
    landed: bool
    # What the services answered.
    answers: tuple[str, ...]


def fly_vehicle(
    robot: str,
    course: Course,
    *,
    folder: Path,
    policy: str = "",
    say: Callable[[str], None],
    arguments: dict[str, str] | None = None,
) -> VehicleFlight:
    """Fly a vehicle of a card that brings its simulated flight controller along.

    Args:
        robot: name or path of the card.
        course: what to fly.
        folder: where traces and the log go.
        policy: the policy; empty: what suits the card.
        say: told what goes on.
        arguments: further arguments of the system.

    Returns:
        The flight.

    Raises:
        ConfigError: the system does not fit together; nothing has started then.
        StageError: something that had to happen did not.
    """
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    trace_path = folder / "flight.npz"
    truth_path = trace_path.with_suffix(".truth.npz")
    for path in (trace_path, truth_path):
        path.unlink(missing_ok=True)
    given = {
        "robot": robot,
        "policy": policy,
        "program": "; ".join(course.plan.program),
        "height": f"{course.height_m:g}",
        "trace": str(trace_path),
        **(arguments or {}),
    }
    card = load_robot_card(robot)
    with StageLog(folder / "flight.log") as log, OwnDomain() as domain:
        runner = SystemRunner("quadrotor", given, on_line=log.line, domain_id=domain.id)
        interface = str(next(s for s in runner.specs if s.name == "robot_node").parameters["interface"])
        namespace = runner.specs[0].namespace
        with (
            runner,
            Observer(card, namespace=namespace, domain_id=domain.id, interface=interface) as observer,
        ):
            flown = _Flight(course, runner, observer, log, say)
            flown.fly()
        for path in (trace_path, truth_path):
            if not path.exists():
                raise log.error(f"the system left no {path.name}")
        return _judge(flown, trace_path, truth_path, card.parameters, wall_s=time.monotonic() - began_s)


class _Flight:
    """Asks for one thing after the other, and says so when it does not come."""

    def __init__(
        self,
        course: Course,
        runner: SystemRunner,
        observer: Observer,
        log: StageLog,
        say: Callable[[str], None],
    ) -> None:
        self.course, self._runner, self.observer, self._log, self._say = course, runner, observer, log, say
        self.answers: list[str] = []
        self.firmware = ""
        self.start_ns = 0
        self.land_ns = 0

    def fly(self) -> None:
        observer, plan = self.observer, self.course.plan
        self._say("bringing up the stack and the flight controller")
        self._wait(
            lambda: observer.status("supervisor_node").message == "all active", _BRING_UP_S, "bring-up"
        )
        self._arm()
        self._ask("take_off", _TAKE_OFF_S)
        self._wait(
            lambda: observer.number("reference_node", "start_ns") is not None, _PATIENCE_S, "the reference"
        )
        self.start_ns = observer.number("reference_node", "start_ns") or 0
        status = observer.status("reference_node").values
        self.start_m = tuple(float(x) for x in status["start_m"].split())
        self.yaw_rad = float(status["yaw_rad"])
        self.firmware = observer.status("robot_node").values.get("firmware", "")
        for phase in plan.phases:
            self._say(phase.title.lower())
            end_s = phase.end_s if np.isfinite(phase.end_s) else phase.start_s + _PAUSE_S
            self._wait(self._passed(end_s), end_s + _PATIENCE_S, f"the end of {phase.title}")
            if observer.status("robot_node").values.get("phase") != "following commands":
                raise self._log.error(
                    f"the flight ended early: {observer.status('robot_node').message or 'no reason given'}"
                )
        self._say("landing")
        self.land_ns = 0 if observer.latest is None else observer.latest.stamp_ns
        self.gate = gate_counts(observer)
        self._ask("land", _LAND_S)
        rest_s = self._time_s() + _REST_S
        self._wait(self._passed(rest_s), _PATIENCE_S, "the last observations")

    def _arm(self) -> None:
        """Arm as soon as the firmware will: sensors are calibrated first, estimators settle."""
        deadline_s = time.monotonic() + _ARM_S
        while True:
            answer = self.observer.ask("robot_node/arm", timeout_s=_PATIENCE_S, on=True)
            if answer is not None and answer.success:
                self.answers.append(f"arm: {answer.message}")
                return
            if time.monotonic() >= deadline_s:
                raise self._log.error(f"it did not arm: {'silence' if answer is None else answer.message}")
            end_s = time.monotonic() + 0.5
            self._wait(functools.partial(_is_past, end_s), _PATIENCE_S, "")

    def _ask(self, service: str, timeout_s: float) -> None:
        answer = self.observer.ask(f"robot_node/{service}", timeout_s=timeout_s)
        if answer is None or not answer.success:
            raise self._log.error(
                f"{service.replace('_', '-')}: {'no answer' if answer is None else answer.message}"
            )
        self.answers.append(f"{service}: {answer.message}")

    def _wait(self, is_there: Callable[[], bool], timeout_s: float, what: str) -> None:
        if not self.observer.wait_for(is_there, timeout_s=timeout_s, every=self._watch):
            raise self._log.error(f"{what} did not come within {timeout_s:g} s")

    def _watch(self) -> None:
        if not self._runner.is_running:
            raise self._log.error(f"the system ended: {self._runner.failed or 'no reason given'}")

    def _passed(self, time_s: float) -> Callable[[], bool]:
        return lambda: self._time_s() >= time_s

    def _time_s(self) -> float:
        """Seconds since the reference began, by the newest observation."""
        latest = self.observer.latest
        return 0.0 if latest is None else (latest.stamp_ns - self.start_ns) * 1e-9


def _is_past(end_s: float) -> bool:
    return time.monotonic() >= end_s


def _judge(
    flown: _Flight, trace_path: Path, truth_path: Path, parameters: object, *, wall_s: float
) -> VehicleFlight:
    """Lay the truth beside the reference."""
    course = flown.course
    measured, truth = Trace.load(trace_path), Trace.load(truth_path)
    trajectory = make_program(
        course.plan.program, height_m=course.height_m, start_m=flown.start_m, yaw_rad=flown.yaw_rad
    )
    # Truth in states and motors; what the stack did in events.
    trace = dataclasses.replace(
        truth,
        event_time_ns=measured.event_time_ns,
        event_names=measured.event_names,
        event_details=measured.event_details,
    )
    record = FlightRecord(
        plan=course.plan,
        trajectory=trajectory,
        trace=trace,
        timing=Timing.load(trace_path),
        gate=flown.gate,
        start_ns=flown.start_ns,
        kill_s=float("inf"),
        reaction_ms=0.0,
        commands_back_s=0.0,
        first_motion_s=0.0,
        estop_s=(flown.land_ns - flown.start_ns) * 1e-9,
        wall_s=wall_s,
        airframe=str(dict(parameters).get("airframe", "x500_sim")),  # type: ignore[call-overload]
        landing_title="Landing",
    )
    flight = make_flight(trace, trajectory, start_ns=flown.start_ns)
    ground_m = float(truth.qpos[0, 2])
    is_down = abs(float(truth.qpos[-1, 2]) - ground_m) < _GROUND_M
    is_off = float(np.max(truth.command_values[-1])) <= _OFF
    return VehicleFlight(
        record=record,
        firmware=flown.firmware,
        hover_error_m=hover_error_m(flight, course.plan),
        figure_eight_rmse_m=figure_eight_rmse_m(flight, course.plan, course.segment),
        landed=bool(is_down and is_off and re.search(r"^land: landed", flown.answers[-1])),
        answers=tuple(flown.answers),
    )


__all__ = ["StageError", "VehicleFlight", "fly_vehicle"]
