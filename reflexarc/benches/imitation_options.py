"""`reflexarc bench imitation-options`: what goals and Behavior Retrieval are worth, with and without them."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from hardware.robot import RobotCard
    from sim.experts.demonstrations import Demonstrations
    from sim.worlds.pick_cube import PickCubeSettings

TASK = "reflexarc/PickCube-v0"
_ROBOT = "so101_twin"
# Where cubes are carried to: the turn of the shoulder, rad, with the other joints as at home.
PLACES: Mapping[str, float] = {"right": -0.8, "middle": 0.0, "left": 0.8}
# The place that the few demonstrations show.
_WANTED = "left"
# Demonstrations of a seed begin so far from those of the next one, and those of a place from the next.
_SEED_STRIDE, _PLACE_STRIDE = 100_000, 10_000
_FIRST_SEED = 2_000_000
BC, DIFFUSION = "bc", "diffusion"
# With an option, and what it is to be compared with.
_PAIRS = (
    ("BC, goal", "BC, no goal"),
    ("diffusion, goal", "diffusion, no goal"),
    ("BC, few and what is like them", "BC, few alone"),
    ("BC, few and what is like them", "BC, few and all others"),
)


@dataclass(frozen=True)
class ImitationOptionsBench:
    """What to train, and how often to try it."""

    # How many seeds; each draws demonstrations, initial weights and batches of its own.
    seeds: int = 3
    # Demonstrations of carrying a cube to each of the three places: learned with goals, retrieved from.
    demonstrations: int = 80
    # Demonstrations of the one place that retrieval is asked for.
    few: int = 10
    # The share of the large set that is retrieved; a third of it shows that place.
    retrieve_share: float = 0.3
    # Gradient steps of behaviour cloning, and of the diffusion policy; 0: leave the diffusion policy out.
    bc_steps: int = 3_000
    diffusion_steps: int = 1_500
    # Attempts of every policy, one a seed, the same for all.
    episodes: int = 100
    # Also write the report, JSON, to this file.
    out: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what measures nothing.

        Raises:
            ConfigError: a number is too small.
        """
        least = {
            "seeds": 1,
            "demonstrations": 2,
            "few": 2,
            "bc_steps": 1,
            "diffusion_steps": 0,
            "episodes": 3,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where="bench imitation-options",
                    expected=f"{value} or more",
                    mend="raise it",
                )


def measure(config: ImitationOptionsBench, progress: Progress) -> BenchReport:
    """Train with and without each option on the same demonstrations, and count successes.

    Args:
        config: what and how much.
        progress: is told every policy that has been trained and judged.

    Returns:
        The report; its ratios are success rates with an option over those without it.
    """
    machine = describe_machine()
    contenders = _contenders(config)
    found: dict[str, list[_Outcome]] = {name: [] for name in contenders}
    for seed in range(config.seeds):
        with tempfile.TemporaryDirectory() as folder:
            _collect(config, seed, Path(folder))
            for name, contender in contenders.items():
                own = Path(folder) / name
                own.mkdir()
                found[name].append(_run(contender, config, seed, Path(folder), own))
                progress(sum(map(len, found.values())), config.seeds * len(contenders))
    whole = {name: _row(name, "all", outcomes) for name, outcomes in found.items()}
    rates = {name: row["successes"] / row["trials"] for name, row in whole.items()}
    return BenchReport(
        name="imitation-options",
        title="Cubes held where they were asked for, by policies learned with and without an option",
        columns=(
            Column("name", "learned"),
            Column("seed", "seed"),
            Column("pairs", "from pairs"),
            Column("successes", "successes"),
            Column("trials", "of"),
            Column("lower", "95 % from"),
            Column("upper", "to"),
            Column("train_s", "training, s", 0),
        ),
        rows=(*(_row(name, str(o.seed), [o]) for name, some in found.items() for o in some), *whole.values()),
        ratios={
            f"the successes of: {without}, {with_it}": rates[with_it] / rates[without]
            for with_it, without in _PAIRS
            if rates.get(without)
        },
        machine=machine,
        settings={name: value for name, value in dataclasses.asdict(config).items() if name != "out"},
        notes=(
            f"Goals: {config.demonstrations} demonstrations of carrying a cube to each of {len(PLACES)}"
            " places, which do not say which; attempts ask for the places in turn. Who is not asked can"
            " hope for a third.",
            f"Retrieval: {config.few} demonstrations of one place, the one that every attempt wants, beside"
            f" that large set; {100 * config.retrieve_share:g} % of its steps are retrieved.",
            "Every seed has its own demonstrations, initial weights and batches; attempts have the same"
            " starts for all. The weights of the last step are judged. 95 %: Wilson, seeds taken together.",
        ),
    )


@dataclass(frozen=True)
class _Contender:
    """A way to learn."""

    # The learner.
    method: str
    # Its demonstrations, by the name of their file.
    data: str
    # Settings beside those that all have.
    settings: Mapping[str, Any]
    # The places that its attempts ask for, in turn.
    places: Sequence[str]


@dataclass(frozen=True)
class _Outcome:
    """What one policy did."""

    # The seed of demonstrations and training.
    seed: int
    # Pairs that it learned from.
    pairs: int
    # Attempts that succeeded, of how many.
    successes: int
    trials: int
    # What data and training took, seconds.
    train_s: float


def _contenders(config: ImitationOptionsBench) -> dict[str, _Contender]:
    every, one = tuple(PLACES), (_WANTED,)
    goal = {"goal": ("cube_position",)}
    retrieved = {"retrieve_from": "large.npz", "retrieve_share": config.retrieve_share}
    diffusion = {
        "diffusion, no goal": _Contender(DIFFUSION, "large.npz", {}, every),
        "diffusion, goal": _Contender(DIFFUSION, "large.npz", goal, every),
    }
    return {
        "BC, no goal": _Contender(BC, "large.npz", {}, every),
        "BC, goal": _Contender(BC, "large.npz", goal, every),
        **(diffusion if config.diffusion_steps else {}),
        "BC, few alone": _Contender(BC, "few.npz", {}, one),
        "BC, few and all others": _Contender(BC, "both.npz", {}, one),
        "BC, few and what is like them": _Contender(BC, "few.npz", retrieved, one),
    }


def _collect(config: ImitationOptionsBench, seed: int, folder: Path) -> None:
    """Write what the contenders learn from: each place alike, the few of one place, and all of them."""
    first = _FIRST_SEED + seed * _SEED_STRIDE
    large = [
        _carry(place, config.demonstrations, first + number * _PLACE_STRIDE)
        for number, place in enumerate(PLACES)
    ]
    few = _carry(_WANTED, config.few, first + len(PLACES) * _PLACE_STRIDE)
    for name, parts in (("large", large), ("few", [few]), ("both", [few, *large])):
        _joined(parts).save(folder / f"{name}.npz")


def _carry(place: str, count: int, first_seed: int) -> Demonstrations:
    from sim.experts.collect import ActionNoise, collect
    from sim.experts.pick_cube import ExpertSettings, PickCubeExpert

    return collect(
        count,
        task=TASK,
        first_seed=first_seed,
        noise=ActionNoise(),
        settings=_asked(place),
        expert=PickCubeExpert(settings=ExpertSettings(carry_to_rad=_posture(place))),
    )


def _posture(place: str) -> tuple[float, ...]:
    from sim.worlds import so101

    return (PLACES[place], *so101.HOME[1:5])


def _asked(place: str) -> PickCubeSettings:
    """The task, with success only where the tool is in the posture of the place."""
    from sim.experts.inverse_kinematics import ToolSolver
    from sim.worlds.pick_cube import PickCubeSettings

    x, y, z = map(float, ToolSolver().forward(np.array(_posture(place)))[0])
    return PickCubeSettings(goal_m=(x, y, z))


def _joined(parts: Sequence[Demonstrations]) -> Demonstrations:
    """One set of several, episodes numbered on."""
    first = parts[0]
    before = np.cumsum([0, *(len(part.success) for part in parts)])
    return dataclasses.replace(
        first,
        observations={n: np.concatenate([p.observations[n] for p in parts]) for n in first.observations},
        episode=np.concatenate([p.episode + b for p, b in zip(parts, before[:-1], strict=True)]),
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("actions", "executed", "success", "seeds")
        },
    )


def _run(
    contender: _Contender, config: ImitationOptionsBench, seed: int, data: Path, folder: Path
) -> _Outcome:
    """Train a policy as `reflexarc train` does, let it try, and count."""
    import yaml

    began = time.perf_counter()
    policy = _train(contender, config, seed, data, folder)
    train_s = time.perf_counter() - began
    record = yaml.safe_load((policy / "training.yaml").read_text(encoding="utf-8"))
    successes = sum(
        _attempt(policy, contender, place, range(number, config.episodes, len(contender.places)))
        for number, place in enumerate(contender.places)
    )
    return _Outcome(seed, record["data"]["training_pairs"], successes, config.episodes, train_s)


def _train(contender: _Contender, config: ImitationOptionsBench, seed: int, data: Path, folder: Path) -> Path:
    steps = config.bc_steps if contender.method == BC else config.diffusion_steps
    settings: dict[str, Any] = {
        "out": str(folder),
        "data": str(data / contender.data),
        "seed": seed,
        "execute": 4,
        # The weights of the last step are judged, for every contender alike: nothing is chosen.
        "steps": steps,
        "evaluate_every": steps,
        "rollouts": 0,
        **contender.settings,
    }
    if "retrieve_from" in settings:
        settings["retrieve_from"] = str(data / settings["retrieve_from"])
    if contender.method == BC:
        from policies.bc.config import TrainConfig
        from policies.bc.train import train

        return train(TrainConfig(**settings))
    from policies.diffusion.config import DiffusionConfig
    from policies.diffusion.train import train as train_diffusion

    return train_diffusion(DiffusionConfig(**settings))


def _attempt(policy: Path, contender: _Contender, place: str, seeds: range) -> int:
    """How often a policy carries the cube to a place."""
    from hardware.cards import load_robot_card
    from policies.controller import Controller, load_controller
    from sim.evaluation.task import evaluate_task

    path = _ask(policy, place) if "goal" in contender.settings else policy

    def make(robot: RobotCard, rate_hz: float) -> Controller:
        return load_controller(path, robot, steady_clock=time.monotonic_ns, rate_hz=rate_hz)

    return evaluate_task(make, load_robot_card(_ROBOT), TASK, seeds=seeds, settings=_asked(place)).successes


def _ask(policy: Path, place: str) -> Path:
    """Write a controller file that asks for a place."""
    from hardware import schema
    from policies.controller_config import CONTROLLER_FILE, load_config
    from policies.goal import GoalTerm

    wanted = _asked(place).goal_m
    assert wanted is not None
    goal = {"cube_position": GoalTerm(dict(zip("xyz", wanted, strict=True)), "m")}
    path = policy / f"{place}.yaml"
    config = dataclasses.replace(load_config(policy / CONTROLLER_FILE), goal=goal)
    path.write_text(schema.dump(config), encoding="utf-8")
    return path


def _row(name: str, seed: str, outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    from sim.evaluation.statistics import wilson

    successes, trials = sum(o.successes for o in outcomes), sum(o.trials for o in outcomes)
    interval = wilson(successes, trials)
    return {
        "name": name,
        "seed": seed,
        "pairs": sum(o.pairs for o in outcomes) // len(outcomes),
        "successes": successes,
        "trials": trials,
        "lower": interval.lower,
        "upper": interval.upper,
        "train_s": sum(o.train_s for o in outcomes) / len(outcomes),
    }
