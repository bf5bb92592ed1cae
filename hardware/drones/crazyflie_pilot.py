"""What a client of a Crazyflie does next: arming, its high-level commander, set-points, landing.

Pure: facts and requests go in, steps come out of `tick`, time is passed in. A Crazyflie has no modes: its
commander follows set-points while they come, and its high-level commander otherwise. It has no landing
of its own for a lost link either: without set-points it levels after 0.5 s and stops its motors after 2 s,
so the rule here is never to stop sending in the air without handing over to the high-level commander.
Sources: crazyflie-firmware documentation, "The Commander Framework", "Supervisor".
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from hardware.errors import Refusal

NS = 1_000_000_000
_REPEAT_NS = NS // 2
_PATIENCE_NS = 5 * NS
# Speeds at which the high-level commander climbs and sinks, and what it gets on top.
_CLIMB_M_S, _SINK_M_S, _EXTRA_S = 0.5, 0.4, 1.5
# Below this height a landing that has run its time is over.
_DOWN_M = 0.12

_CAN_BE_ARMED, _ARMED, _CAN_FLY, _FLYING = 1 << 0, 1 << 1, 1 << 3, 1 << 4
_TROUBLE = {
    5: "it lies on its side or upside down: put it upright",
    6: "it is locked after a crash or an emergency stop: restart it",
    7: "it has crashed: check it and ask for a recovery, or restart it",
}


class Phase(enum.Enum):
    """Where a flight is."""

    GROUND = "on the ground"
    CLIMBING = "taking off"
    READY = "up, holding, waiting for commands"
    FOLLOWING = "following commands"
    LANDING = "landing"


class Step(enum.Enum):
    """One thing to send."""

    ARM = "arm"
    DISARM = "disarm"
    TAKE_OFF = "take off"
    LAND = "land"
    SET_POINT = "set-point"
    # The client's set-points end; the high-level commander has control.
    HAND_OVER = "hand over"
    STOP = "motors off"


@dataclass(frozen=True, slots=True)
class Move:
    """A step with its numbers."""

    step: Step
    # The height to go to, metres, and the time for it, seconds; for take-off and landing.
    height_m: float = 0.0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The supervisor's bits (`supervisor.info`)."""

    bits: int

    @property
    def armed(self) -> bool:
        """Whether the motors may turn."""
        return bool(self.bits & _ARMED)

    @property
    def is_flying(self) -> bool:
        """Whether it flies."""
        return bool(self.bits & _FLYING)

    @property
    def blockers(self) -> tuple[str, ...]:
        """Why it will not arm, one sentence each."""
        found = tuple(words for bit, words in _TROUBLE.items() if self.bits >> bit & 1)
        if found or self.bits & (_CAN_BE_ARMED | _ARMED):
            return found
        return ("its own checks are not done: no position estimate yet, or sensors not calibrated",)

    @property
    def words(self) -> str:
        """Its state in a word, as `VehicleStatus.mode`."""
        for bit, word in ((7, "crashed"), (6, "locked"), (5, "tumbled"), (4, "flying"), (1, "armed")):
            if self.bits >> bit & 1:
                return word
        return "ready to arm" if self.bits & _CAN_BE_ARMED else "not ready"


class CrazyfliePilot:
    """Decides for one vehicle.

    Args:
        timeout_ns: commands that are older than this have stopped.
    """

    def __init__(self, *, timeout_ns: int = NS // 2) -> None:
        """Know nothing yet."""
        self.timeout_ns = timeout_ns
        self.phase = Phase.GROUND
        self.safe_stopped: str | None = None
        self.supervisor: Supervisor | None = None
        # Estimated height above the origin, metres; NaN: not known.
        self.height_m = math.nan
        self.problem = ""
        self._arming_ns: int | None = None
        self._disarming_ns: int | None = None
        self._asked_ns: int | None = None
        self._command_ns: int | None = None
        self._began_ns = 0
        self._goal_m = 0.0
        self._duration_ns = 0
        self._on_request = False

    # --- requests -----------------------------------------------------------------------------

    @property
    def armed(self) -> bool:
        """Whether the motors may turn."""
        return self.supervisor is not None and self.supervisor.armed

    @property
    def follows_commands(self) -> bool:
        """Whether a command acts."""
        return self.phase in (Phase.READY, Phase.FOLLOWING)

    def blockers(self) -> tuple[str, ...]:
        """Why it will not arm."""
        return () if self.supervisor is None or self.armed else self.supervisor.blockers

    def arm(self, now_ns: int) -> None:
        """Ask to arm. Raises Refusal when its supervisor has already said why it will not."""
        self.safe_stopped, self._on_request = None, False
        if self.armed:
            return
        blockers = self.blockers()
        if blockers:
            raise Refusal("the Crazyflie will not arm: " + "; ".join(blockers))
        self._arming_ns, self._disarming_ns, self._asked_ns, self.problem = now_ns, None, None, ""

    def disarm(self, now_ns: int) -> None:
        """Ask to disarm: the motors stop at once, wherever it is."""
        self._arming_ns, self._disarming_ns, self._asked_ns = None, now_ns, None

    def take_off(self, now_ns: int, height_m: float) -> None:
        """Ask for a climb. Raises Refusal when it stands disarmed, or flies already."""
        if not (math.isfinite(height_m) and height_m > 0.0):
            raise Refusal(f"a take-off to {height_m} m: the height must be a positive number of metres")
        if not self.armed:
            raise Refusal("the Crazyflie is not armed: arm it before it takes off")
        if self.phase is not Phase.GROUND or math.isnan(self.height_m):
            raise Refusal(
                f"the Crazyflie is {self.phase.value}: it can only take off from the ground"
                if self.phase is not Phase.GROUND
                else "the Crazyflie has no height estimate yet"
            )
        self.safe_stopped, self._on_request, self.problem = None, False, ""
        self._goal_m = self.height_m + height_m
        self._go(Phase.CLIMBING, now_ns, height_m / _CLIMB_M_S + _EXTRA_S)

    def safe_stop(self, now_ns: int, reason: str) -> None:
        """Land and disarm, for a reason; a command that comes while it still flies ends this."""
        if self.safe_stopped is None:
            self.safe_stopped = reason
        self._arming_ns = None
        if not self.armed or self.phase is Phase.LANDING:
            return
        if self.phase is Phase.GROUND:
            self.disarm(now_ns)
            return
        height = 1.0 if math.isnan(self.height_m) else max(0.1, self.height_m)
        self._go(Phase.LANDING, now_ns, height / _SINK_M_S + _EXTRA_S)

    def land(self, now_ns: int) -> None:
        """Land and disarm because it was asked for: commands do not end this."""
        self.safe_stop(now_ns, "a landing was asked for")
        self._on_request = True

    def command(self, now_ns: int) -> None:
        """A command came."""
        if not self.armed or self.phase in (Phase.GROUND, Phase.CLIMBING) or self._on_request:
            return
        self._command_ns = now_ns
        if self.phase is Phase.READY or (self.phase is Phase.LANDING and self.height_m > 2.0 * _DOWN_M):
            self._go(Phase.FOLLOWING, now_ns)
            self.safe_stopped = None

    # --- time ---------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> list[Move]:
        """Decide what to send now; called at the rate of set-points."""
        moves = self._arm_or_disarm(now_ns)
        if not self.armed:
            if self.phase is not Phase.GROUND:
                if self.phase is not Phase.LANDING:
                    self.problem = "the Crazyflie disarmed by itself"
                self._go(Phase.GROUND, now_ns)
            return moves
        if self.phase is Phase.CLIMBING:
            if self._is_first():
                moves.append(Move(Step.TAKE_OFF, self._goal_m, self._duration_ns * 1e-9))
            elif now_ns - self._began_ns >= self._duration_ns:
                self._go(Phase.READY, now_ns)
        elif self.phase is Phase.FOLLOWING:
            if self._command_ns is None or now_ns - self._command_ns > self.timeout_ns:
                self.safe_stop(now_ns, "command timeout")
            else:
                moves.append(Move(Step.SET_POINT))
        if self.phase is Phase.LANDING:
            moves += self._land(now_ns)
        return moves

    # --- private ------------------------------------------------------------------------------

    def _go(self, phase: Phase, now_ns: int, duration_s: float = 0.0) -> None:
        self.phase, self._began_ns, self._asked_ns = phase, now_ns, None
        self._duration_ns = round(duration_s * 1e9)

    def _is_first(self) -> bool:
        is_first, self._asked_ns = self._asked_ns is None, 0
        return is_first

    def _is_due(self, now_ns: int) -> bool:
        if self._asked_ns is not None and now_ns - self._asked_ns < _REPEAT_NS:
            return False
        self._asked_ns = now_ns
        return True

    def _arm_or_disarm(self, now_ns: int) -> list[Move]:
        if self._arming_ns is not None:
            if self.armed:
                self._arming_ns = None
            elif now_ns - self._arming_ns > _PATIENCE_NS:
                self._arming_ns, self.problem = None, "the Crazyflie did not arm"
            elif self._is_due(now_ns):
                return [Move(Step.ARM)]
        if self._disarming_ns is not None:
            if not self.armed or now_ns - self._disarming_ns > _PATIENCE_NS:
                self._disarming_ns = None
            elif self._is_due(now_ns):
                return [Move(Step.STOP), Move(Step.DISARM)]
        return []

    def _land(self, now_ns: int) -> list[Move]:
        if self._is_first():
            return [Move(Step.HAND_OVER), Move(Step.LAND, 0.0, self._duration_ns * 1e-9)]
        if now_ns - self._began_ns < self._duration_ns:
            return []
        if self.height_m > _DOWN_M:
            # Still in the air after its time: it was pushed up, or the first packet got lost.
            self._go(Phase.LANDING, now_ns, self.height_m / _SINK_M_S + _EXTRA_S)
            return self._land(now_ns)
        if self._disarming_ns is None:
            self.disarm(now_ns)
        return []
