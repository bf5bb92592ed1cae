"""A real robot behind robot_node: its own threads talk to the wire, this one publishes what is new."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from hardware.chunk import ActionChunk
from hardware.command import Command, FloatArray
from hardware.errors import ConfigError, Refusal
from hardware.frames import rotation_matrix
from hardware.robot import Observation, Robot, RobotCard
from reflexarc_ros.chunks import Nothing, SafeStop
from reflexarc_ros.drive import Answer, Drive
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.twin_drive import write_trace
from sim.twin.trace import TraceRecorder

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import RobotNode

# So often is a robot asked for its newest observation in each of its periods: what has arrived does not
# wait for long.
_POLLS = 4
_TIMING_KEPT = 200_000
_TRACE_LIMIT_S = 3600.0


class HardwareDrive(Drive):
    """Drives a robot through its driver, in real time. The driver must not block.

    Args:
        node: publishes, and knows the settings.
        card: the robot's card.
        robot: its driver, not connected.

    Raises:
        ConfigError: lockstep, or an interface that the card has not.
    """

    robot: Robot

    def __init__(self, node: RobotNode, card: RobotCard, robot: Robot) -> None:
        """Choose the interface; nothing is opened."""
        where = node.get_fully_qualified_name()
        if node.is_lockstep:
            raise ConfigError(
                f"the driver {card.driver!r} cannot run in lockstep",
                where=f"{where}: parameter 'pace'",
                expected="real_time: a real robot does not wait",
                mend="leave out pace:=lockstep, or take the twin",
            )
        interface = node.setting("interface") or next(iter(card.commands))
        if interface not in card.commands:
            raise ConfigError(
                f"no command interface {interface!r}",
                where=f"{where}: parameter 'interface'",
                expected="one of " + ", ".join(card.commands),
                mend="correct the name",
            )
        self._node, self._card, self.robot = node, card, robot
        self.spec = card.commands[interface]
        self._lock = threading.RLock()
        self._loop: DeadlineLoop | None = None
        self._is_connected = False
        self._safe_reason: str | None = None
        self._last_stamp_ns = self._expired = 0
        self._origin_ns = self._origin_steady_ns = 0
        self._latencies_ns: list[int] = []
        rate_hz = max(term.rate_hz for term in card.observations.values())
        self._period_ns = round(1e9 / rate_hz)
        self._recorder = self._make_recorder(rate_hz)

    def _make_recorder(self, rate_hz: float) -> TraceRecorder:
        rows = round(rate_hz * _TRACE_LIMIT_S)
        return TraceRecorder(robot=self._card.name, command_names=self.spec.names, row_limit=rows)

    def connect(self) -> None:
        """Open the wire."""
        try:
            self.robot.connect()
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the driver {self._card.driver!r} needs the package {error.name!r}, which is not installed",
                where=f"robot card {self._card.name!r}",
                expected="the packages of its extra (see docs/robot-cards.md)",
                mend=f"pip install {error.name}",
            ) from error
        self._is_connected = True

    def start(self) -> None:
        """Begin the loop."""
        with self._lock:
            self._safe_reason = None
            self._latencies_ns.clear()
            self._recorder = self._make_recorder(1e9 / self._period_ns)
        self._origin_ns, self._origin_steady_ns = time.time_ns(), time.monotonic_ns()
        self._loop = self._node.loop(self._period_ns // _POLLS, self._on_deadline, name="robot")
        self._loop.start()

    def stop(self) -> None:
        """Take the safe action, and end the loop."""
        self.safe_stop("deactivated")
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        """Leave the robot in its safe state and close the wire."""
        if self._is_connected:
            self._is_connected = False
            self.robot.disconnect()

    @property
    def safe_stopped(self) -> str | None:
        """Why the robot is in its safe action, as far as this process knows."""
        return self._safe_reason

    def safe_stop(self, reason: str) -> None:
        """Take the card's safe action."""
        with self._lock:
            self._safe_reason = reason
            self._recorder.event(time.time_ns(), "safe_stop", reason)
            self.robot.safe_stop(reason)

    # --- commands ----------------------------------------------------------------------------

    def take(self, answer: Answer, received_ns: int) -> None:
        """Hand it over at once."""
        with self._lock:
            if isinstance(answer, SafeStop):
                self._take_stop()
            elif not isinstance(answer, Nothing) and self._node.is_open:
                self._hand_over(answer, received_ns)

    def _take_stop(self) -> None:
        """The gate says that nobody may command."""
        if self.safe_stopped is None:
            self.safe_stop("the gate takes the safe action")

    def _hand_over(self, chunk: ActionChunk, received_ns: int) -> None:
        now_ns = time.time_ns()
        if chunk.end_ns <= now_ns:
            self._expired += 1
            self._node.health.note(expired=self._expired)
            return
        command = chunk.command_at(0, received_steady_ns=received_ns)
        try:
            self._command(command)
        except (ConfigError, Refusal) as error:
            # Not from our gate: whoever sent it is not trusted with the robot.
            self.safe_stop(f"a command that no gate lets through: {error}")
            self._node.get_logger().error(str(error))
            return
        self._recorder.command(now_ns, command.values)
        if len(self._latencies_ns) < _TIMING_KEPT:
            self._latencies_ns.append(now_ns - chunk.start_ns)

    def _command(self, command: Command) -> None:
        """Give the robot a command, which ends its safe action."""
        self.robot.command(command)
        if self._safe_reason is not None:
            self._recorder.event(time.time_ns(), "released", self._safe_reason)
            self._safe_reason = None

    # --- the loop ----------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        """Publish the newest observation, if it is new."""
        with contextlib.suppress(Refusal):
            observation = self.robot.read()
            if observation.stamp_ns > self._last_stamp_ns:
                self._last_stamp_ns = observation.stamp_ns
                self._node.publish(observation)
                self._record(observation)
        if self._node.is_stopped and self.safe_stopped is None:
            self.safe_stop("emergency stop")
        self._look(deadline_ns)
        self._node.check_publishers(deadline_ns)

    def _look(self, steady_ns: int) -> None:
        """What else has to be looked after, in every turn of the loop."""

    def _record(self, observation: Observation) -> None:
        """Keep a row of the trace: generalised positions and velocities in the twin's order."""
        if not self._node.setting("trace_path"):
            return
        row = _body(observation)
        if row is None:
            values = observation.values
            row = values.get("joint_position"), values.get("joint_velocity", np.zeros(0))
        if row[0] is not None:
            self._recorder.row(observation.stamp_ns, np.array(row[0]), np.array(row[1]))

    # --- reports -----------------------------------------------------------------------------

    def health(self) -> tuple[bytes, str]:
        """How the robot is, with the timing of late."""
        recent = np.array(self._latencies_ns[-500:], dtype=np.float64) * 1e-6
        if recent.size:
            p50, p95, p99 = np.percentile(recent, (50, 95, 99))
            self._node.health.note(
                photon_to_motor_ms_p50=f"{p50:.3f}",
                photon_to_motor_ms_p95=f"{p95:.3f}",
                photon_to_motor_ms_p99=f"{p99:.3f}",
            )
        if not self._last_stamp_ns:
            return DiagnosticStatus.WARN, "no observation from the robot yet"
        return super().health()

    def write_trace(self, path: Path) -> None:
        """Write what was measured and commanded, and the timing beside it."""
        write_trace(
            self._recorder.trace(),
            path,
            latencies_ns=self._latencies_ns,
            misses=0 if self._loop is None else self._loop.misses,
            origin_ns=self._origin_ns,
            origin_steady_ns=self._origin_steady_ns,
        )


def _body(observation: Observation) -> tuple[FloatArray, FloatArray] | None:
    """Position and orientation (7,), world velocity and body rates (6,) of a free body; None: it is none."""
    values = observation.values
    terms = ("position", "orientation", "linear_velocity", "angular_velocity")
    if not all(name in values for name in terms):
        return None
    position, orientation, velocity, rates = (values[name] for name in terms)
    world = rotation_matrix(orientation) @ velocity
    return np.concatenate((position, orientation)), np.concatenate((world, rates))
