"""Training by behaviour cloning: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from policies.bc.config import TrainConfig
from policies.bc.fit import BcLearner
from policies.bc.model import BcModule
from policies.bc.network import NumpyBackend
from policies.bc.onnx_model import onnx_model
from policies.card import ONNX_FILE, WEIGHTS_FILE
from policies.demonstrations.dagger import Round
from policies.demonstrations.folder import Evaluation, Trained
from policies.demonstrations.layout import Layout
from policies.demonstrations.learner import Outcome, RollOut, Tick
from policies.demonstrations.rollout import make_task, successes
from policies.demonstrations.training import Method, train_folder


def train(
    config: TrainConfig,
    *,
    progress: Callable[[Evaluation], None] | None = None,
    tick: Tick | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Path:
    """Train a policy and write its folder, or go on with it; see `train_folder`.

    Args:
        config: every setting.
        progress: is told every evaluation.
        tick: is told every gradient step.
        on_round: is told every round of DAgger, where the config asks for some.

    Returns:
        The policy folder.

    Raises:
        ConfigError: as `train_folder` does.
    """
    return train_folder(config, method=_METHOD, progress=progress, tick=tick, on_round=on_round)


def _write(config: TrainConfig, outcome: Outcome[BcModule], folder: Path) -> Trained:
    weights = outcome.network.to_weights()
    weights.save(folder / WEIGHTS_FILE)
    (folder / ONNX_FILE).write_bytes(onnx_model(weights))
    return Trained(
        method="bc",
        description=f"Cloned from demonstrations of {config.task}: chunks of {config.horizon} steps.",
        horizon=config.horizon,
        parameters=weights.parameter_count,
        loss="mean absolute error, standard deviations",
    )


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


_METHOD = Method(BcLearner, _roll_out, _write)
