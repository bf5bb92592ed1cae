"""Groups of teachers on disk: checkpoints of those in training, actors of those that are done.

Layout of a training folder:

    teachers.safetensors, training.yaml     the bank of all accepted teachers so far
    learning_curve.json, .csv, .png
    groups/000000-000008/group.json         finished: curves and returns
    groups/000000-000008/actors.safetensors finished: the best actors
    groups/000000-000008/checkpoint.json    unfinished: names the file of tensors that belongs to it

Every file is written beside its place and moved there, so that a killed process leaves the last whole
checkpoint. Tensors are safetensors, all else is JSON.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.errors import ConfigError
from policies.raptor.network import load_tensors
from policies.raptor.training.teachers.group import Group, Point
from policies.raptor.training.teachers.sac import make_actors

_GROUPS = "groups"
_RESULT, _ACTORS, _CHECKPOINT = "group.json", "actors.safetensors", "checkpoint.json"


@dataclass(frozen=True, eq=False)
class GroupResult:
    """A finished group: all of it that travels between machines."""

    # Number of its first teacher.
    first: int
    # The best actors, flat parameters (T, P), float32.
    actors: NDArray[np.float32]
    # Their mean return over fresh episodes, (T,).
    returns: NDArray[np.float32]
    # Environment steps after which they were taken, (T,).
    steps: NDArray[np.int64]
    # Learning curves.
    points: tuple[Point, ...]

    @property
    def count(self) -> int:
        """How many teachers."""
        return len(self.actors)

    def layers(self, hidden: int) -> dict[str, Tensor]:
        """Cut the actors into the arrays of a bank.

        Args:
            hidden: width of the actors' hidden layers.

        Returns:
            Weights (T, outputs, inputs) and biases (T, outputs) by the names of `TeacherBank`.
        """
        # The stack's own cutting, so that there is one order of parameters.
        stack = make_actors(self.count, hidden, torch.device("cpu"), torch.Generator())
        stack.parameters.copy_(torch.from_numpy(self.actors.copy()))
        names = ("weight_1", "bias_1", "weight_2", "bias_2", "weight_3", "bias_3")
        cut = (layer.clone() for layer in stack.layers)
        return {
            name: part.squeeze(1) if name.startswith("bias") else part
            for name, part in zip(names, cut, strict=True)
        }


def result_of(group: Group) -> GroupResult:
    """Take out of a finished group what is kept of it.

    Args:
        group: all its steps are done.

    Returns:
        The result; its returns come from episodes by which the actors were not chosen.
    """
    return GroupResult(
        first=group.first,
        actors=group.best.cpu().numpy().copy(),
        returns=group.accept().astype(np.float32),
        steps=group.best_steps.copy(),
        points=group.points,
    )


class GroupStore:
    """The groups of one training folder.

    Args:
        folder: the training folder.
        settings: what all groups of the folder must have in common, plain values by name.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Look at nothing yet."""
        self._groups = folder / _GROUPS
        self._settings = settings

    def existing(self) -> dict[int, int]:
        """First teacher and count of every group that was begun or finished."""
        found = {}
        for path in self._groups.glob("*-*"):
            if (path / _RESULT).exists() or (path / _CHECKPOINT).exists():
                first, end = (int(word) for word in path.name.split("-"))
                found[first] = end - first
        return dict(sorted(found.items()))

    def save_result(self, result: GroupResult) -> None:
        """Keep a finished group and forget its checkpoint.

        Args:
            result: the group.
        """
        from safetensors.numpy import save_file

        folder = self._folder(result.first, result.count)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{_ACTORS}.part"
        save_file({"actors": result.actors, "returns": result.returns, "steps": result.steps}, str(part))
        part.replace(folder / _ACTORS)
        points = [dataclasses.asdict(point) for point in result.points]
        _write(folder / _RESULT, {"settings": self._settings, "points": points})
        for path in folder.glob("checkpoint*"):
            path.unlink()

    def load_result(self, first: int, count: int) -> GroupResult | None:
        """Read a finished group.

        Args:
            first: number of its first teacher.
            count: how many it has.

        Returns:
            The group, or None if it is not finished.

        Raises:
            ConfigError: it is damaged, or was trained with other settings.
        """
        folder = self._folder(first, count)
        if not (folder / _RESULT).exists():
            return None
        document = self._read(folder / _RESULT)
        tensors: dict[str, NDArray[Any]] = dict(load_tensors(folder / _ACTORS))
        return GroupResult(
            first=first,
            actors=tensors["actors"],
            returns=tensors["returns"],
            steps=tensors["steps"],
            points=_points(document),
        )

    def save_checkpoint(self, group: Group) -> None:
        """Keep all that an unfinished group needs to go on.

        Args:
            group: between two segments.
        """
        from safetensors.torch import save_file

        folder = self._folder(group.first, group.count)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"checkpoint-{group.step:09d}.safetensors"
        tensors = {f"sac.{key}": tensor for key, tensor in group.sac.tensors().items()}
        tensors |= {f"replay.{key}": tensor for key, tensor in group.replay.tensors().items()}
        tensors |= {
            "best": group.best,
            "best_returns": torch.from_numpy(group.best_returns),
            "best_steps": torch.from_numpy(group.best_steps),
        }
        part = folder / f".{name}.part"
        save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, str(part))
        part.replace(folder / name)
        document = {
            "settings": self._settings,
            "tensors": name,
            "step": group.step,
            "updates": group.sac.updates,
            "added": group.replay.added,
            "cpu_s": group.cpu_s,
            "wall_s": group.wall_s,
            "points": [dataclasses.asdict(point) for point in group.points],
        }
        _write(folder / _CHECKPOINT, document)
        for path in folder.glob("*checkpoint-*"):
            if path.name != name:
                path.unlink()

    def load_checkpoint(self, group: Group) -> None:
        """Let a new group go on where a checkpoint of it ended; without one it starts from its beginning.

        Args:
            group: freshly made.

        Raises:
            ConfigError: the checkpoint is damaged, or was written with other settings.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = self._folder(group.first, group.count)
        if not (folder / _CHECKPOINT).exists():
            return
        document = self._read(folder / _CHECKPOINT)
        try:
            tensors = load_file(str(folder / document["tensors"]))
        except (OSError, SafetensorError) as error:
            raise _damaged(folder / document["tensors"], error) from error
        group.sac.load(_under("sac", tensors), updates=document["updates"])
        group.replay.load(_under("replay", tensors), added=document["added"])
        group.best.copy_(tensors["best"])
        group.best_returns = tensors["best_returns"].numpy().copy()
        group.best_steps = tensors["best_steps"].numpy().copy()
        group.step = document["step"]
        group.cpu_s, group.wall_s = document["cpu_s"], document["wall_s"]
        group.points = _points(document)

    def _folder(self, first: int, count: int) -> Path:
        return self._groups / f"{first:06d}-{first + count:06d}"

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        theirs = document.get("settings", {})
        other = sorted(name for name, value in self._settings.items() if theirs.get(name) != value)
        if other:
            raise ConfigError(
                "trained with " + ", ".join(f"{name} {theirs.get(name)}" for name in other),
                where=str(path),
                expected=", ".join(f"{name} {self._settings[name]}" for name in other),
                mend="give the settings that the folder was begun with, or another --out",
            )
        return document


def _points(document: dict[str, Any]) -> tuple[Point, ...]:
    names = ("returns", "lengths", "terminated")
    return tuple(Point(**{**p, **{name: tuple(p[name]) for name in names}}) for p in document["points"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def _write(path: Path, document: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(document), encoding="utf-8")
    part.replace(path)


def _damaged(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"cannot be read ({error})",
        where=str(path),
        expected="what an earlier training wrote",
        mend="remove the folder of this group; it will be trained again",
    )
