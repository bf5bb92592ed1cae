"""ACT through LeRobot: its network, its training and its checkpoints; our choice of weights and our card.

The training runs in segments of `evaluate_every` gradient steps. Behind each, the policy acts in the task as
the black box that it is for the controller; the most successful weights become the policy folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from hardware import schema
from hardware.cards.library import load_robot_card
from hardware.chunk import Interpolation
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.controller import CONTROLLER_FILE, CONTROLLER_SCHEMA, ControllerConfig, ScheduleConfig
from policies.demonstrations.folder import DataRecord, Evaluation, TrainingRecord, write_curve
from policies.demonstrations.processes import started_processes
from policies.lerobot.config import ActTrainConfig
from policies.lerobot.contract import WEIGHTS_FILE
from policies.lerobot.data import TrainingSet, training_set
from policies.lerobot.describe import describe
from policies.lerobot.policy import LeRobotPolicy
from policies.lerobot.rollout import count_successes
from policies.lerobot.runner import RunReport, run_training
from policies.provenance import command_line, git_commit, settings, versions
from recording.lerobot_set import table_hashes

_PATHS = ("out", "data")
_VERSIONED = ("numpy", "torch", "lerobot", "mujoco", "gymnasium")
# Settings that may differ when a training goes on.
_MAY_CHANGE = ("out", "steps", "patience", "workers", "device", "wandb_project")
_LOGS_A_SEGMENT = 20


def train_act(config: ActTrainConfig, *, progress: Callable[[Evaluation], None] | None = None,
              tick: Callable[[int], None] | None = None) -> Path:  # fmt: skip
    """Train ACT with `lerobot-train` and write a policy folder, or go on with a training that was cut off.

    The folder holds what LeRobot saves (`config.json`, `model.safetensors`, the processors), which LeRobot
    loads as its own, and our `card.yaml`, `controller.yaml`, `training.yaml` and learning curve. Dataset,
    checkpoints, TensorBoard events and LeRobot's log lie in `<out>.work`; remove it when you are content.

    Args:
        config: every setting.
        progress: is told every evaluation, those of earlier calls first.
        tick: is told gradient steps so far, now and then.

    Returns:
        The policy folder.

    Raises:
        ConfigError: no such robot, data that does not fit it, too few demonstrations, a work folder of
            another training, or LeRobot fails.
    """
    _check_start(config)
    robot = load_robot_card(config.robot)
    out = Path(config.out)
    work = out.with_name(out.name + ".work")
    _claim(work, config)
    data = training_set(config, robot, work / "dataset")
    history = _read_history(work)
    with _wandb(config, work) as track:

        def tell(found: Evaluation) -> None:
            track(found)
            if progress is not None:
                progress(found)

        for found in history:
            tell(found)
        while not history or (history[-1].step < config.steps and not _is_stale(history, config.patience)):
            begun = history[-1].step if history else 0
            target = min(begun + config.evaluate_every, config.steps)
            report = _segment(config, data, work, begun, target, tick)
            found = _evaluate(config, robot, data, work, target, report)
            history.append(found)
            _write_history(work, history, report)
            tell(found)
    best = max(history, key=lambda evaluation: evaluation.rank)
    _write(config, robot, data, work, history, best)
    return out


def _check_start(config: ActTrainConfig) -> None:
    """Refuse what would end in the middle of the training."""
    if started_processes() > 1:
        raise ConfigError(
            f"a launcher started {started_processes()} processes",
            where="reflexarc train act",
            expected="one process, which starts those of LeRobot",
            mend=f"start it without a launcher, with --processes {started_processes()}",
        )
    if config.wandb_project and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            "wandb is not installed",
            where="wandb_project",
            expected="the Python package wandb, which the tracker is part of",
            mend="uv pip install wandb, or leave --wandb-project out",
        )


def _claim(work: Path, config: ActTrainConfig) -> None:
    """Remember the settings of the training, or check that it is the same one."""
    kept = settings(config, paths=_PATHS)
    for name in _MAY_CHANGE:
        kept.pop(name)
    path = work / "settings.yaml"
    if path.exists():
        # Trainings of earlier versions had one process.
        before = {"processes": 1} | yaml.safe_load(path.read_text(encoding="utf-8"))
        other = sorted(name for name in kept if before.get(name) != kept[name])
        if other:
            raise ConfigError(
                f"it holds another training: {', '.join(f'{n} was {before.get(n)!r}' for n in other)}",
                where=str(work),
                expected="the same settings, to go on with it",
                mend="give another --out, or remove the work folder to begin anew",
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def _segment(
    config: ActTrainConfig,
    data: TrainingSet,
    work: Path,
    begun: int,
    target: int,
    tick: Callable[[int], None] | None,
) -> RunReport:
    log_every = max(1, config.evaluate_every // _LOGS_A_SEGMENT)
    run = work / "run"
    told = begun

    def note(loss: float) -> None:
        nonlocal told
        told = min(told + log_every, target)
        if tick is not None:
            tick(told)

    if begun:
        saved = run / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
        words = [f"--config_path={saved}", "--resume=true", f"--policy.device={config.device}"]
    else:
        # What a run left that never reached its first checkpoint.
        shutil.rmtree(run, ignore_errors=True)
        words = _words(config, data, run)
    words += [f"--steps={target}", f"--save_freq={config.evaluate_every}", f"--log_freq={log_every}"]
    # The last step is always evaluated, however long the segment is.
    words += [f"--eval_steps={target}", f"--num_workers={config.workers}"]
    log = work / "lerobot-train.log"
    return run_training(words, log=log, processes=config.processes, progress=note)


def _words(config: ActTrainConfig, data: TrainingSet, run: Path) -> list[str]:
    policy = {
        "type": "act",
        "device": config.device,
        "push_to_hub": "false",
        # They would be fetched from the network.
        "pretrained_backbone_weights": "null",
        "use_amp": str(config.mixed_precision).lower(),
        "chunk_size": config.horizon,
        "n_action_steps": config.execute,
        "dim_model": config.dim_model,
        "n_heads": config.n_heads,
        "dim_feedforward": config.dim_feedforward,
        "n_encoder_layers": config.n_encoder_layers,
        "n_vae_encoder_layers": config.n_encoder_layers,
        "kl_weight": config.kl_weight,
        "optimizer_lr": config.learning_rate,
        "optimizer_lr_backbone": config.learning_rate,
        "optimizer_weight_decay": config.weight_decay,
    }
    words = [f"--policy.{name}={value}" for name, value in policy.items()]
    # LeRobot holds out ceil(share * episodes); so many that at least one remains.
    share = min(config.validation_share, 1.0 - 1.0 / data.episodes)
    return [
        *words,
        f"--dataset.repo_id=local/{data.root.name}",
        f"--dataset.root={data.root.resolve()}",
        "--dataset.video_backend=pyav",
        "--dataset.use_imagenet_stats=false",
        f"--dataset.eval_split={share:.6f}",
        f"--output_dir={run}",
        "--job_name=act",
        f"--seed={config.seed}",
        f"--batch_size={config.batch_size}",
        f"--wandb.enable={str(bool(config.wandb_project)).lower()}",
        *([f"--wandb.project={config.wandb_project}"] if config.wandb_project else []),
        # LeRobot would not look at it.
        *([f"--wandb.mode={os.environ['WANDB_MODE']}"] if "WANDB_MODE" in os.environ else []),
        # Our choice of weights lies in the policy folder; none are sent.
        "--wandb.disable_artifact=true",
    ]


def _evaluate(
    config: ActTrainConfig, robot: RobotCard, data: TrainingSet, work: Path, step: int, report: RunReport
) -> Evaluation:
    checkpoint = _checkpoint(work, step)
    _describe(config, robot, data, checkpoint)
    successes = 0
    if config.rollouts:
        policy = LeRobotPolicy.load(checkpoint)
        seeds = range(config.rollout_seed, config.rollout_seed + config.rollouts)
        options: dict[str, Any] = {}
        if data.image_sizes:
            height, width = next(iter(data.image_sizes.values()))
            options["image_size"] = (width, height)
        successes = count_successes(policy, config.task, seeds=seeds, **options)
    return Evaluation(
        step=step,
        training_loss=sum(report.losses) / len(report.losses) if report.losses else math.nan,
        validation_loss=math.nan if report.evaluation_loss is None else report.evaluation_loss,
        successes=successes,
        rollouts=config.rollouts,
    )


def _describe(config: ActTrainConfig, robot: RobotCard, data: TrainingSet, folder: Path) -> None:
    describe(
        folder,
        robot,
        features=data.features,
        fps=1.0 / config.step_s,
        name=config.name,
        execute=config.execute,
        rate_hz=config.rate_hz,
        max_loop_age_s=config.max_loop_age_s,
        max_open_loop_s=config.max_open_loop_s,
    )


def _checkpoint(work: Path, step: int) -> Path:
    """LeRobot pads the step with zeros to a width that depends on the whole run."""
    found = [p for p in (work / "run" / "checkpoints").iterdir() if p.name.isdigit() and int(p.name) == step]
    if not found:
        raise ConfigError(
            f"there is no checkpoint of step {step}",
            where=str(work / "run"),
            expected="what lerobot-train saved",
            mend="remove the work folder and begin anew",
        )
    return found[0] / "pretrained_model"


def _is_stale(history: list[Evaluation], patience: int) -> bool:
    best = max(range(len(history)), key=lambda i: history[i].rank)
    return len(history) - 1 - best >= patience


def _read_history(work: Path) -> list[Evaluation]:
    path = work / "evaluations.json"
    if not path.exists():
        return []
    return [Evaluation(**row) for row in json.loads(path.read_text(encoding="utf-8"))["evaluations"]]


def _write_history(work: Path, history: list[Evaluation], report: RunReport) -> None:
    from torch.utils.tensorboard import SummaryWriter

    found = {
        "frames": report.frames,
        "parameters": report.parameters,
        "evaluations": [dataclasses.asdict(evaluation) for evaluation in history],
    }
    growing = work / "evaluations.json.growing"
    growing.write_text(json.dumps(found, indent=1), encoding="utf-8")
    growing.replace(work / "evaluations.json")
    newest = history[-1]
    writer = SummaryWriter(str(work / "tensorboard"))
    writer.add_scalar("loss/training", newest.training_loss, newest.step)
    writer.add_scalar("loss/validation", newest.validation_loss, newest.step)
    if newest.rollouts:
        writer.add_scalar("success_rate", newest.successes / newest.rollouts, newest.step)
    writer.close()


@contextlib.contextmanager
def _wandb(config: ActTrainConfig, work: Path) -> Iterator[Callable[[Evaluation], None]]:
    """Show the evaluations on Weights & Biases, beside the run of LeRobot, which knows no roll-outs."""
    if not config.wandb_project:
        yield lambda _: None
        return
    import wandb

    run = wandb.init(
        project=config.wandb_project,
        name=f"{config.name} evaluations",
        dir=str(work),
        settings=wandb.Settings(silent=True),
    )

    def tell(found: Evaluation) -> None:
        rate = {"success rate": found.successes / found.rollouts} if found.rollouts else {}
        losses = {"training loss": found.training_loss, "validation loss": found.validation_loss}
        run.log({**losses, **rate}, step=found.step)

    try:
        yield tell
    finally:
        run.finish()


def _write(
    config: ActTrainConfig,
    robot: RobotCard,
    data: TrainingSet,
    work: Path,
    history: list[Evaluation],
    best: Evaluation,
) -> None:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(_checkpoint(work, best.step).iterdir()):
        # LeRobot's training settings name folders of this machine; training.yaml says the same without.
        if path.name != "train_config.json":
            shutil.copy2(path, out / path.name)
    _strip_path(out / "config.json")
    _describe(config, robot, data, out)
    kept = json.loads((work / "evaluations.json").read_text(encoding="utf-8"))
    record = TrainingRecord(
        method="act",
        command=command_line(("reflexarc", "train", "act"), config, paths=_PATHS, skip=("workers",)),
        seed=config.seed,
        git_commit=git_commit(),
        versions=versions(_VERSIONED),
        config=settings(config, paths=_PATHS),
        data=DataRecord(
            source=Path(config.data).name or "sim.experts.collect",
            sha256=next(h for name, h in table_hashes(data.root).items() if name.startswith("data/")),
            episodes=data.episodes,
            steps=data.frames,
            training_pairs=kept["frames"],
            validation_pairs=data.frames - kept["frames"],
        ),
        parameters=kept["parameters"],
        metrics=best,
    )
    controller = ControllerConfig(
        schema=CONTROLLER_SCHEMA,
        base=".",
        schedule=ScheduleConfig(blend_s=config.blend_s, interpolation=Interpolation.LINEAR),
    )
    (out / CONTROLLER_FILE).write_text(schema.dump(controller), encoding="utf-8")
    (out / "training.yaml").write_text(schema.dump(record), encoding="utf-8")
    write_curve(out, history, best, loss="loss of ACT")
    assert (out / WEIGHTS_FILE).exists()


def _strip_path(path: Path) -> None:
    """A policy that was trained in several segments remembers where its last checkpoint lay."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["pretrained_path"] = None
    path.write_text(json.dumps(config, indent=4), encoding="utf-8")
