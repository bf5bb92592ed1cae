"""The command gate: the one place through which commands reach a robot.

Pure logic: both clocks are passed in, nothing blocks, nothing is read from outside. `CommandGate.filter`
is called with every command that arrives and at every tick without one, at least once a period of the
interface; what it gives back is what the robot may be told. The rules are in `hardware.gate_rules`, the
motion limits of joint and Cartesian commands in `hardware.limiter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hardware.command import Command
from hardware.errors import ConfigError
from hardware.gate_motion import GATE_SOURCE, POSTURE_TERM, MotionStage
from hardware.gate_rules import RULES, Binding, GateConfig, MotionSettings, Rule, Situation, Stage
from hardware.gate_rules.base import AdmissionCheck, Shaper, SituationCheck, to_ns
from hardware.robot import Observation, RobotCard
from hardware.verdict import CommandInForce, GateAction, Verdict

__all__ = ["GATE_SOURCE", "CommandGate", "GateAction", "GateConfig", "Verdict"]


class CommandGate:
    """Judges, limits and refuses commands for one interface of one robot.

    Args:
        card: the robot.
        interface: a key of `card.commands`.
        config: what the owner may choose.
        rules: the rules; None: all of the interface's kind.

    Raises:
        ConfigError: the card has no such interface, or a rule cannot be applied to it.
    """

    def __init__(
        self,
        card: RobotCard,
        interface: str,
        *,
        config: GateConfig | None = None,
        rules: Sequence[Rule] | None = None,
    ) -> None:
        """Build the rules; nothing is commanded yet."""
        if interface not in card.commands:
            raise ConfigError(
                f"no command interface {interface!r}",
                where=f"robot card {card.name!r}",
                expected="one of " + ", ".join(card.commands),
                mend="correct the name",
            )
        self.card = card
        self.spec = card.commands[interface]
        self.config = GateConfig() if config is None else config
        self._rules = RULES[self.spec.kind] if rules is None else tuple(rules)
        self._back_ns = to_ns(self.config.clock_back_tolerance_s)
        self._situation = Situation()
        # The newest command object, which counts once.
        self._seen: Command | None = None
        self._in_force = CommandInForce()
        self._build()

    # --- what others may know and say ----------------------------------------------------------------

    @property
    def holder(self) -> str | None:
        """The source that has authority, or None."""
        return self._situation.holder if self._situation.engaged else None

    @property
    def estop_reason(self) -> str | None:
        """Why the emergency stop is latched, or None."""
        return self._situation.estop_reason or None

    def engage_estop(self, reason: str) -> None:
        """Latch the emergency stop.

        Args:
            reason: for people; the first one stays until the reset.
        """
        self._situation.estop_reason = self._situation.estop_reason or reason or "engaged"

    def reset_estop(self) -> None:
        """Unlatch the emergency stop. It latches again at the next tick while its cause lasts."""
        self._situation.estop_reason = ""

    def operator_heartbeat(self, *, pressed: bool, steady_now_ns: int) -> None:
        """Note a sign of life from the operator; from the first one on, silence is an emergency stop.

        Args:
            pressed: whether the stop is pressed.
            steady_now_ns: the steady clock.
        """
        s = self._situation
        s.operator_engaged, s.operator_pressed, s.operator_heard_ns = True, pressed, steady_now_ns

    def release_operator(self) -> None:
        """Disengage the operator link on purpose; its silence means nothing from now on."""
        s = self._situation
        s.operator_engaged, s.operator_pressed, s.operator_heard_ns = False, False, None

    def report_publishers(self, source: str, count: int) -> None:
        """Note how many publishers claim to be one source; more than one is not trusted while it lasts.

        Args:
            source: the source.
            count: its publishers.
        """
        if count > 1:
            self._situation.crowded.add(source)
        else:
            self._situation.crowded.discard(source)

    def reset(self) -> None:
        """Begin anew, as for a new episode: clocks, leases and set-points are forgotten.

        A latched emergency stop, an engaged operator link and reported publishers stay.
        """
        old = self._situation
        self._situation = Situation(
            estop_reason=old.estop_reason,
            operator_engaged=old.operator_engaged,
            operator_pressed=old.operator_pressed,
            crowded=old.crowded,
        )
        self._build()

    # --- the judgement -------------------------------------------------------------------------------

    def filter(
        self, command: Command | None, state: Observation | None, data_now_ns: int, steady_now_ns: int
    ) -> Verdict:
        """Judge one command, or a tick without one.

        Args:
            command: what arrived, or None. The same object again counts as None.
            state: the newest observation; None where there is none, or none since the last call.
            data_now_ns: the ROS clock, on which stamps are judged.
            steady_now_ns: a clock that never stops nor jumps, on which silence and pace are judged; in
                lockstep the same as `data_now_ns`.

        Returns:
            What the robot may be told.
        """
        s, motion = self._situation, self._motion
        s.steady_went_back = steady_now_ns < s.steady_now_ns - self._back_ns
        if steady_now_ns < s.steady_now_ns and not s.steady_went_back:
            # Two threads took the time and came in the other order.
            steady_now_ns = s.steady_now_ns
        s.data_now_ns, s.steady_now_ns = data_now_ns, steady_now_ns
        s.state_is_new = state is not None and state is not s.state
        if s.state_is_new:
            s.state = state
        if command is self._seen:
            command = None
        elif command is not None:
            self._seen = command

        reasons = [name for name, check in self._situation_checks if check(s)]
        if reasons:
            self._disengage("idle")
            if motion is not None:
                motion.observe(s)
            return self._safe(tuple(reasons))
        if s.engaged:
            for name, has_ended in self._liveness_checks:
                if has_ended(s):
                    self._disengage(name)
        if motion is not None and not motion.observe(s) and s.engaged:
            self._disengage("staleness")
        refusal: tuple[str, ...] = ()
        if command is not None:
            refused = self._admit(command, s)
            if refused is None:
                return self._accept(command, s)
            refusal = (refused,)
        if not s.engaged:
            return self._safe((self._lapse, *refusal))
        if motion is not None:
            return motion.move(s, refusal=refusal)
        return Verdict(GateAction.KEEP, self._in_force.command, refusal)

    def _admit(self, command: Command, s: Situation) -> str | None:
        for name, check in self._admission_checks:
            if check(command, s):
                if name != "switch":
                    s.streaks.pop(command.source, None)
                return name
        if self._motion is not None and not s.engaged:
            return self._motion.start(s)
        return None

    def _accept(self, command: Command, s: Situation) -> Verdict:
        takes_over = not s.engaged or s.holder != command.source
        reasons: tuple[str, ...] = ()
        values: list[float] = []
        if self._motion is None:
            values = command.values.tolist()
            for name, shape in self._shapers:
                if shape(values, s):
                    reasons = (*reasons, name)
        if takes_over:
            s.engaged, s.holder = True, command.source
            s.streaks.clear()
        s.accepted_steady_ns = s.steady_now_ns
        if self._motion is not None:
            return self._motion.accept(command, s, takes_over=takes_over)
        if reasons:
            return Verdict(GateAction.LIMITED, self._in_force.make(command, values), reasons)
        self._in_force.note(command, values)
        return Verdict(GateAction.PASS, command)

    def _disengage(self, lapse: str) -> None:
        s = self._situation
        s.engaged, self._lapse = False, lapse
        s.streaks.clear()

    def _safe(self, reasons: tuple[str, ...]) -> Verdict:
        held = None if self._motion is None else self._motion.hold(self._situation)
        return Verdict(GateAction.SAFE, held, reasons)

    def _build(self) -> None:
        """Build every rule for this robot, without a past."""
        binding = Binding(self.card, self.spec, self.config, self._situation)
        made = [(rule, rule.make(binding)) for rule in self._rules]
        stages = {
            stage: [(rule.name, check) for rule, check in made if rule.stage is stage] for stage in Stage
        }
        self._situation_checks: list[tuple[str, SituationCheck]] = stages[Stage.SITUATION]
        self._liveness_checks: list[tuple[str, SituationCheck]] = stages[Stage.LIVENESS]
        self._admission_checks: list[tuple[str, AdmissionCheck]] = stages[Stage.ADMISSION]
        self._shapers: list[tuple[str, Shaper]] = stages[Stage.SHAPE]
        self._seen = None
        self._lapse = "idle"
        self._in_force = CommandInForce()
        self._motion: MotionStage | None = None
        if self.spec.kind in POSTURE_TERM:
            settings = MotionSettings.unlimited(len(self.spec.names))
            for _, tighten in stages[Stage.MOTION]:
                settings = tighten(settings)
            self._motion = MotionStage(binding, settings, self._in_force)
