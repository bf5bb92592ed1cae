"""The layers between a base policy and the command: what picks, what corrects, and what they report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.robot import Observation


class Steering(Protocol):
    """Picks one of the base policy's proposals."""

    name: str
    # How many proposals it wants to see.
    proposals: int

    def choose(self, observation: Observation, chunk: ActionChunk) -> ActionChunk:
        """Return the chunk with the chosen set-points."""


class Residual(Protocol):
    """Corrects the scheduled action with the fresh observation."""

    name: str

    def correct(self, observation: Observation, action: FloatArray) -> FloatArray:
        """Return the corrected action, shape (D,), in the policy's order and unit."""


@dataclass(frozen=True)
class LayerReport:
    """What each layer did in the last step."""

    # Action after each layer by the layer's name, shape (D,), robot order.
    actions: Mapping[str, FloatArray]
    # Time each layer took, in seconds.
    timing_s: Mapping[str, float]
    # Age of the observation that the base's action answers, in seconds.
    age_s: float = 0.0
    # Why the last request got no chunk; empty when it got one.
    refusal: str = ""
