"""Training by behaviour cloning: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hardware.cards.library import load_robot_card
from hardware.robot import RobotCard
from policies.bc.config import TrainConfig
from policies.bc.fit import fit
from policies.bc.model import BcModule
from policies.bc.network import NumpyBackend
from policies.bc.onnx_model import onnx_model
from policies.card import ONNX_FILE, WEIGHTS_FILE
from policies.checkpoint import CHECKPOINT_FILE, require_unfinished
from policies.demonstrations.dagger import Round, train_rounds
from policies.demonstrations.episode import DemonstrationSet
from policies.demonstrations.folder import Evaluation, Trained, write_folder
from policies.demonstrations.layout import Layout
from policies.demonstrations.learner import Outcome, RollOut, Tick
from policies.demonstrations.processes import loss_explained, make_accelerator, require_alike
from policies.demonstrations.rollout import make_task, successes
from policies.demonstrations.source import get_demonstrations


def train(
    config: TrainConfig,
    *,
    progress: Callable[[Evaluation], None] | None = None,
    tick: Tick | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Path:
    """Train a policy and write its folder, or go on with it.

    The folder gets `card.yaml`, `controller.yaml`, `model.safetensors`, `model.onnx`, `training.yaml`
    and `learning_curve.csv` / `.png`; while the training runs, a checkpoint. The same config gives the same
    weights on the same versions of the libraries and the same number of threads. Of several processes, the
    main one alone makes roll-outs, writes and tells.

    Args:
        config: every setting.
        progress: is told every evaluation.
        tick: is told every gradient step.
        on_round: is told every round of DAgger, where the config asks for some.

    Returns:
        The policy folder.

    Raises:
        ConfigError: no such robot or device, demonstrations that do not fit, too few of them, the folder
            holds another training, or another process of this one ended.
    """
    if config.dagger_rounds:
        return train_rounds(config, train, progress=progress, tick=tick, on_round=on_round)
    folder = Path(config.out)
    require_unfinished(folder)
    robot = load_robot_card(config.robot)
    layout = Layout.of(robot, config.observation, goal=config.goal)
    accelerator = make_accelerator(config)
    with loss_explained(accelerator):
        demonstrations = get_demonstrations(config, robot)
        require_alike(accelerator, demonstrations.sha256, what="the demonstrations")
        rolls_out = config.rollouts and accelerator.is_main_process
        outcome = fit(
            config,
            demonstrations.episodes,
            layout=layout,
            action_names=demonstrations.action_names,
            roll_out=_roll_out(config, layout) if rolls_out else None,
            progress=progress,
            tick=tick,
            accelerator=accelerator,
        )
    if accelerator.is_main_process:
        _write(config, robot, layout, demonstrations, outcome, processes=accelerator.num_processes)
    return folder


def _write(
    config: TrainConfig,
    robot: RobotCard,
    layout: Layout,
    demonstrations: DemonstrationSet,
    outcome: Outcome[BcModule],
    *,
    processes: int,
) -> None:
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = outcome.network.to_weights()
    weights.save(folder / WEIGHTS_FILE)
    (folder / ONNX_FILE).write_bytes(onnx_model(weights))
    trained = Trained(
        method="bc",
        description=f"Cloned from demonstrations of {config.task}: chunks of {config.horizon} steps.",
        horizon=config.horizon,
        parameters=weights.parameter_count,
        training_pairs=outcome.training_pairs,
        validation_pairs=outcome.validation_pairs,
        history=outcome.history,
        best=outcome.best,
        loss="mean absolute error, standard deviations",
        processes=processes,
    )
    write_folder(config, robot, layout, demonstrations, trained)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def _roll_out(config: TrainConfig, layout: Layout) -> RollOut[BcModule]:
    environment = make_task(config.task)
    seeds = range(config.rollout_seed, config.rollout_seed + config.rollouts)

    def count(module: BcModule) -> int:
        backend = NumpyBackend(module.to_weights())
        return sum(
            successes(
                lambda asked: [backend.evaluate(layout.vector(seen[-1])) for seen in asked],
                [environment],
                execute=config.execute,
                seeds=seeds,
            )
        )

    return count
