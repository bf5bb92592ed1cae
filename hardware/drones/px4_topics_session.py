"""A conversation with PX4 over its ROS 2 topics without ROS: fields and time in, fields out.

The same pilot as over MAVLink. What is different: PX4 takes set-points from this path in any mode
(PX4-Autopilot issue 26712), so none is sent before the vehicle reports the mode, only the proof of life;
and parameters cannot be read, so the card must give the hover thrust and nobody checks the failsafes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hardware.command import CommandKind, FloatArray
from hardware.drones import px4_modes, px4_topics
from hardware.drones.px4_modes import LandedState, Mode
from hardware.drones.px4_pilot import NS, Ask, Climb, Pilot, Stream
from hardware.drones.px4_setpoints import thrust_of_multiple
from hardware.drones.state import ReferenceAcceleration, VehicleState
from hardware.drones.vehicle import ExternalPose, VehicleStatus

Outgoing = tuple[str, px4_topics.Fields]
_LOST_NS = 2 * NS
# A stamp that is further from now than this is on another clock.
_SAME_CLOCK_NS = NS


class TopicsSession:
    """One vehicle. Not thread-safe.

    Args:
        follow: the mode in which it takes our commands.
        timeouts_s: without a command for this long: land; by kind.
        hover_thrust: PX4's MPC_THR_HOVER, for commands of rates and thrust.
        is_linear: whether THR_MDL_FAC is above 0.
        feeds_acceleration: whether references carry their acceleration.
    """

    def __init__(
        self,
        *,
        follow: Mode = Mode.OFFBOARD,
        timeouts_s: Mapping[CommandKind, float] | None = None,
        hover_thrust: float = 0.5,
        is_linear: bool = False,
        feeds_acceleration: bool = True,
    ) -> None:
        """Know nothing yet."""
        self.pilot = Pilot(follow=follow)
        self._timeouts_s = dict(timeouts_s or {})
        self._hover, self._is_linear, self._feeds = hover_thrust, is_linear, feeds_acceleration
        self._differences = ReferenceAcceleration()
        self._acceleration: FloatArray = np.zeros(3)
        self._command: tuple[CommandKind, dict[str, float]] | None = None
        self.state: VehicleState | None = None
        self._local: Mapping[str, Any] = {"ref_alt": math.nan, "z_global": False}
        self._failsafe = False
        self._battery_v: float | None = None
        self._battery_share: float | None = None
        self._heard_ns: int | None = None
        # Messages with a frame or a number that cannot be used.
        self.unusable = 0

    # --- in -----------------------------------------------------------------------------------

    def receive(self, topic: str, fields: Mapping[str, Any], *, data_now_ns: int, steady_now_ns: int) -> None:
        """Take in a message.

        Args:
            topic: of `px4_topics.SUBSCRIBED`.
            fields: its fields.
            data_now_ns: the ROS clock.
            steady_now_ns: the steady clock.
        """
        if topic == "vehicle_odometry":
            self._on_odometry(fields, data_now_ns, steady_now_ns)
        elif topic == "vehicle_status":
            self._heard_ns = steady_now_ns
            self._failsafe = bool(fields["failsafe"])
            self.pilot.would_arm = bool(fields["pre_flight_checks_pass"])
            mode = px4_modes.mode_of_nav_state(int(fields["nav_state"]))
            self.pilot.heard(steady_now_ns, armed=fields["arming_state"] == px4_topics.ARMED, mode=mode)
        elif topic == "vehicle_land_detected":
            self.pilot.landed = LandedState.ON_GROUND if fields["landed"] else LandedState.IN_AIR
        elif topic == "vehicle_local_position":
            self._local = fields
        elif topic == "battery_status":
            volts, share = float(fields["voltage_v"]), float(fields["remaining"])
            self._battery_v = volts if math.isfinite(volts) and volts > 0.0 else None
            self._battery_share = share if 0.0 <= share <= 1.0 else None
        elif topic == "vehicle_command_ack":
            self.pilot.answered(steady_now_ns, int(fields["command"]), int(fields["result"]))

    def command(
        self, kind: CommandKind, values: Mapping[str, float], steady_now_ns: int, *, stamp_ns: int
    ) -> None:
        """Follow this from now on; the numbers are finite and complete (the driver has checked)."""
        self._command = (kind, dict(values))
        self.pilot.timeout_ns = round(self._timeouts_s.get(kind, 0.5) * 1e9)
        if kind is CommandKind.REFERENCE:
            velocity = np.array([values[f"velocity_{axis}"] for axis in "xyz"])
            self._acceleration = self._differences.add(velocity, stamp_ns)
        self.pilot.command(steady_now_ns)

    # --- out ----------------------------------------------------------------------------------

    def tick(self, *, data_now_ns: int, steady_now_ns: int) -> list[Outgoing]:
        """Let time pass; called some 50 times a second.

        Returns:
            Topics of `px4_topics.PUBLISHED` with the fields to publish, in order.
        """
        now_us = data_now_ns // 1000
        plan = self.pilot.tick(steady_now_ns)
        out: list[Outgoing] = [
            ("vehicle_command", px4_topics.vehicle_command(self._as_ask(ask), now_us)) for ask in plan.asks
        ]
        kind, values = self._command or (CommandKind.REFERENCE, {})
        is_offboard = self.pilot.follow is Mode.OFFBOARD
        if plan.stream is not Stream.NOTHING and is_offboard:
            out.append(("offboard_control_mode", px4_topics.offboard_control_mode(kind, now_us)))
        if plan.stream is Stream.COMMAND and values:
            out.append(self._setpoint(kind, values, now_us))
        return out

    @staticmethod
    def external_pose(pose: ExternalPose, data_now_ns: int) -> Outgoing:
        """A pose from outside, as a message."""
        return "vehicle_visual_odometry", px4_topics.visual_odometry(pose, data_now_ns // 1000)

    # --- told ---------------------------------------------------------------------------------

    def is_alive(self, steady_now_ns: int) -> bool:
        """Whether the vehicle's status came lately."""
        return self._heard_ns is not None and steady_now_ns - self._heard_ns < _LOST_NS

    def status(self, steady_now_ns: int) -> VehicleStatus:
        """How the vehicle is."""
        pilot, is_alive = self.pilot, self.is_alive(steady_now_ns)
        mode = "unknown" if pilot.mode is None else pilot.mode.word
        blockers = pilot.blockers(steady_now_ns)
        if not blockers and pilot.would_arm is False and not pilot.armed:
            blockers = ("PX4's pre-flight checks fail; a ground station shows which",)
        landed = pilot.landed
        return VehicleStatus(
            armed=pilot.armed,
            mode=mode if is_alive else f"{mode} (link lost)",
            follows_commands=is_alive and pilot.follows_commands,
            failsafe=self._failsafe,
            arming_blockers=blockers,
            on_ground=None if landed is LandedState.UNDEFINED else landed is LandedState.ON_GROUND,
            battery_v=self._battery_v,
            battery_share=self._battery_share,
            link_quality=None if is_alive else 0.0,
            received_steady_ns=self._heard_ns or 0,
        )

    # --- private ------------------------------------------------------------------------------

    def _on_odometry(self, fields: Mapping[str, Any], data_ns: int, steady_ns: int) -> None:
        made = px4_topics.state_of_odometry(fields)
        if made is None:
            self.unusable += 1
            return
        sample_ns = int(fields["timestamp_sample"]) * 1000
        is_ours = 0 <= data_ns - sample_ns < _SAME_CLOCK_NS
        self.state = made.stamped(sample_ns if is_ours else data_ns, steady_ns)
        self.pilot.has_state = True

    def _as_ask(self, ask: Ask | Climb) -> Ask:
        if isinstance(ask, Ask):
            return ask
        here_m = 0.0 if self.state is None else float(self.state.position[2])
        altitude = px4_topics.altitude_of(self._local, here_m + ask.height_m)
        nan = math.nan
        return Ask(px4_modes.NAV_TAKEOFF, (nan, 0.0, 0.0, nan, nan, nan, altitude))

    def _setpoint(self, kind: CommandKind, values: Mapping[str, float], now_us: int) -> Outgoing:
        if kind is CommandKind.RATES_THRUST:
            thrust = thrust_of_multiple(values["thrust"], hover=self._hover, is_linear=self._is_linear)
            return "vehicle_rates_setpoint", px4_topics.rates_setpoint(values, thrust, now_us)
        is_raptor = self.pilot.follow is not Mode.OFFBOARD
        acceleration = self._acceleration if self._feeds and not is_raptor else None
        return "trajectory_setpoint", px4_topics.trajectory_setpoint(values, acceleration, now_us)
