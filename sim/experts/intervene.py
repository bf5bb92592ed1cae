"""A policy at work in a task with an expert beside it, who takes over and gives back, flagged step by step.

The expert stands in for the person of HG-DAgger (Kelly et al., 2019): only what it did while it commanded is
a label. When it takes over and gives back follows from how far apart its targets and the policy's are, with
two thresholds, as in LazyDAgger (Hoque et al., 2021), and from how long the attempt has lasted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation, RobotCard
from sim.evaluation.lockstep import Controller
from sim.experts.demonstrations import Demonstrations
from sim.experts.library import Expert, make_expert
from sim.worlds.arm_world import ArmWorld
from sim.worlds.gated import TargetWire
from sim.worlds.library import find_world

FloatArray = NDArray[np.float64]
# Time begins here, so that no stamp is zero.
_START_NS = 1_000_000_000


@dataclass(frozen=True)
class InterventionRule:
    """When the expert takes over, and when it gives back."""

    # It takes over when some joint's target and the policy's are farther apart than this, rad, for so many
    # seconds without a break.
    takeover_rad: float = 0.15
    takeover_s: float = 0.2
    # It gives back when no joint's are farther apart than this, for so many seconds without a break.
    return_rad: float = 0.06
    return_s: float = 0.2
    # An attempt in which this share of the task's time has passed without success it finishes itself.
    patience_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse thresholds between which authority would flutter.

        Raises:
            ConfigError: a number is out of range, or it gives back farther apart than it takes over.
        """
        if not (0.0 < self.return_rad <= self.takeover_rad and self.patience_share > 0.0) or not (
            self.takeover_s >= 0.0 and self.return_s >= 0.0
        ):
            raise ConfigError(
                f"takeover_rad {self.takeover_rad}, return_rad {self.return_rad}, takeover_s"
                f" {self.takeover_s}, return_s {self.return_s}, patience_share {self.patience_share}",
                where="intervention rule",
                expected="times that are not negative, some patience, and 0 < return_rad <= takeover_rad",
                mend="correct the rule",
            )


class Referee:
    """Applies a rule step by step.

    Args:
        rule: when authority changes hands.
        period_s: time between two steps, seconds.
        duration_s: time for an attempt, seconds.
    """

    def __init__(self, rule: InterventionRule, *, period_s: float, duration_s: float) -> None:
        """Let the policy begin."""
        self._rule, self._period_s = rule, period_s
        self._patience_s = rule.patience_share * duration_s
        self._streak = self._step = 0
        self.expert_commands = False

    def judge(self, distance_rad: float, *, has_succeeded: bool) -> bool:
        """Decide who commands the next step.

        Args:
            distance_rad: between the expert's targets and the policy's, of the joint where it is largest;
                infinite where the policy has no answer.
            has_succeeded: whether the attempt has.

        Returns:
            Whether the expert does.
        """
        rule, commands = self._rule, self.expert_commands
        is_late = self._step * self._period_s >= self._patience_s and not has_succeeded
        self._step += 1
        wants_change = distance_rad <= rule.return_rad if commands else distance_rad > rule.takeover_rad
        self._streak = self._streak + 1 if wants_change else 0
        limit_s = rule.return_s if commands else rule.takeover_s
        changes = wants_change and self._streak * self._period_s >= limit_s
        if not np.isfinite(distance_rad) or is_late:
            self.expert_commands, self._streak = True, 0
        elif changes:
            self.expert_commands, self._streak = not commands, 0
        return self.expert_commands


def intervene(
    controller: Controller,
    card: RobotCard,
    episodes: int,
    *,
    task: str,
    first_seed: int = 0,
    rule: InterventionRule | None = None,
    tail_s: float = 0.4,
    expert: Expert | None = None,
    progress: Callable[[int], None] | None = None,
) -> Demonstrations:
    """Let a policy work, and the expert where the policy is lost.

    While the policy commands, the expert looks at every step afresh; while the expert commands, so does the
    policy, so that what it is given back it goes on with from there.

    Args:
        controller: the policy at work, as on the robot; it is reset for every attempt and after every
            intervention.
        card: the robot, whose terms the controller sees.
        episodes: how many attempts, one after the other.
        task: the Gymnasium name of a task with an expert.
        first_seed: seed of the first attempt, the next has one more.
        rule: when authority changes hands.
        tail_s: how long an attempt goes on after success, so that holding is shown too.
        expert: who takes over; None: the task's, with its usual settings.
        progress: called with the number of finished attempts after each.

    Returns:
        All attempts; `intervention` says which steps were the expert's, `actions` who said what was done.

    Raises:
        ConfigError: the number of attempts or the seed is negative, the task is unknown, or the robot does
            not command what the task wants.
    """
    if episodes < 0 or first_seed < 0:
        raise ConfigError(
            f"episodes {episodes}, first_seed {first_seed}",
            where="intervene",
            expected="zero or more",
            mend="correct the number",
        )
    rule = rule or InterventionRule()
    stage = _Stage(controller, card, task, expert or make_expert(task))
    successes, lengths = [], []
    for number in range(episodes):
        before = len(stage.actions)
        successes.append(stage.attempt(first_seed + number, rule, tail_s))
        lengths.append(len(stage.actions) - before)
        if progress is not None:
            progress(number + 1)
    world = stage.world
    size = len(world.JOINTS)
    return Demonstrations(
        observations={name: np.array([row[name] for row in stage.rows]) for name in world.observe()},
        actions=np.array(stage.actions).reshape(-1, size),
        executed=np.array(stage.executed).reshape(-1, size),
        episode=np.repeat(np.arange(episodes, dtype=np.int64), lengths),
        success=np.array(successes, dtype=np.bool_),
        seeds=np.arange(first_seed, first_seed + episodes, dtype=np.int64),
        action_names=world.JOINTS,
        period_ns=1_000_000_000 // world.CONTROL_HZ,
        task=task,
        intervention=np.array(stage.flags, dtype=np.bool_),
    )


class _Stage:
    """The world, the two who may command, and what has been noted of it."""

    def __init__(self, controller: Controller, card: RobotCard, task: str, expert: Expert) -> None:
        kind = find_world(task)
        self.world: ArmWorld = kind()  # type: ignore[call-arg]
        self._controller, self._card, self._expert = controller, card, expert
        self._wire = TargetWire(self.world)
        self._ranges = self.world.joint_ranges
        self.rows: list[dict[str, FloatArray]] = []
        self.actions: list[FloatArray] = []
        self.executed: list[FloatArray] = []
        self.flags: list[bool] = []

    def attempt(self, seed: int, rule: InterventionRule, tail_s: float) -> bool:
        world = self.world
        period_ns = 1_000_000_000 // world.CONTROL_HZ
        referee = Referee(rule, period_s=period_ns * 1e-9, duration_s=world.DURATION_S)
        world.reset(np.random.default_rng(seed))
        self._wire.reset()
        self._expert.reset(seed)
        self._controller.reset(seed)
        end_ns = round(world.DURATION_S * 1e9)
        succeeded = False
        while world.time_ns < end_ns:
            terms = world.observe()
            if not referee.expert_commands:
                # Where the robot is now is not where the expert has brought it.
                self._expert.reset(seed)
            right = self._clip(self._expert.act(terms))
            proposed = self._propose(terms, seed, afresh=referee.expert_commands)
            distance = np.inf if proposed is None else float(np.abs(right - proposed).max())
            is_expert = referee.judge(distance, has_succeeded=succeeded)
            action = right if is_expert or proposed is None else proposed
            self.rows.append(terms)
            self.actions.append(action)
            self.flags.append(is_expert)
            self.executed.append(action)
            self._wire.hold(action, period_ns)
            if world.success and not succeeded:
                succeeded = True
                end_ns = world.time_ns + round(tail_s * 1e9)
        return succeeded

    def _propose(self, terms: dict[str, FloatArray], seed: int, *, afresh: bool) -> FloatArray | None:
        """What the policy would do now, in the order of the world; None: it refuses."""
        if afresh:
            self._controller.reset(seed)
        now_ns = _START_NS + self.world.time_ns
        values = {name: terms[name] for name in self._card.observations if name in terms}
        try:
            chunk = self._controller.act(Observation(values, now_ns, now_ns), now_ns=now_ns)
        except Refusal:
            return None
        if sorted(chunk.names) != sorted(self.world.JOINTS):
            raise ConfigError(
                f"the policy commands {', '.join(chunk.names)}",
                where=self.world.TASK,
                expected=", ".join(self.world.JOINTS),
                mend="name the robot card of the task",
            )
        order = [chunk.names.index(joint) for joint in self.world.JOINTS]
        return self._clip(chunk.values[0][order])

    def _clip(self, targets: FloatArray) -> FloatArray:
        return np.clip(targets, self._ranges[:, 0], self._ranges[:, 1])
