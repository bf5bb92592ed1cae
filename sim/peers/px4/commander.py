"""Modes, arming checks, failsafes, landing detection and battery of the PX4-like vehicle.

The rules are PX4's as a client meets them (user guide: "Flight Modes", "Offboard Mode", "Safety
Configuration", "Land Detector"); the numbers are PX4's parameters.
"""

from __future__ import annotations

import math
from collections import deque

from hardware.drones.px4_modes import LandedState, Mode
from sim.peers.px4.parameters import ParameterStore

# MAV_RESULT.
ACCEPTED, TEMPORARILY_REJECTED, DENIED, UNSUPPORTED = 0, 1, 2, 3
# MAV_SEVERITY.
CRITICAL, WARNING, INFO = 2, 4, 6
_NEEDS_STICKS = (Mode.MANUAL, Mode.ALTCTL, Mode.POSCTL, Mode.ACRO, Mode.STABILIZED)
_NEEDS_POSITION = (Mode.TAKEOFF, Mode.HOLD, Mode.LAND, Mode.RETURN, Mode.MISSION, Mode.EXTERNAL1)
_TAKE_COMMANDS = (Mode.OFFBOARD, Mode.EXTERNAL1)
# What COM_OBL_RC_ACT asks for; modes with sticks have none here and become a return.
_OFFBOARD_LOSS = {3: Mode.RETURN, 4: Mode.LAND, 5: Mode.HOLD}
_LANDED_S = 0.5
_CELLS, _FULL_V, _EMPTY_V = 4, 4.2, 3.3


class Commander:
    """Decides what the vehicle does; `PeerVehicle` does it.

    Args:
        parameters: PX4 parameters.
        has_external_mode: whether a policy is registered as EXTERNAL1.
    """

    def __init__(self, parameters: ParameterStore, *, has_external_mode: bool) -> None:
        """Boot: disarmed, on the ground, holding."""
        self._p, self._has_external_mode = parameters, has_external_mode
        self.mode = Mode.HOLD
        self.armed = False
        # The failsafe that acts, in words; empty: none.
        self.failsafe = ""
        self.is_flying = False
        self.is_descending_blind = False
        self.is_returning_down = False
        self.takeoff_m = parameters["MIS_TAKEOFF_ALT"]
        self.home: tuple[float, ...] = (0.0, 0.0, 0.0)
        self.charge = 1.0
        # What the ground station is told: severity and sentence.
        self.texts: deque[tuple[int, str]] = deque(maxlen=64)
        self._intention = self.mode
        self._now_s = 0.0
        self._offboard_s = -math.inf
        self._link_s: float | None = None
        self._armed_s = 0.0
        self._contact_s = 0.0
        self._landed_s: float | None = None
        self._warned: set[str] = set()
        self._has_position = False
        self._tilt_rad = 0.0

    # --- asked by a client ----------------------------------------------------------------------

    def offboard_signal(self, now_s: float) -> None:
        """A set-point came: the proof of life of whoever wants OFFBOARD."""
        self._offboard_s = now_s

    def link_signal(self, now_s: float) -> None:
        """A ground station's heartbeat came."""
        self._link_s = now_s

    @property
    def has_offboard_signal(self) -> bool:
        """Whether set-points came lately."""
        return self._now_s - self._offboard_s <= self._p["COM_OF_LOSS_T"]

    def request(self, mode: Mode) -> int:
        """Change the mode on a client's request.

        Returns:
            A MAV_RESULT; the reason of a refusal goes to `texts`.
        """
        reason = self._refusal(mode)
        if reason:
            self._say(CRITICAL, f"Switching to {mode.word} is not possible: {reason}")
            return TEMPORARILY_REJECTED
        self._clear_failsafe()
        self._intention = mode
        self._set(mode)
        return ACCEPTED

    def take_off(self, height_m: float | None = None) -> int:
        """Begin a take-off to a height above home; None: MIS_TAKEOFF_ALT."""
        self.takeoff_m = self._p["MIS_TAKEOFF_ALT"] if height_m is None else height_m
        return self.request(Mode.TAKEOFF)

    def arm(self, *, forced: bool = False) -> int:
        """Arm if all checks pass.

        Returns:
            A MAV_RESULT; every failed check goes to `texts`.
        """
        if self.armed:
            return ACCEPTED
        problems = self.problems()
        if problems and not forced:
            for problem in problems:
                self._say(CRITICAL, f"Preflight Fail: {problem}")
            self._say(CRITICAL, "Arming denied: Resolve system health failures first")
            return TEMPORARILY_REJECTED
        self.armed, self._armed_s = True, self._now_s
        self._landed_s = None
        self._say(INFO, "Armed by external command")
        return ACCEPTED

    def disarm(self, *, forced: bool = False) -> int:
        """Disarm on the ground, or anywhere if forced."""
        if self.armed and self.is_flying and not forced:
            self._say(CRITICAL, "Disarming denied: not landed")
            return TEMPORARILY_REJECTED
        if self.armed:
            self._disarmed("Disarmed by external command")
        return ACCEPTED

    def problems(self) -> list[str]:
        """Why the vehicle will not arm, one sentence each; empty when it would."""
        found = []
        for sensor in ("GYRO", "ACC", "MAG"):
            if not self._p[f"CAL_{sensor}0_ID"]:
                found.append(f"{sensor.capitalize()} 0 uncalibrated")
        if self._p["EKF2_EV_CTRL"] == 0 and self._p["SIM_GPS_USED"] < 6 and not self._p["COM_ARM_WO_GPS"]:
            found.append("GPS fix too low")
        if not self._has_position:
            found.append("No valid local position estimate")
        if self.charge <= self._p["BAT_CRIT_THR"]:
            found.append(f"Battery unhealthy, {100 * self.charge:.0f} % left")
        if self._tilt_rad > math.radians(45.0):
            found.append("Attitude failure, the vehicle is tilted too far")
        if self.mode in _NEEDS_STICKS and self._p["COM_RC_IN_MODE"] == 4:
            found.append(f"No manual control for mode {self.mode.word}")
        if self.mode in (Mode.LAND, Mode.RETURN):
            found.append(f"Mode {self.mode.word} is not suitable for arming")
        if self.mode is Mode.OFFBOARD and not self.has_offboard_signal:
            found.append("No offboard signal")
        return found

    # --- seen by a client -----------------------------------------------------------------------

    @property
    def landed_state(self) -> LandedState:
        """Whether the vehicle flies."""
        if not self.is_flying:
            return LandedState.ON_GROUND
        if self.mode is Mode.TAKEOFF:
            return LandedState.TAKEOFF
        if self.mode is Mode.LAND or self.is_returning_down or self.is_descending_blind:
            return LandedState.LANDING
        return LandedState.IN_AIR

    @property
    def voltage_v(self) -> float:
        """Battery voltage."""
        return _CELLS * (_EMPTY_V + (_FULL_V - _EMPTY_V) * self.charge)

    # --- time -----------------------------------------------------------------------------------

    def step(
        self,
        now_s: float,
        dt_s: float,
        *,
        has_position: bool,
        tracks_position: bool,
        on_ground: bool,
        tilt_rad: float,
        height_m: float,
        distance_m: float,
        climbing_m_s: float,
        wants_lift: bool,
    ) -> None:
        """Look at the vehicle once and decide.

        Args:
            now_s: time since boot.
            dt_s: time since the last step.
            has_position: whether the estimate has a position.
            tracks_position: whether OFFBOARD follows a set-point that needs one.
            on_ground: whether the vehicle touches the ground.
            tilt_rad: its tilt.
            height_m: estimated height above home.
            distance_m: estimated horizontal distance from home.
            climbing_m_s: estimated vertical speed.
            wants_lift: whether the set-point leaves the ground.
        """
        self._now_s, self._has_position, self._tilt_rad = now_s, has_position, tilt_rad
        self._battery(dt_s)
        if not self.armed:
            return
        self._landing(on_ground, dt_s, wants_lift)
        if not self.armed:
            return
        self._failsafes(needs_position=self.mode in _NEEDS_POSITION or tracks_position)
        if self.mode is Mode.TAKEOFF and abs(height_m - self.takeoff_m) < 0.2 and abs(climbing_m_s) < 0.5:
            self._set(Mode.HOLD)
            self._intention = Mode.HOLD
            self._say(INFO, "Takeoff finished")
        near = height_m > self._p["RTL_RETURN_ALT"] - 1.0 and distance_m < 0.5
        if self.mode is Mode.RETURN and near and not self.is_returning_down:
            self.is_returning_down = True

    # --- private --------------------------------------------------------------------------------

    def _refusal(self, mode: Mode) -> str:
        if mode is Mode.MISSION:
            return "there is no mission"
        if mode in _NEEDS_STICKS and self._p["COM_RC_IN_MODE"] == 4:
            return "no manual control"
        if mode in _NEEDS_POSITION and not self._has_position:
            return "no valid local position estimate"
        if mode is Mode.OFFBOARD and not self.has_offboard_signal:
            return "no offboard signal"
        if mode is Mode.EXTERNAL1 and not self._has_external_mode:
            return "no mode is registered as External 1"
        if mode.name.startswith("EXTERNAL") and mode is not Mode.EXTERNAL1:
            return f"no mode is registered as External {mode.name[-1]}"
        return ""

    def _set(self, mode: Mode) -> None:
        self.mode, self.is_returning_down = mode, False

    def _say(self, severity: int, text: str) -> None:
        self.texts.append((severity, text))

    def _fail_into(self, mode: Mode, reason: str) -> None:
        self.failsafe = reason
        self._set(mode)
        self._say(CRITICAL, f"Failsafe activated: {reason}, {mode.word}")

    def _clear_failsafe(self) -> None:
        self.failsafe, self.is_descending_blind = "", False

    def _disarmed(self, text: str) -> None:
        self.armed = self.is_flying = False
        self._landed_s = None
        self._clear_failsafe()
        if self.mode is not Mode.HOLD and self.mode not in _TAKE_COMMANDS:
            self._set(Mode.HOLD)
            self._intention = Mode.HOLD
        self._say(INFO, text)

    def _battery(self, dt_s: float) -> None:
        p = self._p
        if self.armed and self.is_flying:
            low = p["SIM_BAT_MIN_PCT"] / 100.0
            self.charge = max(min(self.charge, low), self.charge - dt_s / max(1.0, p["SIM_BAT_DRAIN"]))
        for name, words in (("BAT_LOW_THR", "Low"), ("BAT_CRIT_THR", "Critical")):
            if self.armed and self.charge <= p[name] and name not in self._warned:
                self._warned.add(name)
                self._say(WARNING, f"{words} battery, {100 * self.charge:.0f} % left")

    def _landing(self, on_ground: bool, dt_s: float, wants_lift: bool) -> None:
        """The land detector, and disarming after a landing or when nobody takes off."""
        p = self._p
        spooled = self._now_s - self._armed_s >= p["COM_SPOOLUP_TIME"]
        if wants_lift and spooled:
            self.is_flying, self._contact_s, self._landed_s = True, 0.0, None
            return
        self._contact_s = self._contact_s + dt_s if on_ground else 0.0
        if self.is_flying and self._contact_s >= _LANDED_S:
            self.is_flying, self._landed_s = False, self._now_s
            self._say(INFO, "Landing detected")
        if not self.is_flying:
            patience_s = p["COM_DISARM_PRFLT"] if self._landed_s is None else p["COM_DISARM_LAND"]
            since_s = self._armed_s if self._landed_s is None else self._landed_s
            if 0.0 < patience_s <= self._now_s - since_s:
                self._disarmed(
                    "Disarmed by landing" if self._landed_s is not None else "Disarmed: no takeoff"
                )

    def _failsafes(self, *, needs_position: bool) -> None:
        p = self._p
        if (needs_position or self.is_descending_blind) and not self._has_position and self.is_flying:
            if not self.is_descending_blind:
                self._fail_into(Mode.LAND, "position lost")
                self.is_descending_blind = True
            return
        if self.is_descending_blind and self._has_position:
            self.is_descending_blind = False
        act = p["COM_LOW_BAT_ACT"]
        if self.charge <= p["BAT_EMERGEN_THR"] and act >= 3 and self.mode is not Mode.LAND:
            self._fail_into(Mode.LAND, "battery nearly empty")
        elif self.charge <= p["BAT_CRIT_THR"] and act >= 2 and not self.failsafe:
            self._fail_into(Mode.LAND if act == 2 else Mode.RETURN, "battery critical")
        link_act = {2: Mode.RETURN, 3: Mode.LAND}.get(int(p["NAV_DLL_ACT"]))
        is_lost = self._link_s is not None and self._now_s - self._link_s > p["COM_DL_LOSS_T"]
        if link_act is not None and is_lost and not self.failsafe and self.mode is not Mode.LAND:
            self._fail_into(link_act, "ground station lost")
        if self.mode is Mode.OFFBOARD and not self.has_offboard_signal:
            action = int(p["COM_OBL_RC_ACT"])
            if action == 7:
                self._disarmed("Failsafe activated: no offboard signal, disarmed")
                return
            self._fail_into(_OFFBOARD_LOSS.get(action, Mode.RETURN), "no offboard signal")
        elif (
            self.failsafe == "no offboard signal"
            and self._intention is Mode.OFFBOARD
            and self.has_offboard_signal
        ):
            # PX4 goes back to the mode that was asked for once its condition is met again.
            self._clear_failsafe()
            self._set(Mode.OFFBOARD)
            self._say(INFO, "Failsafe cleared: offboard signal is back")
