"""How often a controller succeeds in a Gymnasium task, step by step, without robot, gate or latency.

For tasks that have no twin (those of others), and for a look at a policy without the rest of the stack. What
has a twin is judged by `sim.evaluation.arm`, through the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

import sim.tasks  # noqa: F401  (registers the tasks)
from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation, RobotCard
from sim.evaluation.lockstep import Controller
from sim.evaluation.statistics import Interval, wilson

# Time begins here, so that no stamp is zero.
_START_NS = 1_000_000_000


@dataclass(frozen=True)
class TaskEpisode:
    """One attempt."""

    # What it began with.
    seed: int
    # Whether it succeeded.
    success: bool
    # When it ended, seconds after its start.
    duration_s: float
    # Control steps, and observations that the controller refused to answer.
    steps: int
    refusals: int


@dataclass(frozen=True)
class TaskReport:
    """What an evaluation in a task found."""

    # Every attempt, in the order of its seed.
    rows: tuple[TaskEpisode, ...]

    @property
    def successes(self) -> int:
        """How many attempts succeeded."""
        return sum(row.success for row in self.rows)

    @property
    def interval(self) -> Interval:
        """The 95 % Wilson interval of the success rate."""
        return wilson(self.successes, len(self.rows))


def evaluate_task(
    make_controller: Callable[[RobotCard, float], Controller],
    card: RobotCard,
    task: str,
    *,
    seeds: Iterable[int] = range(100),
    image_size: tuple[int, int] | None = None,
    settings: Any = None,  # noqa: ANN401
    on_episode: Callable[[TaskEpisode], None] | None = None,
) -> TaskReport:
    """Let a controller try a task from many starts.

    Args:
        make_controller: builds the controller for a robot and a rate in Hz.
        card: the robot of the task.
        task: its Gymnasium name.
        seeds: one attempt each.
        image_size: width and height of the images that the task shows; None: none.
        settings: how an attempt begins and what counts as success, of the task; None: as usual.
        on_episode: is told every attempt.

    Returns:
        The attempts and their success rate.

    Raises:
        ConfigError: there is no such task, or its terms are not those of the card.
        ConfigErrors: card and controller do not fit.
    """
    environment = _make(task, image_size, settings)
    try:
        terms = {name for name, space in environment.observation_space.items() if len(space.shape) == 1}
        if terms != set(card.observations):
            raise ConfigError(
                f"the task shows {', '.join(sorted(terms))}",
                where=task,
                expected=f"the terms of robot card {card.name!r}: " + ", ".join(sorted(card.observations)),
                mend="name the robot card of the task",
            )
        rate_hz = float(environment.metadata["render_fps"])
        controller = make_controller(card, rate_hz)
        rows: list[TaskEpisode] = []
        for seed in seeds:
            rows.append(_attempt(environment, controller, card, seed, round(1e9 / rate_hz)))
            if on_episode is not None:
                on_episode(rows[-1])
    finally:
        environment.close()
    return TaskReport(tuple(rows))


def _make(task: str, image_size: tuple[int, int] | None, settings: Any) -> Any:  # noqa: ANN401
    if task not in gymnasium.registry or not task.startswith("reflexarc/"):
        known = sorted(name for name in gymnasium.registry if name.startswith("reflexarc/"))
        raise ConfigError(
            f"there is no task {task!r}",
            where="evaluation",
            expected="one of " + ", ".join(known),
            mend="correct the name",
        )
    # Tasks of others have no settings.
    more = {} if settings is None else {"settings": settings}
    return gymnasium.make(task, disable_env_checker=True, image_size=image_size, **more).unwrapped


def _attempt(
    environment: Any,  # noqa: ANN401
    controller: Controller,
    card: RobotCard,
    seed: int,
    period_ns: int,
) -> TaskEpisode:
    seen, info = environment.reset(seed=seed)
    controller.reset(seed)
    now_ns, steps, refusals = _START_NS, 0, 0
    # What is carried out while the controller refuses; who was never told anything has nothing to hold.
    action: Any = None
    while True:
        observation = Observation(
            values={name: seen[name] for name in card.observations},
            stamp_ns=now_ns,
            received_steady_ns=now_ns,
            images={name: value for name, value in seen.items() if name not in card.observations},
        )
        try:
            action = np.asarray(controller.act(observation, now_ns=now_ns).values[0], dtype=np.float64)
        except Refusal:
            refusals += 1
            if action is None:
                return TaskEpisode(seed, False, 0.0, steps, refusals)
        seen, _, terminated, truncated, info = environment.step(action)
        steps, now_ns = steps + 1, now_ns + period_ns
        if terminated or truncated:
            return TaskEpisode(seed, bool(info["success"]), float(info["time_s"]), steps, refusals)
