"""RAPTOR as a policy: named terms in, motor efforts out, hidden state explicit."""

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
from policies.card import PolicyCard, load_policy_card
from policies.policy import ActContext, PolicyError
from policies.raptor.backends import (
    EXAMPLE_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
    make_backend,
    self_test,
)
from policies.raptor.contract import MOTORS, card_clipping, check_card
from policies.raptor.executor import Executor, ExecutorConfig, ExecutorStatus, NativeRule
from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Backend, Float32Array, RaptorWeights
from policies.raptor.observe import observe
from policies.runtime.engines import BackendName, Device

# The folder of the published policy, converted from the `foundation-policy` wheel.
PUBLISHED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class RaptorOptions:
    """How to run the policy."""

    # The library that evaluates the network.
    backend: BackendName = BackendName.NUMPY
    # Where it does; a network of 2,084 parameters is far too small for any but the CPU.
    device: Device = Device.CPU
    # How often the policy is asked, in Hz; the card's rate when absent. The hidden state advances at
    # the rate of the training whatever this is.
    rate_hz: float | None = None
    # Whether to clip position and velocity errors to the bounds on the card. Off for measurements.
    clip_errors: bool = True


class RaptorPolicy:
    """The policy of one vehicle. Implements `policies.policy.Policy`.

    The hidden state and the previous action go back to zero on `reset`, which belongs to activation
    alone: new references and disturbances are what the hidden state is there to live through.

    Args:
        card: the policy's card.
        weights: the trained arrays, for the initial hidden state.
        backend: the network.
        options: how to run it.

    Raises:
        ConfigErrors: the card asks for something that RAPTOR does not do.
    """

    def __init__(
        self,
        card: PolicyCard,
        weights: RaptorWeights,
        backend: Backend,
        options: RaptorOptions | None = None,
    ) -> None:
        """Check the card and start as after a reset."""
        self.card = card
        self.options = RaptorOptions() if options is None else options
        check_card(card, weights.hidden_size)
        rate_hz = card.rate_hz if self.options.rate_hz is None else self.options.rate_hz
        self._step_ns = round(1e9 / rate_hz)
        self._executor = Executor(
            backend,
            weights.initial_hidden,
            ExecutorConfig(
                call_interval_ns=self._step_ns,
                native_rule=NativeRule.TIME,
                native_slack_ns=self._step_ns // 2,
            ),
        )
        self._clipping = card_clipping(card) if self.options.clip_errors else None
        self._vector = np.zeros(OBSERVATION_SIZE, np.float32)
        self._previous_action: Float32Array = np.zeros(ACTION_SIZE, np.float32)
        self._status: ExecutorStatus | None = None

    @classmethod
    def load(cls, folder: Path | str = PUBLISHED, options: RaptorOptions | None = None) -> RaptorPolicy:
        """Load a policy folder: verify its hashes, make the back end and run its self-test.

        Args:
            folder: holds `card.yaml`, `model.safetensors`, `model.onnx` and `example.safetensors`.
            options: how to run the policy.

        Returns:
            The policy, warmed up and as after a reset.

        Raises:
            ConfigError: a file is missing or differs from its hash on the card, the library of the
                back end cannot be loaded, or the self-test fails.
        """
        folder = Path(folder)
        options = RaptorOptions() if options is None else options
        card = load_policy_card(folder)
        needed = {WEIGHTS_FILE, EXAMPLE_FILE}
        if options.backend is BackendName.ONNX:
            needed.add(ONNX_FILE)
        unlisted = sorted(needed - set(card.files))
        if unlisted:
            raise ConfigError(
                f"the card gives no SHA-256 for {', '.join(unlisted)}",
                where=f"{folder / 'card.yaml'}: files",
                expected=", ".join(sorted(needed)),
                mend="convert the checkpoint again with policies.raptor.convert",
            )
        weights = RaptorWeights.load(folder / WEIGHTS_FILE)
        backend = make_backend(options.backend, folder, weights, device=options.device)
        self_test(backend, weights, folder / EXAMPLE_FILE)
        return cls(card, weights, backend, options)

    @property
    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """A copy of the recurrent state: `hidden` (H,) and `previous_action` (4,), -1 to 1."""
        return {"hidden": self._executor.hidden, "previous_action": self._previous_action.copy()}

    @property
    def status(self) -> ExecutorStatus | None:
        """What the last call did and how healthy its timing was; None before the first call."""
        return self._status

    def load_state(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the recurrent state. The next call is a native step, and no timing is remembered.

        Args:
            state: as `state` gives it.

        Raises:
            ConfigError: other names, other shapes, or numbers that are not finite.
        """
        expected = {name: spec.shape for name, spec in self.card.recurrent.items()}
        given = {name: np.shape(array) for name, array in state.items()}
        if given != expected or not all(np.isfinite(array).all() for array in state.values()):
            raise ConfigError(
                f"the state is {given}",
                where=f"recurrent state of policy {self.card.name!r}",
                expected=f"{expected}, finite",
                mend="pass what the policy's `state` gave",
            )
        self._executor.reset(np.asarray(state["hidden"], np.float32))
        self._previous_action = np.array(state["previous_action"], np.float32)
        self._status = None

    def reset(self, seed: int | None = None) -> None:
        """Go back to the initial hidden state and a previous action of zero.

        Args:
            seed: not used; the policy draws no random numbers.
        """
        self._executor.reset()
        self._previous_action = np.zeros(ACTION_SIZE, np.float32)
        self._status = None

    def act(self, observation: Observation, *, context: ActContext) -> ActionChunk:
        """Answer an observation with motor efforts, 0 to 1.

        Args:
            observation: the terms of `policies.raptor.contract.TERMS`.
            context: not used: the answer depends on the observation, its stamp and the state alone.

        Returns:
            One step that starts at the observation's stamp.

        Raises:
            PolicyError: a term is missing or not finite, or the stamp went backwards. The hidden state
                is as before.
        """
        vector = observe(observation.values, self._previous_action, clipping=self._clipping, out=self._vector)
        action, self._status = self._executor.control(observation.stamp_ns, vector, self._previous_action)
        if action is None:
            raise PolicyError(
                f"the observation's stamp {observation.stamp_ns} ns lies before the previous one; "
                "RAPTOR goes on from the next observation"
            )
        self._previous_action = action
        efforts = np.empty((1, ACTION_SIZE), np.float64)
        np.add(action, 1.0, out=efforts[0])
        efforts *= 0.5
        return ActionChunk(
            kind=CommandKind.MOTOR,
            names=MOTORS,
            values=efforts,
            start_ns=observation.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=self.card.max_open_loop_s,
        )
