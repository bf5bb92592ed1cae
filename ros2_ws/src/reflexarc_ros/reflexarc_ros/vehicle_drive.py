"""A quadrotor behind a flight controller: arming, take-off and landing around what the gate lets through.

    ground --arm, take_off--> climbing --driver is up--> holding --first command--> following
      ^                           |                         |                           |
      +------- disarmed ---- landing <--- land, battery, emergency stop, nobody commands -+

The driver climbs and lands by itself. Commands reach it only while it holds or follows. When the gate takes
the safe action in flight the driver lands too, but a command that passes the gate again ends that, as in the
twin; a landing that was asked for, or that the battery asks for, is flown to its end.
"""

from __future__ import annotations

import enum
import math
import time
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import BatteryState
from std_msgs.msg import Bool

from hardware.chunk import ActionChunk
from hardware.command import Command
from hardware.drones.vehicle import FlightVehicle, VehicleStatus
from hardware.errors import Refusal
from hardware.parameters import number
from hardware.robot import RobotCard
from reflexarc_ros import qos
from reflexarc_ros.battery import BatteryLimits, BatteryWatch, battery_message
from reflexarc_ros.external_pose import PoseInput
from reflexarc_ros.flight_services import FlightServices
from reflexarc_ros.hardware_drive import HardwareDrive
from reflexarc_ros.reference_node import AIRBORNE_TOPIC

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import RobotNode

BATTERY_TOPIC = "battery"
_BATTERY_PERIOD_NS = 500_000_000


class Phase(enum.StrEnum):
    """Where in a flight the vehicle is."""

    GROUND = "on the ground"
    CLIMBING = "climbing"
    HOLDING = "holding, ready for commands"
    FOLLOWING = "following commands"
    LANDING = "landing"


# In these, commands are handed over and a reference may run.
_AIRBORNE = (Phase.HOLDING, Phase.FOLLOWING)


class VehicleDrive(HardwareDrive):
    """Drives a flight vehicle.

    Args:
        node: publishes, and knows the settings.
        card: the vehicle's card.
        vehicle: its driver, not connected.

    Raises:
        ConfigError: as `HardwareDrive`, or a parameter of the card that is no number.
    """

    robot: FlightVehicle

    def __init__(self, node: RobotNode, card: RobotCard, vehicle: FlightVehicle) -> None:
        """Read the card's parameters."""
        super().__init__(node, card, vehicle)
        self.phase = Phase.GROUND
        self._battery = BatteryWatch(BatteryLimits.of(card))
        self._pose = PoseInput(card, vehicle)
        # How long it may take to arm, to climb, to get a first command, and to land.
        self.arm_timeout_s = number(card, "arm_timeout_s", 5.0)
        self.take_off_timeout_s = number(card, "take_off_timeout_s", 20.0)
        self.hold_timeout_s = number(card, "hold_timeout_s", 10.0)
        self.land_timeout_s = number(card, "land_timeout_s", 30.0)
        self._since_ns = time.monotonic_ns()
        self._battery_due_ns = 0
        self._services: FlightServices | None = None
        self._published_airborne: bool | None = None
        # Whether it was armed when last looked at, and whether it then disarmed without being asked to.
        self._was_armed = self._disarm_asked = self._disarmed_itself = False

    def advertise(self) -> list[Any]:
        """Battery, and whether it is in the air and ready."""
        node = self._node
        self._airborne_out = node.create_publisher(Bool, AIRBORNE_TOPIC, qos.LATCHED)
        self._battery_out = node.create_publisher(BatteryState, BATTERY_TOPIC, qos.SENSOR)
        return [self._airborne_out, self._battery_out]

    def connect(self) -> None:
        """Open the wire; services and poses are served from now on."""
        super().connect()
        self._services = FlightServices(self._node, self, self._pose)

    def start(self) -> None:
        """Begin; a vehicle that is armed already belongs to nobody, so it lands."""
        self._enter(Phase.GROUND)
        super().start()
        if self.status.armed:
            self._node.get_logger().error("the vehicle was armed before the node was active: it lands")
            self.safe_stop("armed before the node was active")

    def stop(self) -> None:
        """Land, as far as there is time, and end the loop."""
        if self.status.armed:
            self.safe_stop("deactivated")
            deadline_s = time.monotonic() + self.land_timeout_s
            while self.status.armed and time.monotonic() < deadline_s:
                time.sleep(0.05)
        super().stop()

    def close(self) -> None:
        """Withdraw the services and close the wire."""
        if self._services is not None:
            self._services.close()
            self._services = None
        super().close()

    @property
    def status(self) -> VehicleStatus:
        """What the firmware last told."""
        return self.robot.status

    @property
    def is_climbing(self) -> bool:
        """Whether a take-off is under way."""
        return self.phase is Phase.CLIMBING

    @property
    def is_airborne(self) -> bool:
        """Whether it is up and takes commands."""
        return self.phase in _AIRBORNE

    @property
    def safe_stopped(self) -> str | None:
        """Why the vehicle is in its safe action, by its own account or by ours."""
        return self.robot.safe_stopped or self._safe_reason

    # --- what an operator asks for -----------------------------------------------------------

    def arm(self) -> None:
        """Ask for arming. Raises Refusal with the reasons in words."""
        with self._lock:
            self._need_open()
            if self.phase is not Phase.GROUND:
                raise Refusal(f"the vehicle is {self.phase.value}")
            self._safe_reason = None
            self._disarm_asked = self._disarmed_itself = False
            self.robot.arm()
            self._since_ns = time.monotonic_ns()

    def disarm(self) -> None:
        """Ask for disarming. Raises Refusal in the air: that would be a fall."""
        with self._lock:
            if self.phase in (Phase.CLIMBING, *_AIRBORNE):
                raise Refusal(
                    f"the vehicle is {self.phase.value}: land it (~/land); while it lands it can be disarmed"
                )
            self._disarm_asked = True
            self.robot.disarm()

    def take_off(self, height_m: float) -> None:
        """Ask the driver to climb. Raises Refusal with the reason in words."""
        with self._lock:
            self._need_open()
            if self.phase is not Phase.GROUND:
                raise Refusal(f"the vehicle is {self.phase.value}")
            if not self.status.armed:
                raise Refusal(
                    "the vehicle has disarmed itself, as firmware does that stands armed for a while: arm it"
                    " again (~/arm), then take off at once"
                    if self._disarmed_itself
                    else "the vehicle is not armed: arm it first (~/arm)"
                )
            if self._battery.is_empty(self.status):
                raise Refusal(f"the battery is too low: {self._battery.sentence(self.status)}")
            self.robot.take_off(height_m)
            self._recorder.event(time.time_ns(), "take_off", f"{height_m:g} m")
            self._enter(Phase.CLIMBING)

    def land(self, reason: str) -> None:
        """Land and disarm, whatever is commanded meanwhile. Raises Refusal where there is nothing to land."""
        with self._lock:
            if not self.status.armed:
                raise Refusal("the vehicle is not armed")
            self._recorder.event(time.time_ns(), "land", reason)
            self.robot.land()
            self._enter(Phase.LANDING)

    def safe_stop(self, reason: str) -> None:
        """Land and disarm; only `arm` begins anew."""
        with self._lock:
            super().safe_stop(reason)
            if self.phase is not Phase.GROUND or self.status.armed:
                self._enter(Phase.LANDING)

    def _need_open(self) -> None:
        if self._node.is_stopped:
            raise Refusal("the emergency stop is latched: release it first (gate_node/reset_estop)")
        if not self._node.is_open or not self._node.is_active:
            raise Refusal("the node is not active, or more than one publisher commands")

    # --- commands ----------------------------------------------------------------------------

    def _take_stop(self) -> None:
        """The gate says that nobody may command: it lands, unless nobody has commanded yet."""
        if self.phase is Phase.FOLLOWING and self.safe_stopped is None:
            # Not `self.safe_stop`: a command that passes the gate again may end this.
            super().safe_stop("the gate takes the safe action")

    def _hand_over(self, chunk: ActionChunk, received_ns: int) -> None:
        if self.is_airborne:
            super()._hand_over(chunk, received_ns)

    def _command(self, command: Command) -> None:
        if self.phase is Phase.HOLDING:
            self._enter(Phase.FOLLOWING)
        super()._command(command)

    # --- the loop ----------------------------------------------------------------------------

    def _look(self, steady_ns: int) -> None:
        """Follow the flight through its phases; watch battery and pose."""
        with self._lock:
            status = self.status
            self._follow(status, steady_ns)
            is_flying = self.phase in (Phase.CLIMBING, *_AIRBORNE)
            if is_flying and self._node.is_stopped:
                self.safe_stop("emergency stop")
            elif is_flying and self._battery.must_land(status, steady_ns):
                sentence = self._battery.sentence(status)
                self._node.get_logger().error(f"the battery is low, the vehicle lands: {sentence}")
                self.land(f"low battery: {sentence}")
        if steady_ns >= self._battery_due_ns:
            self._battery_due_ns = steady_ns + _BATTERY_PERIOD_NS
            self._battery_out.publish(battery_message(status, time.time_ns()))

    def _follow(self, status: VehicleStatus, steady_ns: int) -> None:
        """Move on to the phase that the firmware's state asks for."""
        waited_s = (steady_ns - self._since_ns) * 1e-9
        if self._was_armed and not status.armed and self.phase is Phase.GROUND:
            self._disarmed_itself = not self._disarm_asked and self.safe_stopped is None
            if self._disarmed_itself:
                self._node.get_logger().warning("the vehicle has disarmed itself on the ground")
        self._was_armed = status.armed
        if self.phase is Phase.GROUND:
            if status.armed and waited_s > self.hold_timeout_s and self.safe_stopped is None:
                super().safe_stop(f"armed for {self.hold_timeout_s:g} s without a take-off")
        elif not status.armed:
            # Right after a request the newest status may still be the one from before it.
            if status.received_steady_ns > self._since_ns or waited_s > self.arm_timeout_s:
                self._enter(Phase.GROUND)
        elif self.phase is Phase.CLIMBING:
            if status.follows_commands:
                self._enter(Phase.HOLDING)
            elif waited_s > self.take_off_timeout_s:
                self.safe_stop(f"no take-off within {self.take_off_timeout_s:g} s")
        elif self.phase is Phase.HOLDING and waited_s > self.hold_timeout_s:
            self.safe_stop(f"no command within {self.hold_timeout_s:g} s after the take-off")

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self._node.get_logger().info(f"{self.phase.value} -> {phase.value}")
            self._recorder.event(time.time_ns(), "phase", phase.value)
        self.phase, self._since_ns = phase, time.monotonic_ns()
        is_airborne = self.is_airborne
        if is_airborne is not self._published_airborne:
            self._published_airborne = is_airborne
            self._airborne_out.publish(Bool(data=is_airborne))

    # --- reports -----------------------------------------------------------------------------

    def health(self) -> tuple[bytes, str]:
        """How the vehicle is, the worst first; everything that is known goes into the values."""
        level, message = super().health()
        status, now_ns = self.status, time.monotonic_ns()
        self._note(status, now_ns)
        if status.failsafe:
            return DiagnosticStatus.ERROR, f"the firmware's own failsafe acts (mode {status.mode})"
        if level != DiagnosticStatus.OK:
            return level, message
        low = self._battery.is_low(status)
        if low:
            return DiagnosticStatus.WARN, f"low battery: {self._battery.sentence(status)}"
        stale = self._pose.problem(now_ns)
        if stale:
            return DiagnosticStatus.WARN, stale
        if not status.armed and status.arming_blockers:
            return DiagnosticStatus.WARN, "will not arm: " + "; ".join(status.arming_blockers)
        armed = "armed" if status.armed else "disarmed"
        return DiagnosticStatus.OK, f"{self.phase.value}, {armed}, mode {status.mode}"

    def _note(self, status: VehicleStatus, now_ns: int) -> None:
        known = {
            "battery_v": status.battery_v,
            "battery_share": status.battery_share,
            "link_quality": status.link_quality,
            "external_pose_age_ms": self._pose.age_ms(now_ns),
        }
        # What a driver counts by itself.
        counts = getattr(self.robot, "statistics", {})
        self._node.health.note(
            **{str(name): value for name, value in dict(counts).items()},
            firmware=str(getattr(self.robot, "firmware", "")),
            phase=self.phase.value,
            armed=str(status.armed).lower(),
            mode=status.mode,
            follows_commands=str(status.follows_commands).lower(),
            failsafe=str(status.failsafe).lower(),
            on_ground="" if status.on_ground is None else str(status.on_ground).lower(),
            arming_blockers="; ".join(status.arming_blockers),
            **{k: f"{v:.3g}" for k, v in known.items() if v is not None and math.isfinite(v)},
        )
