"""How often an arm's controller succeeds at its task, in lockstep through the command gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hardware.robot import LatencyCard, RobotCard
from sim.evaluation.lockstep import Controller, LockstepRun, Step, make_gate, run_lockstep
from sim.evaluation.statistics import Interval, wilson
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE

# Builds the controller for a robot; asked once an evaluation.
MakeController = Callable[[RobotCard], Controller]


@dataclass(frozen=True)
class ArmEpisode:
    """One attempt."""

    # What it began with.
    seed: int
    # Whether the task was done.
    success: bool
    # When it ended, seconds after its start.
    duration_s: float
    # Instants of the control loop, and how many commands the gate changed.
    steps: int
    interventions: int
    # Observations that the controller refused to answer.
    refusals: int
    # Why the robot took its safe action, in order; empty when it never did.
    safe_stops: tuple[str, ...]


@dataclass(frozen=True)
class ArmReport:
    """What an evaluation of an arm found."""

    # Every attempt, in the order of its seed.
    rows: tuple[ArmEpisode, ...]

    @property
    def episodes(self) -> int:
        """How many attempts there were."""
        return len(self.rows)

    @property
    def successes(self) -> int:
        """How many of them succeeded."""
        return sum(row.success for row in self.rows)

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the success rate."""
        return wilson(self.successes, self.episodes)

    @property
    def intervention_rate(self) -> float:
        """Share of the commands that the gate changed, 0 to 1."""
        return sum(row.interventions for row in self.rows) / max(1, sum(row.steps for row in self.rows))

    @property
    def duration_s(self) -> float:
        """Mean time to success, seconds; NaN without one."""
        times = [row.duration_s for row in self.rows if row.success]
        return sum(times) / len(times) if times else float("nan")


def evaluate_arm(
    make_controller: MakeController,
    card: RobotCard,
    *,
    seeds: Iterable[int] = range(100),
    latency: LatencyCard = NONE,
    duration_s: float | None = None,
    on_episode: Callable[[ArmEpisode], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> ArmReport:
    """Let a controller do the task of the card's world from many starts.

    Args:
        make_controller: builds the controller for the robot.
        card: the arm's card.
        seeds: one attempt each; seed s begins as `reset(seed=s)` of the world's Gymnasium task.
        latency: of the wire; the card's own is `card.latency`.
        duration_s: when an attempt without success ends; None: as the task does.
        on_episode: is told every attempt.
        on_step: is told every instant.

    Returns:
        The attempts and their success rate.

    Raises:
        ConfigError: card and twin or gate do not fit.
        ConfigErrors: card and controller do not fit.
    """
    controller, gate = make_controller(card), make_gate(card)
    rows: list[ArmEpisode] = []
    # A controller that sees says which cameras it looks through.
    cameras = tuple(getattr(controller, "cameras", ()))
    with ArmTwin(card, seed=0, latency=latency, look=cameras) as twin:
        end_ns = round((twin.world.DURATION_S if duration_s is None else duration_s) * 1e9)

        def is_over(step: Step) -> bool:
            return twin.success or step.now_ns >= end_ns

        for seed in seeds:
            run = run_lockstep(twin, controller, gate, until=is_over, on_step=on_step, seed=seed)
            rows.append(_episode(seed, run, success=twin.success, duration_s=twin.now_ns * 1e-9))
            if on_episode is not None:
                on_episode(rows[-1])
    return ArmReport(tuple(rows))


def _episode(seed: int, run: LockstepRun, *, success: bool, duration_s: float) -> ArmEpisode:
    return ArmEpisode(
        seed=seed,
        success=success,
        duration_s=duration_s,
        steps=run.steps,
        interventions=run.interventions,
        refusals=run.refusals,
        safe_stops=tuple(stop.reason for stop in run.safe_stops),
    )
