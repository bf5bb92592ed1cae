"""A conversation with PX4 over MAVLink without a wire: bytes and time in, bytes out.

It understands what the vehicle tells, keeps its clock, and puts what `px4_pilot` decides into messages.
Nothing here blocks, sleeps or reads a clock. Sources: specs of RAPTOR, sections 5b.1 and 5b.3; PX4 user
guide, "Offboard Mode" and "MAVLink Messaging"; MAVLink common.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardware.command import CommandKind, FloatArray
from hardware.drones import ned, px4_modes
from hardware.drones.mavlink import ClockOffset, Encoder, Framer, LinkQuality, Received
from hardware.drones.px4_modes import LandedState, Mode
from hardware.drones.px4_pilot import NS, Ask, Climb, Pilot, Stream
from hardware.drones.px4_setpoints import Setpoints, TextPieces, thrust_of_multiple
from hardware.drones.state import ReferenceAcceleration, VehicleState
from hardware.drones.vehicle import ExternalPose, VehicleStatus

# The heartbeat that tells the vehicle who we are, and TIMESYNC, once a second; questions until answered.
_SECOND_NS = NS
_FAST_SYNC_NS = NS // 10
_LOST_NS = 3 * NS
# The messages we want and how often, Hz; the rate of ODOMETRY is the card's.
_WANTED = {0: 5.0, 1: 2.0, 147: 1.0, 245: 5.0, 436: 5.0}
_ODOMETRY_ID, _VERSION_ID = 331, 148
# What the simulated vehicle has where firmware has its commit.
PEER_VERSION = b"rflxpeer"
# PX4 parameters that the thrust of RATES_THRUST needs.
HOVER, CURVE = "MPC_THR_HOVER", "THR_MDL_FAC"
_INT32 = 6


@dataclass(frozen=True)
class SessionSettings:
    """How to talk to one vehicle."""

    # The mode in which it takes our commands.
    follow: Mode = Mode.OFFBOARD
    # Without a command for this long: land; by the kind of the last command.
    timeouts_s: Mapping[CommandKind, float] = field(default_factory=dict)
    # How often the last command is repeated.
    stream_hz: float = 50.0
    # How often the vehicle shall tell its state.
    state_hz: float = 100.0
    # MAVLink system id of the vehicle; 0: the first autopilot that is heard.
    vehicle_system: int = 0
    # Ours.
    system: int = 245
    component: int = 191
    # PX4 parameters that must have these values before it may arm.
    parameters: Mapping[str, float] = field(default_factory=dict)
    # Whether to set them where they differ, instead of refusing to arm.
    writes_parameters: bool = False
    # Whether PX4 is told the acceleration of references too (from their velocities).
    feeds_acceleration: bool = True
    # Below this share of charge the driver lands by itself; 0: never.
    battery_land_share: float = 0.0


class Session:
    """One vehicle. Not thread-safe.

    Args:
        settings: how to talk to it.
        keeps_rest: whether the wire is a byte stream (serial, TCP) and not datagrams.
    """

    def __init__(self, settings: SessionSettings, *, keeps_rest: bool = False) -> None:
        """Know nothing yet."""
        self.settings = settings
        self.pilot = Pilot(follow=settings.follow)
        self.framer = Framer(keeps_rest=keeps_rest)
        self.clock = ClockOffset()
        self.quality = LinkQuality()
        self._encoder = Encoder(system=settings.system, component=settings.component)
        self._common = self._encoder.common
        self._setpoints = Setpoints(self._common)
        self._texts = TextPieces()
        self._out: list[bytes] = []
        self.vehicle: tuple[int, int] | None = None
        self.state: VehicleState | None = None
        self._attitude: tuple[FloatArray, FloatArray] | None = None
        self._has_odometry = False
        self._heartbeat_ns: int | None = None
        self._failsafe = False
        self._battery_v: float | None = None
        self._battery_share: float | None = None
        self._values: dict[str, float] = {}
        self._is_integer: dict[str, bool] = {}
        # Where it is held while the mode is asked for.
        self._held: VehicleState | None = None
        self._differences = ReferenceAcceleration()
        self._acceleration: FloatArray = np.zeros(3)
        self._command: tuple[CommandKind, dict[str, float]] | None = None
        self._sent_ns = 0
        self._beat_ns = self._sync_ns = self._question_ns = -_SECOND_NS
        self._boot_ns = 0
        # What flies; empty before it has told.
        self.firmware = ""
        # What other systems and unusable messages sent: counted, never acted on.
        self.foreign = 0
        self.unusable = 0
        # How often the vehicle was found again after silence.
        self.reconnects = 0

    # --- in -----------------------------------------------------------------------------------

    def receive(self, data: bytes, *, data_now_ns: int, steady_now_ns: int) -> None:
        """Take in what arrived, any bytes at all.

        Args:
            data: one datagram, or a piece of a stream.
            data_now_ns: the ROS clock.
            steady_now_ns: the steady clock.
        """
        for received in self.framer.feed(data):
            self._take(received, data_now_ns, steady_now_ns)

    def command(
        self, kind: CommandKind, values: Mapping[str, float], steady_now_ns: int, *, stamp_ns: int
    ) -> None:
        """Follow this from now on.

        Args:
            kind: reference or rates_thrust.
            values: all elements by name; finite (the driver has checked).
            steady_now_ns: the steady clock.
            stamp_ns: when the command is meant for, ROS clock.
        """
        self._command = (kind, dict(values))
        if kind is CommandKind.REFERENCE:
            velocity = np.array([values[f"velocity_{axis}"] for axis in "xyz"])
            self._acceleration = self._differences.add(velocity, stamp_ns)
        if kind in self.settings.timeouts_s:
            self.pilot.timeout_ns = round(self.settings.timeouts_s[kind] * 1e9)
        self.pilot.command(steady_now_ns)
        if self._may_pass(steady_now_ns):
            self._stream_command(steady_now_ns)

    def external_pose(self, pose: ExternalPose) -> None:
        """Hand on a pose from outside, as ODOMETRY; its stamp is on the clock that TIMESYNC keeps."""
        self._send(self._setpoints.external_pose(pose))

    # --- out ----------------------------------------------------------------------------------

    def tick(self, *, data_now_ns: int, steady_now_ns: int) -> None:
        """Let time pass: repeat, ask, stream. Called `stream_hz` times a second or more."""
        now = steady_now_ns
        self._watch_battery(now)
        plan = self.pilot.tick(now)
        for ask in plan.asks:
            self._ask(ask)
        if plan.stream is not Stream.HOLD:
            self._held = None
        elif self._held is None:
            self._held = self.state
        if self._is_due(now):
            if plan.stream is Stream.COMMAND:
                self._stream_command(now)
            elif self._held is not None:
                self._sent_ns = now
                self._send(self._setpoints.hold(self._held, self._target()))
        if now - self._beat_ns >= _SECOND_NS:
            self._beat_ns = now
            self._send(self._heartbeat())
        sync_ns = _SECOND_NS if self.clock.offset_ns is not None else _FAST_SYNC_NS
        if self.vehicle is not None and now - self._sync_ns >= sync_ns:
            self._sync_ns = now
            self._send(self._common.MAVLink_timesync_message(0, data_now_ns))
        if self.vehicle is not None and now - self._question_ns >= _SECOND_NS:
            self._question_ns = now
            self._ask_parameters()
            if not self.firmware:
                self._ask(Ask(px4_modes.REQUEST_MESSAGE, (float(_VERSION_ID),) + (0.0,) * 6))
            if not self._has_odometry:
                self._ask_rates()

    def take_out(self) -> list[bytes]:
        """What is to be sent; it is forgotten here."""
        out, self._out = self._out, []
        return out

    # --- told ---------------------------------------------------------------------------------

    def is_alive(self, steady_now_ns: int) -> bool:
        """Whether the vehicle's heartbeat came lately."""
        return self._heartbeat_ns is not None and steady_now_ns - self._heartbeat_ns < _LOST_NS

    def blockers(self, steady_now_ns: int) -> tuple[str, ...]:
        """Why it will not arm: what the firmware said, and parameters that are not as the card wants."""
        if self.pilot.armed:
            return ()
        found = list(self.pilot.blockers(steady_now_ns))
        for name, wanted in self.settings.parameters.items():
            value = self._values.get(name)
            if value is None:
                found.append(f"the parameter {name} could not be read yet; the card wants {wanted:g}")
            elif not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-6):
                found.append(f"the parameter {name} is {value:g} and the card wants {wanted:g}")
        return tuple(found)

    def status(self, steady_now_ns: int) -> VehicleStatus:
        """How the vehicle is."""
        pilot = self.pilot
        is_alive = self.is_alive(steady_now_ns)
        on_ground = None
        if pilot.landed is not LandedState.UNDEFINED:
            on_ground = pilot.landed is LandedState.ON_GROUND
        mode = "unknown" if pilot.mode is None else pilot.mode.word
        return VehicleStatus(
            armed=pilot.armed,
            mode=mode if is_alive else f"{mode} (link lost)",
            follows_commands=is_alive and pilot.follows_commands,
            failsafe=self._failsafe,
            arming_blockers=self.blockers(steady_now_ns),
            on_ground=on_ground,
            battery_v=self._battery_v,
            battery_share=self._battery_share,
            link_quality=self.quality.share if is_alive else 0.0,
            received_steady_ns=self._heartbeat_ns or 0,
        )

    def parameter(self, name: str) -> float | None:
        """A PX4 parameter's value, or None while it is not known."""
        return self._values.get(name)

    # --- sending ------------------------------------------------------------------------------

    def _send(self, message: Any) -> None:  # noqa: ANN401
        self._out.append(self._encoder.encode(message))

    def _heartbeat(self) -> Any:  # noqa: ANN401
        c = self._common
        # PX4 lands by itself on the loss of a ground station (NAV_DLL_ACT), of an onboard computer not;
        # its RAPTOR mode knows no loss of set-points, so there we are a ground station.
        is_external = self.settings.follow is not Mode.OFFBOARD
        kind = c.MAV_TYPE_GCS if is_external else c.MAV_TYPE_ONBOARD_CONTROLLER
        return c.MAVLink_heartbeat_message(kind, c.MAV_AUTOPILOT_INVALID, 0, 0, c.MAV_STATE_ACTIVE, 3)

    def _target(self) -> tuple[int, int]:
        return self.vehicle or (0, 0)

    def _ask(self, ask: Ask | Climb) -> None:
        system, component = self._target()
        if isinstance(ask, Climb):
            self._set_parameter("MIS_TAKEOFF_ALT", ask.height_m, is_integer=False)
            # Not a number: here, with this heading, to the altitude of the parameter.
            nan = math.nan
            ask = Ask(px4_modes.NAV_TAKEOFF, (nan, 0.0, 0.0, nan, nan, nan, nan))
        self._send(
            self._common.MAVLink_command_long_message(system, component, ask.command, 0, *ask.parameters)
        )

    def _ask_rates(self) -> None:
        for number, rate_hz in {**_WANTED, _ODOMETRY_ID: self.settings.state_hz}.items():
            interval_us = 1e6 / rate_hz
            self._ask(Ask(px4_modes.SET_MESSAGE_INTERVAL, (float(number), interval_us) + (0.0,) * 5))

    def _ask_parameters(self) -> None:
        system, component = self._target()
        for name in (*self.settings.parameters, HOVER, CURVE):
            wanted = self.settings.parameters.get(name)
            value = self._values.get(name)
            if value is None:
                self._send(
                    self._common.MAVLink_param_request_read_message(system, component, name.encode(), -1)
                )
            elif wanted is not None and value != wanted and self.settings.writes_parameters:
                self._set_parameter(name, wanted, is_integer=self._is_integer[name])

    def _set_parameter(self, name: str, value: float, *, is_integer: bool) -> None:
        system, component = self._target()
        if is_integer:
            # PX4 carries an integer as its bytes in the float field.
            value = struct.unpack("<f", struct.pack("<i", round(value)))[0]
        kind = _INT32 if is_integer else 9
        self._send(self._common.MAVLink_param_set_message(system, component, name.encode(), value, kind))

    def _is_due(self, now_ns: int) -> bool:
        # A little early is in time: ticks come at the same rate as repetitions.
        return now_ns - self._sent_ns >= 0.9e9 / self.settings.stream_hz

    def _may_pass(self, now_ns: int) -> bool:
        pilot = self.pilot
        return pilot.phase.name == "FOLLOWING" and pilot.mode is pilot.follow and self.is_alive(now_ns)

    def _stream_command(self, now_ns: int) -> None:
        if self._command is None:
            return
        kind, values = self._command
        self._sent_ns = now_ns
        if kind is CommandKind.RATES_THRUST:
            hover = self._values.get(HOVER)
            if hover is None:
                return
            thrust = thrust_of_multiple(
                values["thrust"], hover=hover, is_linear=self._values.get(CURVE, 0.0) > 0
            )
            self._send(self._setpoints.rates(values, thrust, self._target()))
        else:
            is_raptor = self.settings.follow is not Mode.OFFBOARD
            feeds = self.settings.feeds_acceleration and not is_raptor
            self._send(
                self._setpoints.reference(
                    values,
                    self._target(),
                    acceleration=self._acceleration if feeds else None,
                    with_yaw_rate=is_raptor,
                )
            )

    def _watch_battery(self, now_ns: int) -> None:
        share, limit = self._battery_share, self.settings.battery_land_share
        if share is not None and share < limit and self.pilot.armed and not self.pilot.safe_stopped:
            self.pilot.land(now_ns)
            self.pilot.safe_stopped = (
                f"battery low: {100 * share:.0f} % left, the card lands at {100 * limit:.0f} %"
            )

    # --- receiving ----------------------------------------------------------------------------

    def _take(self, received: Received, data_ns: int, steady_ns: int) -> None:
        if received.name == "HEARTBEAT" and self.vehicle is None:
            self._meet(received)
        if self.vehicle is None or (received.system, received.component) != self.vehicle:
            self.foreign += self.vehicle is not None
            return
        self.quality.note(received.message.get_seq())
        handler = getattr(self, f"_on_{received.name.lower()}", None)
        if handler is not None:
            handler(received.message, data_ns, steady_ns)

    def _meet(self, received: Received) -> None:
        """The first autopilot that is heard is ours, or the one whose id the card gives."""
        m, wanted = received.message, self.settings.vehicle_system
        is_autopilot = (
            m.autopilot != self._common.MAV_AUTOPILOT_INVALID and m.type != self._common.MAV_TYPE_GCS
        )
        if is_autopilot and wanted in (0, received.system):
            self.vehicle = (received.system, received.component)

    def _on_heartbeat(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if self._heartbeat_ns is not None and steady_ns - self._heartbeat_ns >= _LOST_NS:
            self.reconnects += 1
            self._forget()
        self._heartbeat_ns = steady_ns
        self._failsafe = m.system_status in (
            self._common.MAV_STATE_CRITICAL,
            self._common.MAV_STATE_EMERGENCY,
        )
        armed = bool(m.base_mode & px4_modes.BASE_MODE_ARMED)
        mode = None
        if m.base_mode & px4_modes.CUSTOM_MODE_ENABLED:
            mode = px4_modes.mode_of_heartbeat(m.custom_mode)
        self.pilot.heard(steady_ns, armed=armed, mode=mode)

    def _forget(self) -> None:
        """The vehicle may have been started anew: ask everything again."""
        self.clock.reset()
        self._values.clear()
        self._has_odometry = False
        self._question_ns = -_SECOND_NS

    def _on_current_mode(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self.pilot.heard(steady_ns, armed=self.pilot.armed, mode=px4_modes.mode_of_heartbeat(m.custom_mode))

    def _on_timesync(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if m.tc1 == 0:
            self._send(self._common.MAVLink_timesync_message(data_ns, m.ts1))
        else:
            self.clock.note(m.ts1, m.tc1, data_ns)

    def _on_statustext(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        text = self._texts.add(m.id, m.chunk_seq, m.text)
        if text:
            self.pilot.told(steady_ns, text)

    def _on_command_ack(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        ours = (self.settings.system, self.settings.component)
        if m.target_system in (0, ours[0]) and m.target_component in (0, ours[1]):
            self.pilot.answered(steady_ns, int(m.command), int(m.result))

    def _on_param_value(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self._is_integer[m.param_id] = m.param_type == _INT32
        if m.param_type == _INT32:
            self._values[m.param_id] = float(struct.unpack("<i", struct.pack("<f", m.param_value))[0])
        elif math.isfinite(m.param_value):
            self._values[m.param_id] = float(m.param_value)

    def _on_autopilot_version(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        number = int(m.flight_sw_version)
        version = ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8))
        name = "PX4-like peer" if bytes(m.flight_custom_version) == PEER_VERSION else "PX4"
        self.firmware = f"{name} {version}"

    def _on_sys_status(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        check = self._common.MAV_SYS_STATUS_PREARM_CHECK
        if m.onboard_control_sensors_enabled & check:
            self.pilot.would_arm = bool(m.onboard_control_sensors_health & check)
        if m.voltage_battery not in (0, 65535):
            self._battery_v = m.voltage_battery * 1e-3
        if 0 <= m.battery_remaining <= 100:
            self._battery_share = m.battery_remaining * 1e-2

    def _on_extended_sys_state(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if m.landed_state in LandedState.__members__.values():
            self.pilot.landed = LandedState(m.landed_state)

    def _on_odometry(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        c = self._common
        velocity: FloatArray = np.array([m.vx, m.vy, m.vz])
        attitude: FloatArray = np.array(m.q)
        if m.frame_id != c.MAV_FRAME_LOCAL_NED:
            self.unusable += 1
            return
        quaternion = ned.attitude_enu_from_ned(attitude)
        if m.child_frame_id == c.MAV_FRAME_LOCAL_NED:
            made = VehicleState.make(
                position=(m.x, m.y, m.z), orientation=quaternion, velocity_ned=velocity,
                rates_frd=(m.rollspeed, m.pitchspeed, m.yawspeed),
            )  # fmt: skip
        elif m.child_frame_id in (c.MAV_FRAME_BODY_FRD, c.MAV_FRAME_BODY_NED):
            made = VehicleState.make(
                position=(m.x, m.y, m.z), orientation=quaternion, velocity_frd=velocity,
                rates_frd=(m.rollspeed, m.pitchspeed, m.yawspeed),
            )  # fmt: skip
        else:
            made = None
        self._has_odometry = self._has_odometry or made is not None
        self._note_state(made, m.time_usec * 1000, data_ns, steady_ns)

    def _on_attitude_quaternion(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self._attitude = (
            ned.attitude_enu_from_ned(np.array([m.q1, m.q2, m.q3, m.q4])),
            np.array([m.rollspeed, m.pitchspeed, m.yawspeed]),
        )

    def _on_local_position_ned(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        """Position and attitude apart, from firmware that sends no ODOMETRY."""
        if self._has_odometry or self._attitude is None:
            return
        orientation, rates = self._attitude
        made = VehicleState.make(
            position=(m.x, m.y, m.z), orientation=orientation, velocity_ned=np.array([m.vx, m.vy, m.vz]),
            rates_frd=tuple(rates.tolist()),
        )  # fmt: skip
        self._note_state(made, m.time_boot_ms * 1_000_000, data_ns, steady_ns)

    def _note_state(self, state: VehicleState | None, boot_ns: int, data_ns: int, steady_ns: int) -> None:
        if state is None:
            self.unusable += 1
            return
        if boot_ns < self._boot_ns - NS:
            # Its clock went back: it was started anew.
            self._forget()
        self._boot_ns = boot_ns
        offset_ns = self.clock.offset_ns
        stamp_ns = data_ns if offset_ns is None else min(data_ns, boot_ns - offset_ns)
        self.state = state.stamped(stamp_ns, steady_ns)
        self.pilot.has_state = True
