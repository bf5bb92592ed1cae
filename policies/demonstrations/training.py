"""Training by imitation, whatever the method: from demonstrations to a policy folder, in one call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hardware.cards.library import load_robot_card
from hardware.robot import RobotCard
from policies.checkpoint import CHECKPOINT_FILE, require_unfinished
from policies.demonstrations.config import ImitationConfig
from policies.demonstrations.dagger import Round, train_rounds
from policies.demonstrations.episode import Episode
from policies.demonstrations.folder import Evaluation, Trained, write_folder
from policies.demonstrations.layout import Layout
from policies.demonstrations.learner import Learner, Outcome, RollOut, Tick, learn
from policies.demonstrations.processes import loss_explained, make_accelerator, require_alike
from policies.demonstrations.source import get_demonstrations


@dataclass(frozen=True)
class Method[C: ImitationConfig, N: nn.Module]:
    """What one method adds to the training that all share."""

    # Begins a training, or goes on with it: config, demonstrations, layout, action names, accelerator.
    learner: Callable[[C, Sequence[Episode], Layout, Sequence[str], Any], Learner[N]]
    # Makes what counts the successes of a network in the task.
    roll_out: Callable[[C, Layout], RollOut[N]]
    # Writes the weights into a folder, and says what they are.
    write: Callable[[C, Outcome[N], Path], Trained]
    # Refuses a config that the robot cannot follow.
    check: Callable[[C, RobotCard], None] = lambda _config, _robot: None


def train_folder[C: ImitationConfig, N: nn.Module](
    config: C,
    *,
    method: Method[C, N],
    progress: Callable[[Evaluation], None] | None = None,
    tick: Tick | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Path:
    """Train a policy and write its folder, or go on with it.

    The folder gets `card.yaml`, `controller.yaml`, `model.safetensors`, `model.onnx`, `training.yaml`
    and `learning_curve.csv` / `.png`. While the training runs, every evaluation leaves a checkpoint there; a
    later call with the same settings goes on from it and ends with the same weights as if there had been no
    interruption. The same config, demonstrations, versions, device and number of threads give the same
    weights. Of several processes, all compute gradients; the main one alone rolls out, writes and tells.

    Args:
        config: every setting.
        method: what is trained.
        progress: is told every evaluation.
        tick: is told every gradient step.
        on_round: is told every round of DAgger, where the config asks for some.

    Returns:
        The policy folder.

    Raises:
        ConfigError: no such robot, camera or device, demonstrations that do not fit, too few of them, the
            folder holds another training, or another process of this one ended.
    """
    if config.dagger_rounds:
        once = functools.partial(train_folder, method=method)
        return train_rounds(config, once, progress=progress, tick=tick, on_round=on_round)
    folder = Path(config.out)
    require_unfinished(folder)
    robot = load_robot_card(config.robot)
    layout = Layout.of(robot, config.observation, goal=config.goal)
    method.check(config, robot)
    accelerator = make_accelerator(config)
    with loss_explained(accelerator):
        data = get_demonstrations(config, robot)
        require_alike(accelerator, data.sha256, what="the demonstrations")
        rolls_out = config.rollouts and accelerator.is_main_process
        outcome = learn(
            method.learner(config, data.episodes, layout, data.action_names, accelerator),
            roll_out=method.roll_out(config, layout) if rolls_out else None,
            progress=progress,
            tick=tick,
        )
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        trained = method.write(config, outcome, folder)
        write_folder(config, robot, layout, data, trained, outcome, processes=accelerator.num_processes)
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return folder
