"""All that an unfinished training needs to go on, in one file: tensors, and beside them a JSON document.

The file is written beside its place and moved there, so that a killed process leaves the last whole one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hardware.errors import ConfigError

CHECKPOINT_FILE = "checkpoint.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        folder: of the training; made if it is not there.
        tensors: by name.
        document: what else there is, plain values.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{CHECKPOINT_FILE}.part"
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, str(part), metadata={"document": json.dumps(document)})
    part.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a checkpoint.

    Args:
        folder: of the training.

    Returns:
        Tensors and document; None if there is no checkpoint.

    Raises:
        ConfigError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            document: dict[str, Any] = json.loads(file.metadata()["document"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"cannot be read ({error})",
            where=str(path),
            expected="what an earlier training wrote",
            mend="remove the folder, and the training begins anew; or give another --out",
        ) from error
    return tensors, document


def require_unfinished(folder: Path) -> None:
    """Refuse to train over a policy: its weights would be gone.

    Args:
        folder: of the training.

    Raises:
        ConfigError: it holds a policy, and no training that could go on.
    """
    if (folder / "card.yaml").exists() and not (folder / CHECKPOINT_FILE).exists():
        raise ConfigError(
            "the folder holds a policy and no training that could go on",
            where=str(folder),
            expected="a new folder, or one that a training was begun in",
            mend="give another --out, or remove the folder",
        )


def require_same(
    document: dict[str, Any], settings: dict[str, Any], defaults: dict[str, Any], folder: Path
) -> None:
    """Refuse to go on with other settings than a training began with.

    Args:
        document: of the checkpoint; holds `settings`.
        settings: those of now.
        defaults: what a setting was that the version did not have that the training began with.
        folder: of the training.

    Raises:
        ConfigError: a setting differs.
    """
    theirs = defaults | document.get("settings", {})
    other = sorted(name for name, value in settings.items() if theirs.get(name) != value)
    if other:
        raise ConfigError(
            "the training was begun with " + ", ".join(f"{name} {theirs.get(name)}" for name in other),
            where=str(folder),
            expected=", ".join(f"{name} {settings[name]}" for name in other),
            mend="give the settings that it was begun with, or another --out",
        )


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors, named below a prefix."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def load_module(prefix: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put tensors that `module_tensors` named into a module."""
    start = f"{prefix}."
    module.load_state_dict(
        {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    )


def adam_tensors(prefix: str, optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    """An optimiser's moments, named below a prefix; none before its first step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{prefix}.{number}.{name}": optimizer.state[parameter][name]
        for number, parameter in enumerate(parameters)
        if parameter in optimizer.state
        for name in _MOMENTS
    }


def load_adam(prefix: str, optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Put tensors that `adam_tensors` named into an optimiser."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        found = {name: tensors.get(f"{prefix}.{number}.{name}") for name in _MOMENTS}
        if any(tensor is None for tensor in found.values()):
            continue
        optimizer.state[parameter] = {
            name: tensor if name == "step" else tensor.to(parameter.device)
            for name, tensor in found.items()
            if tensor is not None
        }
