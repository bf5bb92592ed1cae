"""What the PX4-like vehicle tells of itself, message by message, at PX4's rates of its onboard link."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hardware.drones import ned
from hardware.drones.px4_telemetry import PEER_VERSION
from sim.peers.px4.vehicle import PeerVehicle

# Where home is: PX4's simulations start at this field near Zurich.
LATITUDE_DEG, LONGITUDE_DEG, ALTITUDE_M = 47.397742, 8.545594, 488.0
_METRES_A_DEGREE = 111_319.5
RATES_HZ = {
    "HEARTBEAT": 1.0,
    "SYS_STATUS": 5.0,
    "BATTERY_STATUS": 0.5,
    "EXTENDED_SYS_STATE": 5.0,
    "ESTIMATOR_STATUS": 1.0,
    "ATTITUDE": 50.0,
    "ATTITUDE_QUATERNION": 50.0,
    "LOCAL_POSITION_NED": 30.0,
    "GLOBAL_POSITION_INT": 20.0,
    "GPS_RAW_INT": 5.0,
    "HOME_POSITION": 0.5,
    "ODOMETRY": 30.0,
}
# The message ids of SET_MESSAGE_INTERVAL and REQUEST_MESSAGE.
MESSAGE_IDS = {
    0: "HEARTBEAT",
    1: "SYS_STATUS",
    24: "GPS_RAW_INT",
    30: "ATTITUDE",
    31: "ATTITUDE_QUATERNION",
    32: "LOCAL_POSITION_NED",
    33: "GLOBAL_POSITION_INT",
    147: "BATTERY_STATUS",
    148: "AUTOPILOT_VERSION",
    230: "ESTIMATOR_STATUS",
    242: "HOME_POSITION",
    245: "EXTENDED_SYS_STATE",
    331: "ODOMETRY",
}
_NOT_MEASURED = math.nan


class Telemetry:
    """Makes messages out of a vehicle's state.

    Args:
        vehicle: the vehicle.
        common: MAVLink's common messages.
    """

    def __init__(self, vehicle: PeerVehicle, common: Any) -> None:  # noqa: ANN401
        """Remember whom to look at."""
        self._vehicle, self._common = vehicle, common

    def message(self, name: str) -> list[Any]:
        """The messages of a stream, now; none where there is nothing to tell."""
        made = getattr(self, f"_{name.lower()}")()
        return [] if made is None else [made]

    def on_request(self, number: int) -> list[Any] | None:
        """The answer to REQUEST_MESSAGE; None where there is no such message."""
        name = MESSAGE_IDS.get(number)
        return None if name is None else self.message(name)

    def parameter(self, name: str) -> list[Any]:
        """PARAM_VALUE of one parameter."""
        store = self._vehicle.parameters
        value, kind = store.on_wire(name)
        return [
            self._common.MAVLink_param_value_message(
                name.encode(), value, kind, len(store), store.index(name)
            )
        ]

    def altitude_m(self, height_m: float) -> float:
        """Altitude above mean sea level of a height above the local origin."""
        return ALTITUDE_M + height_m

    # --- private ------------------------------------------------------------------------------

    @property
    def _boot_ms(self) -> int:
        return self._vehicle.now_ns // 1_000_000

    def _ned(self) -> tuple[list[float], list[float]]:
        e = self._vehicle.estimate
        return ned.ned_from_enu(np.array(e.position)).tolist(), ned.ned_from_enu(
            np.array(e.velocity)
        ).tolist()

    def _heartbeat(self) -> Any:  # noqa: ANN401
        c, commander = self._common, self._vehicle.commander
        base = c.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED
        if commander.armed:
            base |= c.MAV_MODE_FLAG_SAFETY_ARMED
        if commander.mode.main == 4:
            base |= c.MAV_MODE_FLAG_AUTO_ENABLED | c.MAV_MODE_FLAG_GUIDED_ENABLED
            base |= c.MAV_MODE_FLAG_STABILIZE_ENABLED
        state = c.MAV_STATE_ACTIVE if commander.armed else c.MAV_STATE_STANDBY
        if commander.failsafe:
            state = c.MAV_STATE_CRITICAL
        return c.MAVLink_heartbeat_message(
            c.MAV_TYPE_QUADROTOR, c.MAV_AUTOPILOT_PX4, base, commander.mode.custom_mode, state, 3
        )

    def _sys_status(self) -> Any:  # noqa: ANN401
        c, vehicle = self._common, self._vehicle
        present = (
            c.MAV_SYS_STATUS_SENSOR_3D_GYRO
            | c.MAV_SYS_STATUS_SENSOR_3D_ACCEL
            | c.MAV_SYS_STATUS_SENSOR_3D_MAG
            | c.MAV_SYS_STATUS_SENSOR_ABSOLUTE_PRESSURE
            | c.MAV_SYS_STATUS_SENSOR_BATTERY
            | c.MAV_SYS_STATUS_AHRS
            | c.MAV_SYS_STATUS_PREARM_CHECK
        )
        if not vehicle.estimator.needs_external:
            present |= c.MAV_SYS_STATUS_SENSOR_GPS
        healthy = present
        for parameter, bit in (
            ("CAL_GYRO0_ID", c.MAV_SYS_STATUS_SENSOR_3D_GYRO),
            ("CAL_ACC0_ID", c.MAV_SYS_STATUS_SENSOR_3D_ACCEL),
            ("CAL_MAG0_ID", c.MAV_SYS_STATUS_SENSOR_3D_MAG),
        ):
            if not vehicle.parameters[parameter]:
                healthy &= ~bit
        if not vehicle.estimator.has_position:
            healthy &= ~c.MAV_SYS_STATUS_AHRS
        if vehicle.commander.problems():
            healthy &= ~c.MAV_SYS_STATUS_PREARM_CHECK
        volts, charge = vehicle.commander.voltage_v, vehicle.commander.charge
        return c.MAVLink_sys_status_message(
            present, present, healthy, 300, round(volts * 1000), 1000, round(charge * 100), 0, 0, 0, 0, 0, 0
        )

    def _battery_status(self) -> Any:  # noqa: ANN401
        commander = self._vehicle.commander
        cells = [round(commander.voltage_v / 4 * 1000)] * 4 + [65535] * 6
        return self._common.MAVLink_battery_status_message(
            0, 0, 3, 2500, cells, 1000, 0, -1, round(commander.charge * 100), 0, 0
        )

    def _extended_sys_state(self) -> Any:  # noqa: ANN401
        return self._common.MAVLink_extended_sys_state_message(0, int(self._vehicle.commander.landed_state))

    def _estimator_status(self) -> Any:  # noqa: ANN401
        c = self._common
        flags = c.ESTIMATOR_ATTITUDE | c.ESTIMATOR_VELOCITY_VERT
        if self._vehicle.estimator.has_position:
            flags |= c.ESTIMATOR_VELOCITY_HORIZ | c.ESTIMATOR_POS_HORIZ_REL | c.ESTIMATOR_POS_VERT_ABS
            if not self._vehicle.estimator.needs_external:
                flags |= c.ESTIMATOR_POS_HORIZ_ABS
        return c.MAVLink_estimator_status_message(
            self._vehicle.now_ns // 1000, flags, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.3, 0.5
        )

    def _attitude(self) -> Any:  # noqa: ANN401
        e = self._vehicle.estimate
        attitude = ned.attitude_ned_from_enu(np.array(e.orientation))
        rates = ned.frd_from_flu(np.array(e.rates)).tolist()
        return self._common.MAVLink_attitude_message(self._boot_ms, *ned.euler_zyx_of(attitude), *rates)

    def _attitude_quaternion(self) -> Any:  # noqa: ANN401
        e = self._vehicle.estimate
        attitude = ned.attitude_ned_from_enu(np.array(e.orientation)).tolist()
        rates = ned.frd_from_flu(np.array(e.rates)).tolist()
        return self._common.MAVLink_attitude_quaternion_message(self._boot_ms, *attitude, *rates)

    def _local_position_ned(self) -> Any:  # noqa: ANN401
        if not self._vehicle.estimator.has_position:
            return None
        position, velocity = self._ned()
        return self._common.MAVLink_local_position_ned_message(self._boot_ms, *position, *velocity)

    def _odometry(self) -> Any:  # noqa: ANN401
        if not self._vehicle.estimator.has_position:
            return None
        e, c = self._vehicle.estimate, self._common
        position, velocity = self._ned()
        attitude = ned.attitude_ned_from_enu(np.array(e.orientation)).tolist()
        rates = ned.frd_from_flu(np.array(e.rates)).tolist()
        covariance = [_NOT_MEASURED] * 21
        # Stamped when it was so; velocity in NED, as PX4's EKF publishes it: child_frame_id says so.
        delay_ns = round(self._vehicle.estimator.settings.delay_s * 1e9)
        return c.MAVLink_odometry_message(
            max(0, self._vehicle.now_ns - delay_ns) // 1000,
            c.MAV_FRAME_LOCAL_NED,
            c.MAV_FRAME_LOCAL_NED,
            *position,
            attitude,
            *velocity,
            *rates,
            covariance,
            covariance,
            0,
            c.MAV_ESTIMATOR_TYPE_AUTOPILOT,
            0,
        )

    def _global(self) -> tuple[int, int, int]:
        (north, east, down), _ = self._ned()
        latitude = LATITUDE_DEG + north / _METRES_A_DEGREE
        longitude = LONGITUDE_DEG + east / (_METRES_A_DEGREE * math.cos(math.radians(LATITUDE_DEG)))
        return round(latitude * 1e7), round(longitude * 1e7), round(self.altitude_m(-down) * 1000)

    def _global_position_int(self) -> Any:  # noqa: ANN401
        vehicle = self._vehicle
        if vehicle.estimator.needs_external:
            return None
        (_, _, down), velocity = self._ned()
        heading = math.degrees(ned.yaw_ned_from_enu(vehicle.estimate.yaw)) % 360.0
        above_home = round((-down - vehicle.commander.home[2]) * 1000)
        speeds = [round(v * 100) for v in velocity]
        return self._common.MAVLink_global_position_int_message(
            self._boot_ms, *self._global(), above_home, *speeds, round(heading * 100) % 36000
        )

    def _gps_raw_int(self) -> Any:  # noqa: ANN401
        if self._vehicle.estimator.needs_external:
            return None
        used = int(self._vehicle.parameters["SIM_GPS_USED"])
        fix = 3 if used >= 6 else 1
        return self._common.MAVLink_gps_raw_int_message(
            self._vehicle.now_ns // 1000, fix, *self._global(), 80, 80, 0, 0, used
        )

    def _home_position(self) -> Any:  # noqa: ANN401
        if self._vehicle.estimator.needs_external:
            return None
        x, y, z = ned.ned_from_enu(np.array(self._vehicle.commander.home)).tolist()
        latitude = LATITUDE_DEG + x / _METRES_A_DEGREE
        longitude = LONGITUDE_DEG + y / (_METRES_A_DEGREE * math.cos(math.radians(LATITUDE_DEG)))
        return self._common.MAVLink_home_position_message(
            round(latitude * 1e7),
            round(longitude * 1e7),
            round(self.altitude_m(-z) * 1000),
            x,
            y,
            z,
            [1.0, 0.0, 0.0, 0.0],
            0.0,
            0.0,
            0.0,
        )

    def _autopilot_version(self) -> Any:  # noqa: ANN401
        c = self._common
        abilities = (
            c.MAV_PROTOCOL_CAPABILITY_MAVLINK2
            | c.MAV_PROTOCOL_CAPABILITY_MISSION_INT
            | c.MAV_PROTOCOL_CAPABILITY_COMMAND_INT
            | c.MAV_PROTOCOL_CAPABILITY_PARAM_ENCODE_BYTEWISE
            | c.MAV_PROTOCOL_CAPABILITY_SET_POSITION_TARGET_LOCAL_NED
            | c.MAV_PROTOCOL_CAPABILITY_SET_ATTITUDE_TARGET
        )
        version = 1 << 24 | 16 << 16 | 0 << 8 | 255
        none, own = [0] * 8, list(PEER_VERSION)
        return c.MAVLink_autopilot_version_message(
            abilities, version, version, version, 0, own, none, none, 0, 0, 1
        )
