"""Training by behaviour cloning: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware import schema
from hardware.cards.library import load_robot_card
from hardware.chunk import Interpolation
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.bc.config import TrainConfig
from policies.bc.data import Episode, Layout
from policies.bc.fit import Evaluation, Outcome, RollOut, fit
from policies.bc.model import BcModule
from policies.bc.network import NumpyBackend
from policies.bc.onnx_model import onnx_model
from policies.bc.policy import ONNX_FILE, WEIGHTS_FILE
from policies.bc.rollout import make_task, success_of
from policies.card import POLICY_CARD_SCHEMA, PolicyAction, PolicyCard, PolicyTerm
from policies.controller import CONTROLLER_FILE, CONTROLLER_SCHEMA, ControllerConfig, ScheduleConfig
from sim.experts.collect import ActionNoise, collect
from sim.experts.demonstrations import Demonstrations

CURVE_FILE = "learning_curve"
_VERSIONED = ("numpy", "torch", "onnx", "mujoco", "gymnasium")


@dataclass(frozen=True)
class DataRecord:
    """The demonstrations behind a policy."""

    # The file, or who gave them.
    source: str
    # SHA-256 over observations, actions and episode numbers.
    sha256: str
    # Successful episodes and their steps; only these were learned from.
    episodes: int
    steps: int
    # Training pairs, and those held out for validation.
    training_pairs: int
    validation_pairs: int


@dataclass(frozen=True)
class TrainingRecord:
    """What made a policy folder: `training.yaml`."""

    # The method.
    method: str
    # The command that does it again.
    command: str
    # The seed of the training.
    seed: int
    # The state of the repository: a commit, with `-dirty` when files differed from it.
    git_commit: str
    # Versions of what computed it.
    versions: Mapping[str, str]
    # Every setting.
    config: Mapping[str, Any]
    # The demonstrations.
    data: DataRecord
    # Trained numbers in the network.
    parameters: int
    # The evaluation by which the weights were chosen.
    metrics: Evaluation


def train(config: TrainConfig, *, progress: Callable[[Evaluation], None] | None = None) -> Path:
    """Train a policy and write its folder.

    The folder gets `card.yaml`, `controller.yaml`, `model.safetensors`, `model.onnx`, `training.yaml`
    and `learning_curve.csv` / `.png`. The same config gives the same weights on the same versions of the
    libraries and the same number of threads.

    Args:
        config: every setting.
        progress: is told every evaluation.

    Returns:
        The policy folder.

    Raises:
        ConfigError: no such robot, demonstrations that do not fit it, or too few of them.
    """
    robot = load_robot_card(config.robot)
    layout = _layout(robot, config.observation)
    demonstrations = _demonstrations(config, robot)
    names = demonstrations.action_names
    roll_out = _roll_out(config, layout) if config.rollouts else None
    outcome = fit(
        config,
        _episodes(demonstrations),
        layout=layout,
        action_names=names,
        roll_out=roll_out,
        progress=progress,
    )
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = outcome.module.to_weights()
    weights.save(folder / WEIGHTS_FILE)
    (folder / ONNX_FILE).write_bytes(onnx_model(weights))
    card = _card(config, robot, layout, names, folder)
    record = TrainingRecord(
        method="bc",
        command=_command(config),
        seed=config.seed,
        git_commit=_git_commit(),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _VERSIONED},
        config=_settings(config),
        data=DataRecord(
            source=Path(config.demonstrations).name or "sim.experts.collect",
            sha256=_hash(demonstrations),
            episodes=len(demonstrations.seeds),
            steps=len(demonstrations.actions),
            training_pairs=outcome.training_pairs,
            validation_pairs=outcome.validation_pairs,
        ),
        parameters=weights.parameter_count,
        metrics=outcome.best,
    )
    controller = ControllerConfig(
        schema=CONTROLLER_SCHEMA,
        base=".",
        schedule=ScheduleConfig(blend_s=config.blend_s, interpolation=Interpolation.LINEAR),
    )
    (folder / "card.yaml").write_text(schema.dump(card), encoding="utf-8")
    (folder / CONTROLLER_FILE).write_text(schema.dump(controller), encoding="utf-8")
    (folder / "training.yaml").write_text(schema.dump(record), encoding="utf-8")
    _write_curve(outcome, folder)
    return folder


def _layout(robot: RobotCard, terms: Sequence[str]) -> Layout:
    for term in terms:
        if term not in robot.observations:
            raise ConfigError(
                f"the robot does not measure {term!r}",
                where=f"robot card {robot.name!r}",
                expected="some of " + ", ".join(robot.observations),
                mend="correct the observation of the training config",
            )
    specs = {term: robot.observations[term] for term in terms}
    return Layout({name: PolicyTerm(s.names, s.unit, s.frame) for name, s in specs.items()})


def _demonstrations(config: TrainConfig, robot: RobotCard) -> Demonstrations:
    if config.demonstrations:
        found = Demonstrations.load(config.demonstrations)
    else:
        noise = ActionNoise(std_rad=config.noise_std_rad) if config.noise_std_rad else None
        found = collect(config.episodes, first_seed=config.demonstration_seed, noise=noise)
    wanted = next(iter(robot.commands.values())).names
    period_ns = round(config.step_s * 1e9)
    if sorted(found.action_names) != sorted(wanted) or found.period_ns != period_ns:
        raise ConfigError(
            f"actions {', '.join(found.action_names)} every {found.period_ns * 1e-9:g} s",
            where=config.demonstrations or "demonstrations",
            expected=f"{', '.join(wanted)} every {config.step_s:g} s",
            mend="record them for this robot, or correct robot or step_s",
        )
    return found.successful()


def _episodes(demonstrations: Demonstrations) -> list[Episode]:
    cuts = np.flatnonzero(np.diff(demonstrations.episode)) + 1
    actions = np.split(demonstrations.actions, cuts)
    parts = {name: np.split(values, cuts) for name, values in demonstrations.observations.items()}
    return [
        Episode({name: values[i] for name, values in parts.items()}, action)
        for i, action in enumerate(actions)
    ]


def _roll_out(config: TrainConfig, layout: Layout) -> RollOut:
    environment = make_task(config.task)

    def count(module: BcModule) -> int:
        backend = NumpyBackend(module.to_weights())
        return sum(
            success_of(backend, environment, layout, execute=config.execute, seed=config.rollout_seed + i)
            for i in range(config.rollouts)
        )

    return count


def _card(
    config: TrainConfig, robot: RobotCard, layout: Layout, names: tuple[str, ...], folder: Path
) -> PolicyCard:
    command = next(iter(robot.commands.values()))
    return PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name=config.name,
        method="bc",
        robot_kind=robot.kind,
        observation=layout.terms,
        action=PolicyAction(
            kind=command.kind,
            names=names,
            unit=command.unit,
            horizon=config.horizon,
            step_s=config.step_s,
            execute=config.execute,
        ),
        rate_hz=config.rate_hz,
        max_loop_age_s=config.max_loop_age_s,
        max_open_loop_s=config.max_open_loop_s,
        description=f"Cloned from demonstrations of {config.task}: chunks of {config.horizon} steps.",
        files={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (WEIGHTS_FILE, ONNX_FILE)
        },
    )


def _settings(config: TrainConfig) -> dict[str, Any]:
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }
    # Where files lay on the machine of the training says nothing to anybody else.
    settings["out"] = Path(config.out).name
    settings["demonstrations"] = Path(config.demonstrations).name
    return settings


def _command(config: TrainConfig) -> str:
    words = ["reflexarc", "train", "bc"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "out" or value != field.default:
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            text = Path(text).name if field.name in ("out", "demonstrations") else text
            words += [f"--{field.name.replace('_', '-')}", text]
    return " ".join(words)


def _hash(demonstrations: Demonstrations) -> str:
    digest = hashlib.sha256()
    arrays: dict[str, FloatArray] = dict(sorted(demonstrations.observations.items()))
    arrays |= {"action": demonstrations.actions, "episode": demonstrations.episode.astype(np.float64)}
    for name, array in arrays.items():
        digest.update(f"{name} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _git_commit() -> str:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a git checkout"


def _write_curve(outcome: Outcome, folder: Path) -> None:
    rows = [dataclasses.asdict(evaluation) for evaluation in outcome.history]
    with (folder / f"{CURVE_FILE}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    loss = figure.add_subplot()
    steps = [row["step"] for row in rows]
    loss.plot(steps, [row["training_loss"] for row in rows], color="#0072b2", label="training loss")
    loss.plot(steps, [row["validation_loss"] for row in rows], color="#d55e00", label="validation loss")
    loss.set_xlabel("gradient step")
    loss.set_ylabel("mean absolute error, standard deviations")
    loss.set_ylim(bottom=0.0)
    handles, labels = loss.get_legend_handles_labels()
    if rows[0]["rollouts"]:
        rate = loss.twinx()
        rate.plot(
            steps, [row["successes"] / row["rollouts"] for row in rows], color="#009e73", label="success rate"
        )
        rate.set_ylabel(f"success rate of {rows[0]['rollouts']} roll-outs")
        rate.set_ylim(0.0, 1.02)
        more = rate.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    loss.axvline(outcome.best.step, color="0.6", linewidth=0.8, linestyle=":")
    loss.legend(handles, labels, loc="center right", frameon=False)
    # No creation date or version inside, so that the same training gives the same file.
    figure.savefig(folder / f"{CURVE_FILE}.png", dpi=110, metadata={"Software": None})
