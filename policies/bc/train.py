"""Training by behaviour cloning: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hardware.cards.library import load_robot_card
from policies.bc.config import TrainConfig
from policies.bc.fit import RollOut, fit
from policies.bc.model import BcModule
from policies.bc.network import NumpyBackend
from policies.bc.onnx_model import onnx_model
from policies.card import ONNX_FILE, WEIGHTS_FILE
from policies.checkpoint import require_unfinished
from policies.demonstrations.dagger import Round, train_rounds
from policies.demonstrations.folder import Evaluation, Trained, write_folder
from policies.demonstrations.layout import Layout
from policies.demonstrations.rollout import make_task, successes
from policies.demonstrations.source import get_demonstrations


def train(
    config: TrainConfig,
    *,
    progress: Callable[[Evaluation], None] | None = None,
    tick: Callable[[int], None] | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Path:
    """Train a policy and write its folder.

    The folder gets `card.yaml`, `controller.yaml`, `model.safetensors`, `model.onnx`, `training.yaml`
    and `learning_curve.csv` / `.png`. The same config gives the same weights on the same versions of the
    libraries and the same number of threads.

    Args:
        config: every setting.
        progress: is told every evaluation.
        tick: is told every gradient step.
        on_round: is told every round of DAgger, where the config asks for some.

    Returns:
        The policy folder.

    Raises:
        ConfigError: no such robot, demonstrations that do not fit it, or too few of them.
    """
    if config.dagger_rounds:
        return train_rounds(config, train, progress=progress, tick=tick, on_round=on_round)
    require_unfinished(Path(config.out))
    robot = load_robot_card(config.robot)
    layout = Layout.of(robot, config.observation, goal=config.goal)
    demonstrations = get_demonstrations(config, robot)
    outcome = fit(
        config,
        demonstrations.episodes,
        layout=layout,
        action_names=demonstrations.action_names,
        roll_out=_roll_out(config, layout) if config.rollouts else None,
        progress=progress,
        tick=tick,
    )
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    weights = outcome.module.to_weights()
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
    )
    write_folder(config, robot, layout, demonstrations, trained)
    return folder


def _roll_out(config: TrainConfig, layout: Layout) -> RollOut:
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
