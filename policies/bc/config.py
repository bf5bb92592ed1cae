"""What decides a training run of behaviour cloning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from policies.demonstrations.config import ImitationConfig, out_of_range


@dataclass(frozen=True)
class TrainConfig(ImitationConfig):
    """Everything that decides what a training run gives."""

    # Widths of the hidden layers.
    hidden: tuple[int, ...] = (160, 160, 160)
    # Where to compute: auto takes a CUDA device where there is one. So small a network is quicker on a CPU.
    device: Literal["auto", "cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range.
        """
        super().__post_init__()
        if not self.hidden or min(self.hidden) < 1:
            raise out_of_range("hidden", self.hidden, "at least one width, each positive")
