"""RAPTOR for many simulated vehicles at once: one network, one row of recurrent state a vehicle.

What `policies.raptor.executor` does for one vehicle, without its timing statistics: the hidden state
advances every 10 ms alone, calls in between are evaluated on a copy of it, the network sees the mean of
the actions applied since the last native step, and the answer is clamped. A vehicle whose numbers are
not finite keeps to its own row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.backends import WEIGHTS_FILE
from policies.raptor.contract import ErrorClipping, card_clipping
from policies.raptor.network import (
    ACTION_SIZE,
    OBSERVATION_SIZE,
    Backend,
    Float32Array,
    NumpyBackend,
    RaptorWeights,
)
from policies.raptor.policy import PUBLISHED, RaptorPolicy

_POSITION, _VELOCITY = slice(0, 3), slice(12, 15)


class RaptorFleet:
    """The policy of N vehicles that are observed at the same instants.

    Args:
        backend: the network.
        initial_hidden: the hidden state after a reset, (H,).
        clipping: the largest errors that the network gets to see, or None for none.
        native_interval_ns: time between two advances of the hidden state.
    """

    def __init__(
        self,
        backend: Backend,
        initial_hidden: Float32Array,
        *,
        clipping: ErrorClipping | None,
        native_interval_ns: int = 10_000_000,
    ) -> None:
        """Start without vehicles; `reset` brings them."""
        self._backend = backend
        self._initial_hidden = np.array(initial_hidden, np.float32)
        self._clipping = clipping
        self._native_interval_ns = native_interval_ns
        self.reset(0)

    @property
    def hidden(self) -> Float32Array:
        """A copy of the hidden states, (N, H)."""
        return self._hidden.copy()

    def reset(self, count: int) -> None:
        """Begin anew with the initial hidden state for every vehicle; the next call is native.

        Args:
            count: how many vehicles there are from now on, N.
        """
        self._hidden = np.tile(self._initial_hidden, (count, 1))
        self._input = np.zeros((count, OBSERVATION_SIZE), np.float32)
        self._mean_action = np.zeros((count, ACTION_SIZE), np.float32)
        self._applied = 0
        self._last_native_ns: int | None = None
        self._last_call_ns: int | None = None

    def act(self, observation: Float32Array, now_ns: int) -> Float32Array:
        """Answer one observation a vehicle.

        Args:
            observation: shape (N, 22), the last four the action applied since the last call; errors
                as they are, they are clipped here.
            now_ns: time of the observations, nanoseconds, any epoch.

        Returns:
            The actions, shape (N, 4), clamped to [-1, 1]; NaN where the network's answer is.

        Raises:
            ConfigError: another number of vehicles than `reset` was told, or time went backwards.
        """
        if observation.shape != self._input.shape:
            raise ConfigError(
                f"observations of shape {observation.shape}",
                where="RAPTOR fleet",
                expected=str(self._input.shape),
                mend="call reset with the number of vehicles",
            )
        if self._last_call_ns is not None and now_ns < self._last_call_ns:
            raise ConfigError(
                f"time {now_ns} ns after {self._last_call_ns} ns",
                where="RAPTOR fleet",
                expected="times that do not go backwards",
                mend="call reset before a new flight",
            )
        self._last_call_ns = now_ns
        self._average(observation[:, -ACTION_SIZE:])
        seen = self._input
        seen[:, :-ACTION_SIZE] = observation[:, :-ACTION_SIZE]
        seen[:, -ACTION_SIZE:] = self._mean_action
        if self._clipping is not None:
            for part, bound in (
                (seen[:, _POSITION], self._clipping.position_m),
                (seen[:, _VELOCITY], self._clipping.velocity_m_s),
            ):
                np.clip(part, -bound, bound, out=part)
        action, hidden = self._backend.step(seen, self._hidden)
        native_ns = self._last_native_ns
        if native_ns is None or now_ns - native_ns >= self._native_interval_ns:
            self._hidden, self._last_native_ns, self._applied = hidden, now_ns, 0
        return np.clip(action, -1.0, 1.0, out=action)

    def _average(self, previous_action: Float32Array) -> None:
        mean, count = self._mean_action, self._applied
        if count == 0:
            mean[:] = previous_action
        else:
            mean *= count
            mean += previous_action
            mean /= count + 1
        self._applied = count + 1


@dataclass(frozen=True, eq=False)
class FleetPilot:
    """A policy folder, ready to fly fleets with its error clipping or without."""

    # The network.
    backend: Backend
    # The hidden state after a reset, (H,).
    initial_hidden: Float32Array
    # The clipping on the policy's card.
    clipping: ErrorClipping
    # The policy's name on its card.
    name: str

    @classmethod
    def load(cls, folder: Path | str = PUBLISHED) -> FleetPilot:
        """Load a policy folder, with the checks of `RaptorPolicy.load`.

        Args:
            folder: the policy folder.

        Returns:
            The pilot, on the NumPy back end.

        Raises:
            ConfigError: a file is missing or differs from its hash on the card, or the self-test fails.
            ConfigErrors: the card asks for something that RAPTOR does not do.
        """
        card = RaptorPolicy.load(folder).card
        weights = RaptorWeights.load(Path(folder) / WEIGHTS_FILE)
        return cls(NumpyBackend(weights), weights.initial_hidden, card_clipping(card), card.name)

    def controller(self, *, clip_errors: bool) -> RaptorFleet:
        """Make a controller.

        Args:
            clip_errors: whether errors are clipped as on the card, as in flight; not so for the figures
                of RAPTOR's specs.

        Returns:
            The controller, before its first reset.
        """
        clipping = self.clipping if clip_errors else None
        return RaptorFleet(self.backend, self.initial_hidden, clipping=clipping)
