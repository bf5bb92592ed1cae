"""The gate's part for joint and Cartesian commands: where motion starts, how it goes on, how it is held."""

from __future__ import annotations

import numpy as np

from hardware.braking import AxisLimits
from hardware.command import Command, CommandKind, FloatArray, SafeAction
from hardware.errors import ConfigError
from hardware.gate_rules import Binding, MotionSettings, Situation
from hardware.gate_rules.base import to_ns
from hardware.limiter import MotionLimiter
from hardware.pacing import Pacer
from hardware.verdict import CommandInForce, GateAction, Verdict

# Who a command is from that the gate made itself.
GATE_SOURCE = "gate"

# The kinds that are limited as motion, and the observation that measures them.
POSTURE_TERM = {
    CommandKind.JOINT_POSITION: "joint_position",
    CommandKind.CARTESIAN_POSITION: "tool_position",
}
# After so many periods without a set-point the robot stands at the last one.
GAP_PERIODS = 4


class MotionStage:
    """Moves the set-point of one interface towards the newest accepted command.

    Args:
        binding: the robot, the interface and the gate's choices.
        settings: what the motion is held to.
        in_force: the command in force, which this keeps up to date.

    Raises:
        ConfigError: the card measures no posture to start from, or its limits leave no room.
    """

    def __init__(self, binding: Binding, settings: MotionSettings, in_force: CommandInForce) -> None:
        """Prepare the limiter; there is no set-point yet."""
        card, spec, config = binding.card, binding.spec, binding.config
        self._posture_term = config.posture_term or POSTURE_TERM[spec.kind]
        term = card.observations.get(self._posture_term)
        if term is None or term.names != spec.names or term.unit != spec.unit:
            raise ConfigError(
                f"the observation {self._posture_term!r} does not measure what is commanded",
                where=f"robot card {card.name!r}: observations",
                expected=f"{', '.join(spec.names)} in {spec.unit}, in this order",
                mend="correct the card, or name the right term as posture_term of the gate's config",
            )
        m = self._settings = settings
        self._lower = [max(pair) for pair in zip(m.lower, m.inner_lower, strict=True)]
        self._upper = [min(pair) for pair in zip(m.upper, m.inner_upper, strict=True)]
        for name, low, high in zip(spec.names, self._lower, self._upper, strict=True):
            if not low < high:
                raise ConfigError(
                    f"range and workspace leave nothing for {name!r} ({low} to {high})",
                    where=f"robot card {card.name!r}: workspace",
                    expected="a workspace that overlaps the range",
                    mend="correct one of them",
                )
        self._slack = [
            config.start_tolerance * (high - low) for low, high in zip(self._lower, self._upper, strict=True)
        ]
        rows = zip(self._lower, self._upper, m.velocity, m.acceleration, m.jerk, strict=True)
        self._limiter = MotionLimiter(
            [AxisLimits(*row) for row in rows],
            names=spec.names,
            period_s=spec.period_ns * 1e-9,
            workspaces=m.workspaces,
        )
        self._pacer = Pacer(spec.period_ns)
        self._spec = spec
        self._in_force = in_force
        self._gap_ns = GAP_PERIODS * spec.period_ns
        self._robot_timeout_ns = to_ns(spec.robot_timeout_s)
        self._ramp_ns = to_ns(m.authority_ramp_s)
        self._holds = spec.safe_action is SafeAction.HOLD
        # Whether the robot may be elsewhere than the last set-point: before the first one, after it acted
        # on its own, after the steady clock went back.
        self._adrift = True
        self._target: Command | None = None
        self._values: list[float] = []
        self._fresh = False
        self._hold_posture: list[float] = []
        self._engaged_ns = 0

    def observe(self, s: Situation) -> bool:
        """Note the time; call at every tick.

        Args:
            s: the situation.

        Returns:
            Whether the last set-point can be gone on from.
        """
        if s.steady_went_back or self._pacer.since_ns(s.steady_now_ns) >= self._robot_timeout_ns:
            self._adrift = True
        return not self._adrift

    def start(self, s: Situation) -> str | None:
        """Make sure that there is a set-point to move from: the last one, or else the measured posture.

        Args:
            s: the situation.

        Returns:
            None, or the reason why there is none.
        """
        if not self._adrift:
            return None
        measured: FloatArray | None = None if s.state is None else s.state.values.get(self._posture_term)
        if measured is None or measured.shape != (len(self._lower),):
            return "start"
        posture: list[float] = []
        for x, low, high, slack in zip(measured.tolist(), self._lower, self._upper, self._slack, strict=True):
            if not low - slack <= x <= high + slack:
                return "start"
            posture.append(min(max(x, low), high))
        if not self._limiter.admits(posture):
            return "workspace"
        self._limiter.restart(posture)
        self._pacer.restart()
        self._in_force.clear()
        self._adrift = False
        return None

    def accept(self, command: Command, s: Situation, *, takes_over: bool) -> Verdict:
        """Take a command as the new target and move, if it is time to.

        Args:
            command: an admitted command; `start` has given no reason against it.
            s: the situation.
            takes_over: whether its source has just been given authority, which grows from here.
        """
        if takes_over:
            self._limiter.forget_target()
            self._hold_posture, self._engaged_ns = self._limiter.position, s.steady_now_ns
        self._target, self._values, self._fresh = command, command.values.tolist(), True
        return self.move(s, new=command)

    def move(self, s: Situation, *, new: Command | None = None, refusal: tuple[str, ...] = ()) -> Verdict:
        """Give out the next set-point, if it is time for one.

        Args:
            s: the situation.
            new: the command that came in with this very tick, or None.
            refusal: why another command of this tick was refused.
        """
        now_ns, limiter, fresh, target = s.steady_now_ns, self._limiter, self._fresh, self._target
        assert target is not None
        if not self._pacer.due(now_ns, wait=not fresh):
            return Verdict(GateAction.KEEP, self._in_force.command, ("pace", *refusal) if fresh else refusal)
        if self._pacer.since_ns(now_ns) > self._gap_ns:
            limiter.settle()
        wanted, reasons = self._wanted(now_ns)
        if not fresh and limiter.at_rest and limiter.position == wanted:
            return Verdict(GateAction.KEEP, self._in_force.command, refusal)
        values, causes = limiter.step(wanted)
        self._pacer.take(now_ns, wait=not fresh)
        self._fresh = False
        if reasons or causes:
            command = self._in_force.make(target, values)
            return Verdict(GateAction.LIMITED, command, (*reasons, *causes, *refusal))
        if target is new:
            self._in_force.note(target, values)
            return Verdict(GateAction.PASS, target)
        # Judged at an earlier tick: its array may have changed since.
        return Verdict(GateAction.PASS, self._in_force.make(target, values), refusal)

    def hold(self, s: Situation) -> Command | None:
        """Give the safe action: brake within the limits and stay there.

        Args:
            s: the situation.

        Returns:
            The set-point, or None where the robot side owns the safe action.
        """
        self._target, self._fresh = None, False
        if not self._holds:
            self._adrift = True
        if self._adrift or self._pacer.last_ns is None:
            return None
        now_ns = s.steady_now_ns
        if self._pacer.due(now_ns, wait=False):
            if self._pacer.since_ns(now_ns) > self._gap_ns:
                self._limiter.settle()
            values = np.array(self._limiter.brake())
            spec = self._spec
            self._in_force.set(Command(spec.kind, spec.names, values, s.data_now_ns, now_ns, GATE_SOURCE))
            self._pacer.take(now_ns, wait=False)
        return self._in_force.command

    def _wanted(self, now_ns: int) -> tuple[list[float], tuple[str, ...]]:
        """The target within its bounds, blended from the posture at engagement."""
        wanted = self._values
        reasons: tuple[str, ...] = ()
        for i, (x, low, high) in enumerate(zip(wanted, self._lower, self._upper, strict=True)):
            if low <= x <= high:
                continue
            if wanted is self._values:
                wanted = list(wanted)
            wanted[i] = low if x < low else high
            reason = "workspace" if self._settings.lower[i] <= x <= self._settings.upper[i] else "range"
            if reason not in reasons:
                reasons = (*reasons, reason)
        elapsed_ns = now_ns - self._engaged_ns
        if elapsed_ns < self._ramp_ns:
            share = elapsed_ns / self._ramp_ns
            wanted = [x0 + share * (x - x0) for x0, x in zip(self._hold_posture, wanted, strict=True)]
            reasons = (*reasons, "authority")
        return wanted, reasons
