"""What a client of PX4 does next: arming, taking off, entering the mode that takes commands, landing.

Pure: facts and requests go in, questions to the vehicle come out of `tick`, time is passed in. It knows
no wire; MAVLink and ROS 2 topics carry the same command numbers. The rules it keeps: set-points are
streamed before the mode is asked for and belong to commands only while the vehicle reports the mode;
commands that stop end in a landing; a mode that somebody else chose is theirs.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass

from hardware.drones import px4_modes
from hardware.drones.px4_modes import LandedState, Mode
from hardware.errors import Refusal

NS = 1_000_000_000
# How often a question is repeated until its effect is reported.
_REPEAT_NS = NS // 2
# How long an effect may take before the request is given up.
_PATIENCE_NS = 5 * NS
# Set-points stream for this long before the mode is asked for (PX4 wants them first, at 2 Hz or more).
_PROOF_NS = NS // 5
# On the ground and still armed for this long after a landing: ask to disarm.
_DISARM_NS = 3 * NS
# Sentences of the vehicle are remembered for this long.
_MEMORY_NS = 60 * NS
_REFUSED = (1, 2, 3, 4, 6)
_PREFIX = "Preflight Fail: "
_ABOUT_FLIGHT = (px4_modes.ARM_DISARM, px4_modes.DO_SET_MODE, px4_modes.NAV_TAKEOFF)
_NO_ARMING = (Mode.LAND, Mode.RETURN, Mode.OFFBOARD, Mode.MISSION)


class Phase(enum.Enum):
    """Where a flight is."""

    GROUND = "on the ground"
    CLIMBING = "taking off"
    READY = "up, holding, waiting for commands"
    ENGAGING = "asking for the mode that takes commands"
    FOLLOWING = "following commands"
    LANDING = "landing"
    RELEASED = "somebody else has control"


class Stream(enum.Enum):
    """What to send as set-points now."""

    NOTHING = "nothing"
    # Stay where it is: the proof of life before the mode is reported.
    HOLD = "hold"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Ask:
    """A command for the vehicle, by its MAVLink number."""

    command: int
    # param1 to param7.
    parameters: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Climb:
    """Take off to a height above home; how it is asked depends on the wire."""

    height_m: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do in this tick."""

    stream: Stream
    asks: tuple[Ask | Climb, ...] = ()


def ask_mode(mode: Mode) -> Ask:
    """The question for a mode."""
    flag = float(px4_modes.CUSTOM_MODE_ENABLED)
    return Ask(px4_modes.DO_SET_MODE, (flag, float(mode.main), float(mode.sub), 0.0, 0.0, 0.0, 0.0))


class Pilot:
    """Decides for one vehicle.

    Args:
        follow: the mode in which the vehicle takes our commands.
        timeout_ns: commands that are older than this have stopped.
    """

    def __init__(self, *, follow: Mode = Mode.OFFBOARD, timeout_ns: int = NS // 2) -> None:
        """Know nothing yet."""
        self.follow, self.timeout_ns = follow, timeout_ns
        self.phase = Phase.GROUND
        self.safe_stopped: str | None = None
        self.armed = False
        self.mode: Mode | None = None
        self.landed = LandedState.UNDEFINED
        self.has_state = False
        # Whether the vehicle would arm, as it says; None: it does not say.
        self.would_arm: bool | None = None
        # Why the last request came to nothing, one sentence.
        self.problem = ""
        self._texts: deque[tuple[int, str]] = deque(maxlen=50)
        self._arming_ns: int | None = None
        self._disarming_ns: int | None = None
        self._command_ns: int | None = None
        self._began_ns = 0
        self._asked_ns: int | None = None
        self._height_m = 0.0
        self._reported = False
        self._on_request = False
        self._ground_ns: int | None = None

    # --- facts --------------------------------------------------------------------------------

    def heard(self, now_ns: int, *, armed: bool, mode: Mode | None) -> None:
        """The vehicle told whether it is armed and in which mode (None: one that we do not know)."""
        if armed and not self.armed:
            self._arming_ns = None
            self.problem = ""
        self.armed, self.mode = armed, mode

    def told(self, now_ns: int, text: str) -> None:
        """The vehicle told a sentence."""
        self._texts.append((now_ns, text))

    def answered(self, now_ns: int, command: int, result: int) -> None:
        """The vehicle answered a command."""
        if result not in _REFUSED or command not in _ABOUT_FLIGHT:
            return
        sentence = f"the vehicle was asked {px4_modes.command_words(command)} and "
        sentence += px4_modes.result_words(result)
        why = self._last_words(now_ns)
        self.problem = sentence + (f" ({why})" if why else "")
        if command == px4_modes.ARM_DISARM:
            self._arming_ns = None
        elif command == px4_modes.NAV_TAKEOFF and self.phase is Phase.CLIMBING and not self._reported:
            self._go(Phase.GROUND, now_ns)

    # --- requests -----------------------------------------------------------------------------

    def arm(self, now_ns: int) -> None:
        """Ask to arm. Raises Refusal when the vehicle has already said why it will not."""
        self.safe_stopped, self._on_request = None, False
        if self.armed:
            return
        blockers = self.blockers(now_ns)
        if self.would_arm is False and blockers:
            # Forget them: what the vehicle says next counts.
            self._texts.clear()
            raise Refusal("the vehicle will not arm: " + "; ".join(blockers))
        self._arming_ns, self._disarming_ns, self._asked_ns, self.problem = now_ns, None, None, ""

    def disarm(self, now_ns: int) -> None:
        """Ask to disarm."""
        self._arming_ns, self._disarming_ns, self._asked_ns = None, now_ns, None

    def take_off(self, now_ns: int, height_m: float) -> None:
        """Ask for a climb. Raises Refusal when it stands disarmed, or flies already."""
        if not (math.isfinite(height_m) and height_m > 0.0):
            raise Refusal(f"a take-off to {height_m} m: the height must be a positive number of metres")
        if not self.armed:
            raise Refusal("the vehicle is not armed: arm it before it takes off")
        if self.phase is not Phase.GROUND or self.landed in (LandedState.IN_AIR, LandedState.TAKEOFF):
            raise Refusal(f"the vehicle is {self.phase.value}: it can only take off from the ground")
        self._height_m, self.problem = height_m, ""
        self.safe_stopped, self._on_request = None, False
        self._go(Phase.CLIMBING, now_ns)

    def safe_stop(self, now_ns: int, reason: str) -> None:
        """Land and disarm, for a reason; a command that comes while it still flies ends this."""
        if self.safe_stopped is None:
            self.safe_stopped = reason
        self._arming_ns = None
        if self.armed and self.phase is not Phase.LANDING:
            self._go(Phase.LANDING, now_ns)

    def land(self, now_ns: int) -> None:
        """Land and disarm because it was asked for: commands do not end this."""
        self.safe_stop(now_ns, "a landing was asked for")
        self._on_request = True

    def command(self, now_ns: int) -> None:
        """A command came."""
        if not self.armed or self.phase in (Phase.GROUND, Phase.CLIMBING) or self._on_request:
            return
        self._command_ns = now_ns
        if self.phase is Phase.LANDING and self.landed is not LandedState.ON_GROUND:
            self._go(Phase.ENGAGING, now_ns)
        elif self.phase is Phase.READY:
            self._go(Phase.ENGAGING, now_ns)

    # --- answers ------------------------------------------------------------------------------

    @property
    def follows_commands(self) -> bool:
        """Whether a command acts: it is being followed, or would be taken at once."""
        return self.phase in (Phase.READY, Phase.ENGAGING, Phase.FOLLOWING)

    def blockers(self, now_ns: int) -> tuple[str, ...]:
        """Why the vehicle will not arm, one sentence each."""
        if self.armed:
            return ()
        found = [t.removeprefix(_PREFIX) for t in self._recent(now_ns) if t.startswith(_PREFIX)]
        if not found and self.problem:
            found = [self.problem]
        return tuple(dict.fromkeys(found))

    def tick(self, now_ns: int) -> Plan:
        """Decide what to send now; called every few milliseconds."""
        asks = [*self._arm_or_disarm(now_ns), *self._fly(now_ns)]
        stream = Stream.NOTHING
        is_fresh = self._is_fresh(now_ns)
        if self.phase is Phase.FOLLOWING and self.mode is self.follow and is_fresh:
            stream = Stream.COMMAND
        elif self.has_state and (
            self.phase is Phase.ENGAGING or (self.phase is Phase.RELEASED and is_fresh and self.armed)
        ):
            stream = Stream.HOLD
        return Plan(stream, tuple(asks))

    # --- private ------------------------------------------------------------------------------

    def _go(self, phase: Phase, now_ns: int) -> None:
        self.phase, self._began_ns, self._asked_ns = phase, now_ns, None
        self._reported, self._ground_ns = False, None
        if phase is Phase.FOLLOWING:
            self.safe_stopped, self.problem = None, ""

    def _is_due(self, now_ns: int) -> bool:
        if self._asked_ns is not None and now_ns - self._asked_ns < _REPEAT_NS:
            return False
        self._asked_ns = now_ns
        return True

    def _is_fresh(self, now_ns: int) -> bool:
        return self._command_ns is not None and now_ns - self._command_ns <= self.timeout_ns

    def _recent(self, now_ns: int) -> list[str]:
        return [text for told_ns, text in self._texts if now_ns - told_ns <= _MEMORY_NS]

    def _last_words(self, now_ns: int) -> str:
        recent = [text for told_ns, text in self._texts if now_ns - told_ns <= 2 * NS]
        return recent[-1] if recent else ""

    def _arm_or_disarm(self, now_ns: int) -> list[Ask]:
        if self._arming_ns is not None:
            if now_ns - self._arming_ns > _PATIENCE_NS:
                self._arming_ns = None
                self.problem = "the vehicle did not answer the request to arm"
            elif self._is_due(now_ns):
                # PX4 does not arm in a mode that lands, nor in one that waits for set-points.
                first = [ask_mode(Mode.HOLD)] if self.mode in (*_NO_ARMING, self.follow) else []
                return [*first, Ask(px4_modes.ARM_DISARM, (1.0,) + (0.0,) * 6)]
        if self._disarming_ns is not None:
            if not self.armed or now_ns - self._disarming_ns > _PATIENCE_NS:
                self._disarming_ns = None
            elif self._is_due(now_ns):
                return [Ask(px4_modes.ARM_DISARM, (0.0,) * 7)]
        return []

    def _fly(self, now_ns: int) -> list[Ask | Climb]:
        if not self.armed:
            if self.phase is not Phase.GROUND:
                self._go(Phase.GROUND, now_ns)
                self._command_ns = None
            return []
        if self.phase is Phase.GROUND:
            if self.landed is LandedState.IN_AIR:
                # It flew already when we came, or somebody else took off with it.
                self._go(Phase.READY if self.mode is Mode.HOLD else Phase.RELEASED, now_ns)
            return []
        step = {
            Phase.CLIMBING: self._climb,
            Phase.READY: self._wait,
            Phase.ENGAGING: self._engage,
            Phase.FOLLOWING: self._follow_commands,
            Phase.LANDING: self._land,
            Phase.RELEASED: self._released,
        }[self.phase]
        return step(now_ns)

    def _climb(self, now_ns: int) -> list[Ask | Climb]:
        if self.mode is Mode.TAKEOFF:
            self._reported = True
            return []
        if self._reported:
            # PX4 holds when it is up; any other mode was chosen by somebody else.
            self._go(Phase.READY if self.mode is Mode.HOLD else Phase.RELEASED, now_ns)
            return []
        if now_ns - self._began_ns > _PATIENCE_NS:
            self.problem = self.problem or "the vehicle did not begin to take off"
            self._go(Phase.GROUND, now_ns)
            return []
        return [Climb(self._height_m)] if self._is_due(now_ns) else []

    def _wait(self, now_ns: int) -> list[Ask | Climb]:
        if self.mode is self.follow:
            self._go(Phase.FOLLOWING, now_ns)
        elif self.mode is not Mode.HOLD:
            self._lose(now_ns)
        return []

    def _engage(self, now_ns: int) -> list[Ask | Climb]:
        if self.mode is self.follow:
            self._go(Phase.FOLLOWING, now_ns)
            return []
        if not self._is_fresh(now_ns):
            self.safe_stop(now_ns, "command timeout")
            return []
        if now_ns - self._began_ns > _PATIENCE_NS:
            self.problem = self.problem or f"the vehicle did not enter {self.follow.word}"
            self.safe_stop(now_ns, self.problem)
            return []
        if now_ns - self._began_ns < _PROOF_NS or not self.has_state or not self._is_due(now_ns):
            return []
        return [ask_mode(self.follow)]

    def _follow_commands(self, now_ns: int) -> list[Ask | Climb]:
        if not self._is_fresh(now_ns):
            self.safe_stop(now_ns, "command timeout")
        elif self.mode is not self.follow:
            self._lose(now_ns)
        return []

    def _lose(self, now_ns: int) -> None:
        """The mode changed and it was not us."""
        word = "a mode of its own" if self.mode is None else self.mode.word
        why = self._last_words(now_ns)
        self.problem = f"the vehicle went into {word} and not on our request" + (f" ({why})" if why else "")
        self._go(Phase.RELEASED, now_ns)
        if self.mode in (Mode.LAND, Mode.RETURN):
            self.safe_stopped = self.safe_stopped or self.problem

    def _released(self, now_ns: int) -> list[Ask | Climb]:
        if self.landed is LandedState.ON_GROUND:
            self._go(Phase.GROUND, now_ns)
        elif self.mode is self.follow and self._is_fresh(now_ns):
            self._go(Phase.FOLLOWING, now_ns)
        return []

    def _land(self, now_ns: int) -> list[Ask | Climb]:
        if self.landed is LandedState.ON_GROUND:
            # It stands: never flew, or has landed. PX4 disarms by itself; ask when it does not.
            self._ground_ns = now_ns if self._ground_ns is None else self._ground_ns
            waits = self._reported and now_ns - self._ground_ns < _DISARM_NS
            if waits or not self._is_due(now_ns):
                return []
            return [Ask(px4_modes.ARM_DISARM, (0.0,) * 7)]
        self._ground_ns = None
        if self.mode is Mode.LAND:
            self._reported = True
            return []
        if self._reported and self.mode is not None:
            self._lose(now_ns)
            return []
        return [ask_mode(Mode.LAND)] if self._is_due(now_ns) else []
