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
