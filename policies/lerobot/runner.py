"""`lerobot-train` as a process: started, listened to, stopped with its caller."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import ConfigError

_LOSS = re.compile(r"\bsmpl:\S+.*?\bloss:([\d.]+(?:e[+-]?\d+)?|nan|inf)")
_EVALUATION = re.compile(r"step \d+: eval_loss=([\d.]+|nan|inf)")
_FRAMES = re.compile(r"dataset\.num_frames=(\d+)")
_PARAMETERS = re.compile(r"num_learnable_params=(\d+)")
_MODULE = "lerobot.scripts.lerobot_train"
_LAST_LINES = 12
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class RunReport:
    """What a run of `lerobot-train` said about itself."""

    # The losses that it logged, in order.
    losses: tuple[float, ...]
    # The loss on the held-out episodes; None: it gave none.
    evaluation_loss: float | None
    # Moments that it trained on, and trained numbers of the network.
    frames: int
    parameters: int


def run_training(
    words: Sequence[str],
    *,
    log: Path,
    processes: int = 1,
    progress: Callable[[float], None] | None = None,
) -> RunReport:
    """Run `lerobot-train` to its end.

    Args:
        words: its arguments.
        log: where everything that it says is appended.
        processes: how many share the gradients; LeRobot joins them through Accelerate.
        progress: is told every loss that it logs.

    Returns:
        What it said.

    Raises:
        ConfigError: it failed.
    """
    losses: list[float] = []
    evaluation: float | None = None
    frames = parameters = 0
    last: deque[str] = deque(maxlen=_LAST_LINES)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "SVT_LOG": "1"}
    # LeRobot's run on Weights & Biases is one of its own.
    environment.pop("WANDB_SERVICE", None)
    several = ("torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m")
    process = subprocess.Popen(
        [sys.executable, "-m", *(several if processes > 1 else ()), _MODULE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        with log.open("a", encoding="utf-8") as file:
            # Universal newlines: a progress bar's carriage returns end a line, too.
            for line in process.stdout:
                file.write(line)
                if line.strip():
                    last.append(line.strip())
                if found := _LOSS.search(line):
                    losses.append(float(found[1]))
                    if progress is not None:
                        progress(losses[-1])
                elif found := _EVALUATION.search(line):
                    evaluation = float(found[1])
                elif found := _FRAMES.search(line):
                    frames = int(found[1])
                elif found := _PARAMETERS.search(line):
                    parameters = int(found[1])
        code = process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        process.stdout.close()
    if code:
        raise ConfigError(
            f"lerobot-train ended with exit code {code}: {' | '.join(last)[-600:]}",
            where=str(log),
            expected="a training that runs to its end",
            mend="read the log; the same command goes on from the last checkpoint",
        )
    return RunReport(tuple(losses), evaluation, frames, parameters)
