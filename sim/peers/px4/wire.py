"""The PX4-like vehicle on MAVLink: what it understands, what it sends and when.

Streams, answers and the meaning of every field follow PX4 (`mavlink_receiver`, `mavlink/streams`, user
guide "Offboard Mode"); specs of RAPTOR, section 5b.1. Time is the vehicle's own, since boot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hardware.drones import ned, px4_modes
from hardware.drones.mavlink import ClockOffset, Encoder, Framer, Received
from hardware.drones.px4_modes import Mode
from sim.peers.cascade import NAN, Target
from sim.peers.px4.commander import ACCEPTED, DENIED, TEMPORARILY_REJECTED, UNSUPPORTED
from sim.peers.px4.telemetry import MESSAGE_IDS, RATES_HZ, Telemetry
from sim.peers.px4.vehicle import STEP_NS, PeerVehicle, Setpoint

# Bits of SET_POSITION_TARGET_LOCAL_NED's type_mask: what to ignore.
_IGNORE_POSITION, _IGNORE_VELOCITY, _IGNORE_ACCELERATION = 1, 8, 64
_FORCE, _IGNORE_YAW, _IGNORE_YAW_RATE = 512, 1024, 2048
# Bits of SET_ATTITUDE_TARGET's.
_IGNORE_RATES, _IGNORE_THRUST, _IGNORE_ATTITUDE = 7, 64, 128
_LOCAL_NED, _BODY_NED, _LOCAL_FRD = 1, 8, 20
_SYNC_PERIOD_NS = 1_000_000_000


class MavlinkPeer:
    """Connects a vehicle to bytes.

    Args:
        vehicle: the vehicle.
        send: takes a datagram for everybody who listens.
        system: MAVLink system id.
    """

    def __init__(self, vehicle: PeerVehicle, send: Callable[[bytes], None], *, system: int = 1) -> None:
        """Say nothing before the first step."""
        self.vehicle, self._send, self.system = vehicle, send, system
        self._framer = Framer(keeps_rest=False)
        self._encoder = Encoder(system=system, component=1)
        self._common = self._encoder.common
        self._telemetry = Telemetry(vehicle, self._common)
        self._period_ns: dict[str, int] = {n: round(1e9 / hz) for n, hz in RATES_HZ.items()}
        self._due_ns = dict.fromkeys(self._period_ns, 0)
        self._sync_ns = 0
        self._clock = ClockOffset()
        self._text_id = 0
        # How often each message came, for tests and for people.
        self.seen: dict[str, int] = {}

    @property
    def malformed_bytes(self) -> int:
        """Bytes that belonged to no message."""
        return self._framer.malformed_bytes

    def receive(self, datagram: bytes) -> None:
        """Take in what arrived, any bytes at all."""
        for received in self._framer.feed(datagram):
            self.seen[received.name] = self.seen.get(received.name, 0) + 1
            target = getattr(received.message, "target_system", 0)
            handler = getattr(self, f"_on_{received.name.lower()}", None)
            if target in (0, self.system) and handler is not None:
                handler(received)

    def step(self) -> None:
        """Move the vehicle on by one step and send what is due."""
        vehicle = self.vehicle
        vehicle.step()
        now_ns = vehicle.now_ns
        while vehicle.commander.texts:
            self._say(*vehicle.commander.texts.popleft())
        for name, due_ns in self._due_ns.items():
            if now_ns >= due_ns and self._period_ns[name] > 0:
                self._due_ns[name] = max(due_ns + self._period_ns[name], now_ns - STEP_NS)
                self._put(self._telemetry.message(name))
        if now_ns >= self._sync_ns:
            self._sync_ns = now_ns + _SYNC_PERIOD_NS
            self._put([self._common.MAVLink_timesync_message(0, now_ns)])

    # --- sending --------------------------------------------------------------------------------

    def _put(self, messages: Iterable[Any]) -> None:
        for message in messages:
            self._send(self._encoder.encode(message))

    def _say(self, severity: int, text: str) -> None:
        """A sentence in pieces of 50 bytes, as STATUSTEXT carries it."""
        raw = text.encode()
        pieces = [raw[i : i + 50] for i in range(0, len(raw), 50)] or [b""]
        if len(pieces) > 1:
            self._text_id += 1
        number = self._text_id if len(pieces) > 1 else 0
        self._put(
            self._common.MAVLink_statustext_message(severity, piece, number, i)
            for i, piece in enumerate(pieces)
        )

    def _answer(self, received: Received, command: int, result: int) -> None:
        ack = self._common.MAVLink_command_ack_message(
            command, result, 0, 0, received.system, received.component
        )
        self._put([ack])

    # --- receiving ------------------------------------------------------------------------------

    def _on_command_long(self, received: Received) -> None:
        m = received.message
        numbers = [getattr(m, f"param{i}") for i in range(1, 8)]
        self._answer_command(received, int(m.command), numbers)

    def _on_command_int(self, received: Received) -> None:
        m = received.message
        numbers = [m.param1, m.param2, m.param3, m.param4, float(m.x), float(m.y), m.z]
        self._answer_command(received, int(m.command), numbers)

    def _answer_command(self, received: Received, command: int, numbers: list[float]) -> None:
        if command in (px4_modes.REQUEST_MESSAGE, px4_modes.REQUEST_AUTOPILOT_CAPABILITIES):
            wanted = 148 if command == px4_modes.REQUEST_AUTOPILOT_CAPABILITIES else _whole(numbers[0])
            messages = self._telemetry.on_request(wanted)
            self._answer(received, command, UNSUPPORTED if messages is None else ACCEPTED)
            self._put(messages or [])
            return
        self._answer(received, command, self._execute(command, numbers))
        if command == px4_modes.GET_HOME_POSITION:
            self._put(self._telemetry.message("HOME_POSITION"))
        while self.vehicle.commander.texts:
            self._say(*self.vehicle.commander.texts.popleft())
        # PX4 tells a new state at once, besides its regular heartbeat.
        self._put(self._telemetry.message("HEARTBEAT"))

    def _execute(self, command: int, n: list[float]) -> int:
        commander = self.vehicle.commander
        forced = n[1] == px4_modes.FORCE_MAGIC
        if command == px4_modes.ARM_DISARM:
            return commander.arm(forced=forced) if n[0] > 0.5 else commander.disarm(forced=forced)
        if command == px4_modes.DO_SET_MODE:
            if not _whole(n[0]) & px4_modes.CUSTOM_MODE_ENABLED:
                return DENIED
            mode = px4_modes.mode_of_numbers(_whole(n[1]), _whole(n[2]))
            return DENIED if mode is None else commander.request(mode)
        if command == px4_modes.NAV_TAKEOFF:
            if not commander.armed:
                return TEMPORARILY_REJECTED
            height = n[6] - self._telemetry.altitude_m(0.0) if math.isfinite(n[6]) and n[6] else None
            return commander.take_off(height)
        if command == px4_modes.NAV_LAND:
            return commander.request(Mode.LAND)
        if command == px4_modes.NAV_RETURN_TO_LAUNCH:
            return commander.request(Mode.RETURN)
        if command == px4_modes.SET_MESSAGE_INTERVAL:
            return self._set_interval(_whole(n[0]), n[1])
        return ACCEPTED if command == px4_modes.GET_HOME_POSITION else UNSUPPORTED

    def _set_interval(self, number: int, interval_us: float) -> int:
        name = MESSAGE_IDS.get(number)
        if name not in RATES_HZ or not math.isfinite(interval_us):
            return UNSUPPORTED
        if interval_us == 0.0:
            self._period_ns[name] = round(1e9 / RATES_HZ[name])
        else:
            self._period_ns[name] = 0 if interval_us < 0 else max(STEP_NS, round(interval_us * 1e3))
        self._due_ns[name] = self.vehicle.now_ns
        return ACCEPTED

    def _on_set_mode(self, received: Received) -> None:
        mode = px4_modes.mode_of_heartbeat(received.message.custom_mode)
        if mode is not None:
            self.vehicle.commander.request(mode)

    def _on_heartbeat(self, received: Received) -> None:
        if received.message.type == self._common.MAV_TYPE_GCS:
            self.vehicle.commander.link_signal(self.vehicle.now_s)

    def _on_ping(self, received: Received) -> None:
        m = received.message
        if m.target_system == 0:
            self._put(
                [self._common.MAVLink_ping_message(m.time_usec, m.seq, received.system, received.component)]
            )

    def _on_timesync(self, received: Received) -> None:
        m, now_ns = received.message, self.vehicle.now_ns
        if m.tc1 == 0:
            self._put([self._common.MAVLink_timesync_message(now_ns, m.ts1)])
        elif 0 <= m.ts1 <= now_ns:
            self._clock.note(m.ts1, m.tc1, now_ns)

    def _on_param_request_list(self, received: Received) -> None:
        for name in self.vehicle.parameters:
            self._put(self._telemetry.parameter(name))

    def _on_param_request_read(self, received: Received) -> None:
        m, store = received.message, self.vehicle.parameters
        name = store.name_at(m.param_index) if m.param_index >= 0 else m.param_id
        if name is not None and name in store:
            self._put(self._telemetry.parameter(name))

    def _on_param_set(self, received: Received) -> None:
        m, store = received.message, self.vehicle.parameters
        name = m.param_id
        if name in store:
            store.set_from_wire(name, m.param_value, m.param_type)
            self._put(self._telemetry.parameter(name))

    def _on_mission_request_list(self, received: Received) -> None:
        count = self._common.MAVLink_mission_count_message(
            received.system, received.component, 0, received.message.mission_type
        )
        self._put([count])

    def _on_set_position_target_local_ned(self, received: Received) -> None:
        """Any of position, velocity and acceleration; an axis that is ignored may hold anything."""
        m = received.message
        mask = m.type_mask
        if m.coordinate_frame not in (_LOCAL_NED, _BODY_NED) or mask & _FORCE:
            return
        position = _kept((m.x, m.y, m.z), mask, _IGNORE_POSITION)
        velocity = _kept((m.vx, m.vy, m.vz), mask, _IGNORE_VELOCITY)
        acceleration = _kept((m.afx, m.afy, m.afz), mask, _IGNORE_ACCELERATION)
        if m.coordinate_frame == _BODY_NED:
            if any(math.isfinite(v) for v in position):
                # Not supported by PX4 either: a position has no meaning in a frame that moves along.
                return
            yaw = ned.yaw_ned_from_enu(self.vehicle.estimate.yaw)
            velocity, acceleration = _turned(velocity, yaw), _turned(acceleration, yaw)
        yaw_rate = NAN if mask & _IGNORE_YAW_RATE else -m.yaw_rate
        target = Target(
            _enu(position),
            _enu(velocity),
            _enu(acceleration),
            NAN if mask & _IGNORE_YAW or not math.isfinite(m.yaw) else ned.yaw_enu_from_ned(m.yaw),
            yaw_rate,
        )
        self.vehicle.offboard(Setpoint(target=target))

    def _on_set_attitude_target(self, received: Received) -> None:
        m = received.message
        mask, rates = m.type_mask, (m.body_roll_rate, m.body_pitch_rate, m.body_yaw_rate)
        if mask & _IGNORE_THRUST or not math.isfinite(m.thrust):
            return
        if not mask & _IGNORE_ATTITUDE:
            if not all(math.isfinite(v) for v in m.q) or not 0.5 < math.hypot(*m.q) < 2.0:
                return
            quaternion = ned.attitude_enu_from_ned(np.array(m.q) / math.hypot(*m.q))
            setpoint = Setpoint(orientation=tuple(quaternion.tolist()), thrust=m.thrust)
        elif not mask & _IGNORE_RATES and all(math.isfinite(v) for v in rates):
            flu = ned.flu_from_frd(np.array(rates))
            setpoint = Setpoint(rates=tuple(flu.tolist()), thrust=m.thrust)
        else:
            return
        self.vehicle.offboard(setpoint)

    def _on_odometry(self, received: Received) -> None:
        m = received.message
        if m.frame_id not in (_LOCAL_NED, _LOCAL_FRD):
            return
        self._external(m.time_usec, (m.x, m.y, m.z), np.array(m.q))

    def _on_vision_position_estimate(self, received: Received) -> None:
        m = received.message
        attitude = ned.attitude_of_euler(m.roll, m.pitch, m.yaw)
        self._external(m.usec, (m.x, m.y, m.z), attitude)

    def _external(self, sampled_us: int, position: tuple[float, ...], attitude: Any) -> None:  # noqa: ANN401
        offset_ns = self._clock.offset_ns
        # As PX4: a stamp on an unsynchronised clock means now.
        sampled_ns = self.vehicle.now_ns if offset_ns is None else sampled_us * 1000 - offset_ns
        self.vehicle.estimator.external(
            ned.enu_from_ned(np.array(position)), ned.attitude_enu_from_ned(attitude), sampled_ns * 1e-9
        )


def _whole(number: float) -> int:
    return round(number) if math.isfinite(number) else -1


def _kept(vector: tuple[float, ...], mask: int, first: int) -> tuple[float, ...]:
    return tuple(NAN if mask & (first << axis) else value for axis, value in enumerate(vector))


def _enu(vector: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(ned.enu_from_ned(np.array(vector)).tolist())


def _turned(vector: tuple[float, ...], yaw: float) -> tuple[float, ...]:
    """From the frame that heads where the vehicle heads into NED."""
    x, y, z = vector
    if math.isnan(x) or math.isnan(y):
        return (NAN, NAN, z)
    return (x * math.cos(yaw) - y * math.sin(yaw), x * math.sin(yaw) + y * math.cos(yaw), z)
