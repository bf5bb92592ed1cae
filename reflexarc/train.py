"""`reflexarc train`: make a policy folder by a learning method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from reflexarc.commands import Command, Example
from reflexarc.output import Output

if TYPE_CHECKING:
    from policies.bc.config import TrainConfig
    from policies.bc.fit import Evaluation
    from policies.raptor.training.teachers.config import TeacherConfig
    from policies.raptor.training.teachers.train import TeacherProgress

COMMANDS: Mapping[str, Command] = {
    "bc": Command(
        summary="Behaviour cloning: a small chunked network learns from demonstrations of the expert.",
        config="policies.bc.config:TrainConfig",
        run="reflexarc.train:train_bc",
        examples=(
            Example("reflexarc train bc --out policies/bc/mine", "as the policy that comes with Reflexarc"),
            Example(
                "reflexarc train bc --out /tmp/quick --episodes 20 --steps 300 --rollouts 0",
                "a quick look, not a good policy",
            ),
            Example(
                "reflexarc train bc --out /tmp/again --demonstrations demos.npz --seed 1",
                "from demonstrations in a file, another seed",
            ),
        ),
        details=(
            "Writes card.yaml, model.safetensors, model.onnx, training.yaml (command, seed, data hash,\n"
            "commit) and the learning curve. The same settings give the same weights."
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

    history: list[Evaluation] = []
    with output.progress("training") as progress:

        def note(evaluation: Evaluation) -> None:
            history.append(evaluation)
            progress(evaluation.step, config.steps)
            output.log(
                f"step {evaluation.step:>6}  training {evaluation.training_loss:.4f}"
                f"  validation {evaluation.validation_loss:.4f}"
                + (f"  successes {evaluation.successes}/{evaluation.rollouts}" if evaluation.rollouts else "")
            )

        folder = train(config, progress=note)
    best = max(history, key=lambda evaluation: evaluation.rank)
    output.result({"folder": folder, "best": asdict(best), "history": [asdict(e) for e in history]})
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
    returns = sorted(outcome.returns.values())
    output.result(
        {
            "folder": config.out,
            "finished": outcome.finished,
            "trained": len(returns),
            "accepted": len(returns) - len(outcome.refused),
            "refused": outcome.refused,
            "median_return": median(returns) if returns else None,
            "core_minutes_each": outcome.core_minutes,
        }
    )
    for number, value in outcome.refused.items():
        output.log(f"teacher {number} left out: return {value:.0f}, below {config.minimum_return:g}")
    if not output.json:
        accepted = len(returns) - len(outcome.refused)
        state = "finished" if outcome.finished else "to be continued: run the same command again"
        output.console.print(f"{config.out}: {accepted} of {len(returns)} teachers accepted; {state}")
    return 0
