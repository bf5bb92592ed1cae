"""Where a training computes: device, precision and trackers, and the processes that share its gradients.

`accelerate launch` and `torchrun` start several. Each computes gradients; the main one alone evaluates,
writes and tells, and hands the others what it found.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from hardware.errors import ConfigError
from policies.demonstrations.config import ImitationConfig

# How long the others wait for the main process: the roll-outs of an evaluation take minutes.
_PATIENCE = timedelta(hours=2)
# What the libraries behind Torch say when a process is gone; most of their errors have no type of their own.
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")


def started_processes() -> int:
    """How many processes a launcher started together with this one, this one included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the one that writes and tells, of those that a launcher started."""
    return int(os.environ.get("RANK", "0")) == 0


def make_accelerator(config: ImitationConfig) -> Any:  # noqa: ANN401
    """Take the device, and join the other processes where there are some.

    Args:
        config: names device, precision and trackers.

    Returns:
        The `accelerate.Accelerator`; its trackers are not begun yet.

    Raises:
        ConfigError: no such device, it cannot compute with such numbers, or a tracker is not installed.
    """
    # Imported later, it would keep the group of processes for ever: as default values of its functions.
    import torch.distributed.nn.functional  # noqa: F401
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    if on_cpu and config.device == "cuda":
        raise ConfigError(
            "there is no CUDA device",
            where="device",
            expected="a GPU that Torch can use",
            mend="choose --device cpu, or auto",
        )
    if on_cpu and config.precision == "fp16":
        raise ConfigError(
            "a CPU does not train in fp16",
            where="precision",
            expected="no or bf16 on a CPU; fp16 needs a GPU",
            mend="choose --precision bf16, or --device cuda on a machine that has one",
        )
    for name in config.trackers:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"{name} is not installed",
                where="trackers",
                expected=f"the Python package {name}, which the tracker is part of",
                mend=f"uv pip install {name}, or leave it out of --trackers",
            )
    # The settings of an earlier training in this process are not those of this one.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=on_cpu,
        mixed_precision=config.precision,
        log_with=list(config.trackers) or None,
        project_dir=config.out,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def begin_trackers(accelerator: Any, config: ImitationConfig, settings: dict[str, Any]) -> None:  # noqa: ANN401
    """Begin the trackers that the config asks for; what they keep on this machine lies in its folder.

    Args:
        accelerator: of `make_accelerator`.
        config: names the trackers.
        settings: what the tracker of Weights & Biases shows beside the curves.
    """
    if not config.trackers:
        return
    if accelerator.is_main_process:
        os.makedirs(config.out, exist_ok=True)
    accelerator.init_trackers(
        config.name, init_kwargs={"wandb": {"dir": config.out, "name": config.name, "config": settings}}
    )


def leave(accelerator: Any) -> None:  # noqa: ANN401
    """Finish the trackers, and leave the other processes.

    Threads of gloo that are alive while Python ends abort the process now and then ("terminate called without
    an active exception"): they drop tensors, for which they want a lock that Python no longer gives. They end
    with the last thing that refers to the group (https://github.com/pytorch/pytorch/issues/190489).

    Args:
        accelerator: of `make_accelerator`.
    """
    accelerator.free_memory()  # It refers to what it prepared.
    gc.collect()
    accelerator.end_training()


@atexit.register
def _leave_at_exit() -> None:
    """What an error leaves behind: a refusal has to end with its own status, not by a signal."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        gc.collect()
        distributed.destroy_process_group()


def require_alike(accelerator: Any, found: str, *, what: str) -> None:  # noqa: ANN401
    """Refuse a training whose processes differ in what they learn from.

    Args:
        accelerator: of `make_accelerator`.
        found: what has to be the same everywhere, in any words.
        what: its name, for the error.

    Raises:
        ConfigError: it differs.
    """
    if accelerator.num_processes == 1:
        return
    digest = torch.tensor(list(hashlib.sha256(found.encode()).digest()), device=accelerator.device)
    everywhere = accelerator.gather(digest).reshape(accelerator.num_processes, -1)
    other = [rank for rank, row in enumerate(everywhere) if not torch.equal(row, everywhere[0])]
    if other:
        raise ConfigError(
            f"{what} of process {', '.join(map(str, other))} differ from those of process 0",
            where=f"a training in {accelerator.num_processes} processes",
            expected="the same files and the same versions everywhere",
            mend="copy the data and the folder --out to every machine, or share them",
        )


@contextlib.contextmanager
def loss_explained(accelerator: Any) -> Iterator[None]:  # noqa: ANN401
    """Say in words when another process of the training is gone.

    Args:
        accelerator: of `make_accelerator`.

    Raises:
        ConfigError: one is.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if accelerator.num_processes == 1 or not _tells_of_loss(error):
            raise
        raise ConfigError(
            f"another process of the training has ended or does not answer ({text.splitlines()[0][:160]})",
            where=f"process {accelerator.process_index} of {accelerator.num_processes}",
            expected="all processes, until the training ends",
            mend="see what the other one said; the same line goes on from the last evaluation",
        ) from error


def _tells_of_loss(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(word in text for word in _LOST)
