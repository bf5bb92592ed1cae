"""`reflexarc eval task`: let a policy or an expert try a Gymnasium task by seeds, and count."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from reflexarc.output import Output

if TYPE_CHECKING:
    from hardware.robot import RobotCard
    from policies.controller import Controller
    from sim.evaluation.task import TaskEpisode


@dataclass(frozen=True)
class TaskEval:
    """What to evaluate."""

    # A policy or expert that comes with Reflexarc (METHOD/NAME), a policy folder or a controller file.
    policy: Annotated[str, tyro.conf.Positional]
    # The Gymnasium name of the task, for instance reflexarc/PushT-v0.
    task: Annotated[str, tyro.conf.Positional]
    # The name or path of the robot card; empty: the one that comes with the task.
    robot: str = ""
    # Attempts, one a seed.
    episodes: int = 100
    # Seed of the first attempt; the next has one more.
    first_seed: int = 0
    # Width and height of the images that the task shows, pixels; none: no images.
    image_size: tuple[int, int] | None = None
    # Exit with 1 when a smaller share of the attempts succeeds.
    require: float | None = None
    # Also write the result, JSON, to this file.
    out: Path | None = None


def evaluate_in_task(config: TaskEval, output: Output) -> int:
    """Evaluate a policy in a task.

    Args:
        config: what to evaluate.
        output: where progress and result go.

    Returns:
        0; 1 when less succeeds than required.

    Raises:
        ConfigError: no such policy, task or robot, faults of one, or no attempts.
        ConfigErrors: they do not fit each other.
    """
    from hardware.cards import load_robot_card
    from policies.controller import load_controller
    from reflexarc.eval import check_range, find_policy, finish
    from sim.evaluation.task import evaluate_task

    path = find_policy(config.policy)
    card = load_robot_card(config.robot) if config.robot else card_of_task(config.task)
    check_range("episodes", config.episodes, at_least=1)

    def make(robot: RobotCard, rate_hz: float) -> Controller:
        return load_controller(path, robot, steady_clock=time.monotonic_ns, rate_hz=rate_hz)

    with output.progress("evaluating") as progress:
        done: list[TaskEpisode] = []

        def note(episode: TaskEpisode) -> None:
            done.append(episode)
            progress(len(done), config.episodes)

        report = evaluate_task(
            make,
            card,
            config.task,
            seeds=range(config.first_seed, config.first_seed + config.episodes),
            image_size=config.image_size,
            on_episode=note,
        )
    is_ok = config.require is None or report.successes >= config.require * len(report.rows)
    interval = report.interval
    document = {
        "ok": is_ok,
        "policy": config.policy,
        "task": config.task,
        "robot": card.name,
        "first_seed": config.first_seed,
        "episodes": len(report.rows),
        "successes": report.successes,
        "wilson": interval,
        "rows": [asdict(row) for row in report.rows],
    }

    def show() -> None:
        output.console.print(
            f"[bold]{report.successes} of {len(report.rows)}[/bold] succeeded in {config.task}"
            f" (95 % Wilson interval {interval.lower:.1%} to {interval.upper:.1%})"
        )
        failed = [str(row.seed) for row in report.rows if not row.success]
        if failed:
            output.console.print(f"seeds that failed: {', '.join(failed)}")

    finish(document, config.out, output, show)
    return 0 if is_ok else 1


def card_of_task(task: str) -> RobotCard:
    """Find the robot card that comes with a task.

    Args:
        task: its Gymnasium name.

    Returns:
        The card.

    Raises:
        ConfigError: no card of ours belongs to the task.
    """
    from hardware.cards import card_names, load_robot_card
    from hardware.errors import ConfigError
    from sim.worlds.library import find_world

    known: dict[str, RobotCard] = {}
    for name in card_names():
        card = load_robot_card(name)
        of_card = str(card.parameters.get("task", ""))
        if card.kind == "arm" and "world" in card.parameters:
            of_card = find_world(str(card.parameters["world"])).TASK
        if of_card:
            known.setdefault(of_card, card)
    if task in known:
        return known[task]
    raise ConfigError(
        f"no robot card comes with the task {task!r}",
        where="reflexarc eval task",
        expected="one of " + ", ".join(sorted(known)),
        mend="correct the name, or name the card with --robot",
    )
