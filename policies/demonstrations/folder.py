"""What a training writes: card, controller, record and learning curve beside the weights."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware import schema
from hardware.robot import RobotCard
from policies.card import ONNX_FILE, POLICY_CARD_SCHEMA, WEIGHTS_FILE, PolicyAction, PolicyCard
from policies.controller import CONTROLLER_FILE, CONTROLLER_SCHEMA, ControllerConfig, ScheduleConfig
from policies.demonstrations.config import FREE_SETTINGS, ImitationConfig
from policies.demonstrations.episode import DemonstrationSet
from policies.demonstrations.layout import Layout
from policies.demonstrations.source import command_of
from policies.provenance import command_line, git_commit, settings, versions

if TYPE_CHECKING:
    from policies.demonstrations.learner import Outcome

CURVE_FILE = "learning_curve"
_PATHS = ("out", "data", "interventions", "retrieve_from")
_VERSIONED = ("numpy", "torch", "onnx", "mujoco", "gymnasium")


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation during the training found, about the averaged weights."""

    # Gradient steps so far.
    step: int
    # The learner's loss: of the batches since the last evaluation, and of the averaged weights on the
    # held-out episodes.
    training_loss: float
    validation_loss: float
    # Roll-outs that succeeded, of how many.
    successes: int
    rollouts: int

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: successes first, then a smaller validation loss."""
        return (float(self.successes), -self.validation_loss)


@dataclass(frozen=True)
class DataRecord:
    """The demonstrations behind a policy."""

    # The file, or who gave them.
    source: str
    # SHA-256 over observations, actions, episode numbers and images.
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


@dataclass(frozen=True)
class Trained:
    """What a method says about what it trained."""

    # Its method, as on the card.
    method: str
    # One sentence for people.
    description: str
    # Steps of the chunks that the policy gives.
    horizon: int
    # Trained numbers in the network.
    parameters: int
    # What the loss is, for the learning curve.
    loss: str
    # The rest of the card: settings of the method, recurrent state by name.
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_folder(
    config: ImitationConfig,
    robot: RobotCard,
    layout: Layout,
    demonstrations: DemonstrationSet,
    trained: Trained,
    outcome: Outcome[Any],
    *,
    processes: int,
) -> None:
    """Write all of a policy folder but the weights, which must be there.

    Args:
        config: every setting; its `out` is the folder.
        robot: the robot that the policy is made for.
        layout: the terms of its observation.
        demonstrations: what was learned from.
        trained: what the method says about the weights.
        outcome: how the weights were found.
        processes: how many trained them together.
    """
    folder = Path(config.out)
    card = _card(config, robot, layout, demonstrations.action_names, trained)
    controller = ControllerConfig(
        schema=CONTROLLER_SCHEMA,
        base=".",
        schedule=ScheduleConfig(
            blend_s=config.blend_s, interpolation=config.interpolation, inpaint=config.inpaint
        ),
    )
    record = TrainingRecord(
        method=trained.method,
        command=command_line(
            (*_launcher(processes), "reflexarc", "train", trained.method),
            config,
            paths=_PATHS,
            skip=[name for name in FREE_SETTINGS if name != "out"],
        ),
        seed=config.seed,
        git_commit=git_commit(),
        versions=versions(_VERSIONED),
        config=settings(config, paths=_PATHS),
        data=DataRecord(
            source=demonstrations.source,
            sha256=demonstrations.sha256,
            episodes=len(demonstrations.episodes),
            steps=demonstrations.steps,
            training_pairs=outcome.training_pairs,
            validation_pairs=outcome.validation_pairs,
        ),
        parameters=trained.parameters,
        metrics=outcome.best,
    )
    (folder / "card.yaml").write_text(schema.dump(card), encoding="utf-8")
    (folder / CONTROLLER_FILE).write_text(schema.dump(controller), encoding="utf-8")
    (folder / "training.yaml").write_text(schema.dump(record), encoding="utf-8")
    write_curve(folder, outcome.history, outcome.best, loss=trained.loss)


def _launcher(processes: int) -> tuple[str, ...]:
    """What starts so many processes; every one takes its own part of the batch."""
    return () if processes == 1 else ("torchrun", "--nproc_per_node", str(processes), "-m")


def _card(
    config: ImitationConfig,
    robot: RobotCard,
    layout: Layout,
    names: tuple[str, ...],
    trained: Trained,
) -> PolicyCard:
    command = command_of(robot, names)
    folder = Path(config.out)
    return PolicyCard(
        schema=POLICY_CARD_SCHEMA,
        name=config.name,
        method=trained.method,
        robot_kind=robot.kind,
        observation=layout.terms,
        action=PolicyAction(
            kind=command.kind,
            names=names,
            unit=command.unit,
            horizon=trained.horizon,
            step_s=config.step_s,
            execute=config.execute,
        ),
        rate_hz=config.rate_hz,
        max_loop_age_s=config.max_loop_age_s,
        max_open_loop_s=config.max_open_loop_s,
        description=trained.description,
        files={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (WEIGHTS_FILE, ONNX_FILE)
        },
        **trained.card,
    )


def write_curve(folder: Path, history: Sequence[Evaluation], best: Evaluation, *, loss: str) -> None:
    """Write the learning curve, as a table and as a picture.

    Args:
        folder: where the files go.
        history: all evaluations, in order.
        best: the one that the weights were chosen by.
        loss: what the loss is, for the axis.
    """
    rows = [dataclasses.asdict(evaluation) for evaluation in history]
    with (folder / f"{CURVE_FILE}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    losses = figure.add_subplot()
    steps = [row["step"] for row in rows]
    losses.plot(steps, [row["training_loss"] for row in rows], color="#0072b2", label="training loss")
    losses.plot(steps, [row["validation_loss"] for row in rows], color="#d55e00", label="validation loss")
    losses.set_xlabel("gradient step")
    losses.set_ylabel(loss)
    losses.set_ylim(bottom=0.0)
    handles, labels = losses.get_legend_handles_labels()
    if rows[0]["rollouts"]:
        rate = losses.twinx()
        rate.plot(
            steps, [row["successes"] / row["rollouts"] for row in rows], color="#009e73", label="success rate"
        )
        rate.set_ylabel(f"success rate of {rows[0]['rollouts']} roll-outs")
        rate.set_ylim(0.0, 1.02)
        more = rate.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    losses.axvline(best.step, color="0.6", linewidth=0.8, linestyle=":")
    losses.legend(handles, labels, loc="center right", frameon=False)
    # No creation date or version inside, so that the same training gives the same file.
    figure.savefig(folder / f"{CURVE_FILE}.png", dpi=110, metadata={"Software": None})
