"""One connection to a Crazyflie through cflib, with every trap of leaving and losing it taken care of.

cflib is imported on first use. All calls here come from one thread; what cflib's own threads deliver is
handed to the callbacks.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hardware.command import FloatArray
from hardware.drones.crazyflie_wire import (
    ACTIVATION_CHANNEL,
    ACTIVATION_DATA,
    ACTIVATION_PORT,
    STATE_VARIABLES,
    STATUS_VARIABLES,
    SetpointKind,
    velocity_setpoint,
)
from hardware.drones.state import VehicleState
from hardware.drones.transport import LinkError
from hardware.frames import yaw_of, yaw_quaternion

# Log blocks come every so many milliseconds.
_STATE_MS, _STATUS_MS = 10, 100
# Velocity per position error, and the fastest velocity that is asked for.
_GAIN_PER_S, _SPEED_M_S = 1.5, 1.5
# What cflib says where no radio is there.
_NO_RADIO = "Cannot find a Crazyradio"
LogCallback = Callable[[int, Mapping[str, float]], None]


class NoRadioError(LinkError):
    """This machine has nothing to talk to a Crazyflie with; to try again is of no use."""


class Radio:
    """A connection.

    Args:
        uri: as cflib has it, such as radio://0/80/2M/E7E7E7E7E7 or udp://127.0.0.1:19850.
        timeout_s: how long the connection may take, with its tables of contents.
        on_state: called with a stamp (ms) and the values of `STATE_VARIABLES`.
        on_status: called with a stamp and the values of `STATUS_VARIABLES`.

    Raises:
        NoRadioError: no Crazyradio is plugged in.
        LinkError: nobody answers, or the firmware does not log what is needed.
    """

    def __init__(self, uri: str, *, timeout_s: float, on_state: LogCallback, on_status: LogCallback) -> None:
        """Connect, and ask for the log blocks."""
        import cflib.crtp
        from cflib.crazyflie import Crazyflie

        # Said in words by us; cflib logs tracebacks.
        logging.getLogger("cflib").setLevel(logging.CRITICAL)
        if not cflib.crtp.CLASSES:
            cflib.crtp.init_drivers()
        self._uri = uri
        self._is_open, self._has_parameters = threading.Event(), threading.Event()
        # Set as soon as it is known whether the link is open.
        self._is_decided = threading.Event()
        self.lost = ""
        self._cf: Any = Crazyflie()
        for event in (self._is_open, self._is_decided):
            self._cf.connected.add_callback(lambda link, event=event: event.set())
        self._cf.fully_connected.add_callback(lambda link: self._has_parameters.set())
        self._cf.connection_failed.add_callback(self._on_lost)
        self._cf.connection_lost.add_callback(self._on_lost)
        self.quality: float | None = None
        self._cf.link_statistics.link_quality_updated.add_callback(self._on_quality)
        try:
            self._cf.open_link(uri)
            self._is_decided.wait(timeout_s)
            if not self._is_open.is_set():
                if _NO_RADIO in self.lost:
                    raise NoRadioError(f"{uri}: no Crazyradio is plugged in, or this user may not use it")
                raise LinkError(f"{uri}: {self.lost or f'no Crazyflie answers within {timeout_s:g} s'}")
            for name, period_ms, variables, callback in (
                ("state", _STATE_MS, STATE_VARIABLES, on_state),
                ("status", _STATUS_MS, STATUS_VARIABLES, on_status),
            ):
                self._log(name, period_ms, variables, callback)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go without a word: cflib would send a set-point of no thrust, which ends a flight."""
        cf, self._cf = self._cf, None
        if cf is None:
            return
        link, cf.link = cf.link, None
        cf.close_link()
        if link is not None:
            link.close()

    @property
    def firmware(self) -> str:
        """What answers, with the version of its protocol."""
        return f"Crazyflie, CRTP {self._cf.platform.get_protocol_version()}"

    # --- parameters ---------------------------------------------------------------------------

    @property
    def has_parameters(self) -> bool:
        """Whether the firmware's parameters have been read."""
        return self._has_parameters.is_set()

    def parameter(self, name: str) -> float | None:
        """A parameter's value as last told; None: there is none of that name."""
        group, _, rest = name.partition(".")
        value = self._cf.param.values.get(group, {}).get(rest)
        return None if value is None else float(value)

    def set_parameter(self, name: str, value: float) -> None:
        """Ask for another value; what became of it shows in `parameter`. Unknown names are ignored."""
        if self.parameter(name) is not None:
            self._cf.param.set_value(name, value)

    # --- sending ------------------------------------------------------------------------------

    def arm(self, *, wanted: bool) -> None:
        """Ask to arm or disarm."""
        self._cf.supervisor.send_arming_request(wanted)

    def take_off(self, height_m: float, duration_s: float) -> None:
        """The high-level commander climbs to a height of the world, keeping its heading."""
        self._cf.high_level_commander.takeoff(height_m, duration_s, yaw=None)

    def land(self, height_m: float, duration_s: float) -> None:
        """The high-level commander sinks to a height of the world, keeping its heading."""
        self._cf.high_level_commander.land(height_m, duration_s, yaw=None)

    def hand_over(self) -> None:
        """Our set-points end here; the high-level commander takes over."""
        self._cf.commander.send_notify_setpoint_stop()

    def stop(self) -> None:
        """Motors off."""
        self._cf.high_level_commander.stop()
        self._cf.commander.send_stop_setpoint()

    def full_state(
        self, position: FloatArray, velocity: FloatArray, acceleration: FloatArray, yaw_xyzw: FloatArray
    ) -> None:
        """A set-point of position, velocity, acceleration (world) and heading."""
        self._cf.commander.send_full_state_setpoint(
            position.tolist(), velocity.tolist(), acceleration.tolist(), yaw_xyzw.tolist(), 0.0, 0.0, 0.0
        )

    def position(self, position: FloatArray, yaw_deg: float) -> None:
        """A set-point of position and heading."""
        self._cf.commander.send_position_setpoint(*position.tolist(), yaw_deg)

    def velocity(self, velocity: FloatArray, yaw_rate_deg_s: float) -> None:
        """A set-point of velocity in the world and the heading's rate."""
        self._cf.commander.send_velocity_world_setpoint(*velocity.tolist(), yaw_rate_deg_s)

    def hover(self, ahead: float, left: float, yaw_rate_deg_s: float, height_m: float) -> None:
        """A set-point of velocity in the body's heading and a height."""
        self._cf.commander.send_hover_setpoint(ahead, left, yaw_rate_deg_s, height_m)

    def external_pose(self, position: FloatArray, orientation_wxyz: FloatArray) -> None:
        """A pose from outside."""
        w, x, y, z = orientation_wxyz.tolist()
        self._cf.extpos.send_extpose(*position.tolist(), x, y, z, w)

    def external_position(self, position: FloatArray) -> None:
        """A position from outside."""
        self._cf.extpos.send_extpos(*position.tolist())

    def activate(self) -> None:
        """Keep RAPTOR's controller on the motors for another 200 ms."""
        from cflib.crtp.crtpstack import CRTPPacket

        packet = CRTPPacket()
        packet.set_header(ACTIVATION_PORT, ACTIVATION_CHANNEL)
        packet.data = ACTIVATION_DATA
        self._cf.send_packet(packet)

    # --- private ------------------------------------------------------------------------------

    def _log(self, name: str, period_ms: int, variables: tuple[str, ...], callback: LogCallback) -> None:
        from cflib.crazyflie.log import LogConfig

        config = LogConfig(name, period_ms)
        for variable in variables:
            config.add_variable(variable)
        config.data_received_cb.add_callback(lambda stamp, values, block: callback(stamp, values))
        try:
            self._cf.log.add_config(config)
        except KeyError as error:
            raise LinkError(
                f"{self._uri}: its firmware does not log {' '.join(map(str, error.args))}; update it"
            ) from error
        config.start()

    def _on_lost(self, uri: str, words: str) -> None:
        self.lost = words.splitlines()[0] if words else "the connection is lost"
        self._is_decided.set()

    def _on_quality(self, percent: float) -> None:
        self.quality = percent / 100.0


def send_reference(
    radio: Radio,
    kind: SetpointKind,
    values: Mapping[str, float],
    state: VehicleState,
    acceleration: FloatArray,
) -> None:
    """Put a reference to the firmware in the kind of set-point that the card names.

    Args:
        radio: the connection.
        kind: of set-point.
        values: the reference by name.
        state: where the vehicle is; for velocities.
        acceleration: of the reference, shape (3,), m/s^2; for full states.
    """
    position = np.array([values[n] for n in "xyz"])
    if kind is SetpointKind.FULL_STATE:
        velocity = np.array([values[f"velocity_{n}"] for n in "xyz"])
        w, x, y, z = yaw_quaternion(values["yaw"])
        radio.full_state(position, velocity, acceleration, np.array([x, y, z, w]))
        return
    if kind is SetpointKind.POSITION:
        radio.position(position, math.degrees(values["yaw"]))
        return
    velocity, yaw_rate = velocity_setpoint(values, state, gain_per_s=_GAIN_PER_S, limit_m_s=_SPEED_M_S)
    if kind is SetpointKind.VELOCITY:
        radio.velocity(velocity, math.degrees(yaw_rate))
        return
    yaw = yaw_of(state.orientation)
    ahead = math.cos(yaw) * velocity[0] + math.sin(yaw) * velocity[1]
    left = -math.sin(yaw) * velocity[0] + math.cos(yaw) * velocity[1]
    radio.hover(float(ahead), float(left), math.degrees(yaw_rate), float(position[2]))
