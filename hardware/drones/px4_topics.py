"""PX4's ROS 2 topics (uXRCE-DDS) as plain fields: what goes out, what comes in, and in which frames.

No ROS here: a message is a dictionary from field name to value, and `MESSAGES` says which fields a message
must have, so that another version of px4_msgs is found at start and not in flight. All vectors on the wire
are NED or FRD; PX4 counts microseconds, on the agent's clock as long as UXRCE_DDS_SYNCT is set.
Sources: specs of RAPTOR, section 5b.2 (px4_msgs of 2026-07, dds_topics.yaml); PX4 user guide, "uXRCE-DDS".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hardware.command import CommandKind, FloatArray
from hardware.drones import ned
from hardware.drones.px4_pilot import Ask
from hardware.drones.state import RATES_NAMES, VehicleState
from hardware.drones.vehicle import ExternalPose
from hardware.errors import ConfigError

Fields = dict[str, Any]
PREFIX_IN, PREFIX_OUT = "/fmu/in/", "/fmu/out/"
# What we publish and what we subscribe to: topic to message.
PUBLISHED = {
    "offboard_control_mode": "OffboardControlMode",
    "trajectory_setpoint": "TrajectorySetpoint",
    "vehicle_rates_setpoint": "VehicleRatesSetpoint",
    "vehicle_command": "VehicleCommand",
    "vehicle_visual_odometry": "VehicleOdometry",
}
SUBSCRIBED = {
    "vehicle_odometry": "VehicleOdometry",
    "vehicle_status": "VehicleStatus",
    "vehicle_land_detected": "VehicleLandDetected",
    "vehicle_local_position": "VehicleLocalPosition",
    "battery_status": "BatteryStatus",
    "vehicle_command_ack": "VehicleCommandAck",
}
# The fields that we write or read, by message.
MESSAGES: Mapping[str, tuple[str, ...]] = {
    "OffboardControlMode": (
        "timestamp", "position", "velocity", "acceleration", "attitude", "body_rate",
        "thrust_and_torque", "direct_actuator",
    ),
    "TrajectorySetpoint": (
        "timestamp", "position", "velocity", "acceleration", "jerk", "yaw", "yawspeed",
    ),
    "VehicleRatesSetpoint": ("timestamp", "roll", "pitch", "yaw", "thrust_body", "reset_integral"),
    "VehicleCommand": (
        "timestamp", "param1", "param2", "param3", "param4", "param5", "param6", "param7", "command",
        "target_system", "target_component", "source_system", "source_component", "confirmation",
        "from_external",
    ),
    "VehicleOdometry": (
        "timestamp", "timestamp_sample", "pose_frame", "position", "q", "velocity_frame", "velocity",
        "angular_velocity", "position_variance", "orientation_variance", "velocity_variance",
        "reset_counter", "quality",
    ),
    "VehicleStatus": ("timestamp", "arming_state", "nav_state", "failsafe", "pre_flight_checks_pass"),
    "VehicleLandDetected": ("timestamp", "landed"),
    "VehicleLocalPosition": ("timestamp", "z_global", "ref_alt"),
    "BatteryStatus": ("timestamp", "voltage_v", "remaining"),
    "VehicleCommandAck": ("timestamp", "command", "result"),
}  # fmt: skip
ARMED = 2
_NAN3 = (math.nan,) * 3
_POSE_NED, _VELOCITY_NED, _VELOCITY_BODY = 1, 1, 3


def topic_of(name: str, available: Iterable[str]) -> str:
    """Find a topic that may carry the version of its message.

    PX4 from 1.16 on appends `_vN` to topics whose message has changed.

    Args:
        name: of `SUBSCRIBED`.
        available: the topics that there are.

    Returns:
        The full name with the highest version; without one where there is none yet.
    """
    plain = PREFIX_OUT + name
    found = [(0, plain)]
    for topic in available:
        match = re.fullmatch(re.escape(plain) + r"(?:_v(\d+))?", topic)
        if match is not None:
            found.append((int(match[1] or 0), topic))
    return max(found)[1]


def check_messages(fields_of: Mapping[str, Sequence[str]]) -> None:
    """Compare the messages that are installed with those that we know.

    Args:
        fields_of: the field names of each message of px4_msgs.

    Raises:
        ConfigError: a message or a field is missing, all named.
    """
    missing = [
        f"{name}.{field}"
        for name, fields in MESSAGES.items()
        for field in fields
        if field not in fields_of.get(name, ())
    ]
    if missing:
        raise ConfigError(
            "px4_msgs lacks " + ", ".join(missing),
            where="px4_msgs",
            expected="the messages of the firmware that flies (1.16 or newer)",
            mend="build px4_msgs from the branch of the firmware's release",
        )


# --- out --------------------------------------------------------------------------------------


def offboard_control_mode(kind: CommandKind, now_us: int) -> Fields:
    """The proof of life, with what will be commanded: of several true fields PX4 takes the first."""
    is_reference = kind is CommandKind.REFERENCE
    return {
        "timestamp": now_us,
        "position": is_reference,
        "velocity": False,
        "acceleration": False,
        "attitude": False,
        "body_rate": not is_reference,
        "thrust_and_torque": False,
        "direct_actuator": False,
    }


def trajectory_setpoint(values: Mapping[str, float], acceleration: FloatArray | None, now_us: int) -> Fields:
    """A REFERENCE (ENU, heading from east); the heading's rate is zero, as PX4's RAPTOR mode needs it.

    Args:
        values: the elements by name.
        acceleration: of the reference, shape (3,), ENU, m/s^2; None: not told.
        now_us: PX4's time.
    """
    position = np.array([values[n] for n in "xyz"])
    velocity = np.array([values[f"velocity_{n}"] for n in "xyz"])
    return {
        "timestamp": now_us,
        "position": ned.ned_from_enu(position).tolist(),
        "velocity": ned.ned_from_enu(velocity).tolist(),
        "acceleration": list(_NAN3) if acceleration is None else ned.ned_from_enu(acceleration).tolist(),
        "jerk": list(_NAN3),
        "yaw": ned.yaw_ned_from_enu(values["yaw"]),
        "yawspeed": 0.0,
    }


def rates_setpoint(values: Mapping[str, float], thrust: float, now_us: int) -> Fields:
    """Turning rates (FLU, rad/s) and PX4's normalised thrust, 0 to 1, which points up: minus z in FRD."""
    roll, pitch, yaw = ned.frd_from_flu(np.array([values[n] for n in RATES_NAMES[:3]])).tolist()
    return {
        "timestamp": now_us,
        "roll": roll,
        "pitch": pitch,
        "yaw": yaw,
        "thrust_body": [0.0, 0.0, -thrust],
        "reset_integral": False,
    }


def vehicle_command(ask: Ask, now_us: int, *, system: int = 1) -> Fields:
    """A command, under the number that it has on MAVLink."""
    fields: Fields = {f"param{i + 1}": float(p) for i, p in enumerate(ask.parameters)}
    return fields | {
        "timestamp": now_us,
        "command": ask.command,
        "target_system": system,
        "target_component": 1,
        "source_system": 1,
        "source_component": 1,
        "confirmation": 0,
        "from_external": True,
    }


def visual_odometry(pose: ExternalPose, now_us: int) -> Fields:
    """A pose from outside; its stamp is on the agent's clock, which PX4 keeps too."""
    velocity = (
        _NAN3 if pose.linear_velocity is None else tuple(ned.ned_from_enu(pose.linear_velocity).tolist())
    )
    return {
        "timestamp": now_us,
        "timestamp_sample": pose.stamp_ns // 1000,
        "pose_frame": _POSE_NED,
        "position": ned.ned_from_enu(pose.position).tolist(),
        "q": ned.attitude_ned_from_enu(pose.orientation).tolist(),
        "velocity_frame": _VELOCITY_NED,
        "velocity": list(velocity),
        "angular_velocity": list(_NAN3),
        "position_variance": list(_NAN3),
        "orientation_variance": list(_NAN3),
        "velocity_variance": list(_NAN3),
        "reset_counter": 0,
        "quality": 0,
    }


# --- in ---------------------------------------------------------------------------------------


def state_of_odometry(fields: Mapping[str, Any]) -> VehicleState | None:
    """The state in a VehicleOdometry; None where it has another frame or a number that is none."""
    orientation = ned.attitude_enu_from_ned(np.array(fields["q"], dtype=np.float64))
    velocity: FloatArray = np.array(fields["velocity"], dtype=np.float64)
    frame = fields["velocity_frame"]
    if fields["pose_frame"] != _POSE_NED or frame not in (_VELOCITY_NED, _VELOCITY_BODY):
        return None
    return VehicleState.make(
        position=[float(p) for p in fields["position"]],
        orientation=orientation,
        rates_frd=[float(w) for w in fields["angular_velocity"]],
        velocity_ned=velocity if frame == _VELOCITY_NED else None,
        velocity_frd=velocity if frame == _VELOCITY_BODY else None,
    )


def altitude_of(fields: Mapping[str, Any], height_m: float) -> float:
    """Altitude above sea level of a height above the local origin; NaN where there is no such reference."""
    altitude = float(fields["ref_alt"])
    return altitude + height_m if fields["z_global"] and math.isfinite(altitude) else math.nan
