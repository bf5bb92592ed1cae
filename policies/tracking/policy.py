"""The outer loop as a policy: a reference in, body rates and thrust in weights out.

For vehicles whose flight controller holds body rates (Betaflight, PX4). The thrust is in multiples of the
weight, so that one policy flies them all; the driver knows what share of the throttle that is. The law is
that of `hardware.drones.outer_loop`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware import schema
from hardware.chunk import ActionChunk
from hardware.command import CommandKind
from hardware.drones.outer_loop import OuterLoop, OuterLoopSettings, Setpoint
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from hardware.robot import Observation
from policies.card import PolicyCard, load_policy_card
from policies.policy import ActContext, PolicyError

TERMS = (
    "position",
    "orientation",
    "linear_velocity",
    "reference_position",
    "reference_velocity",
    "reference_yaw",
)
ELEMENTS = ("roll_rate", "pitch_rate", "yaw_rate", "thrust")
_MEMORY = {"integral": (3,), "acceleration": (3,), "velocity": (3,), "seen": (1,)}
# Observations farther apart than this are a new beginning for everything that counts time, seconds.
_LONGEST_STEP_S = 0.1


@dataclass(frozen=True)
class TrackingOptions:
    """There is nothing to choose: the tuning is on the card."""


class TrackingPolicy:
    """Tracks a reference with body rates. Implements `policies.policy.Policy`.

    Args:
        card: the policy's card; `parameters` holds `OuterLoopSettings`.

    Raises:
        ConfigError: the card asks for something else than rates and thrust, or a parameter is wrong.
    """

    def __init__(self, card: PolicyCard) -> None:
        """Check the card."""
        self.card = card
        action, where = card.action, f"policy card {card.name!r}"
        if (
            action.kind is not CommandKind.RATES_THRUST
            or sorted(action.names) != sorted(ELEMENTS)
            or sorted(card.observation) != sorted(TERMS)
            or {name: spec.shape for name, spec in card.recurrent.items()} != _MEMORY
        ):
            raise ConfigError(
                f"action {action.kind.value} of {', '.join(action.names)} from {', '.join(card.observation)}",
                where=where,
                expected=f"rates_thrust of {', '.join(ELEMENTS)} from {', '.join(TERMS)}, with the recurrent "
                f"states {', '.join(_MEMORY)}",
                mend="correct the card",
            )
        settings = schema.parse(OuterLoopSettings, dict(card.parameters), where=f"{where}: parameters")
        self._loop = OuterLoop(settings)
        self._order = [ELEMENTS.index(name) for name in action.names]
        self._step_ns = round(1e9 / card.rate_hz)
        self._last_ns: int | None = None

    @classmethod
    def load(cls, folder: Path | str, options: TrackingOptions | None = None) -> TrackingPolicy:
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
        """A copy of what lasts, as `hardware.drones.outer_loop.OuterLoop.memory` tells."""
        return {name: array.astype(np.float32) for name, array in self._loop.memory.items()}

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set what lasts, as given by `state`.

        Raises:
            ConfigError: other names or other shapes.
        """
        shapes = {name: np.shape(array) for name, array in state.items()}
        if shapes != _MEMORY:
            raise ConfigError(
                f"the state is {shapes}",
                where=f"recurrent state of policy {self.card.name!r}",
                expected=str(_MEMORY),
                mend="pass what the policy's `state` gave",
            )
        self._loop.recall({name: np.asarray(array, np.float64) for name, array in state.items()})
        self._last_ns = None

    def reset(self, seed: int | None = None) -> None:
        """Forget what lasted.

        Args:
            seed: not used; the policy draws no random numbers.
        """
        self._loop.reset()
        self._last_ns = None

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation with body rates (rad/s) and thrust (weights).

        Args:
            observation: the terms of `TERMS`.
            context: not used: the answer depends on observation, stamp and state alone.

        Returns:
            One step that starts at the observation's stamp.

        Raises:
            PolicyError: a term is missing or not finite, or the stamp went backwards. The state is as before.
        """
        values = observation.values
        missing = [name for name in TERMS if name not in values]
        if missing or not all(np.isfinite(values[name]).all() for name in TERMS):
            raise PolicyError(f"a term is {'missing: ' + ', '.join(missing) if missing else 'not finite'}")
        last_ns = observation.stamp_ns if self._last_ns is None else self._last_ns
        if observation.stamp_ns < last_ns:
            raise PolicyError(f"the stamp {observation.stamp_ns} ns lies before the previous one")
        dt_s = (observation.stamp_ns - last_ns) * 1e-9
        if dt_s > _LONGEST_STEP_S:
            dt_s = 0.0
        self._last_ns = observation.stamp_ns
        orientation = values["orientation"]
        wanted = self._loop.update(
            Setpoint(
                values["reference_position"], values["reference_velocity"], float(values["reference_yaw"][0])
            ),
            position_m=values["position"],
            velocity_m_s=rotation_matrix(orientation) @ values["linear_velocity"],
            orientation_wxyz=orientation,
            dt_s=dt_s,
        )
        action = np.array([*wanted.rates_rad_s, wanted.thrust])
        return ActionChunk(
            kind=CommandKind.RATES_THRUST,
            names=self.card.action.names,
            values=action[self._order][None],
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self.card.max_open_loop_s,
        )
