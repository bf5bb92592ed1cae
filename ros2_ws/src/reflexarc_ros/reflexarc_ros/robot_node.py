"""robot_node: a robot, or its twin, on the wire. Accepts commands from the gate alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.command import FloatArray
from hardware.drivers import TWIN
from hardware.errors import ConfigError
from hardware.robot import Observation, RobotCard, with_rate
from reflexarc_ros import qos
from reflexarc_ros.body_frame import NOT_INSTALLED, TF_TOPIC, BodyFrame, find_messages, has_body
from reflexarc_ros.chunks import GATE_ESTOP_TOPIC, GATE_TOPIC, ChunkCodec, SafeStop
from reflexarc_ros.drive import Drive, make_drive
from reflexarc_ros.messages import observation_topics, to_ns, to_time
from reflexarc_ros.node import HEARD_TOPIC, PACE, REALTIME_PRIORITY, ReflexarcNode, Setting, destroy, run

_PUBLISHER_CHECK_S = 0.1
_WATCH_S = 0.25


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
        Setting("interface", "", "Command interface on the card; empty: its first one, or the twin's."),
        Setting(
            "take_off_height_m",
            1.0,
            "How far a flight vehicle climbs when it takes off.",
            minimum=0.2,
            maximum=20.0,
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
            "Lockstep: how long to wait for a command before the run ends, and for a recorder that is"
            " behind before it may lose steps.",
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
        self._drive: Drive | None = None
        self._cameras: Any = None
        # Which observation each recorder has taken last, nanoseconds.
        self._heard: dict[str, int] = {}
        self._frame: BodyFrame | None = None
        self._entities: list[Any] = []

    def configure(self) -> None:
        """Load the card, make the robot, advertise, open the wire."""
        card = load_robot_card(self.setting("card"))
        rate_hz = self.setting("rate_hz")
        if rate_hz > 0.0:
            card = with_rate(card, rate_hz)
        self._card = card
        self._next_publisher_check_ns = 0
        drive = self._drive = make_drive(self, card)
        self._codec = ChunkCodec(drive.spec.kind, drive.spec.names)
        sensor = qos.LOCKSTEP if self.is_lockstep else qos.SENSOR
        self._topics = observation_topics(card)
        self._outputs = [self.create_publisher(t.message_type, t.topic, sensor) for t in self._topics]
        # Only a twin makes time.
        self._clocks = (
            [self.create_publisher(ClockMessage, "/clock", qos.LOCKSTEP)] if card.driver == TWIN else []
        )
        self._clock_message = ClockMessage()
        self._advertise_frame(card)
        description = self.create_publisher(String, "robot_description", qos.LATCHED)
        description.publish(String(data=drive.description))
        self._entities = [
            *self._outputs,
            *self._clocks,
            *([] if self._frame is None else [self._frame.publisher]),
            description,
            self.create_subscription(
                self._codec.message_type,
                GATE_TOPIC,
                self.guarded(GATE_TOPIC, self._on_command),
                qos.command(None, None),
                raw=True,
            ),
            *([self._listen_to_recorders()] if self.is_lockstep else []),
            self.create_subscription(Bool, "estop", self._on_estop, qos.ESTOP),
            self.create_subscription(Bool, GATE_ESTOP_TOPIC, self._on_gate_estop, qos.LATCHED),
            self.create_service(Trigger, "~/reset", self._on_reset),
            self.create_service(Trigger, "~/task", self._on_task),
            self.create_timer(_WATCH_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME)),
            *drive.advertise(),
        ]
        drive.connect()
        if self.setting("cameras"):
            # What they show first is what the robot measures first.
            self._advertise_cameras(drive.robot)

    def activate(self) -> None:
        """Begin to publish and to listen; refuse unless exactly one publisher commands."""
        assert self._drive is not None
        count = self.count_publishers(GATE_TOPIC)
        if count != 1:
            raise ConfigError(
                f"{count} publishers on {GATE_TOPIC}",
                where=self.get_fully_qualified_name(),
                expected="exactly one, the command gate",
                mend="start the gate first, and stop whoever else publishes commands",
            )
        self._heard.clear()
        self._drive.start()

    def deactivate(self) -> None:
        """Stop the loop, take the safe action, write the trace."""
        if self._drive is not None:
            self._drive.stop()
            if self.setting("trace_path"):
                self._drive.write_trace(Path(self.setting("trace_path")))

    def cleanup(self) -> None:
        """Disconnect and withdraw everything."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None
        if self._drive is not None:
            self._drive.close()
            self._drive = None
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    # --- what the drive needs ----------------------------------------------------------------

    # More than one publisher commands: none is trusted.
    _is_contested = False
    # The robot latches an emergency stop by itself, so that it outlives a gate that is started anew.
    is_stopped = False

    @property
    def is_open(self) -> bool:
        """Whether commands may be handed to the robot."""
        return not (self._is_contested or self.is_stopped)

    def publish(self, observation: Observation) -> None:
        """Publish what the robot measured."""
        for topic, publisher in zip(self._topics, self._outputs, strict=True):
            publisher.publish(topic.encode(observation))
        if self._frame is not None:
            self._frame.publish(observation)

    def publish_clock(self, now_ns: int) -> None:
        """Publish the twin's time."""
        self._clock_message.clock = to_time(now_ns)
        for publisher in self._clocks:
            publisher.publish(self._clock_message)

    def recorder_lag_ns(self, stamp_ns: int) -> int:
        """How far the slowest recorder is behind an observation, nanoseconds; 0: none listens."""
        if not self._heard or not self.count_publishers(HEARD_TOPIC):
            self._heard.clear()
            return 0
        return stamp_ns - min(self._heard.values())

    def has_deaf_recorder(self) -> bool:
        """Whether a recorder is there that has not heard an observation of this activation yet."""
        return self.count_publishers(HEARD_TOPIC) > len(self._heard)

    def offer_images(self) -> None:
        """Let the cameras take what is due."""
        if self._cameras is not None:
            self._cameras.offer()

    def check_publishers(self, steady_ns: int) -> None:
        """A second publisher of commands is a fault: the robot trusts neither. Reports the robot's health."""
        drive = self._drive
        if drive is None or steady_ns < self._next_publisher_check_ns:
            return
        self._next_publisher_check_ns = steady_ns + round(_PUBLISHER_CHECK_S * 1e9)
        count = self.count_publishers(GATE_TOPIC)
        self._is_contested = count > 1
        level, message = drive.health()
        if self.is_stopped:
            level, message = (
                DiagnosticStatus.ERROR,
                "emergency stop: latched until the gate is told to reset it",
            )
        elif self._is_contested:
            drive.refuse()
            if drive.safe_stopped is None:
                drive.safe_stop(f"{count} publishers on {GATE_TOPIC}")
            level = DiagnosticStatus.ERROR
            message = f"{count} publishers on {GATE_TOPIC}: commands are refused until there is one"
        self.health.report(level, message)

    # --- wire --------------------------------------------------------------------------------

    def _on_estop(self, message: Bool) -> None:
        if message.data and not self.is_stopped:
            self._stop("emergency stop")

    def _on_gate_estop(self, message: Bool) -> None:
        """The gate tells when its latch changes; only an explicit reset of the gate sends False."""
        if message.data and not self.is_stopped:
            self._stop("emergency stop of the gate")
        elif not message.data and self.is_stopped:
            self.is_stopped = False
            self.get_logger().info("emergency stop released")

    def _stop(self, reason: str) -> None:
        self.is_stopped = True
        self.get_logger().error(f"{reason}: commands are refused until the gate is told to reset it")

    def _on_command(self, raw: bytes) -> None:
        received_ns = time.monotonic_ns()
        if not self.is_active or self._drive is None:
            return
        answer = self._codec.decode(raw, source="gate")
        self._drive.take(answer if self.is_open else SafeStop(answer.start_ns), received_ns)

    def _listen_to_recorders(self) -> Any:  # noqa: ANN401
        return self.create_subscription(Header, HEARD_TOPIC, self._on_heard, qos.EVENTS)

    def _on_heard(self, message: Header) -> None:
        self._heard[message.frame_id] = to_ns(message.stamp)
        if self.is_active and self._drive is not None:
            self._drive.heard()

    def _watch(self) -> None:
        if self.is_active and self._drive is not None:
            self._drive.watch()

    def _advertise_frame(self, card: RobotCard) -> None:
        self._frame = None
        if not has_body(card):
            return
        message_type = find_messages()
        if message_type is None:
            self.health.note(tf=NOT_INSTALLED)
        else:
            self._frame = BodyFrame(self, card, message_type)
            self.health.note(tf=TF_TOPIC)

    def _advertise_cameras(self, robot: Any) -> None:  # noqa: ANN401
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
        if self._drive is None or self.is_active:
            response.success = False
            response.message = "deactivate the node first: a reset moves the robot at once"
            return response
        response.success, response.message = self._drive.reset()
        return response

    def _on_task(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Whether the task of the world is solved."""
        response.success = self._drive is not None and self._drive.is_task_done
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(RobotNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
