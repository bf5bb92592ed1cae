"""robot_node: a robot, or its twin, on the wire. Accepts commands from the gate alone."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard, with_rate
from reflexarc_ros import qos
from reflexarc_ros.chunks import GATE_ESTOP_TOPIC, GATE_TOPIC, ChunkCodec, Nothing, SafeStop
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import observation_topics, to_time
from reflexarc_ros.node import PACE, REALTIME_PRIORITY, ReflexarcNode, Setting, destroy, run
from reflexarc_ros.start import RUN_ENDED
from sim.twin.base import Twin

# Lockstep time begins here, so that no stamp is zero (ROS reads zero as «no time yet»).
LOCKSTEP_START_NS = 1_000_000_000
_PUBLISHER_CHECK_S = 0.1
_RESEND_S = 0.25
# /clock in real time; every process that follows it pays for each message.
_CLOCK_PERIOD_NS = 20_000_000
_TIMING_KEPT = 200_000


def make_robot(card: RobotCard, settings: dict[str, Any], *, start_ns: int) -> Twin:
    """Make the robot that a card names.

    Args:
        card: the robot's card.
        settings: seed, latency, airframe, gusts.
        start_ns: the ROS clock at the start, in nanoseconds.

    Returns:
        The robot, not connected.

    Raises:
        ConfigError: no driver of that name.
    """
    if card.driver != "twin":
        raise ConfigError(
            f"no driver {card.driver!r}",
            where=f"robot card {card.name!r}",
            expected="twin",
            mend="choose a card with a driver that this version has",
        )
    if settings["latency"] == "none":
        from sim.twin.latency import NONE

        latency = NONE
    else:
        latency = card.latency
    if card.kind == "quadrotor":
        from sim.twin.quadrotor import QuadrotorTwin

        gust = settings["gust"]
        return QuadrotorTwin(
            card,
            airframe=settings["airframe"] or str(card.parameters["airframe"]),
            seed=settings["seed"],
            latency=latency,
            start_ns=start_ns,
            gusts=((gust[0], gust[1], tuple(gust[2:5])),) if len(gust) == 5 else (),
        )
    from sim.twin.arm import ArmTwin

    return ArmTwin(card, seed=settings["seed"], latency=latency, start_ns=start_ns)


@runtime_checkable
class HasCameras(Protocol):
    """A robot whose cameras can be looked through."""

    def camera_state(self, name: str) -> tuple[FloatArray, int]:
        """What the camera's newest image shows, and its capture stamp in nanoseconds."""

    def view(self) -> Any:  # noqa: ANN401
        """Makes images of such states."""


class RobotNode(ReflexarcNode):
    """Publishes what the robot measures, hands it what the gate lets through."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        REALTIME_PRIORITY,
        Setting(
            "rate_hz",
            0.0,
            "Rate of observations and commands; 0: as on the card.",
            minimum=0.0,
            maximum=2000.0,
        ),
        Setting("seed", 0, "Seed of the twin: initial state and latency."),
        Setting("airframe", "", "Airframe of a quadrotor twin; empty: as on the card."),
        Setting("latency", "none", "Latency in the twin: none, or as on the card.", choices=("none", "card")),
        Setting(
            "gust",
            [0.0],
            "A gust on a quadrotor twin: start_s, duration_s, force x, y, z in newtons; else empty.",
        ),
        Setting("cameras", False, "Whether the twin renders and publishes its cameras."),
        Setting("view", False, "Whether to open a live viewer (needs a display)."),
        Setting(
            "liveness_s",
            10.0,
            "Lockstep: how long to wait for a command before the run ends.",
            minimum=0.1,
            maximum=600.0,
        ),
        Setting(
            "trace_path",
            "",
            "Where to write the trace and the timing when the node deactivates; empty: nowhere.",
        ),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("robot_node")
        self._robot: Twin | None = None
        self._loop: DeadlineLoop | None = None
        self._clock_loop: DeadlineLoop | None = None
        self._viewer: Any = None
        self._cameras: Any = None
        self._commands: deque[tuple[ActionChunk | SafeStop | Nothing, int]] = deque()
        self._entities: list[Any] = []

    def configure(self) -> None:
        """Load the card, make the robot, advertise."""
        card = load_robot_card(self.setting("card"))
        rate_hz = self.setting("rate_hz")
        if rate_hz > 0.0:
            card = with_rate(card, rate_hz)
        self._card = card
        start_ns = LOCKSTEP_START_NS if self.is_lockstep else time.time_ns()
        self._robot = make_robot(
            card, {s.name: self.setting(s.name) for s in self.settings}, start_ns=start_ns
        )
        self._robot.connect()
        spec = self._robot.command_spec
        self._codec = ChunkCodec(spec.kind, spec.names)
        sensor = qos.LOCKSTEP if self.is_lockstep else qos.SENSOR
        self._topics = observation_topics(card)
        self._outputs = [self.create_publisher(t.message_type, t.topic, sensor) for t in self._topics]
        self._clock_publisher = self.create_publisher(ClockMessage, "/clock", qos.LOCKSTEP)
        self._clock_message = ClockMessage()
        description = self.create_publisher(String, "robot_description", qos.LATCHED)
        description.publish(String(data=self._robot.description))
        self._entities = [
            *self._outputs,
            self._clock_publisher,
            description,
            self.create_subscription(
                self._codec.message_type,
                GATE_TOPIC,
                self.guarded(GATE_TOPIC, self._on_command),
                qos.command(None, None),
                raw=True,
            ),
            self.create_subscription(Bool, "estop", self._on_estop, qos.ESTOP),
            self.create_subscription(Bool, GATE_ESTOP_TOPIC, self._on_gate_estop, qos.LATCHED),
            self.create_service(Trigger, "~/reset", self._on_reset),
            self.create_service(Trigger, "~/task", self._on_task),
            self.create_timer(_RESEND_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME)),
        ]
        if self.setting("cameras"):
            self._advertise_cameras(self._robot)
        self._latencies_ns: list[int] = []
        self._awaited_ns = 0
        self._origin_ns = start_ns
        self._asked_steady_ns = 0
        self._steps = 0
        self._expired = 0
        self._seed = self.setting("seed")
        self._adds_latency = self.setting("latency") == "card"
        self._next_publisher_check_ns = 0
        self._publish_clock(start_ns)

    def activate(self) -> None:
        """Begin to publish and to listen; refuse unless exactly one publisher commands."""
        assert self._robot is not None
        count = self.count_publishers(GATE_TOPIC)
        if count != 1:
            raise ConfigError(
                f"{count} publishers on {GATE_TOPIC}",
                where=self.get_fully_qualified_name(),
                expected="exactly one, the command gate",
                mend="start the gate first, and stop whoever else publishes commands",
            )
        self._commands.clear()
        self._latencies_ns.clear()
        if self.setting("view"):
            from sim.worlds.viewer import LiveViewer

            self._viewer = LiveViewer(self._robot)
        if self.is_lockstep:
            self._asked_steady_ns = time.monotonic_ns()
            self._publish(self._robot.read())
            return
        robot = self._robot
        self._period_ns = robot.observation_period_ns
        self._origin_ns = robot.now_ns
        self._loop = self.loop(self._period_ns, self._on_deadline, name="robot")
        self._clock_loop = self.loop(_CLOCK_PERIOD_NS, self._on_clock, name="clock")
        self._loop.start()
        # Between two observations: who listens to the clock is then not busy with one.
        self._clock_loop.start(delay_ns=self._period_ns // 2)

    def deactivate(self) -> None:
        """Stop the loop, take the safe action, write the trace."""
        for loop in (self._clock_loop, self._loop):
            if loop is not None:
                loop.stop()
        self._awaited_ns = 0
        if self._robot is not None:
            self._robot.safe_stop("deactivated")
            if self.setting("trace_path"):
                self._write_trace(Path(self.setting("trace_path")))
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def cleanup(self) -> None:
        """Disconnect and withdraw everything."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None
        if self._robot is not None:
            self._robot.disconnect()
            self._robot = None
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    # --- real time ---------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        """One period: let the commands act when they arrived, move physics on, publish."""
        robot = self._robot
        assert robot is not None
        assert self._loop is not None
        until_ns = self._origin_ns + index * self._period_ns
        while self._commands:
            chunk, received_ns = self._commands.popleft()
            at_ns = self._origin_ns + received_ns - self._loop.start_ns
            self._hand_over(chunk, received_ns, at_ns)
        robot.advance(max(until_ns, robot.now_ns))
        if self._is_stopped and robot.safe_stopped is None:
            robot.safe_stop("emergency stop")
        self._publish(robot.read())
        self._check_publishers(deadline_ns)
        if self._cameras is not None:
            self._cameras.offer()
        if self._viewer is not None and not self._viewer.sync():
            self._viewer = None

    def _on_clock(self, index: int, deadline_ns: int) -> None:
        assert self._loop is not None
        self._publish_clock(self._origin_ns + deadline_ns - self._loop.start_ns)

    def _hand_over(self, chunk: ActionChunk | SafeStop | Nothing, received_ns: int, at_ns: int) -> None:
        robot = self._robot
        assert robot is not None
        at_ns = max(at_ns, robot.now_ns)
        if self._is_contested or self._is_stopped:
            return
        if not isinstance(chunk, ActionChunk):
            if isinstance(chunk, SafeStop) and robot.safe_stopped is None:
                robot.advance(at_ns)
                robot.safe_stop("the gate takes the safe action")
            return
        if chunk.end_ns <= robot.now_ns:
            self._expired += 1
            self.health.note(expired=self._expired)
            return
        if self._adds_latency:
            delay_ns = robot.latency.command_delay_ns()
            if delay_ns is None:
                return
            at_ns += delay_ns
        if len(self._latencies_ns) < _TIMING_KEPT:
            self._latencies_ns.append(at_ns - chunk.start_ns)
        try:
            robot.command(chunk.command_at(0, received_steady_ns=received_ns), at_ns=at_ns)
        except ConfigError as error:
            # Not from our gate: whoever sent it is not trusted with the robot.
            robot.safe_stop(f"a command that no gate lets through: {error.what}")
            self.health.report(DiagnosticStatus.ERROR, str(error))
            self.get_logger().error(str(error))

    def _check_publishers(self, steady_ns: int) -> None:
        """A second publisher of commands is a fault: the robot trusts neither."""
        if steady_ns < self._next_publisher_check_ns:
            return
        self._next_publisher_check_ns = steady_ns + round(_PUBLISHER_CHECK_S * 1e9)
        count = self.count_publishers(GATE_TOPIC)
        self._is_contested = count > 1
        if self._is_stopped:
            self.health.report(
                DiagnosticStatus.ERROR, "emergency stop: latched until the gate is told to reset it"
            )
        elif self._is_contested:
            self._commands.clear()
            assert self._robot is not None
            if self._robot.safe_stopped is None:
                self._robot.safe_stop(f"{count} publishers on {GATE_TOPIC}")
            self.health.report(
                DiagnosticStatus.ERROR,
                f"{count} publishers on {GATE_TOPIC}: commands are refused until there is one",
            )
        elif self._robot is not None:
            reason = self._robot.safe_stopped
            level = DiagnosticStatus.OK if reason is None else DiagnosticStatus.WARN
            self.health.report(level, "active" if reason is None else f"safe action: {reason}")
            self._note_timing()

    # --- lockstep ----------------------------------------------------------------------------

    def _step(self, chunk: ActionChunk | SafeStop | Nothing) -> None:
        """The awaited command is there: move on to the next observation."""
        robot = self._robot
        assert robot is not None
        if isinstance(chunk, ActionChunk):
            robot.command(chunk.command_at(0, received_steady_ns=robot.now_ns))
        elif isinstance(chunk, SafeStop) and robot.safe_stopped is None:
            robot.safe_stop("the gate takes the safe action")
        before_ns = robot.read().stamp_ns
        while robot.read().stamp_ns == before_ns:
            arrival_ns = robot.next_arrival_ns
            robot.advance(
                robot.next_capture_ns if arrival_ns is None else min(arrival_ns, robot.next_capture_ns)
            )
        self._steps += 1
        self._publish(robot.read())

    def _watch(self) -> None:
        """Lockstep: ask again until somebody answers, and end a run that nobody answers."""
        if not self.is_active or not self.is_lockstep or self._awaited_ns == 0:
            return
        self._check_publishers(time.monotonic_ns())
        waited_s = (time.monotonic_ns() - self._asked_steady_ns) * 1e-9
        assert self._robot is not None
        if waited_s > self.setting("liveness_s"):
            self._awaited_ns = 0
            self._robot.safe_stop("lockstep ended: no command")
            self.health.report(
                DiagnosticStatus.ERROR,
                f"lockstep ended: no command for step {self._steps} within {self.setting('liveness_s')} s",
            )
            self.health.flush()
            self.get_logger().error(f"lockstep ended: no command for step {self._steps}")
            self.end(RUN_ENDED)
        elif self._steps == 0:
            asked_ns = self._asked_steady_ns
            self._publish(self._robot.read())
            self._asked_steady_ns = asked_ns

    # --- wire --------------------------------------------------------------------------------

    _is_contested = False
    # The robot latches an emergency stop by itself, so that it outlives a gate that is started anew.
    _is_stopped = False

    def _on_estop(self, message: Bool) -> None:
        if message.data and not self._is_stopped:
            self._stop("emergency stop")

    def _on_gate_estop(self, message: Bool) -> None:
        """The gate tells when its latch changes; only an explicit reset of the gate sends False."""
        if message.data and not self._is_stopped:
            self._stop("emergency stop of the gate")
        elif not message.data and self._is_stopped:
            self._is_stopped = False
            self.get_logger().info("emergency stop released")

    def _stop(self, reason: str) -> None:
        self._is_stopped = True
        self.get_logger().error(f"{reason}: commands are refused until the gate is told to reset it")

    def _on_command(self, raw: bytes) -> None:
        received_ns = time.monotonic_ns()
        if not self.is_active or self._robot is None:
            return
        chunk = self._codec.decode(raw, source="gate")
        if self._is_contested or self._is_stopped:
            chunk = SafeStop(chunk.start_ns)
        if not self.is_lockstep:
            self._commands.append((chunk, received_ns))
        elif chunk.start_ns == self._awaited_ns:
            self._step(chunk)

    def _publish(self, observation: Observation) -> None:
        self._awaited_ns = observation.stamp_ns
        self._asked_steady_ns = time.monotonic_ns()
        if self.is_lockstep:
            self._publish_clock(self._robot.now_ns if self._robot is not None else observation.stamp_ns)
            if self._cameras is not None:
                self._cameras.offer()
        for topic, publisher in zip(self._topics, self._outputs, strict=True):
            publisher.publish(topic.encode(observation))

    def _publish_clock(self, now_ns: int) -> None:
        self._clock_message.clock = to_time(now_ns)
        self._clock_publisher.publish(self._clock_message)

    def _advertise_cameras(self, robot: Twin) -> None:
        from reflexarc_ros.cameras import CameraPublisher

        if not isinstance(robot, HasCameras) or not self._card.cameras:
            raise ConfigError(
                "the robot has no cameras",
                where=self.get_fully_qualified_name(),
                expected="a robot card with cameras",
                mend="leave out cameras:=true",
            )
        self._cameras = CameraPublisher(self, self._card, robot, in_background=not self.is_lockstep)

    # --- services ----------------------------------------------------------------------------

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """A new episode of the twin; its time goes on."""
        robot = self._robot
        if robot is None or self.is_active:
            response.success = False
            response.message = "deactivate the node first: a reset moves the robot at once"
            return response
        self._seed += 1
        robot.reset(self._seed, start_ns=robot.now_ns)
        response.success, response.message = True, f"seed {self._seed}"
        return response

    def _on_task(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Whether the task of the world is solved."""
        robot = self._robot
        response.success = bool(robot is not None and getattr(robot, "success", False))
        return response

    # --- reports -----------------------------------------------------------------------------

    def _note_timing(self) -> None:
        recent = np.array(self._latencies_ns[-500:], dtype=np.float64) * 1e-6
        if recent.size:
            p50, p95, p99 = np.percentile(recent, (50, 95, 99))
            self.health.note(
                photon_to_motor_ms_p50=f"{p50:.3f}",
                photon_to_motor_ms_p95=f"{p95:.3f}",
                photon_to_motor_ms_p99=f"{p99:.3f}",
                deadline_misses=0 if self._loop is None else self._loop.misses,
            )

    def _write_trace(self, path: Path) -> None:
        assert self._robot is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._robot.trace().save(path)
        timing = {
            "photon_to_motor_ms": [n * 1e-6 for n in self._latencies_ns],
            "deadline_misses": 0 if self._loop is None else self._loop.misses,
            # The same instant on the robot's clock and on the steady clock.
            "origin_ns": self._origin_ns,
            "origin_steady_ns": 0 if self._loop is None else self._loop.start_ns,
        }
        path.with_suffix(".timing.json").write_text(json.dumps(timing), encoding="utf-8")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(RobotNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
