"""PX4's flight modes, landed states and answers, as numbers on the wire and as words for people.

Sources: PX4's `px4_custom_mode.h` and `commander_state`/`vehicle_status` messages; MAVLink common
(MAV_RESULT, MAV_LANDED_STATE); specs of RAPTOR, sections 5b.1 and 5b.2.
"""

from __future__ import annotations

import enum

# Commands of MAVLink common, which PX4 also takes as px4_msgs/VehicleCommand under the same numbers.
NAV_RETURN_TO_LAUNCH = 20
NAV_LAND = 21
NAV_TAKEOFF = 22
DO_SET_MODE = 176
ARM_DISARM = 400
GET_HOME_POSITION = 410
SET_MESSAGE_INTERVAL = 511
REQUEST_MESSAGE = 512
REQUEST_AUTOPILOT_CAPABILITIES = 520
# What parameter 2 of ARM_DISARM must be to arm or disarm against all checks.
FORCE_MAGIC = 21196.0
# Flag of a heartbeat's base mode, and parameter 1 of DO_SET_MODE: PX4's own mode numbers are used.
CUSTOM_MODE_ENABLED = 1
BASE_MODE_ARMED = 128

_COMMAND_WORDS = {
    NAV_RETURN_TO_LAUNCH: "to return",
    NAV_LAND: "to land",
    NAV_TAKEOFF: "to take off",
    DO_SET_MODE: "to change its mode",
    ARM_DISARM: "to arm or disarm",
    SET_MESSAGE_INTERVAL: "to send messages at another rate",
    REQUEST_MESSAGE: "for a message",
}
_RESULT_WORDS = {
    0: "accepted",
    1: "temporarily rejected it: valid, but not in its present state",
    2: "denied it",
    3: "does not support it",
    4: "tried and failed",
    5: "is still at it",
    6: "cancelled it",
}


class Mode(enum.Enum):
    """A flight mode: main mode, sub mode, and the number of `vehicle_status.nav_state`."""

    MANUAL = (1, 0, 0)
    ALTCTL = (2, 0, 1)
    POSCTL = (3, 0, 2)
    MISSION = (4, 4, 3)
    HOLD = (4, 3, 4)
    RETURN = (4, 5, 5)
    ACRO = (5, 0, 10)
    OFFBOARD = (6, 0, 14)
    STABILIZED = (7, 0, 15)
    TAKEOFF = (4, 2, 17)
    LAND = (4, 6, 18)
    EXTERNAL1 = (4, 11, 23)
    EXTERNAL2 = (4, 12, 24)
    EXTERNAL3 = (4, 13, 25)
    EXTERNAL4 = (4, 14, 26)
    EXTERNAL5 = (4, 15, 27)
    EXTERNAL6 = (4, 16, 28)
    EXTERNAL7 = (4, 17, 29)
    EXTERNAL8 = (4, 18, 30)

    @property
    def main(self) -> int:
        """The main mode: parameter 2 of DO_SET_MODE."""
        return self.value[0]

    @property
    def sub(self) -> int:
        """The sub mode: parameter 3 of DO_SET_MODE."""
        return self.value[1]

    @property
    def nav_state(self) -> int:
        """The number in `vehicle_status`."""
        return self.value[2]

    @property
    def custom_mode(self) -> int:
        """The number in a heartbeat."""
        return self.main << 16 | self.sub << 24

    @property
    def word(self) -> str:
        """The name that ground stations show."""
        return f"AUTO.{self.name}" if self.main == 4 else self.name


_BY_CUSTOM_MODE = {mode.custom_mode: mode for mode in Mode}
_BY_NAV_STATE = {mode.nav_state: mode for mode in Mode}


class LandedState(enum.IntEnum):
    """Whether a vehicle flies, as MAVLink tells it."""

    UNDEFINED = 0
    ON_GROUND = 1
    IN_AIR = 2
    TAKEOFF = 3
    LANDING = 4


def mode_of_heartbeat(custom_mode: int) -> Mode | None:
    """The mode that a heartbeat reports, or None where it is none of `Mode`."""
    return _BY_CUSTOM_MODE.get(custom_mode & 0xFFFF0000)


def mode_of_nav_state(nav_state: int) -> Mode | None:
    """The mode that `vehicle_status.nav_state` reports, or None where it is none of `Mode`."""
    return _BY_NAV_STATE.get(nav_state)


def mode_of_numbers(main: int, sub: int) -> Mode | None:
    """The mode of a main and a sub mode, or None where it is none of `Mode`."""
    return _BY_CUSTOM_MODE.get(main << 16 | sub << 24)


def command_words(command: int) -> str:
    """What a command asks the vehicle to do."""
    return _COMMAND_WORDS.get(command, f"for command {command}")


def result_words(result: int) -> str:
    """What the vehicle answered to a command."""
    return _RESULT_WORDS.get(result, f"answered with result {result}")
