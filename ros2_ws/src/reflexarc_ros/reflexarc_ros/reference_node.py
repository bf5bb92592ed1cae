"""reference_node: where a vehicle should be (hover, figure eight, a way through points, or a program).

A twin flies from the ground by its reference alone, so the reference begins when the node is activated. A
vehicle that takes off by itself is given one from the place where it is, when it is up, and none from the
moment when it lands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.frames import yaw_of
from hardware.reference import Trajectory, as_points, make_program, make_trajectory
from policies.planning import Ability, make_course
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.chunks import ReferenceCodec
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import ObservationTopic
from reflexarc_ros.node import PACE, ReflexarcNode, Setting, destroy, run

REFERENCE_TOPIC = "reference"
# Whether a vehicle is up and ready for commands; latched.
AIRBORNE_TOPIC = "airborne"
_STEP_NS = 10_000_000
_HORIZON = 30
_PERIOD_NS = 50_000_000


class ReferenceNode(ReflexarcNode):
    """Publishes a horizon of reference points, stamped in the robot's time."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        Setting(
            "reference",
            "hover",
            "What to fly; program: the parts in the parameter `program`.",
            choices=("hover", "figure_eight", "waypoints", "minimum_snap", "program"),
        ),
        Setting("height_m", 1.0, "Flying height above the ground.", minimum=0.2, maximum=20.0),
        Setting("period_s", 10.0, "Time for one loop of the figure eight.", minimum=1.0, maximum=120.0),
        Setting("waypoints", [0.0, 0.0, 1.0], "x, y, z of each waypoint in turn, metres."),
        Setting(
            "speed_m_s", 1.0, "Mean speed of minimum_snap between waypoints.", minimum=0.05, maximum=20.0
        ),
        Setting(
            "airframe",
            "",
            "Airframe that minimum_snap must not be too fast for; empty: the card's, where it names one.",
        ),
        Setting(
            "begin",
            "activation",
            "When the reference begins: at the activation and from the ground at the origin, or whenever the"
            " robot says that it is airborne and from where it is then.",
            choices=("activation", "airborne"),
        ),
        Setting(
            "program", ["hover 10"], "Parts flown in order: 'hover SECONDS', 'figure_eight PERIOD SECONDS'."
        ),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("reference_node")
        self._entities: list[Any] = []
        self._loop: DeadlineLoop | None = None
        self._lock = threading.Lock()
        self._is_airborne = False

    def configure(self) -> None:
        """Make the trajectory, advertise, listen to the pacing topic."""
        card = load_robot_card(self.setting("card"))
        self._card = card
        self._awaits_flight = self.setting("begin") == "airborne"
        if self._awaits_flight and self.is_lockstep:
            raise ConfigError(
                "begin:=airborne in lockstep",
                where=self.get_fully_qualified_name(),
                expected="begin:=activation: a twin flies by its reference from the ground on",
                mend="leave one of them out",
            )
        self._trajectory = self._make_trajectory((0.0, 0.0, 0.0), 0.0)
        self._codec = ReferenceCodec()
        self._publisher = self.create_publisher(
            self._codec.message_type,
            REFERENCE_TOPIC,
            qos.LOCKSTEP if self.is_lockstep else qos.command(None, None),
        )
        self._entities = [self._publisher]
        self._topic = ObservationTopic(card, pacing_topic(card))
        if self.is_lockstep:
            self._listen(self._on_observation, qos.LOCKSTEP)
        elif self._awaits_flight:
            self._listen(self._on_place, qos.SENSOR)
            self._entities.append(
                self.create_subscription(Bool, AIRBORNE_TOPIC, self._on_airborne, qos.LATCHED)
            )

    def _listen(self, callback: Callable[[bytes], None], profile: QoSProfile) -> None:
        topic = self._topic.topic
        self._entities.append(
            self.create_subscription(
                self._topic.message_type, topic, self.guarded(topic, callback), profile, raw=True
            )
        )

    def _make_trajectory(self, start_m: tuple[float, ...], yaw_rad: float) -> Trajectory:
        height_m = self.setting("height_m")
        if self.setting("reference") == "program":
            return make_program(self.setting("program"), height_m=height_m, start_m=start_m, yaw_rad=yaw_rad)
        if self.setting("reference") == "minimum_snap":
            return make_course(
                as_points(self.setting("waypoints")),
                speed_m_s=self.setting("speed_m_s"),
                height_m=height_m,
                ability=Ability.of(self._card, self.setting("airframe")),
                start_m=start_m,
                yaw_rad=yaw_rad,
            )
        return make_trajectory(
            self.setting("reference"),
            height_m=height_m,
            period_s=self.setting("period_s"),
            waypoints=self.setting("waypoints"),
            start_m=start_m,
            yaw_rad=yaw_rad,
        )

    def activate(self) -> None:
        """Begin at the next observation (lockstep), when the ROS clock runs, or when the robot is up."""
        with self._lock:
            self._start_ns: int | None = None
        if not self.is_lockstep:
            self._loop = self.loop(_PERIOD_NS, self._on_deadline, name="reference")
            self._loop.start()

    def deactivate(self) -> None:
        """Stop publishing; a policy without a reference stops acting."""
        if self._loop is not None:
            self._loop.stop()

    def cleanup(self) -> None:
        """Withdraw everything."""
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    def _on_observation(self, raw: bytes) -> None:
        if not self.is_active:
            return
        stamp_ns, _ = self._topic.decode(raw)
        self._begin(stamp_ns)
        self._publish(stamp_ns)

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        now_ns = self.data_now_ns()
        with self._lock:
            if now_ns == 0 or (self._awaits_flight and self._start_ns is None):
                return
            start_ns = self._begin(now_ns)
            # On the grid of the start, so that points of successive messages coincide.
            self._publish(now_ns - (now_ns - start_ns) % _STEP_NS)

    def _on_airborne(self, message: Bool) -> None:
        """The robot is up, or on its way down: begin anew from its next place, or end."""
        with self._lock:
            self._is_airborne = bool(message.data)
            self._start_ns = None
        if not self._is_airborne and self.is_active:
            self.health.report(DiagnosticStatus.OK, "waiting until the robot is airborne")

    def _on_place(self, raw: bytes) -> None:
        """Begin where the robot is, once it is up."""
        if not (self.is_active and self._is_airborne and self._start_ns is None):
            return
        stamp_ns, terms = self._topic.decode(raw)
        place = tuple(float(x) for x in terms["position"])
        yaw_rad = yaw_of(terms["orientation"])
        with self._lock:
            self._trajectory = self._make_trajectory(place, yaw_rad)
            self._begin(stamp_ns)
        self.health.note(start_m=" ".join(f"{x:.4f}" for x in place), yaw_rad=f"{yaw_rad:.4f}")
        self.health.report(DiagnosticStatus.OK, "active")

    def _begin(self, now_ns: int) -> int:
        if self._start_ns is None:
            self._start_ns = now_ns
            self.health.note(start_ns=now_ns)
        return self._start_ns

    def _publish(self, start_ns: int) -> None:
        assert self._start_ns is not None
        points = [
            self._trajectory.sample((start_ns - self._start_ns + i * _STEP_NS) * 1e-9)
            for i in range(_HORIZON)
        ]
        self._publisher.publish(self._codec.encode(points, start_ns=start_ns, step_ns=_STEP_NS))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(ReferenceNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
