"""The course of a flight: arm, take off, hold, follow, land, disarm, and what to do when something fails.

One pilot serves every way to steer: it answers with body rates and thrust (from commands, or from its own
outer loop), and with the place it wants to be, which a controller in the firmware can track instead. Pure:
no clock, no thread, no wire; who owns those calls `step` at a steady pace.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

import numpy as np

from hardware.command import FloatArray
from hardware.drones.outer_loop import HOVER, OuterLoop, OuterLoopSettings, RatesThrust, Setpoint
from hardware.drones.pose import PoseState
from hardware.errors import Refusal
from hardware.frames import yaw_of


class Phase(enum.StrEnum):
    """Where a flight is."""

    # Motors off.
    GROUND = "ground"
    # The arm switch is on; the firmware has not said yes yet.
    ARMING = "arming"
    # Armed, standing.
    READY = "ready"
    CLIMB = "climb"
    # Up, at a place of its own.
    HOLD = "hold"
    # Under command.
    FOLLOW = "follow"
    LAND = "land"
    # Neither a pose nor a command: nothing is sent any more, the firmware's failsafe acts.
    CUT = "cut"


IN_AIR = frozenset({Phase.CLIMB, Phase.HOLD, Phase.FOLLOW, Phase.LAND})


@dataclass(frozen=True)
class PilotSettings:
    """How flights go."""

    # Speed of the climb and of the descent, m/s.
    climb_m_s: float = 0.5
    descent_m_s: float = 0.4
    # A pose older than this is stale: rates rest at zero, thrust at the weight, seconds.
    pose_timeout_s: float = 0.2
    # A pose older than this while we fly by ourselves ends the flight: silence, or disarm, seconds.
    pose_cut_s: float = 0.5
    # The firmware has this long to arm, seconds.
    arm_timeout_s: float = 3.0
    # Standing still for this long under a descending reference is the ground, seconds.
    ground_s: float = 0.4
    # Standing still: slower than this, m/s.
    still_m_s: float = 0.08
    # A climb that has not left the ground by then is given up, seconds.
    lift_off_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What is to be sent to the firmware."""

    # Where the flight is.
    phase: Phase
    # Whether the arm switch is on.
    arm: bool
    # Whether nothing is to be sent at all.
    silent: bool = False
    # Body rates and thrust; None: throttle low, sticks at rest.
    control: RatesThrust | None = None
    # Where to be, for a controller in the firmware; None on the ground.
    setpoint: Setpoint | None = None
    # Whether the vehicle has left the ground.
    airborne: bool = False


class Pilot:
    """One vehicle's flights.

    Args:
        settings: how they go.
        loop: tuning of the outer loop.
        command_timeout_s: commands that stay away for this long end in the safe action.
        cut_disarms: without a pose and a command, disarm rather than fall silent (somebody else's receiver
            would
            go on with the last values).
    """

    def __init__(
        self,
        settings: PilotSettings,
        loop: OuterLoopSettings,
        *,
        command_timeout_s: float,
        cut_disarms: bool,
    ) -> None:
        """Start on the ground."""
        self.settings = settings
        self._loop = OuterLoop(loop)
        self._timeout_ns = round(command_timeout_s * 1e9)
        self._cut_disarms = cut_disarms
        self.phase = Phase.GROUND
        # Why the vehicle is in its safe action.
        self.safe_stopped: str | None = None
        # What ended the last flight or the last attempt, for people.
        self.note = ""
        self._since_ns = 0
        self._last_ns = 0
        self._still_s = 0.0
        self._target = Setpoint(np.zeros(3), np.zeros(3))
        self._goal_m = 0.0
        self._ground_m = 0.0
        self._airborne = False
        self._command: RatesThrust | Setpoint | None = None
        self._command_ns = 0

    # --- requests -----------------------------------------------------------------------------

    def arm(self, now_ns: int, pose: PoseState | None) -> None:
        """Switch the arm switch on.

        Raises:
            Refusal: there is no fresh pose to fly by.
        """
        if self.phase is not Phase.GROUND:
            if self.phase in (Phase.ARMING, Phase.READY):
                return
            raise Refusal(f"it cannot be armed now: {self.phase.value}")
        if not self._is_fresh(now_ns, pose, self.settings.pose_timeout_s):
            raise Refusal(
                "no fresh pose from outside: without one it could not land; check the motion capture"
            )
        self.safe_stopped, self.note = None, ""
        self._enter(Phase.ARMING, now_ns)

    def disarm(self, now_ns: int, note: str = "") -> None:
        """Switch the arm switch off, wherever the vehicle is."""
        if self.phase is not Phase.GROUND:
            self.note = note
            self._enter(Phase.GROUND, now_ns)

    def take_off(self, now_ns: int, height_m: float, pose: PoseState | None) -> None:
        """Begin to climb.

        Args:
            now_ns: steady clock, nanoseconds.
            height_m: above the present place.
            pose: the present one.

        Raises:
            Refusal: it is not armed and standing, the height is no height, or there is no fresh pose.
        """
        if self.phase is not Phase.READY:
            words = (
                "arm it first" if self.phase in (Phase.GROUND, Phase.ARMING) else "it is in the air already"
            )
            raise Refusal(f"it cannot take off: {words} ({self.phase.value})")
        if not (math.isfinite(height_m) and 0.1 <= height_m <= 100.0):
            raise Refusal(f"it cannot take off to {height_m} m: give 0.1 to 100 m")
        if pose is None or not self._is_fresh(now_ns, pose, self.settings.pose_timeout_s):
            raise Refusal("it cannot take off: no fresh pose from outside")
        self._ground_m = float(pose.position_m[2])
        self._goal_m = self._ground_m + height_m
        self._hold_here(pose)
        self._loop.reset()
        self._airborne = False
        self._enter(Phase.CLIMB, now_ns)

    def land(self, now_ns: int, pose: PoseState | None) -> None:
        """Begin to descend; on the ground, disarm."""
        if self.phase in (Phase.ARMING, Phase.READY):
            self.disarm(now_ns)
        elif self.phase in IN_AIR and self.phase is not Phase.LAND:
            if self.phase is Phase.FOLLOW:
                self._loop.reset()
            if pose is not None:
                self._hold_here(pose, glide=True)
            self._enter(Phase.LAND, now_ns)

    def safe_stop(self, now_ns: int, reason: str, pose: PoseState | None) -> None:
        """Land, for a reason that is kept."""
        if self.phase is Phase.GROUND or self.safe_stopped is not None:
            self.safe_stopped = self.safe_stopped or reason
            return
        self.safe_stopped = reason
        self.land(now_ns, pose)

    def command(self, now_ns: int, wanted: RatesThrust | Setpoint) -> None:
        """Take a gated command. It counts in the air alone, and ends a safe action there."""
        if self.phase is Phase.LAND and self.safe_stopped is not None:
            self.safe_stopped = None
            self._enter(Phase.FOLLOW, now_ns)
        elif self.phase is Phase.HOLD:
            self._enter(Phase.FOLLOW, now_ns)
        if self.phase is Phase.FOLLOW:
            self._command, self._command_ns = wanted, now_ns

    # --- the course ---------------------------------------------------------------------------

    def step(
        self, now_ns: int, pose: PoseState | None, *, armed: bool | None, reasons: tuple[str, ...] = ()
    ) -> Orders:
        """Move on.

        Args:
            now_ns: steady clock, nanoseconds.
            pose: the newest one.
            armed: what the firmware says; None: it has said nothing lately.
            reasons: why it would not arm, in sentences.

        Returns:
            What to send.
        """
        dt_s = min(0.1, max(0.0, (now_ns - self._last_ns) * 1e-9))
        self._last_ns = now_ns
        self._notice(now_ns, pose, armed, reasons)
        if self.phase in (Phase.GROUND, Phase.ARMING, Phase.READY):
            return Orders(self.phase, arm=self.phase is not Phase.GROUND)
        if self.phase is Phase.CUT:
            return Orders(Phase.CUT, arm=not self._cut_disarms, silent=not self._cut_disarms)
        if self.phase is Phase.FOLLOW:
            return self._follow(pose, now_ns, dt_s)
        if pose is None or not self._is_fresh(now_ns, pose, self.settings.pose_timeout_s):
            return Orders(self.phase, arm=True, control=HOVER, airborne=self._airborne)
        self._advance(pose, dt_s)
        if self.phase is Phase.CLIMB and self._is_up(pose, dt_s):
            self._target = replace(self._target, velocity_m_s=np.zeros(3))
            self._enter(Phase.HOLD, now_ns)
        if self.phase is Phase.LAND and self._has_landed(pose, dt_s):
            self.disarm(now_ns, "landed")
            return Orders(self.phase, arm=False)
        return self._own(pose, dt_s)

    def _notice(
        self, now_ns: int, pose: PoseState | None, armed: bool | None, reasons: tuple[str, ...]
    ) -> None:
        """What happened since the last step, and what follows from it."""
        s, waited_s = self.settings, (now_ns - self._since_ns) * 1e-9
        if self.phase is Phase.ARMING:
            if armed:
                self._enter(Phase.READY, now_ns)
            elif waited_s > s.arm_timeout_s:
                self.disarm(now_ns, _because("the firmware did not arm", reasons))
            return
        if self.phase is Phase.GROUND:
            return
        if self.phase is Phase.CUT:
            # Until the firmware has stopped the motors, and long enough that it must have.
            if (armed is False and waited_s > 0.5) or waited_s > 30.0:
                self.disarm(now_ns, self.note)
            return
        if armed is False and waited_s > 0.5:
            why = _because("the firmware disarmed by itself", reasons)
            self.safe_stopped = self.safe_stopped or why
            self.disarm(now_ns, why)
            return
        if self.phase is Phase.FOLLOW and now_ns - self._command_ns > self._timeout_ns:
            self.safe_stop(now_ns, "no command", pose)
        if self.phase is Phase.CLIMB and not self._airborne and waited_s > s.lift_off_s:
            self.safe_stopped = "it did not lift off"
            self.disarm(now_ns, "it did not lift off")
        if self.phase in IN_AIR - {Phase.FOLLOW} and not self._is_fresh(now_ns, pose, s.pose_cut_s):
            self.safe_stopped = self.safe_stopped or "no pose"
            self.note = "no pose from outside: left to the failsafe"
            self._enter(Phase.CUT, now_ns)

    def _follow(self, pose: PoseState | None, now_ns: int, dt_s: float) -> Orders:
        wanted = self._command
        if isinstance(wanted, RatesThrust):
            return Orders(Phase.FOLLOW, arm=True, control=wanted, airborne=True)
        assert wanted is not None
        self._target = wanted
        if pose is None or not self._is_fresh(now_ns, pose, self.settings.pose_timeout_s):
            return Orders(Phase.FOLLOW, arm=True, control=HOVER, setpoint=wanted, airborne=True)
        return self._own(pose, dt_s)

    def _own(self, pose: PoseState, dt_s: float) -> Orders:
        control = self._loop.update(
            self._target,
            position_m=pose.position_m,
            velocity_m_s=pose.velocity_m_s,
            orientation_wxyz=pose.orientation_wxyz,
            dt_s=dt_s,
            flying=self._airborne,
        )
        return Orders(self.phase, arm=True, control=control, setpoint=self._target, airborne=self._airborne)

    def _advance(self, pose: PoseState, dt_s: float) -> None:
        """Move the place where it should be."""
        position, velocity = np.array(self._target.position_m), np.array(self._target.velocity_m_s)
        # A glide that was inherited from the flight before dies away.
        fade = math.exp(-dt_s / 0.5)
        velocity[:2] *= fade
        position[:2] += velocity[:2] * dt_s
        if self.phase is Phase.CLIMB:
            # It waits for a vehicle that does not come along, and goes on when it does.
            behind_m = position[2] - float(pose.position_m[2])
            velocity[2] = self.settings.climb_m_s if position[2] < self._goal_m and behind_m < 0.3 else 0.0
            position[2] = min(self._goal_m, position[2] + velocity[2] * dt_s)
        elif self.phase is Phase.LAND:
            down = -self.settings.descent_m_s
            velocity[2] += (down - velocity[2]) * (1.0 - fade)
            # Never so far below that a ground higher than expected would be hit hard.
            position[2] = max(position[2] + velocity[2] * dt_s, float(pose.position_m[2]) - 0.5)
        self._target = Setpoint(position, velocity, self._target.yaw_rad)
        if not self._airborne and float(pose.position_m[2]) > self._ground_m + 0.05:
            self._airborne = True

    def _is_up(self, pose: PoseState, dt_s: float) -> bool:
        """Near its height; or, for a controller that keeps an offset, no longer coming nearer."""
        away_m = abs(float(pose.position_m[2]) - self._goal_m)
        calm = abs(float(pose.velocity_m_s[2])) < 0.3
        arrived = bool(self._target.position_m[2] >= self._goal_m) and calm
        self._still_s = self._still_s + dt_s if arrived else 0.0
        return arrived and (away_m < 0.1 or (away_m < 0.4 and self._still_s > 1.0))

    def _has_landed(self, pose: PoseState, dt_s: float) -> bool:
        behind_m = float(pose.position_m[2]) - float(self._target.position_m[2])
        still = float(np.linalg.norm(pose.velocity_m_s)) < self.settings.still_m_s
        self._still_s = self._still_s + dt_s if still and behind_m > 0.15 else 0.0
        return self._still_s > self.settings.ground_s

    def _hold_here(self, pose: PoseState, *, glide: bool = False) -> None:
        velocity: FloatArray = np.array(pose.velocity_m_s) if glide else np.zeros(3)
        self._target = Setpoint(np.array(pose.position_m), velocity, yaw_of(pose.orientation_wxyz))

    def _enter(self, phase: Phase, now_ns: int) -> None:
        self.phase, self._since_ns, self._still_s = phase, now_ns, 0.0

    def _is_fresh(self, now_ns: int, pose: PoseState | None, limit_s: float) -> bool:
        return pose is not None and now_ns - pose.received_steady_ns <= round(limit_s * 1e9)


def _because(what: str, reasons: tuple[str, ...]) -> str:
    return f"{what}: {'; '.join(reasons)}" if reasons else what
