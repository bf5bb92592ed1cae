"""A conversation with PX4 over MAVLink without a wire: bytes and time in, bytes out.

It puts what `px4_pilot` decides into messages; `px4_telemetry` understands what the vehicle tells.
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
from hardware.drones import px4_modes
from hardware.drones.mavlink import Encoder, Framer
from hardware.drones.px4_modes import LandedState, Mode
from hardware.drones.px4_pilot import NS, Ask, Climb, Pilot, Stream
from hardware.drones.px4_setpoints import Setpoints, thrust_of_multiple
from hardware.drones.px4_telemetry import INT32, Telemetry
from hardware.drones.state import ReferenceAcceleration, VehicleState
from hardware.drones.vehicle import ExternalPose, VehicleStatus

# The heartbeat that tells the vehicle who we are, and TIMESYNC, once a second; questions until answered.
_SECOND_NS = NS
_FAST_SYNC_NS = NS // 10
# The messages we want and how often, Hz; the rate of ODOMETRY is the card's.
_WANTED = {0: 5.0, 1: 2.0, 147: 1.0, 245: 5.0, 436: 5.0}
_ODOMETRY_ID, _VERSION_ID = 331, 148
# PX4 parameters that the thrust of RATES_THRUST needs.
HOVER, CURVE = "MPC_THR_HOVER", "THR_MDL_FAC"


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
        self._encoder = Encoder(system=settings.system, component=settings.component)
        self._common = self._encoder.common
        self._setpoints = Setpoints(self._common)
        self._out: list[bytes] = []
        # What the vehicle tells.
        self.told = Telemetry(
            self._common,
            self.pilot,
            self._send,
            ours=(settings.system, settings.component),
            wanted=settings.vehicle_system,
        )
        # Where it is held while the mode is asked for.
        self._held: VehicleState | None = None
        self._differences = ReferenceAcceleration()
        self._acceleration: FloatArray = np.zeros(3)
        self._command: tuple[CommandKind, dict[str, float]] | None = None
        self._sent_ns = 0
        self._beat_ns = self._sync_ns = self._question_ns = -_SECOND_NS

    # --- in -----------------------------------------------------------------------------------

    def receive(self, data: bytes, *, data_now_ns: int, steady_now_ns: int) -> None:
        """Take in what arrived, any bytes at all.

        Args:
            data: one datagram, or a piece of a stream.
            data_now_ns: the ROS clock.
            steady_now_ns: the steady clock.
        """
        for received in self.framer.feed(data):
            self.told.take(received, data_now_ns, steady_now_ns)

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
        sync_ns = _SECOND_NS if self.told.clock.offset_ns is not None else _FAST_SYNC_NS
        if self.vehicle is not None and now - self._sync_ns >= sync_ns:
            self._sync_ns = now
            self._send(self._common.MAVLink_timesync_message(0, data_now_ns))
        is_due = self.told.is_new or now - self._question_ns >= _SECOND_NS
        if self.vehicle is not None and is_due:
            self._question_ns, self.told.is_new = now, False
            self._ask_parameters()
            if not self.told.firmware:
                self._ask(Ask(px4_modes.REQUEST_MESSAGE, (float(_VERSION_ID),) + (0.0,) * 6))
            if not self.told.has_odometry:
                self._ask_rates()

    def take_out(self) -> list[bytes]:
        """What is to be sent; it is forgotten here."""
        out, self._out = self._out, []
        return out

    # --- told ---------------------------------------------------------------------------------

    @property
    def vehicle(self) -> tuple[int, int] | None:
        """MAVLink system and component of the vehicle; None before it was heard."""
        return self.told.vehicle

    @property
    def state(self) -> VehicleState | None:
        """Where the vehicle is; None before it has told."""
        return self.told.state

    def is_alive(self, steady_now_ns: int) -> bool:
        """Whether the vehicle's heartbeat came lately."""
        return self.told.is_alive(steady_now_ns)

    def blockers(self, steady_now_ns: int) -> tuple[str, ...]:
        """Why it will not arm: what the firmware said, and parameters that are not as the card wants."""
        if self.pilot.armed:
            return ()
        found = list(self.pilot.blockers(steady_now_ns))
        for name, wanted in self.settings.parameters.items():
            value = self.told.parameters.get(name)
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
            failsafe=self.told.failsafe,
            arming_blockers=self.blockers(steady_now_ns),
            on_ground=on_ground,
            battery_v=self.told.battery_v,
            battery_share=self.told.battery_share,
            link_quality=self.told.quality.share if is_alive else 0.0,
            received_steady_ns=self.told.heartbeat_ns or 0,
        )

    def parameter(self, name: str) -> float | None:
        """A PX4 parameter's value, or None while it is not known."""
        return self.told.parameters.get(name)

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
            value = self.told.parameters.get(name)
            if value is None:
                self._send(
                    self._common.MAVLink_param_request_read_message(system, component, name.encode(), -1)
                )
            elif wanted is not None and value != wanted and self.settings.writes_parameters:
                self._set_parameter(name, wanted, is_integer=self.told.is_integer[name])

    def _set_parameter(self, name: str, value: float, *, is_integer: bool) -> None:
        system, component = self._target()
        if is_integer:
            # PX4 carries an integer as its bytes in the float field.
            value = struct.unpack("<f", struct.pack("<i", round(value)))[0]
        kind = INT32 if is_integer else 9
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
            hover = self.told.parameters.get(HOVER)
            if hover is None:
                return
            thrust = thrust_of_multiple(
                values["thrust"], hover=hover, is_linear=self.told.parameters.get(CURVE, 0.0) > 0
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
        share, limit = self.told.battery_share, self.settings.battery_land_share
        if share is not None and share < limit and self.pilot.armed and not self.pilot.safe_stopped:
            self.pilot.land(now_ns)
            self.pilot.safe_stopped = (
                f"battery low: {100 * share:.0f} % left, the card lands at {100 * limit:.0f} %"
            )
