"""DAgger in the twin: the policy works, the task's expert takes over where it is lost, all is learned anew.

The recipe is that of HG-DAgger (Kelly et al., 2019), with the task's scripted expert in the place of the
person: only the steps that the expert commanded become labels, beside the demonstrations and those of earlier
rounds. When it takes over and gives back is `sim.experts.intervene.InterventionRule`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from policies.checkpoint import require_same, require_unfinished
from policies.controller import load_controller
from policies.demonstrations.config import FREE_SETTINGS, ImitationConfig
from policies.demonstrations.folder import Evaluation
from policies.demonstrations.processes import started_processes
from policies.provenance import settings

_SETTINGS_FILE = "settings.json"
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Round:
    """What a round of interventions gave."""

    # Its number, from 1.
    number: int
    # Attempts; those that succeeded, and those among them in which the expert never took over.
    attempts: int
    successes: int
    alone: int
    # How often the expert took over, and its steps among all; those of failed attempts are not learned.
    interventions: int
    expert_steps: int
    steps: int
    # The expert's steps in the successful attempts: the new labels.
    labels: int


def train_rounds[C: ImitationConfig](
    config: C,
    train: Callable[..., Path],
    *,
    progress: Callable[[Evaluation], None] | None = None,
    tick: Tick | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Path:
    """Train, let the expert intervene, and train anew, `config.dagger_rounds` times.

    Policies and interventions of the rounds lie in `<out>.work`; an interrupted call goes on from there.

    Args:
        config: every setting.
        train: trains once, from a config without rounds.
        progress: is told every evaluation; its steps count through the rounds.
        tick: is told every gradient step, counted likewise.
        on_round: is told what each round gave.

    Returns:
        The policy folder.

    Raises:
        ConfigError: the task has no expert, the policy sees images, several processes were started, nobody
            had to take over in a round, or `<out>.work` holds another training.
    """
    _check(config)
    work = Path(f"{config.out}.work")
    _remember(work, config)
    require_unfinished(Path(config.out))
    files: list[str] = []
    for number in range(config.dagger_rounds + 1):
        is_last = number == config.dagger_rounds
        folder = Path(config.out) if is_last else work / f"round_{number}"
        once = replace(
            config, out=str(folder), interventions=(*config.interventions, *files), dagger_rounds=0
        )
        if is_last or not (folder / "training.yaml").exists():
            before = number * config.steps
            train(once, progress=_later(progress, before), tick=_count(tick, before))
        if not is_last:
            path = work / f"interventions_{number + 1}.npz"
            found = _round(once, config, path, number + 1)
            if on_round is not None:
                on_round(found)
            if not found.labels:
                raise ConfigError(
                    f"round {number + 1}: nobody took over in {found.attempts} attempts",
                    where=config.task,
                    expected="a policy that is lost at times",
                    mend=f"it may be good enough: {folder}. Else raise --dagger-episodes, or lower"
                    " --dagger-takeover-rad",
                )
            files.append(str(path))
    return Path(config.out)


def _check(config: ImitationConfig) -> None:
    from sim.experts.library import expert_tasks

    if started_processes() > 1:
        raise ConfigError(
            f"{started_processes()} processes",
            where="dagger_rounds",
            expected="one process: between two trainings the policy works in the twin",
            mend="start it without a launcher, or leave --dagger-rounds out",
        )
    if config.task not in expert_tasks():
        raise ConfigError(
            f"{config.task!r} has no expert",
            where="dagger_rounds",
            expected="one of " + ", ".join(expert_tasks()),
            mend="let a person take over (docs/teleoperation.md), and give --interventions",
        )
    cameras: tuple[str, ...] = getattr(config, "cameras", ())
    if cameras:
        raise ConfigError(
            f"the policy sees {', '.join(cameras)}",
            where="dagger_rounds",
            expected="a policy that sees the terms of the task alone, no camera",
            mend="record interventions over ROS 2, and give --interventions",
        )


def _round(once: ImitationConfig, config: ImitationConfig, path: Path, number: int) -> Round:
    """Let the policy of a round work, or read what it and the expert did."""
    from sim.experts.demonstrations import Demonstrations
    from sim.experts.intervene import InterventionRule, intervene

    if path.exists():
        found = Demonstrations.load(path)
    else:
        robot = load_robot_card(config.robot)
        controller = load_controller(once.out, robot, steady_clock=lambda: 0)
        found = intervene(
            controller,
            robot,
            config.dagger_episodes,
            task=config.task,
            first_seed=config.dagger_seed + (number - 1) * config.dagger_episodes,
            rule=InterventionRule(
                takeover_rad=config.dagger_takeover_rad, return_rad=config.dagger_return_rad
            ),
        )
        controller.close()
        part = path.with_suffix(".part")
        found.save(part)
        part.rename(path)
    assert found.intervention is not None
    begins = np.diff(found.intervention.astype(np.int8), prepend=0) == 1
    begins |= found.intervention & (np.diff(found.episode, prepend=-1) > 0)
    touched = np.zeros(len(found.success), np.bool_)
    touched[found.episode[found.intervention]] = True
    return Round(
        number=number,
        attempts=len(found.success),
        successes=int(found.success.sum()),
        alone=int((found.success & ~touched).sum()),
        interventions=int(begins.sum()),
        expert_steps=int(found.intervention.sum()),
        steps=len(found.intervention),
        labels=int(found.intervention[found.success[found.episode]].sum()),
    )


def _remember(work: Path, config: ImitationConfig) -> None:
    """Note the settings of a training that begins; refuse to go on with other ones."""
    found = settings(config, paths=("data", "interventions"))
    chosen = {name: value for name, value in found.items() if name not in FREE_SETTINGS}
    path = work / _SETTINGS_FILE
    if path.exists():
        require_same({"settings": json.loads(path.read_text(encoding="utf-8"))}, chosen, {}, work)
        return
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")


def _later(progress: Callable[[Evaluation], None] | None, before: int) -> Callable[[Evaluation], None] | None:
    if progress is None:
        return None
    return lambda found: progress(Evaluation(**{**asdict(found), "step": before + found.step}))


def _count(tick: Tick | None, before: int) -> Tick | None:
    return None if tick is None else (lambda step: tick(before + step))
