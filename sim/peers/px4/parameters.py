"""PX4's parameters, as far as this vehicle obeys them; PX4's defaults unless a comment says otherwise."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from hardware.errors import ConfigError

# MAV_PARAM_TYPE of the two types that PX4 has.
INT32, REAL32 = 6, 9

_DEFAULTS: dict[str, int | float] = {
    "BAT_CRIT_THR": 0.07,
    "BAT_EMERGEN_THR": 0.05,
    "BAT_LOW_THR": 0.15,
    "CAL_ACC0_ID": 1310988,
    "CAL_GYRO0_ID": 1310988,
    "CAL_MAG0_ID": 197388,
    "COM_ARM_WO_GPS": 1,
    "COM_DISARM_LAND": 2.0,
    "COM_DL_LOSS_T": 10.0,
    "COM_DISARM_PRFLT": 10.0,
    "COM_LOW_BAT_ACT": 0,
    "COM_OBL_RC_ACT": 0,
    "COM_OF_LOSS_T": 1.0,
    # 4: no manual control is expected (PX4's default is 3: whichever comes).
    "COM_RC_IN_MODE": 4,
    "COM_SPOOLUP_TIME": 1.0,
    # 0: satellites; above 0: poses from outside alone, as indoors (PX4 fuses both).
    "EKF2_EV_CTRL": 0,
    "MAV_FWDEXTSP": 1,
    "MAV_SYS_ID": 1,
    "MIS_TAKEOFF_ALT": 2.5,
    "MPC_LAND_SPEED": 0.7,
    # Set from the airframe at start: the effort that carries the weight.
    "MPC_THR_HOVER": 0.5,
    "MPC_TILTMAX_AIR": 45.0,
    "MPC_TKO_SPEED": 1.5,
    "MPC_XY_VEL_MAX": 12.0,
    "MPC_Z_VEL_MAX_DN": 1.5,
    "MPC_Z_VEL_MAX_UP": 3.0,
    "NAV_DLL_ACT": 0,
    "RTL_RETURN_ALT": 30.0,
    # The simulated battery and satellites, as PX4's own simulation has them.
    "SIM_BAT_DRAIN": 600.0,
    "SIM_BAT_MIN_PCT": 50.0,
    "SIM_GPS_USED": 10,
    "SYS_AUTOSTART": 4001,
    "THR_MDL_FAC": 0.0,
}


class ParameterStore:
    """Named numbers, integers or reals for good.

    Args:
        changes: values that differ from the defaults.

    Raises:
        ConfigError: a name that this vehicle does not have.
    """

    def __init__(self, changes: Mapping[str, float] | None = None) -> None:
        """Start with the defaults."""
        self._values = dict(_DEFAULTS)
        for name, value in (changes or {}).items():
            self.set(name, value)

    def __getitem__(self, name: str) -> float:
        """The value of a parameter."""
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a parameter."""
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        """The names in the order of their indices."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def set(self, name: str, value: float) -> None:
        """Change a value; an integer parameter stays an integer.

        Raises:
            ConfigError: there is no such parameter.
        """
        if name not in self._values:
            raise ConfigError(
                f"there is no parameter {name!r}",
                where="PX4-like vehicle",
                expected="one of " + ", ".join(self._values),
                mend="correct the name",
            )
        self._values[name] = round(value) if isinstance(self._values[name], int) else float(value)

    def index(self, name: str) -> int:
        """The index of a parameter."""
        return list(self._values).index(name)

    def name_at(self, index: int) -> str | None:
        """The name at an index, or None."""
        names = list(self._values)
        return names[index] if 0 <= index < len(names) else None

    def on_wire(self, name: str) -> tuple[float, int]:
        """Value and type as PARAM_VALUE carries them: the bytes of an integer sit in the float field."""
        value = self._values[name]
        if isinstance(value, int):
            return struct.unpack("<f", struct.pack("<i", value))[0], INT32
        return float(value), REAL32

    def set_from_wire(self, name: str, value: float, kind: int) -> bool:
        """Change a value as PARAM_SET carries it.

        Returns:
            Whether there is such a parameter and its type is the one sent.
        """
        if name not in self._values:
            return False
        is_integer = isinstance(self._values[name], int)
        if kind != (INT32 if is_integer else REAL32):
            return False
        self.set(name, struct.unpack("<i", struct.pack("<f", value))[0] if is_integer else value)
        return True
