"""What PX4 tells over MAVLink: its state on our clock, its parameters, its battery, its answers.

Nothing here decides or sends, but for the answer that TIMESYNC asks for. Sources: specs of RAPTOR, sections
5b.1 and 5b.3; MAVLink common.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from hardware.command import FloatArray
from hardware.drones import ned, px4_modes
from hardware.drones.mavlink import ClockOffset, LinkQuality, Received
from hardware.drones.px4_modes import LandedState
from hardware.drones.px4_pilot import NS, Pilot
from hardware.drones.px4_setpoints import TextPieces
from hardware.drones.state import VehicleState

_LOST_NS = 3 * NS
# What the simulated vehicle has where firmware has its commit.
PEER_VERSION = b"rflxpeer"
# The type of a whole number among PX4's parameters.
INT32 = 6


class Telemetry:
    """What is known of one vehicle. Not thread-safe.

    Args:
        common: MAVLink's common messages.
        pilot: is told what its decisions rest on.
        answer: sends a message.
        ours: our MAVLink system and component.
        wanted: MAVLink system id of the vehicle; 0: the first autopilot that is heard.
    """

    def __init__(
        self,
        common: Any,  # noqa: ANN401
        pilot: Pilot,
        answer: Callable[[Any], None],
        *,
        ours: tuple[int, int],
        wanted: int,
    ) -> None:
        """Know nothing yet."""
        self._common, self._pilot, self._answer = common, pilot, answer
        self._ours, self._wanted = ours, wanted
        self._texts = TextPieces()
        self._attitude: tuple[FloatArray, FloatArray] | None = None
        self._boot_ns = 0
        self.clock = ClockOffset()
        self.quality = LinkQuality()
        # MAVLink system and component of the vehicle.
        self.vehicle: tuple[int, int] | None = None
        self.state: VehicleState | None = None
        self.has_odometry = False
        # When it was heard, steady clock.
        self.heartbeat_ns: int | None = None
        self.failsafe = False
        self.battery_v: float | None = None
        self.battery_share: float | None = None
        # PX4 parameters by name, and which of them are whole numbers.
        self.parameters: dict[str, float] = {}
        self.is_integer: dict[str, bool] = {}
        # What flies; empty before it has told.
        self.firmware = ""
        # Whether it may have been started anew since somebody looked: everything is to be asked again.
        self.is_new = True
        # What other systems and unusable messages sent: counted, never acted on.
        self.foreign = 0
        self.unusable = 0
        # How often the vehicle was found again after silence.
        self.reconnects = 0

    def is_alive(self, steady_now_ns: int) -> bool:
        """Whether the vehicle's heartbeat came lately."""
        return self.heartbeat_ns is not None and steady_now_ns - self.heartbeat_ns < _LOST_NS

    def take(self, received: Received, data_ns: int, steady_ns: int) -> None:
        """Take in a message; those of other systems are counted.

        Args:
            received: the message and who sent it.
            data_ns: the ROS clock when it arrived.
            steady_ns: the steady clock then.
        """
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
        m, wanted = received.message, self._wanted
        is_autopilot = (
            m.autopilot != self._common.MAV_AUTOPILOT_INVALID and m.type != self._common.MAV_TYPE_GCS
        )
        if is_autopilot and wanted in (0, received.system):
            self.vehicle = (received.system, received.component)

    def _on_heartbeat(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if self.heartbeat_ns is not None and steady_ns - self.heartbeat_ns >= _LOST_NS:
            self.reconnects += 1
            self._forget()
        self.heartbeat_ns = steady_ns
        self.failsafe = m.system_status in (
            self._common.MAV_STATE_CRITICAL,
            self._common.MAV_STATE_EMERGENCY,
        )
        armed = bool(m.base_mode & px4_modes.BASE_MODE_ARMED)
        mode = None
        if m.base_mode & px4_modes.CUSTOM_MODE_ENABLED:
            mode = px4_modes.mode_of_heartbeat(m.custom_mode)
        self._pilot.heard(steady_ns, armed=armed, mode=mode)

    def _forget(self) -> None:
        """The vehicle may have been started anew: ask everything again."""
        self.clock.reset()
        self.parameters.clear()
        self.has_odometry = False
        self.is_new = True

    def _on_current_mode(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self._pilot.heard(steady_ns, armed=self._pilot.armed, mode=px4_modes.mode_of_heartbeat(m.custom_mode))

    def _on_timesync(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if m.tc1 == 0:
            self._answer(self._common.MAVLink_timesync_message(data_ns, m.ts1))
        else:
            self.clock.note(m.ts1, m.tc1, data_ns)

    def _on_statustext(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        text = self._texts.add(m.id, m.chunk_seq, m.text)
        if text:
            self._pilot.told(steady_ns, text)

    def _on_command_ack(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        ours = self._ours
        if m.target_system in (0, ours[0]) and m.target_component in (0, ours[1]):
            self._pilot.answered(steady_ns, int(m.command), int(m.result))

    def _on_param_value(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self.is_integer[m.param_id] = m.param_type == INT32
        if m.param_type == INT32:
            self.parameters[m.param_id] = float(struct.unpack("<i", struct.pack("<f", m.param_value))[0])
        elif math.isfinite(m.param_value):
            self.parameters[m.param_id] = float(m.param_value)

    def _on_autopilot_version(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        number = int(m.flight_sw_version)
        version = ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8))
        name = "PX4-like peer" if bytes(m.flight_custom_version) == PEER_VERSION else "PX4"
        self.firmware = f"{name} {version}"

    def _on_sys_status(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        check = self._common.MAV_SYS_STATUS_PREARM_CHECK
        if m.onboard_control_sensors_enabled & check:
            self._pilot.would_arm = bool(m.onboard_control_sensors_health & check)
        if m.voltage_battery not in (0, 65535):
            self.battery_v = m.voltage_battery * 1e-3
        if 0 <= m.battery_remaining <= 100:
            self.battery_share = m.battery_remaining * 1e-2

    def _on_extended_sys_state(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        if m.landed_state in LandedState.__members__.values():
            self._pilot.landed = LandedState(m.landed_state)

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
        self.has_odometry = self.has_odometry or made is not None
        self._note_state(made, m.time_usec * 1000, data_ns, steady_ns)

    def _on_attitude_quaternion(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        self._attitude = (
            ned.attitude_enu_from_ned(np.array([m.q1, m.q2, m.q3, m.q4])),
            np.array([m.rollspeed, m.pitchspeed, m.yawspeed]),
        )

    def _on_local_position_ned(self, m: Any, data_ns: int, steady_ns: int) -> None:  # noqa: ANN401
        """Position and attitude apart, from firmware that sends no ODOMETRY."""
        if self.has_odometry or self._attitude is None:
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
        self._pilot.has_state = True
