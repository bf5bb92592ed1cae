"""The reference itself as the command.

For what closes the position loop by itself: RAPTOR inside a flight controller, PX4's offboard mode, the
Crazyflie's own controller. The gate guards the references, the firmware guards the motors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.card import REFERENCE_TERMS, PolicyCard, load_policy_card
from policies.policy import ActContext, PolicyError

# Where each element of the command comes from: a reference term and the place in it.
ELEMENTS: dict[str, tuple[str, int]] = {
    "x": ("reference_position", 0),
    "y": ("reference_position", 1),
    "z": ("reference_position", 2),
    "velocity_x": ("reference_velocity", 0),
    "velocity_y": ("reference_velocity", 1),
    "velocity_z": ("reference_velocity", 2),
    "yaw": ("reference_yaw", 0),
}


@dataclass(frozen=True)
class ReferenceOptions:
    """There is nothing to choose."""


class ReferencePolicy:
    """Streams the reference of each moment. Implements `policies.policy.Policy`.

    Args:
        card: the policy's card.

    Raises:
        ConfigError: the card asks for something else than references.
    """

    def __init__(self, card: PolicyCard) -> None:
        """Find every element of the action among the reference terms."""
        self.card = card
        action = card.action
        unknown = [name for name in action.names if name not in ELEMENTS]
        if (
            action.kind is not CommandKind.REFERENCE
            or unknown
            or not set(card.observation) <= set(REFERENCE_TERMS)
        ):
            raise ConfigError(
                f"action {action.kind.value} of {', '.join(action.names)} from {', '.join(card.observation)}",
                where=f"policy card {card.name!r}",
                expected=f"kind reference, elements out of {', '.join(ELEMENTS)}, seen out of "
                + ", ".join(REFERENCE_TERMS),
                mend="correct the card",
            )
        self._places = [ELEMENTS[name] for name in action.names]
        self._step_ns = round(1e9 / card.rate_hz)

    @classmethod
    def load(cls, folder: Path | str, options: ReferenceOptions | None = None) -> ReferencePolicy:
        """Load a policy folder.

        Args:
            folder: holds `card.yaml`.
            options: there are none.

        Returns:
            The policy.

        Raises:
            ConfigError: faults of the card.
        """
        return cls(load_policy_card(folder))

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """Nothing is carried from step to step."""
        return {}

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Take back what `state` gave: nothing."""

    def reset(self, seed: int | None = None) -> None:
        """Begin anew: there is nothing to forget."""

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation with the reference of its moment.

        Args:
            observation: has the reference terms.
            context: not used.

        Returns:
            One step that starts at the observation's stamp.

        Raises:
            PolicyError: a reference term is missing.
        """
        try:
            values = [float(observation.values[term][index]) for term, index in self._places]
        except (KeyError, IndexError) as error:
            raise PolicyError(f"the reference lacks {error}") from error
        return ActionChunk(
            kind=CommandKind.REFERENCE,
            names=self.card.action.names,
            values=np.array([values]),
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self.card.max_open_loop_s,
        )
