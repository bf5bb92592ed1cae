"""`reflexarc bench dagger`: behaviour cloning with and without interventions, for the same expert steps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from policies.bc.config import TrainConfig
    from policies.demonstrations.dagger import Round
    from sim.experts.demonstrations import Demonstrations

BASE, DAGGER = "demonstrations alone", "with interventions (DAgger)"
PLAIN, NOISY = "with more demonstrations instead", "all demonstrations with noise on the actions (DART)"
_TASK, _ROBOT = "reflexarc/PickCube-v0", "so101_twin"
# The demonstrations of different seeds, their attempts and the roll-outs are from ranges of their own.
_DEMONSTRATIONS, _ATTEMPTS, _ROLLOUTS, _APART = 1_000_000, 2_000_000, 600_000, 10_000


@dataclass(frozen=True)
class DaggerBench:
    """What to train, and how long."""

    # The seeds; every contender is trained once from each.
    seeds: tuple[int, ...] = (0, 1, 2)
    # Demonstrations at the beginning.
    episodes: int = 12
    # Rounds of DAgger, and attempts in each.
    rounds: int = 3
    attempts: int = 20
    # Gradient steps of every training.
    steps: int = 3000
    # Roll-outs that judge each policy, the same for all.
    rollouts: int = 100
    # Also write the report, JSON, to this file.
    out: Path | None = None


def measure(config: DaggerBench, progress: Progress) -> BenchReport:
    """Train every contender from every seed, and judge each by roll-outs in the task.

    Args:
        config: what to train, and how long.
        progress: is told every training.

    Returns:
        The report; its ratios are success rates over that without interventions.

    Raises:
        ConfigError: a count is not positive, or a policy is so good that nobody takes over.
    """
    for name in ("episodes", "rounds", "attempts", "steps", "rollouts"):
        if getattr(config, name) < 1 or not config.seeds:
            raise ConfigError(
                f"{name} is {getattr(config, name)}, seeds {config.seeds}",
                where="bench dagger",
                expected="1 or more, and a seed",
                mend="raise it",
            )
    machine = describe_machine()
    found: dict[str, list[dict[str, Any]]] = {BASE: [], DAGGER: [], PLAIN: [], NOISY: []}
    total, done = len(config.seeds) * (config.rounds + 3), 0

    def trained() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    with tempfile.TemporaryDirectory() as folder:
        for seed in config.seeds:
            for name, row in _compare(config, seed, Path(folder) / str(seed), trained).items():
                found[name].append(row)
    rows = [_row(name, runs, config.rollouts) for name, runs in found.items()]
    rates = {str(row["name"]): float(row["success_rate"]) for row in rows}
    return BenchReport(
        name="dagger",
        title=f"PickCube, behaviour cloning from {config.episodes} demonstrations, and what is added to them",
        columns=(
            Column("name", "learned from"),
            Column("expert_steps", "expert steps", 0),
            Column("success_rate", "success", 3),
            Column("lower", "95 % from", 3),
            Column("upper", "to", 3),
            Column("seeds", "by seed"),
        ),
        rows=tuple(rows),
        ratios={
            f"the success without interventions, {name}": rates[name] / max(rates[BASE], 1e-9)
            for name in (DAGGER, PLAIN, NOISY)
        },
        machine=machine,
        settings={
            "seeds": list(config.seeds),
            "episodes": config.episodes,
            "rounds": config.rounds,
            "attempts": config.attempts,
            "steps": config.steps,
            "rollouts": config.rollouts,
        },
        notes=(
            "Every contender: the same network, gradient steps and roll-outs. The interval is Wilson's, over"
            " the roll-outs of all seeds together; it says nothing about how seeds differ.",
            "Expert steps: the labels, on average. Whoever gets more demonstrations gets whole ones, at least"
            " as many steps as DAgger got.",
            "The expert is the scripted one; it takes over by `sim.experts.intervene.InterventionRule`.",
        ),
    )


def _compare(
    config: DaggerBench, seed: int, folder: Path, trained: Callable[[], None]
) -> Mapping[str, dict[str, Any]]:
    """Train and judge all contenders from one seed."""
    from policies.bc.config import TrainConfig
    from policies.bc.train import train

    base = TrainConfig(
        out=str(folder / "base"),
        task=_TASK,
        robot=_ROBOT,
        episodes=config.episodes,
        demonstration_seed=_DEMONSTRATIONS + seed * _APART,
        noise_std_rad=0.0,
        seed=seed,
        steps=config.steps,
        evaluate_every=config.steps,
        rollouts=0,
        dagger_episodes=config.attempts,
        dagger_seed=_ATTEMPTS + seed * _APART,
    )
    rounds: list[Round] = []

    def judged(out: str) -> int:
        trained()
        return _successes(out, config.rollouts)

    train(replace(base, out=str(folder / "dagger"), dagger_rounds=config.rounds), on_round=rounds.append)
    for _ in range(config.rounds - 1):
        trained()
    # The first training of DAgger is the one from demonstrations alone.
    alone = judged(str(folder / "dagger.work" / "round_0"))
    dagger = judged(str(folder / "dagger"))
    steps = len(_demonstrations(base, config.episodes).episode)
    wanted = steps + sum(found.labels for found in rounds)
    more, length = _enough(base, wanted)
    train(replace(base, out=str(folder / "plain"), episodes=more))
    plain = judged(str(folder / "plain"))
    noise = TrainConfig.noise_std_rad
    noisy_base = replace(base, noise_std_rad=noise)
    noisy_more, noisy_length = _enough(noisy_base, wanted)
    train(replace(noisy_base, out=str(folder / "noisy"), episodes=noisy_more))
    noisy = judged(str(folder / "noisy"))
    return {
        BASE: {"seed": seed, "expert_steps": steps, "successes": alone},
        DAGGER: {
            "seed": seed,
            "expert_steps": wanted,
            "successes": dagger,
            "alone_by_round": [found.alone for found in rounds],
            "expert_share_by_round": [round(r.expert_steps / r.steps, 3) for r in rounds],
        },
        PLAIN: {"seed": seed, "expert_steps": length, "episodes": more, "successes": plain},
        NOISY: {
            "seed": seed,
            "expert_steps": noisy_length,
            "episodes": noisy_more,
            "successes": noisy,
        },
    }


def _demonstrations(config: TrainConfig, episodes: int) -> Demonstrations:
    """What the training collects for so many episodes."""
    from sim.experts.collect import ActionNoise, collect

    noise = ActionNoise(std_rad=config.noise_std_rad) if config.noise_std_rad else None
    found = collect(episodes, task=config.task, first_seed=config.demonstration_seed, noise=noise)
    return found.successful()


def _enough(config: TrainConfig, steps: int) -> tuple[int, int]:
    """How many demonstrations hold at least so many steps, and how many they hold."""
    episodes = config.episodes
    while (length := len(_demonstrations(config, episodes).episode)) < steps:
        episodes += max(1, (steps - length) * episodes // (2 * max(length, 1)))
    return episodes, length


def _successes(folder: str, rollouts: int) -> int:
    from hardware.cards.library import load_robot_card
    from policies.controller import load_controller
    from sim.evaluation.task import evaluate_task

    report = evaluate_task(
        lambda card, rate_hz: load_controller(folder, card, steady_clock=lambda: 0),
        load_robot_card(_ROBOT),
        _TASK,
        seeds=range(_ROLLOUTS, _ROLLOUTS + rollouts),
    )
    return report.successes


def _row(name: str, runs: list[dict[str, Any]], rollouts: int) -> dict[str, Any]:
    from sim.evaluation.statistics import wilson

    successes, trials = sum(run["successes"] for run in runs), rollouts * len(runs)
    interval = wilson(successes, trials)
    return {
        "name": name,
        "expert_steps": sum(run["expert_steps"] for run in runs) / len(runs),
        "successes": successes,
        "rollouts": trials,
        "success_rate": successes / trials,
        "lower": interval.lower,
        "upper": interval.upper,
        "seeds": " ".join(str(run["successes"]) for run in runs),
        "runs": runs,
    }
