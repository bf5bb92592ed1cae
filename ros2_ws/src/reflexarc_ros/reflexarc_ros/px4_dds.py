"""PX4 over its ROS 2 topics (uXRCE-DDS): the driver `px4_dds`, for machines that have px4_msgs.

The messages are not on any package index: build px4_msgs from the branch of the firmware's release and
source it. Everything that is decided is decided in `hardware.drones.px4_topics_session`; here are the node,
its topics and their quality of service. Not run on hardware.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hardware.command import Command, CommandKind
from hardware.drones import px4_topics
from hardware.drones.piloted import PilotedVehicle
from hardware.drones.px4_card import FOLLOW, check_card, values_of
from hardware.drones.px4_modes import Mode
from hardware.drones.px4_pilot import Phase, Pilot
from hardware.drones.px4_topics_session import Outgoing, TopicsSession
from hardware.drones.state import VehicleState
from hardware.drones.vehicle import ExternalPose, VehicleStatus
from hardware.errors import ConfigError
from hardware.parameters import number
from hardware.robot import RobotCard

_TICK_S = 0.02
_DISCOVERY_S = 0.2
_LEAVE_S = 3.0


def load_messages() -> Any:  # noqa: ANN401
    """The messages of px4_msgs, checked field by field.

    Raises:
        ConfigError: px4_msgs is not there, or is of another version.
    """
    try:
        from px4_msgs import msg
    except ImportError as error:
        raise ConfigError(
            "px4_msgs cannot be imported",
            where="driver px4_dds",
            expected="PX4's message package, built for this ROS",
            mend="build px4_msgs from the branch of the firmware's release and source it, or use the driver "
            "px4, which speaks MAVLink and needs no messages",
        ) from error
    px4_topics.check_messages(
        {
            name: tuple(getattr(msg, name).get_fields_and_field_types())
            for name in px4_topics.MESSAGES
            if hasattr(msg, name)
        }
    )
    return msg


class PX4TopicsVehicle(PilotedVehicle):
    """A vehicle with PX4 firmware behind an XRCE-DDS agent; implements `hardware.drones.FlightVehicle`.

    Settings come from the card's `parameters`: `follow` (offboard or raptor), `topic_namespace` (PX4's,
    empty), `connect_timeout_s` (3), `hover_thrust` (PX4's MPC_THR_HOVER; needed for rates and thrust),
    `thrust_is_linear` (whether THR_MDL_FAC is above 0), `feeds_acceleration` (true).

    PX4's parameters cannot be read over its topics: set COM_OBL_RC_ACT and COM_OF_LOSS_T with a ground
    station, nobody here can check them.

    Args:
        card: the robot's card, as for the driver px4.
        data_clock: the ROS clock, nanoseconds.
        steady_clock: the steady clock, nanoseconds.
        node: a node to use, which somebody else spins; None: one of our own, spun in a thread of our own.
        messages: what `load_messages` gives; None: it is asked.

    Raises:
        ConfigError: the card does not describe this driver, or px4_msgs is missing or another version.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        data_clock: Callable[[], int] = time.time_ns,
        steady_clock: Callable[[], int] = time.monotonic_ns,
        node: Any = None,  # noqa: ANN401
        messages: Any = None,  # noqa: ANN401
    ) -> None:
        """Check the card and the messages; nothing is opened."""
        super().__init__(card, data_clock=data_clock, steady_clock=steady_clock)
        check_card(card)
        p = card.parameters
        follow = str(p.get("follow", "offboard"))
        kinds = {spec.kind for spec in card.commands.values()}
        if follow not in FOLLOW or (CommandKind.RATES_THRUST in kinds and "hover_thrust" not in p):
            raise ConfigError(
                f"follow {follow!r}, hover_thrust {p.get('hover_thrust')!r}",
                where=f"robot card {card.name!r}: parameters",
                expected="follow offboard or raptor; and hover_thrust where rates and thrust are commanded",
                mend="give PX4's MPC_THR_HOVER as hover_thrust: parameters cannot be read over topics",
            )
        self._messages = load_messages() if messages is None else messages
        self._session = TopicsSession(
            follow=FOLLOW[follow],
            timeouts_s={spec.kind: spec.robot_timeout_s for spec in card.commands.values()},
            hover_thrust=number(card, "hover_thrust", 0.5, most=1.0),
            is_linear=bool(p.get("thrust_is_linear", False)),
            feeds_acceleration=bool(p.get("feeds_acceleration", True)),
        )
        self._namespace = str(p.get("topic_namespace", "")).rstrip("/")
        self._connect_s = number(card, "connect_timeout_s", 3.0)
        self._given_node, self._node = node, None
        self._executor: Any = None
        self._publishers: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []
        self._is_over = threading.Event()

    # --- the Robot protocol -------------------------------------------------------------------

    def connect(self) -> None:
        """Advertise, subscribe, and wait for the vehicle's state.

        Raises:
            ConfigError: nothing is heard within `connect_timeout_s`.
        """
        if self._node is not None:
            return
        self._is_over.clear()
        self._node = self._given_node or self._own_node()
        for name, message in px4_topics.PUBLISHED.items():
            kind = getattr(self._messages, message)
            topic = self._namespace + px4_topics.PREFIX_IN + name
            self._publishers[name] = self._node.create_publisher(kind, topic, 10)
        self._start(self._tick_loop, "px4-dds-tick")
        deadline_s = time.monotonic() + self._connect_s
        while self._session.state is None or not self._session.is_alive(self._steady_clock()):
            if time.monotonic() > deadline_s:
                self._close()
                raise ConfigError(
                    f"no vehicle is heard within {self._connect_s:g} s",
                    where=f"robot card {self.card.name!r}, topics {self._namespace}{px4_topics.PREFIX_OUT}*",
                    expected="vehicle_odometry and vehicle_status",
                    mend="start MicroXRCEAgent, and check the namespace and the ROS domain",
                )
            self._is_over.wait(0.02)

    def disconnect(self) -> None:
        """Let a flying vehicle land, withdraw. PX4 needs nobody to come down and disarm."""
        if self._node is None:
            return
        with self._lock:
            if self._session.pilot.armed:
                self._session.pilot.safe_stop(self._steady_clock(), "disconnected")
        deadline_s = time.monotonic() + _LEAVE_S
        while time.monotonic() < deadline_s:
            with self._lock:
                pilot = self._session.pilot
                if not pilot.armed or pilot.phase is not Phase.LANDING or pilot.mode is Mode.LAND:
                    break
            self._is_over.wait(0.02)
        self._close()

    def command(self, command: Command) -> None:
        """Follow a command from now on, if the vehicle flies and takes commands.

        Raises:
            Refusal: a number is missing or not finite.
            ConfigError: the card has no interface of that kind.
        """
        self.card.command_of_kind(command.kind)
        values = values_of(command)
        with self._lock:
            self._session.command(command.kind, values, self._steady_clock(), stamp_ns=command.stamp_ns)

    # --- the FlightVehicle protocol -------------------------------------------------------------

    @property
    def status(self) -> VehicleStatus:
        """How the vehicle is."""
        with self._lock:
            return self._session.status(self._steady_clock())

    @property
    def problem(self) -> str:
        """Why the last request came to nothing; empty: nothing."""
        return self._session.pilot.problem

    @property
    def firmware(self) -> str:
        """What flies; PX4 does not tell its version over its topics."""
        return "PX4"

    def arm(self) -> None:
        """Ask to arm; what becomes of it shows in `status`. Raises Refusal when PX4 has said why not."""
        with self._lock:
            self._session.pilot.arm(self._steady_clock())

    def external_pose(self, pose: ExternalPose) -> None:
        """Hand on a pose from outside. Raises Refusal when it is none."""
        pose.require_usable()
        with self._lock:
            self._publish([self._session.external_pose(pose, self._data_clock())])

    # --- private ------------------------------------------------------------------------------

    @property
    def _pilot(self) -> Pilot:
        return self._session.pilot

    @property
    def _newest(self) -> VehicleState | None:
        return self._session.state

    def _own_node(self) -> Any:  # noqa: ANN401
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        node = rclpy.create_node("px4_dds", use_global_arguments=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._start(self._executor.spin, "px4-dds-spin")
        return node

    def _start(self, loop: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _tick_loop(self) -> None:
        looked_s = 0.0
        while not self._is_over.is_set():
            if time.monotonic() - looked_s > _DISCOVERY_S and len(self._subscriptions) < len(
                px4_topics.SUBSCRIBED
            ):
                looked_s = time.monotonic()
                self.discover()
            self.tick()
            self._is_over.wait(_TICK_S)

    def discover(self) -> None:
        """Subscribe to the topics that are there, under the version that they carry."""
        from rclpy.qos import qos_profile_sensor_data

        node = self._node
        if node is None:
            return
        cut = len(self._namespace)
        available = [
            topic[cut:] for topic, _ in node.get_topic_names_and_types() if topic.startswith(self._namespace)
        ]
        for name, message in px4_topics.SUBSCRIBED.items():
            topic = px4_topics.topic_of(name, available)
            if name in self._subscriptions or topic not in available:
                continue
            self._subscriptions[name] = node.create_subscription(
                getattr(self._messages, message),
                self._namespace + topic,
                self._callback(name, message),
                # PX4 publishes best effort.
                qos_profile_sensor_data,
            )

    def tick(self) -> None:
        """Decide once and publish."""
        with self._lock:
            self._publish(
                self._session.tick(data_now_ns=self._data_clock(), steady_now_ns=self._steady_clock())
            )

    def _callback(self, name: str, message: str) -> Callable[[Any], None]:
        fields = px4_topics.MESSAGES[message]

        def take(received: Any) -> None:  # noqa: ANN401
            values: Mapping[str, Any] = {field: getattr(received, field) for field in fields}
            with self._lock:
                self._session.receive(
                    name, values, data_now_ns=self._data_clock(), steady_now_ns=self._steady_clock()
                )

        return take

    def _publish(self, outgoing: list[Outgoing]) -> None:
        for name, fields in outgoing:
            message = getattr(self._messages, px4_topics.PUBLISHED[name])()
            for field, value in fields.items():
                setattr(message, field, value)
            self._publishers[name].publish(message)

    def _close(self) -> None:
        self._is_over.set()
        if self._executor is not None:
            self._executor.shutdown()
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._threads.clear()
        node, self._node, self._executor = self._node, None, None
        if node is not None and node is not self._given_node:
            node.destroy_node()
        self._publishers.clear()
        self._subscriptions.clear()
