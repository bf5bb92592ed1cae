"""Training a diffusion policy: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from hardware.images import fit_image
from hardware.robot import RobotCard
from policies.card import ONNX_FILE, WEIGHTS_FILE
from policies.demonstrations.dagger import Round
from policies.demonstrations.folder import Evaluation, Trained
from policies.demonstrations.layout import Float32Array, Layout
from policies.demonstrations.learner import Outcome, RollOut, Tick
from policies.demonstrations.rollout import make_task, successes
from policies.demonstrations.training import Method, train_folder
from policies.diffusion.config import DiffusionConfig
from policies.diffusion.fit import DiffusionLearner
from policies.diffusion.network import DiffusionNetwork
from policies.diffusion.onnx_model import onnx_model


def train(
    config: DiffusionConfig,
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


def _write(config: DiffusionConfig, outcome: Outcome[DiffusionNetwork], folder: Path) -> Trained:
    outcome.network.save(folder / WEIGHTS_FILE)
    (folder / ONNX_FILE).write_bytes(onnx_model(outcome.network))
    model = config.model()
    return Trained(
        method="diffusion",
        description=(
            f"Diffusion policy from demonstrations of {config.task}: {config.denoiser.value},"
            f" {config.inference_steps} steps of {config.scheduler.value.upper()}."
        ),
        horizon=config.horizon - model.past_steps,
        parameters=outcome.network.parameter_count,
        loss="mean squared error of the denoiser",
        card={"history": config.observation_steps, "parameters": model.as_parameters()},
    )


def _check_cameras(config: DiffusionConfig, robot: RobotCard) -> None:
    for camera in config.cameras:
        if camera not in robot.cameras:
            raise ConfigError(
                f"the robot has no camera {camera!r}",
                where=f"robot card {robot.name!r}",
                expected="some of " + (", ".join(robot.cameras) or "none: it has no cameras"),
                mend="correct the cameras of the training config",
            )


def make_roll_out(config: DiffusionConfig, layout: Layout) -> RollOut[DiffusionNetwork]:
    """Make what counts the successes of a network in its task, from the seeds of the config.

    Args:
        config: names the task, its cameras, the seeds and the steps carried out.
        layout: the order of the observation vector.

    Returns:
        From a network on the CPU to the number of attempts that succeeded.
    """
    # As large as the largest camera gives them: what is seen is made smaller the same way everywhere.
    robot = load_robot_card(config.robot)
    seen_by = [robot.cameras[name] for name in config.cameras]
    size = {"image_size": (max(c.width for c in seen_by), max(c.height for c in seen_by))} if seen_by else {}
    environments = [
        make_task(config.task, **size) for _ in range(min(config.parallel_rollouts, config.rollouts))
    ]
    seeds = range(config.rollout_seed, config.rollout_seed + config.rollouts)
    past = config.observation_steps - 1

    def fitted(image: NDArray[np.uint8], camera: str) -> NDArray[np.uint8]:
        height, width = config.image_height, config.image_width
        return fit_image(image, height=height, width=width, where=f"camera {camera!r} of {config.task}")

    def count(network: DiffusionNetwork) -> int:
        random = np.random.default_rng(config.rollout_seed)

        def plan(asked: Sequence[Sequence[dict[str, Any]]]) -> Sequence[Float32Array]:
            histories = [[seen[max(i, 0)] for i in range(len(seen) - 1 - past, len(seen))] for seen in asked]
            observation = np.stack([[layout.vector(o) for o in history] for history in histories])
            images = [
                np.stack([[fitted(o[name], name) for o in history] for history in histories])
                for name in config.cameras
            ]
            shape = (len(asked), config.horizon, len(network.base))
            noise = random.standard_normal((shape[0], network.table.draws, *shape[1:]), dtype=np.float32)
            with torch.inference_mode():
                drawn: Float32Array = network(
                    torch.from_numpy(observation),
                    torch.from_numpy(noise),
                    torch.zeros(shape),
                    torch.zeros(*shape[:2], 1),
                    *(torch.from_numpy(seen).permute(0, 1, 4, 2, 3).float() for seen in images),
                ).numpy()
            return list(drawn[:, past:])

        return sum(successes(plan, environments, execute=config.execute, seeds=seeds))

    return count


_METHOD = Method(DiffusionLearner, make_roll_out, _write, _check_cameras)
