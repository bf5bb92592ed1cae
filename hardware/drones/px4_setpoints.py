"""Commands and states between our types and MAVLink's messages, number by number.

Set-points follow PX4's offboard rules: position, velocity and heading together, acceleration ignored;
turning rates with thrust, attitude ignored. Sources: specs of RAPTOR, section 5b.1 (type masks, frames)
and 5b.4 (what the RAPTOR mode wants: all of position, velocity, heading and its rate).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardware.command import FloatArray
from hardware.drones import ned
from hardware.drones.state import RATES_NAMES, VehicleState
from hardware.drones.vehicle import ExternalPose
from hardware.frames import yaw_of

# What to ignore of a set-point: acceleration, the heading's rate; of an attitude target: the attitude.
IGNORE_ACCELERATION = 64 | 128 | 256
IGNORE_YAW_RATE = 2048
IGNORE_ATTITUDE = 128
_LONGEST_TEXT = 32


def thrust_of_multiple(multiple: float, *, hover: float, is_linear: bool) -> float:
    """PX4's normalised thrust for a multiple of the weight.

    PX4 hovers at MPC_THR_HOVER. With THR_MDL_FAC above 0 its mixer makes thrust linear in the
    set-point; at 0 the set-point is the motors' signal, and propellers push with its square.

    Args:
        multiple: 1 carries the weight.
        hover: MPC_THR_HOVER, 0 to 1.
        is_linear: whether THR_MDL_FAC is above 0.

    Returns:
        0 to 1.
    """
    share = max(0.0, multiple)
    return min(1.0, hover * (share if is_linear else math.sqrt(share)))


class Setpoints:
    """Makes set-point messages.

    Args:
        common: MAVLink's common messages.
    """

    def __init__(self, common: Any) -> None:  # noqa: ANN401
        """Remember the dialect."""
        self._common = common

    def reference(
        self,
        values: Mapping[str, float],
        target: tuple[int, int],
        *,
        acceleration: FloatArray | None,
        with_yaw_rate: bool,
    ) -> Any:  # noqa: ANN401
        """SET_POSITION_TARGET_LOCAL_NED of a REFERENCE (ENU, heading from east).

        Args:
            values: the elements by name, all of `REFERENCE_NAMES`.
            target: system and component of the vehicle.
            acceleration: of the reference, shape (3,), ENU, m/s^2; None: not told.
            with_yaw_rate: whether to send the heading's rate too (zero), as the RAPTOR mode needs.
        """
        mask = (0 if with_yaw_rate else IGNORE_YAW_RATE) | (
            IGNORE_ACCELERATION if acceleration is None else 0
        )
        return self._position(
            [values[n] for n in ("x", "y", "z")],
            [values[f"velocity_{n}"] for n in ("x", "y", "z")],
            values["yaw"],
            target,
            mask,
            (0.0, 0.0, 0.0) if acceleration is None else acceleration,
        )

    def hold(self, state: VehicleState, target: tuple[int, int]) -> Any:  # noqa: ANN401
        """SET_POSITION_TARGET_LOCAL_NED that stays at a place."""
        yaw = yaw_of(state.orientation)
        return self._position(state.position, (0.0, 0.0, 0.0), yaw, target, IGNORE_ACCELERATION)

    def rates(self, values: Mapping[str, float], thrust: float, target: tuple[int, int]) -> Any:  # noqa: ANN401
        """SET_ATTITUDE_TARGET with turning rates (FLU, rad/s) and PX4's normalised thrust."""
        flu = np.array([values[n] for n in RATES_NAMES[:3]])
        frd = ned.frd_from_flu(flu).tolist()
        return self._common.MAVLink_set_attitude_target_message(
            0, *target, IGNORE_ATTITUDE, [1.0, 0.0, 0.0, 0.0], *frd, thrust
        )

    def external_pose(self, pose: ExternalPose) -> Any:  # noqa: ANN401
        """ODOMETRY of a pose from outside; PX4 takes velocity only if it is given."""
        c = self._common
        position = ned.ned_from_enu(pose.position).tolist()
        attitude = ned.attitude_ned_from_enu(pose.orientation).tolist()
        unknown = [math.nan] * 3
        velocity = (
            unknown if pose.linear_velocity is None else ned.ned_from_enu(pose.linear_velocity).tolist()
        )
        nothing = [math.nan] + [0.0] * 20
        return c.MAVLink_odometry_message(
            pose.stamp_ns // 1000,
            c.MAV_FRAME_LOCAL_NED,
            c.MAV_FRAME_LOCAL_NED,
            *position,
            attitude,
            *velocity,
            *unknown,
            nothing,
            nothing,
            0,
            c.MAV_ESTIMATOR_TYPE_MOCAP,
            100,
        )

    def _position(
        self,
        position: Sequence[float] | FloatArray,
        velocity: Sequence[float],
        yaw: float,
        target: tuple[int, int],
        mask: int,
        acceleration: Sequence[float] | FloatArray = (0.0, 0.0, 0.0),
    ) -> Any:  # noqa: ANN401
        return self._common.MAVLink_set_position_target_local_ned_message(
            0,
            *target,
            self._common.MAV_FRAME_LOCAL_NED,
            mask,
            *ned.ned_from_enu(np.array(position)).tolist(),
            *ned.ned_from_enu(np.array(velocity)).tolist(),
            *ned.ned_from_enu(np.array(acceleration)).tolist(),
            ned.yaw_ned_from_enu(yaw),
            0.0,
        )


class TextPieces:
    """Puts sentences together that STATUSTEXT carries in pieces of 50 bytes."""

    def __init__(self) -> None:
        """Start without a piece."""
        self._number, self._pieces = 0, ""

    def add(self, number: int, piece: int, text: str) -> str:
        """Take in a piece.

        Args:
            number: the sentence's id; 0: the piece is the whole sentence.
            piece: its place, from 0.
            text: its text.

        Returns:
            The sentence, or an empty string while pieces are missing.
        """
        if number == 0:
            return text
        if number != self._number or piece == 0:
            self._number, self._pieces = number, ""
        self._pieces += text
        # Only the last piece is shorter than 50 bytes; an endless sentence is cut.
        is_last = len(text.encode()) < 50 or piece >= _LONGEST_TEXT
        if not is_last:
            return ""
        whole, self._pieces, self._number = self._pieces, "", 0
        return whole
