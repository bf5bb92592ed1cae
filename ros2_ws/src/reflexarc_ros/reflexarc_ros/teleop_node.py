"""teleop_node: an operator's device as a source of commands, an emergency stop and the words on an episode.

Joint targets go to `command/<source>`, where the gate judges them and lets the operator take over from a
policy; a vehicle's reference goes to `reference`, in the place of reference_node. Where a leader arm is goes
to `leader/joint_states`, whoever commands. From the first time that the operator engages on, `estop` is
repeated: if this process dies, the gate stops the robot. A device that is lost while this process lives ends
in hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk
from hardware.errors import ConfigError, Refusal
from hardware.frames import yaw_of
from hardware.reference import Hover, Reference
from hardware.robot import Observation
from hardware.teleop import (
    SERVICE_CONTROL,
    Event,
    LinkState,
    Operator,
    Reading,
    Status,
    TeleopStep,
    load_mapping,
    make_device,
)
from hardware.teleop.leader import ENGAGED_TOPIC
from hardware.teleop.parts import Vehicle
from hardware.teleop.reading import lost
from reflexarc_ros import qos
from reflexarc_ros.assembler import Assembler
from reflexarc_ros.chunks import GATE_ESTOP_TOPIC, ChunkCodec, ReferenceCodec
from reflexarc_ros.leader_publisher import LeaderPublisher
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import ObservationTopic
from reflexarc_ros.node import PACE, ReflexarcNode, Setting, destroy, run
from reflexarc_ros.reference_node import AIRBORNE_TOPIC, REFERENCE_TOPIC
from reflexarc_ros.teleop_options import read_options

# Success, failure or discard, as they are said.
EVENT_TOPIC = "teleop/event"
_HEARTBEAT_NS = 100_000_000
_RETRY_NS = 1_000_000_000
_LEVELS = {
    LinkState.LOST: DiagnosticStatus.WARN,
    LinkState.READY: DiagnosticStatus.OK,
    LinkState.ENGAGED: DiagnosticStatus.OK,
    LinkState.STOPPED: DiagnosticStatus.ERROR,
}
# A vehicle's reference is given so far ahead, at this distance.
_REFERENCE_STEP_NS = 10_000_000
_REFERENCE_STEPS = 30


class TeleopNode(ReflexarcNode):
    """Reads a device at a fixed rate and says what the operator wants."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        Setting(
            "mapping", "keyboard_arm", "What the device does: a mapping that comes along, or a YAML file."
        ),
        Setting("options", "{}", "Options of the device as JSON; they win over those of the mapping."),
        Setting("interface", "", "Command interface on the card; empty: its first one."),
        Setting("source", "operator", "Name under which joint targets are published: command/<source>."),
        Setting("rate_hz", 50.0, "How often the device is read.", minimum=10.0, maximum=500.0),
        Setting(
            "begin",
            "activation",
            "When a vehicle's reference begins: at the activation and from the ground, or whenever the robot"
            " says that it is airborne.",
            choices=("activation", "airborne"),
        ),
        Setting(
            "height_m", 1.0, "Height to which a vehicle's reference climbs first.", minimum=0.2, maximum=20.0
        ),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("teleop_node")
        self._entities: list[Any] = []
        self._loops: list[DeadlineLoop] = []
        self._leader: LeaderPublisher | None = None
        self._lock = threading.Lock()

    def configure(self) -> None:
        """Load the mapping, bind it to the robot, advertise and subscribe."""
        if self.is_lockstep:
            raise ConfigError(
                "teleoperation in lockstep",
                where=self.get_fully_qualified_name(),
                expected="pace:=real_time: a person does not step with the simulation",
                mend="leave one of them out",
            )
        card = load_robot_card(self.setting("card"))
        interface = self.setting("interface") or next(iter(card.commands))
        mapping = load_mapping(self.setting("mapping"))
        self._operator = Operator(mapping, card, interface)
        self._device = make_device(mapping, read_options(self.setting("options"), self.get_name()))
        self._vehicle: Vehicle | None = self._operator.binding.vehicle
        self._spec = card.commands[interface]
        self._period_ns = round(1e9 / self.setting("rate_hz"))
        terms = ("joint_position",) if self._vehicle is None else ("position", "orientation")
        self._assembler = Assembler(card, terms, exact=False)
        self._awaits_flight = self._vehicle is not None and self.setting("begin") == "airborne"
        if self._vehicle is None:
            self._codec = ChunkCodec(self._spec.kind, self._spec.names)
            self._commands = self.create_publisher(
                self._codec.message_type,
                f"command/{self.setting('source')}",
                qos.command(None, self._spec.max_age_s),
            )
        else:
            self._references = ReferenceCodec()
            self._commands = self.create_publisher(
                self._references.message_type, REFERENCE_TOPIC, qos.command(None, None)
            )
        self._leader = LeaderPublisher(self, mapping)
        self._estop = self.create_publisher(Bool, "estop", qos.ESTOP)
        self._engaged = self.create_publisher(Bool, ENGAGED_TOPIC, qos.LATCHED)
        self._events = self.create_publisher(String, EVENT_TOPIC, qos.EVENTS)
        self._release = self.create_client(Trigger, "gate_node/release_operator")
        self._entities = [
            self._commands,
            self._estop,
            self._engaged,
            self._events,
            self._release,
            *(
                self.create_subscription(
                    t.message_type, t.topic, self.guarded(t.topic, self._reader(t)), qos.SENSOR, raw=True
                )
                for t in self._assembler.topics
            ),
            self.create_subscription(Bool, GATE_ESTOP_TOPIC, self._on_gate_estop, qos.LATCHED),
            self.create_subscription(Bool, AIRBORNE_TOPIC, self._on_airborne, qos.LATCHED),
            self.create_service(SetBool, "~/engage", self._on_engage),
            *(self.create_service(Trigger, f"~/{event.value}", self._on_event(event)) for event in Event),
        ]
        self._is_stopped = self._is_airborne = False

    def activate(self) -> None:
        """Begin to read the device; nobody has authority."""
        self._state: Observation | None = None
        self._assembler.clear()
        self._is_open = False
        self._try_ns = 0
        self._wants_service = False
        self._said: list[Event] = []
        self._stop_pressed = self._has_link = False
        self._was_engaged = False
        self._start_ns: int | None = None
        self._engaged.publish(Bool(data=False))
        self._loops = [
            self.loop(self._period_ns, self._on_deadline, name="teleop"),
            self.loop(_HEARTBEAT_NS, self._on_heartbeat, name="teleop-link"),
        ]
        for loop in self._loops:
            loop.start()

    def deactivate(self) -> None:
        """Give authority up, let go of the device, and tell the gate that the operator leaves on purpose."""
        for loop in self._loops:
            loop.stop()
        self._loops = []
        self._device.close()
        if self._was_engaged and self._vehicle is None:
            self._commands.publish(self._codec.encode_stop(self.data_now_ns()))
        self._engaged.publish(Bool(data=False))
        if self._has_link and self._release.service_is_ready():
            self._release.call_async(Trigger.Request())

    def cleanup(self) -> None:
        """Withdraw everything."""
        if self._leader is not None:
            self._leader.close()
            self._leader = None
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    # --- the robot ---------------------------------------------------------------------------

    def _reader(self, topic: ObservationTopic) -> Callable[[bytes], None]:
        def read(raw: bytes) -> None:
            if not self.is_active:
                return
            stamp_ns, terms = topic.decode(raw)
            state = self._assembler.push(topic.topic, stamp_ns, terms, steady_ns=time.monotonic_ns())
            if state is not None:
                self._state = state

        return read

    def _on_gate_estop(self, message: Bool) -> None:
        self._is_stopped = bool(message.data)

    def _on_airborne(self, message: Bool) -> None:
        with self._lock:
            self._is_airborne, self._start_ns = bool(message.data), None

    # --- services ----------------------------------------------------------------------------

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Press or release the control `service`, with which some mappings engage."""
        if self._operator.mapping.engage != SERVICE_CONTROL:
            response.success = False
            controls = " or ".join(map(repr, self._operator.mapping.engages))
            response.message = f"{self._operator.mapping.name} engages with {controls}"
            return response
        self._wants_service = bool(request.data)
        response.success, response.message = True, "engage" if request.data else "release"
        return response

    def _on_event(self, event: Event) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def call(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            if not self.is_active:
                response.success, response.message = False, "teleop_node is not active"
                return response
            with self._lock:
                self._said.append(event)
            response.success, response.message = True, event.value
            return response

        return call

    # --- the loop ----------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        now_ns = time.monotonic_ns()
        reading = self._read(now_ns)
        assert self._leader is not None
        self._leader.publish(reading, steady_ns=time.monotonic_ns(), data_ns=self.data_now_ns())
        with self._lock:
            said, self._said = self._said, []
        state = None if self._awaits_flight and not self._is_airborne else self._state
        step = self._operator.step(reading, state, now_ns, is_stopped=self._is_stopped)
        self._stop_pressed = step.stop or Event.EMERGENCY_STOP in said
        self._has_link = self._has_link or step.engaged or self._stop_pressed
        if self._stop_pressed:
            self._estop.publish(Bool(data=True))
        if self._vehicle is not None:
            self._lead(self._vehicle, engaged=step.engaged)
        else:
            self._command(step)
        if step.engaged != self._was_engaged:
            self._was_engaged = step.engaged
            self._engaged.publish(Bool(data=step.engaged))
        for event in (*step.events, *(e for e in said if e is not Event.EMERGENCY_STOP)):
            self._events.publish(String(data=event.value))
        self._tell(step.status)

    def _on_heartbeat(self, index: int, deadline_ns: int) -> None:
        """This process lives; its silence stops the robot, once the operator has engaged."""
        if self._has_link:
            self._estop.publish(Bool(data=self._stop_pressed))

    def _read(self, now_ns: int) -> Reading:
        """The device's reading; one that is not there is looked for every second."""
        if not self._is_open:
            if now_ns < self._try_ns:
                return self._absent
            self._try_ns = now_ns + _RETRY_NS
            try:
                self._device.open()
            except Exception as error:
                # What a library raises beside a refusal is a device that is not there, too.
                is_told = isinstance(error, Refusal)
                self._absent = lost(str(error) if is_told else f"the device failed ({_words(error)})")
                return self._absent
            self._is_open = True
            if self._device.address:
                self.get_logger().info(f"open {self._device.address}")
        try:
            reading = self._device.read(now_ns)
        except Exception as error:
            # A fault of a device or of its library ends in hold, as its loss does.
            self.get_logger().error(f"the device failed: {_words(error)}")
            self._device.close()
            reading = lost(f"the device failed ({_words(error)})")
        if not reading.connected and not self._device.address:
            self._is_open, self._absent = False, reading
        elif self._wants_service:
            reading = replace(reading, controls={**reading.controls, SERVICE_CONTROL: 1.0})
        return reading

    def _command(self, step: TeleopStep) -> None:
        """Joint targets, or that the operator gives them up."""
        now_ns = self.data_now_ns()
        if step.targets is not None and now_ns:
            chunk = ActionChunk(
                self._spec.kind,
                self._spec.names,
                step.targets[None],
                now_ns,
                self._spec.period_ns,
                self._spec.max_age_s,
                self.setting("source"),
            )
            self._commands.publish(self._codec.encode(chunk))
        elif step.released:
            self._commands.publish(self._codec.encode_stop(now_ns))

    def _lead(self, vehicle: Vehicle, *, engaged: bool) -> None:
        """A vehicle's reference: first up to its height, then as the operator moves it."""
        now_ns = self.data_now_ns()
        with self._lock:
            if now_ns == 0 or (self._awaits_flight and not self._is_airborne):
                return
            if self._start_ns is None:
                self._rise = self._begin(vehicle)
                if self._rise is None:
                    return
                self._start_ns = now_ns
        if engaged:
            self._rise = None
        elif self._rise is not None:
            vehicle.place(self._rise.sample((now_ns - self._start_ns) * 1e-9))
        here = vehicle.reference
        points = []
        for i in range(_REFERENCE_STEPS):
            ahead_s = i * _REFERENCE_STEP_NS * 1e-9
            points.append(
                Reference(
                    here.position_m + here.velocity_m_s * ahead_s,
                    here.velocity_m_s,
                    here.yaw_rad + vehicle.yaw_rate * ahead_s,
                )
            )
        self._commands.publish(self._references.encode(points, start_ns=now_ns, step_ns=_REFERENCE_STEP_NS))

    def _begin(self, vehicle: Vehicle) -> Hover | None:
        """From where a vehicle's reference begins; None: not yet known."""
        height_m = self.setting("height_m")
        if not self._awaits_flight:
            return Hover((0.0, 0.0, height_m), start_m=(0.0, 0.0, 0.0))
        if self._state is None:
            return None
        place = tuple(float(x) for x in self._state.values["position"])
        return Hover(place, yaw_rad=yaw_of(self._state.values["orientation"]))

    def _tell(self, status: Status) -> None:
        """The operator and /diagnostics."""
        self._device.show(status)
        age_ms = f"{status.link_age_s * 1e3:.0f}" if np.isfinite(status.link_age_s) else "never"
        self.health.note(
            state=status.state.value,
            link_age_ms=age_ms,
            engaged=str(status.state is LinkState.ENGAGED).lower(),
            device=self._operator.mapping.device,
            mapping=status.mapping,
            address=self._device.address if self._is_open else "",
        )
        self.health.report(_LEVELS[status.state], f"{status.state.value}: {status.message}")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(TeleopNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
