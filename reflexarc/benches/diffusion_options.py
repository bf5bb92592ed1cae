"""`reflexarc bench diffusion-options`: the same training of a diffusion policy, one choice changed a row."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware.errors import ConfigError
from reflexarc.benches.report import BenchReport, Column
from reflexarc.machine import describe_machine
from reflexarc.output import Progress

if TYPE_CHECKING:
    from policies.demonstrations.episode import DemonstrationSet
    from policies.diffusion.config import DiffusionConfig
    from policies.diffusion.network import DiffusionNetwork

USUAL = "as usual"
# What is changed in the training, by the name of the choice.
TRAINED: Mapping[str, Mapping[str, Any]] = {
    "encoder": {"encoder": ()},
    "prediction": {"prediction": "epsilon"},
    "denoiser": {"denoiser": "transformer"},
    "average": {"average_decay": 0.0},
    "prefix": {"prefix_steps": 0},
    "history": {"observation_steps": 2},
    "relative": {"relative_to": ""},
    "draws": {"noise_draws": 4},
}
# What is changed when the usual weights are used.
DRAWN: Mapping[str, Mapping[str, Any]] = {
    "2 steps": {"inference_steps": 2},
    "50 steps": {"inference_steps": 50},
    "ddpm": {"scheduler": "ddpm", "inference_steps": 100},
}
# With cameras: the training that all have in common, without the cube's pose, and what is changed in it.
_SEEING: Mapping[str, Any] = {
    "observation": ("joint_position", "joint_velocity"),
    "execute": 4,
    "batch_size": 64,
    "learning_rate": 1.5e-3,
    "keypoints": 24,
    "image_channels": 16,
    "image_stages": 2,
    "noise_draws": 4,
    "max_loop_age_s": 0.2,
}
SEEN: Mapping[str, Mapping[str, Any]] = {
    "crop": {"crop": 1.0},
    "one draw": {"noise_draws": 1},
    "stages": {"image_stages": 3},
}
_SAYS = {
    USUAL: "all choices as usual",
    "encoder": "no encoder before the denoiser",
    "prediction": "the network tells the noise",
    "denoiser": "a transformer",
    "average": "no averaged weights",
    "prefix": "no known steps in training",
    "history": "two observations",
    "relative": "chunks not relative to the joints",
    "draws": "four draws of noise a pair",
    "crop": "whole images, not cut out somewhere",
    "one draw": "one draw of noise a pair",
    "stages": "images seen half as finely, by one stage more",
    "2 steps": "2 steps of DDIM",
    "50 steps": "50 steps of DDIM",
    "ddpm": "100 steps of DDPM",
}


@dataclass(frozen=True)
class OptionsBench:
    """What to compare."""

    # The choices to change, one at a time; none: all.
    choices: tuple[str, ...] = ()
    # Cameras that the policies see the cube through; none: they are told its pose.
    cameras: tuple[str, ...] = ()
    # The Gymnasium task, and the robot that it is of.
    task: str = "reflexarc/PickCube-v0"
    robot: str = "so101_twin"
    # Demonstrations of the expert, the same for all.
    episodes: int = 200
    # Trainings of each: from seed 0 on.
    seeds: int = 3
    # Gradient steps of a training.
    steps: int = 1_500
    # Roll-outs of each training; the same starts for all.
    rollouts: int = 100
    # Also write the report, JSON, to this file.
    out: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what measures nothing.

        Raises:
            ConfigError: an unknown choice, or a number that is not positive.
        """
        known = (*self.trained(), *DRAWN)
        unknown = [name for name in self.choices if name not in known]
        if unknown:
            raise ConfigError(
                f"choices {', '.join(unknown)}",
                where="bench diffusion-options",
                expected="some of " + ", ".join(known),
                mend="correct --choices",
            )
        if min(self.episodes - 1, self.seeds, self.steps, self.rollouts) < 1:
            raise ConfigError(
                f"episodes {self.episodes}, seeds {self.seeds}, steps {self.steps}, rollouts {self.rollouts}",
                where="bench diffusion-options",
                expected="two demonstrations, and one of everything else, at least",
                mend="correct the number",
            )

    def trained(self) -> Mapping[str, Mapping[str, Any]]:
        """What can be changed in the training, by the name of the choice."""
        return SEEN if self.cameras else TRAINED

    def changed(self) -> tuple[str, ...]:
        """The choices to change."""
        return self.choices or ((*SEEN,) if self.cameras else (*TRAINED, *DRAWN))


def measure(config: OptionsBench, progress: Progress) -> BenchReport:
    """Train with and without every choice, and let all attempt the task from the same starts.

    Args:
        config: what to compare.
        progress: is told every hundredth gradient step.

    Returns:
        The report; its ratios are successes without a choice over those with all.

    Raises:
        ConfigError: no such task or robot, or no library to train with.
    """
    from hardware.cards.library import load_robot_card
    from policies.demonstrations.source import get_demonstrations

    machine = describe_machine()
    robot = load_robot_card(config.robot)
    trained = [USUAL, *(name for name in config.changed() if name in config.trained())]
    total = len(trained) * config.seeds * config.steps
    found: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        usual = _training(config, folder)
        demonstrations = get_demonstrations(usual, robot)
        done = 0
        for name in trained:
            for seed in range(config.seeds):

                def tick(step: int, done: int = done) -> None:
                    if step % 100 == 0:
                        progress(done + step, total)

                changed = _changed(usual, {"seed": seed, **config.trained().get(name, {})})
                changed = dataclasses.replace(changed, out=str(Path(folder) / f"{name}-{seed}"))
                network = _fit(changed, demonstrations, tick)
                done += config.steps
                found.setdefault(name, []).append(_count(changed, network))
                if name == USUAL:
                    for drawn, count in _drawn_otherwise(config, changed, network):
                        found.setdefault(drawn, []).append(count)
    rows = [_row(name, found[name], config) for name in (USUAL, *config.changed())]
    usual_rate = rows[0]["rate"]
    return BenchReport(
        name="diffusion-options",
        title=f"{config.task}{' from images' if config.cameras else ''},"
        f" {config.episodes} demonstrations, {config.steps} gradient steps",
        columns=(
            Column("name", "changed"),
            Column("rate", "success"),
            Column("lower", "from", 3),
            Column("upper", "to", 3),
            Column("seeds", "of each seed"),
        ),
        rows=tuple(rows),
        ratios={
            f"the successes as usual: {row['name']}": float(row["rate"]) / float(usual_rate)
            for row in rows[1:]
            if usual_rate
        },
        machine=machine,
        settings={key: value for key, value in dataclasses.asdict(config).items() if key != "out"},
        notes=(
            "One choice is changed in each row, and nothing else: the same demonstrations, seeds and starts."
            " The interval is Wilson's, 95 %, of all attempts of a row together.",
            "Roll-outs in the task itself, without robot, gate or schedule; the averaged weights of the last"
            " step, none chosen by its successes.",
        ),
    )


def _training(config: OptionsBench, folder: str) -> DiffusionConfig:
    from policies.diffusion.config import DiffusionConfig

    seeing = {"cameras": config.cameras, **_SEEING} if config.cameras else {}
    return DiffusionConfig(
        out=folder,
        task=config.task,
        robot=config.robot,
        episodes=config.episodes,
        steps=config.steps,
        evaluate_every=config.steps,
        rollouts=config.rollouts,
        parallel_rollouts=min(50, config.rollouts),
        device="cpu",
        **seeing,
    )


def _changed(config: DiffusionConfig, changes: Mapping[str, Any]) -> DiffusionConfig:
    """Replace settings; words become the enumerations that they name."""
    from policies.diffusion.settings import Denoiser, Prediction, Scheduler

    kinds: Mapping[str, Any] = {"denoiser": Denoiser, "prediction": Prediction, "scheduler": Scheduler}
    return dataclasses.replace(
        config, **{name: kinds[name](value) if name in kinds else value for name, value in changes.items()}
    )


def _fit(config: DiffusionConfig, demonstrations: DemonstrationSet, tick: Any) -> DiffusionNetwork:  # noqa: ANN401
    from policies.demonstrations.learner import learn
    from policies.diffusion.fit import DiffusionLearner

    names = demonstrations.action_names
    return learn(DiffusionLearner(config, demonstrations.episodes, _layout(config), names), tick=tick).network


def _count(config: DiffusionConfig, network: DiffusionNetwork) -> int:
    from policies.diffusion.train import make_roll_out

    return make_roll_out(config, _layout(config))(network)


def _layout(config: DiffusionConfig) -> Any:  # noqa: ANN401
    from hardware.cards.library import load_robot_card
    from policies.demonstrations.layout import Layout

    return Layout.of(load_robot_card(config.robot), config.observation)


def _drawn_otherwise(
    config: OptionsBench, training: DiffusionConfig, network: DiffusionNetwork
) -> Iterator[tuple[str, int]]:
    """The same weights with other steps of denoising."""
    from policies.diffusion.schedule import denoising_table

    usual = network.table
    for name in config.changed():
        if name in DRAWN:
            network.table = denoising_table(_changed(training, DRAWN[name]).model().noise)
            yield name, _count(training, network)
    network.table = usual


def _row(name: str, successes: list[int], config: OptionsBench) -> dict[str, Any]:
    from sim.evaluation.statistics import wilson

    total = config.rollouts * len(successes)
    interval = wilson(sum(successes), total)
    return {
        "name": _SAYS[name],
        "choice": name,
        "rate": sum(successes) / total,
        "lower": interval.lower,
        "upper": interval.upper,
        "seeds": ", ".join(str(count) for count in successes),
    }
