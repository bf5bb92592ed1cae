"""What is told and kept of a training of RAPTOR's student: lines of its curve, and what made a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.raptor.training.judge import Judgement


@dataclass(frozen=True)
class Row:
    """One line of the learning curve: an epoch of imitation, or what judged updates came to."""

    # `imitation` or `tuning`.
    stage: str
    # Epochs or updates made.
    number: int
    # Processor time until then, seconds.
    cpu_s: float
    # Mean squared error of actions (imitation), or mean cost of a step since the last line (tuning).
    loss: float
    # Mean return and length of the epoch's episodes; none in the tuning.
    episode_return: float | None = None
    length: float | None = None
    # Share of vehicles lost, in the epoch's episodes or in the updates since the last line.
    lost: float | None = None
    # How weights at this point fly; not every epoch is judged.
    judgement: Judgement | None = None


@dataclass(frozen=True)
class RaptorRecord:
    """What made a policy folder: `training.yaml`."""

    # The method.
    method: str
    # The command that does it again; several calls of it may have done it piece by piece.
    command: str
    # The seed of the training.
    seed: int
    # Whether all of it was done; if not, the weights are the best so far.
    finished: bool
    # The state of the repository when the folder was written.
    git_commit: str
    # Versions of what computed it.
    versions: Mapping[str, str]
    # Every setting.
    config: Mapping[str, Any]
    # The teachers: how many, SHA-256 of their weights, and the command that made them. Empty without them.
    teachers: Mapping[str, Any]
    # The policy that the training started from: its name, SHA-256 of its weights, the command that made
    # it. Empty for random weights.
    start: Mapping[str, Any]
    # Epochs and updates made.
    epochs: int
    updates: int
    # Processor time of both stages together, minutes.
    cpu_minutes: float
    # Trained numbers in the network.
    parameters: int
    # The judgement of the weights in the folder.
    metrics: Judgement


def row_of(values: dict[str, Any]) -> Row:
    """Make a line out of what JSON holds of it."""
    found = values["judgement"]
    return Row(**{**values, "judgement": None if found is None else Judgement(**found)})


def read_curve(folder: Path | str) -> list[Row]:
    """Read the learning curve that a training wrote.

    Args:
        folder: the policy folder.

    Returns:
        Its lines.
    """
    document = json.loads((Path(folder) / "learning_curve.json").read_text(encoding="utf-8"))
    return [row_of(values) for values in document["rows"]]
