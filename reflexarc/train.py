"""`reflexarc train`: make a policy folder by a learning method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reflexarc.commands import Command, Example
from reflexarc.output import Output

if TYPE_CHECKING:
    from policies.bc.config import TrainConfig
    from policies.demonstrations.config import ImitationConfig
    from policies.demonstrations.dagger import Round
    from policies.demonstrations.folder import Evaluation
    from policies.diffusion.config import DiffusionConfig
    from policies.lerobot.config import ActTrainConfig
    from policies.raptor.training.config import RaptorTrainConfig
    from policies.raptor.training.record import Row
    from policies.raptor.training.teachers.config import TeacherConfig
    from policies.raptor.training.teachers.train import TeacherProgress

COMMANDS: Mapping[str, Command] = {
    "bc": Command(
        summary="Behaviour cloning: a small chunked network learns from demonstrations of the expert.",
        config="policies.bc.config:TrainConfig",
        run="reflexarc.train:train_bc",
        takes_file=True,
        examples=(
            Example("reflexarc train bc --out policies/bc/mine", "as the policy that comes with Reflexarc"),
            Example(
                "reflexarc train bc --out /tmp/quick --episodes 20 --steps 300 --rollouts 0",
                "a quick look, not a good policy",
            ),
            Example(
                "reflexarc train bc --out /tmp/again --data demos.npz --seed 1",
                "from demonstrations in a file, another seed",
            ),
            Example(
                "reflexarc train bc --out mine --data recordings --interventions monday tuesday",
                "DAgger: beside demonstrations, what a person did who took over from a policy",
            ),
            Example(
                "reflexarc train bc --out mine --episodes 12 --noise-std-rad 0 --dagger-rounds 3",
                "DAgger in the twin: the scripted expert takes over, three rounds",
            ),
            Example(
                "reflexarc train bc --out mine --data recordings --trackers tensorboard",
                "losses and success rates for `tensorboard --logdir mine`",
            ),
        ),
        details=(
            "Writes card.yaml, model.safetensors, model.onnx, training.yaml (command, seed, data hash,\n"
            "commit) and the learning curve. The same settings give the same weights. Interrupted, the same\n"
            "line goes on from the last evaluation."
        ),
    ),
    "diffusion": Command(
        summary="Diffusion policy: chunks drawn by denoising, learned from demonstrations of the expert.",
        config="policies.diffusion.config:DiffusionConfig",
        run="reflexarc.train:train_diffusion",
        takes_file=True,
        examples=(
            Example("reflexarc train diffusion --out mine", "a U-Net, from 600 demonstrations of picking"),
            Example(
                "reflexarc train diffusion --out mine --data demos.npz --denoiser transformer",
                "from demonstrations in a file, with the transformer",
            ),
            Example(
                "reflexarc train diffusion --out again --seed 1"
                " --config policies/diffusion/pick_cube/training.yaml",
                "as one that comes with Reflexarc, but for the seed (in a checkout)",
            ),
            Example(
                "reflexarc train diffusion --out mine --device cuda --precision bf16 --compile"
                " --trackers tensorboard",
                "on a GPU, with TensorBoard",
            ),
        ),
        details=(
            "Writes card.yaml, model.safetensors, model.onnx (the whole denoising loop), training.yaml and\n"
            "the learning curve. Interrupted, the same line goes on from the last evaluation. Several GPUs:\n"
            "accelerate launch --num_processes 4 -m reflexarc train diffusion --out mine"
        ),
    ),
    "act": Command(
        summary="ACT through LeRobot: trained by lerobot-train, judged in the twin, run as any policy.",
        config="policies.lerobot.config:ActTrainConfig",
        run="reflexarc.train:train_act",
        takes_file=True,
        examples=(
            Example("reflexarc train act --out mine", "a small ACT from the expert's demonstrations"),
            Example(
                "reflexarc train act --out mine --data recordings --steps 50000",
                "from your own recordings; the same line goes on where it stopped",
            ),
            Example(
                "reflexarc train act --out mine --data datasets/cubes --device cuda --dim-model 512"
                " --n-heads 8 --n-encoder-layers 4",
                "from a LeRobot dataset, in the size of the paper, on a GPU",
            ),
            Example(
                "reflexarc train act --out mine --device cuda --processes 4 --wandb-project arms",
                "on four GPUs, with Weights & Biases",
            ),
        ),
        details=(
            "Writes LeRobot's own files, which LeRobot loads, and our card.yaml, controller.yaml,\n"
            "training.yaml and learning curve. Dataset, checkpoints, TensorBoard events and log lie in\n"
            "<out>.work. Image networks start without downloaded weights."
        ),
    ),
    "raptor": Command(
        summary="RAPTOR's student: imitation of teachers, tuning through the simulator, or both.",
        config="policies.raptor.training.config:RaptorTrainConfig",
        run="reflexarc.train:train_raptor",
        examples=(
            Example("reflexarc train raptor --teachers teachers --out mine", "imitation alone"),
            Example(
                "reflexarc train raptor --teachers teachers --updates 1000 --out mine",
                "the small recipe: imitation, then some tuning; a few minutes",
            ),
            Example(
                "reflexarc train raptor --updates 4000 --out mine",
                "through the simulator alone, from random weights",
            ),
            Example(
                "reflexarc train raptor --teachers teachers --updates 4000 --out mine --max-minutes 9",
                "both stages, nine minutes of them; the same line goes on where it stopped",
            ),
            Example(
                "reflexarc train raptor --finetune-from policies/raptor/reflexarc --updates 500 --out mine",
                "goes on with a policy",
            ),
        ),
        details=(
            "Writes card.yaml, model.safetensors, model.onnx, example.safetensors, training.yaml and the\n"
            "learning curve. Exit code 0 also when --max-minutes ended the call; `finished` in the\n"
            "JSON tells."
        ),
    ),
    "raptor-teachers": Command(
        summary="Teachers of RAPTOR: one policy for every random quadrotor, by SAC, many at once.",
        config="policies.raptor.training.teachers.config:TeacherConfig",
        run="reflexarc.train:train_raptor_teachers",
        examples=(
            Example("reflexarc train raptor-teachers --out teachers", "the small recipe: 16 teachers"),
            Example(
                "reflexarc train raptor-teachers --out teachers --max-minutes 9",
                "nine minutes of it; the same line goes on where it stopped",
            ),
            Example(
                "reflexarc train raptor-teachers --out all --count 1000 --group 1000 --device cuda"
                " --steps 1000000 --critic-hidden 256 --replay 100000",
                "the full recipe on a GPU",
            ),
            Example(
                "reflexarc train raptor-teachers --out more --first 16 --count 16",
                "the next sixteen, on another machine",
            ),
        ),
        details=(
            "Writes the bank (teachers.safetensors, training.yaml) and learning curves; teachers whose mean\n"
            "return stays below --minimum-return are left out of the bank and named. Exit code 0 also when\n"
            "--max-minutes ended the call; `finished` in the JSON tells."
        ),
    ),
}


def train_bc(config: TrainConfig, output: Output) -> int:
    """Train a policy by behaviour cloning.

    Args:
        config: every setting.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: no such robot, demonstrations that do not fit it, or too few of them.
    """
    from policies.bc.train import train

    return _train_imitation(config, output, train)


def train_diffusion(config: DiffusionConfig, output: Output) -> int:
    """Train a diffusion policy, or go on with it.

    Args:
        config: every setting.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: no such robot, demonstrations that do not fit it, too few of them, or the folder holds
            another training.
    """
    from policies.diffusion.train import train

    return _train_imitation(config, output, train)


def train_act(config: ActTrainConfig, output: Output) -> int:
    """Train ACT through LeRobot, or go on with it.

    Args:
        config: every setting.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: no such robot, data that does not fit it, too few demonstrations, another training in the
            same place, or LeRobot fails.
    """
    from policies.lerobot.train import train_act as train

    return _train_imitation(config, output, train)


def _train_imitation(
    config: ImitationConfig | ActTrainConfig, output: Output, train: Callable[..., Path]
) -> int:
    from policies.demonstrations.processes import is_main_process

    if not is_main_process():
        # The main process tells.
        train(config)
        return 0
    history: list[Evaluation] = []
    rounds: list[Round] = []
    total = config.steps * (1 + getattr(config, "dagger_rounds", 0))
    with output.progress("training") as progress:

        def note(evaluation: Evaluation) -> None:
            history.append(evaluation)
            output.log(
                f"step {evaluation.step:>6}  training {evaluation.training_loss:.4f}"
                f"  validation {evaluation.validation_loss:.4f}"
                + (f"  successes {evaluation.successes}/{evaluation.rollouts}" if evaluation.rollouts else "")
            )

        def note_round(found: Round) -> None:
            rounds.append(found)
            output.log(
                f"round {found.number}: {found.alone} of {found.attempts} attempts succeeded alone,"
                f" {found.successes} with the expert, who took over {found.interventions} times:"
                f" {found.expert_steps} of {found.steps} steps, {found.labels} of them new labels"
            )

        settings = {"on_round": note_round} if getattr(config, "dagger_rounds", 0) else {}
        folder = train(config, progress=note, tick=lambda step: progress(step, total), **settings)
    # Of several trainings, the last one made the folder.
    best = max((e for e in history if e.step > total - config.steps), key=lambda e: e.rank)
    document = {"folder": folder, "best": asdict(best), "history": [asdict(e) for e in history]}
    output.result({**document, **({"rounds": [asdict(found) for found in rounds]} if rounds else {})})
    if not output.json:
        output.console.print(f"policy folder: {folder} (weights of step {best.step})")
    return 0


def train_raptor_teachers(config: TeacherConfig, output: Output) -> int:
    """Train teachers of RAPTOR, or go on with it.

    Args:
        config: every setting.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: the folder holds another training, the device is not there, or no teacher is good.
    """
    from statistics import median

    from policies.raptor.training.teachers.train import train_teachers
    from reflexarc.machine import describe_machine

    with output.progress("training") as progress:

        def note(now: TeacherProgress) -> None:
            before = now.first - config.first
            progress(before * config.steps + now.count * now.step, config.count * config.steps)
            if now.point is not None:
                point = now.point
                output.log(
                    f"teachers {now.first} to {now.first + now.count - 1}  step {now.step:>7}"
                    f"  median return {median(point.returns):>6.1f}"
                    f"  lost {sum(point.terminated) / now.count:.2f}"
                    f"  {point.cpu_s / 60.0 / now.count:.2f} core-minutes each"
                )

        outcome = train_teachers(config, progress=note)
    returns = list(outcome.returns.values())
    last = [value for group in outcome.groups for value in group.points[-1].returns]
    output.result(
        {
            "folder": config.out,
            "machine": describe_machine(),
            "command": outcome.bank.record.command if outcome.bank else None,
            "finished": outcome.finished,
            "steps": config.steps,
            "trained": len(returns),
            "accepted": len(returns) - len(outcome.refused),
            "refused": outcome.refused,
            "median_return": median(returns) if returns else None,
            "median_return_at_last_step": median(last) if last else None,
            "core_minutes_each": outcome.core_minutes,
            "groups": [
                {
                    "first": group.first,
                    "returns": group.returns,
                    "best_steps": group.steps,
                    "returns_at_last_step": group.points[-1].returns,
                    "points": group.points,
                }
                for group in outcome.groups
            ],
        }
    )
    for number, value in outcome.refused.items():
        output.log(f"teacher {number} left out: return {value:.0f}, below {config.minimum_return:g}")
    if not output.json:
        accepted = len(returns) - len(outcome.refused)
        state = "finished" if outcome.finished else "to be continued: run the same command again"
        output.console.print(f"{config.out}: {accepted} of {len(returns)} teachers accepted; {state}")
    return 0


def train_raptor(config: RaptorTrainConfig, output: Output) -> int:
    """Train RAPTOR's student, or go on with it.

    Args:
        config: every setting.
        output: where progress and result go.

    Returns:
        0.

    Raises:
        ConfigError: the folder holds another training, teachers or policy cannot be read, or the device is
            not there.
    """
    from policies.raptor.training.train import train
    from reflexarc.eval import find_policy

    if config.finetune_from:
        start = find_policy(config.finetune_from, where="reflexarc train raptor")
        config = replace(config, finetune_from=str(start))
    with output.progress("training") as progress:

        def note(row: Row) -> None:
            progress(row.number, config.epochs if row.stage == "imitation" else config.updates)
            flown = "" if row.episode_return is None else f"  return {row.episode_return:>6.1f}"
            judged = ""
            if row.judgement is not None:
                found = row.judgement
                judged = (
                    f"  crashed: hover {found.hover_crash:.3f}, eight {found.figure_eight_crash:.3f},"
                    f" 10 ms late {found.delay_crash:.3f}  RMSE {found.hover_rmse_m:.3f},"
                    f" {found.figure_eight_rmse_m:.3f} m  heading {found.hover_heading_rad:.3f},"
                    f" at 400 Hz {found.executor_crash:.3f}, {found.executor_rmse_m:.3f} m"
                )
            output.log(
                f"{row.stage} {row.number:>5}  loss {row.loss:.4f}{flown}{judged}"
                f"  {row.cpu_s / 60.0:.1f} core-minutes"
            )

        outcome = train(config, progress=note)
    output.result(
        {
            "folder": outcome.folder,
            "finished": outcome.finished,
            "judgement": None if outcome.judgement is None else asdict(outcome.judgement),
            "core_minutes": outcome.cpu_s / 60.0,
        }
    )
    if not output.json:
        state = "finished" if outcome.finished else "to be continued: run the same command again"
        output.console.print(f"policy folder: {outcome.folder or config.out}; {state}")
    return 0
