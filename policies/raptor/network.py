"""RAPTOR's network: its weights, the interface that all back ends share, and the NumPy back end.

Architecture: dense (22 to 16, ReLU), GRU (16), dense (16 to 4, linear). The output is not squashed;
whoever drives motors with it clamps it to [-1, 1] (`policies.raptor.executor`). Source: "RAPTOR: A
Foundation Policy for Quadrotor Control" (arXiv 2509.11481), Materials and Methods.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError

Float32Array = NDArray[np.float32]

OBSERVATION_SIZE = 22
ACTION_SIZE = 4


@dataclass(frozen=True, eq=False)
class RaptorWeights:
    """Every trained array of the policy, float32, read-only. Dense weights are (outputs, inputs).

    The GRU's rows come in three blocks: reset gate, update gate, candidate. Its hidden bias of the
    candidate lies inside the product with the reset gate, as in PyTorch.
    """

    # Dense layer in front of the GRU, (E, 22).
    encoder_weight: Float32Array
    # Its bias, (E,).
    encoder_bias: Float32Array
    # The GRU's weights on the encoded observation, (3 H, E).
    gru_input_weight: Float32Array
    # Their bias, (3 H,).
    gru_input_bias: Float32Array
    # The GRU's weights on the hidden state, (3 H, H).
    gru_hidden_weight: Float32Array
    # Their bias, (3 H,).
    gru_hidden_bias: Float32Array
    # The hidden state after a reset, (H,).
    initial_hidden: Float32Array
    # Dense layer behind the GRU, (4, H).
    head_weight: Float32Array
    # Its bias, (4,).
    head_bias: Float32Array

    def __post_init__(self) -> None:
        """Copy every array as contiguous read-only float32 and check it.

        Raises:
            ConfigError: a shape that does not fit the others, or a number that is not finite.
        """
        for field in dataclasses.fields(self):
            array = np.array(getattr(self, field.name), dtype=np.float32, order="C")
            array.setflags(write=False)
            object.__setattr__(self, field.name, array)
        encoder, hidden = len(self.encoder_bias), len(self.initial_hidden)
        expected = {
            "encoder_weight": (encoder, OBSERVATION_SIZE),
            "encoder_bias": (encoder,),
            "gru_input_weight": (3 * hidden, encoder),
            "gru_input_bias": (3 * hidden,),
            "gru_hidden_weight": (3 * hidden, hidden),
            "gru_hidden_bias": (3 * hidden,),
            "initial_hidden": (hidden,),
            "head_weight": (ACTION_SIZE, hidden),
            "head_bias": (ACTION_SIZE,),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ConfigError(
                    f"{name} has shape {array.shape}",
                    where="RAPTOR weights",
                    expected=f"{shape}, as the other arrays imply",
                    mend="load the weights of a RAPTOR network (dense, GRU, dense)",
                )
            if not np.isfinite(array).all():
                raise ConfigError(
                    f"{name} holds numbers that are not finite",
                    where="RAPTOR weights",
                    expected="finite numbers",
                    mend="train or convert the policy again",
                )

    @property
    def hidden_size(self) -> int:
        """Length of the hidden state."""
        return len(self.initial_hidden)

    @property
    def parameter_count(self) -> int:
        """How many trained numbers there are, the initial hidden state among them."""
        return sum(array.size for array in self.as_mapping().values())

    def as_mapping(self) -> dict[str, Float32Array]:
        """Name every array."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def save(self, path: Path | str) -> None:
        """Write the arrays as safetensors, under the names of the fields.

        Args:
            path: the file.
        """
        from safetensors.numpy import save_file

        save_file(self.as_mapping(), str(path))

    @classmethod
    def load(cls, path: Path | str) -> RaptorWeights:
        """Read arrays that `save` wrote.

        Args:
            path: the safetensors file.

        Returns:
            The weights.

        Raises:
            ConfigError: the file is not safetensors, or holds other arrays.
        """
        tensors = load_tensors(path)
        names = [field.name for field in dataclasses.fields(cls)]
        if sorted(tensors) != sorted(names):
            raise ConfigError(
                f"the arrays {', '.join(sorted(tensors)) or 'none'}",
                where=str(path),
                expected=", ".join(names),
                mend="give a RAPTOR policy, or convert the checkpoint with policies.raptor.convert",
            )
        return cls(**tensors)


def load_tensors(path: Path | str) -> dict[str, Float32Array]:
    """Read a safetensors file.

    Args:
        path: the file.

    Returns:
        The arrays by name.

    Raises:
        ConfigError: the file is missing or is not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, Float32Array] = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"cannot be read as safetensors ({error})",
            where=str(path),
            expected="a safetensors file",
            mend="copy the policy folder again, or convert the checkpoint again",
        ) from error
    return tensors


class Backend(Protocol):
    """The network, run by one library. It keeps no recurrent state of its own."""

    # The name by which the back end is chosen.
    name: str
    # Length of the hidden state.
    hidden_size: int

    def step(self, observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Evaluate the network once.

        Args:
            observation: shape (22,) or (B, 22), float32.
            hidden: shape (H,) or (B, H), float32; not written to.

        Returns:
            The action, (4,) or (B, 4), not clamped; and the next hidden state, (H,) or (B, H). Both
            are the caller's to keep: a later step does not write to them.
        """
        ...


class NumpyBackend:
    """The network in NumPy, with as few calls as it takes.

    The weights are stacked at construction so that a step needs three matrix products. A sigmoid is
    written as (1 + tanh(x / 2)) / 2 and its constants are folded into the weights. With t = tanh of
    the halved gate inputs, u = the input part and v = the halved hidden part of the candidate:

        n  = tanh(u + v + t_r v)         candidate, from r = (1 + t_r) / 2
        h' = n + (1 + t_z) (h - n) / 2   from z = (1 + t_z) / 2

    The sum u + v is one row block of the stacked matrix, v another.

    Args:
        weights: the trained arrays.
    """

    name = "numpy"

    def __init__(self, weights: RaptorWeights) -> None:
        """Stack the weights and allocate the buffers of a single step."""
        encoder, hidden = len(weights.encoder_bias), weights.hidden_size
        self.hidden_size = hidden
        # (E, 22 + 1): acts on (observation, 1).
        self._encoder = _with_bias(weights.encoder_weight, weights.encoder_bias)
        # (4 H, E + H + 1): acts on (encoded, hidden, 1); rows t_r, t_z, u + v, v.
        gates = np.zeros((4 * hidden, encoder + hidden + 1), np.float32)
        rz, n, v = slice(0, 2 * hidden), slice(2 * hidden, 3 * hidden), slice(3 * hidden, None)
        x, h, one = slice(0, encoder), slice(encoder, encoder + hidden), encoder + hidden
        gates[rz, x] = 0.5 * weights.gru_input_weight[rz]
        gates[rz, h] = 0.5 * weights.gru_hidden_weight[rz]
        gates[rz, one] = 0.5 * (weights.gru_input_bias[rz] + weights.gru_hidden_bias[rz])
        gates[v, h] = 0.5 * weights.gru_hidden_weight[n]
        gates[v, one] = 0.5 * weights.gru_hidden_bias[n]
        gates[n] = gates[v]
        gates[n, x] = weights.gru_input_weight[n]
        gates[n, one] += weights.gru_input_bias[n]
        self._gates = gates
        # (4, H + 1): acts on (next hidden, 1).
        self._head = _with_bias(weights.head_weight, weights.head_bias)
        self._step_one = _single_step(self._encoder, self._gates, self._head)

    def step(self, observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Evaluate the network once; see `Backend.step`."""
        if observation.ndim == 1:
            return self._step_one(observation, hidden)
        size = self.hidden_size
        encoded = observation @ self._encoder[:, :-1].T
        encoded += self._encoder[:, -1]
        np.maximum(encoded, 0.0, out=encoded)
        gates = np.concatenate([encoded, hidden], axis=1) @ self._gates[:, :-1].T
        gates += self._gates[:, -1]
        t = np.tanh(gates[:, : 2 * size])
        candidate = np.tanh(gates[:, 2 * size : 3 * size] + t[:, :size] * gates[:, 3 * size :])
        after = candidate + 0.5 * (1.0 + t[:, size:]) * (hidden - candidate)
        action = after @ self._head[:, :-1].T
        action += self._head[:, -1]
        return action, after


class _Step(Protocol):
    def __call__(
        self, observation: Float32Array, hidden: Float32Array
    ) -> tuple[Float32Array, Float32Array]: ...


def _with_bias(weight: Float32Array, bias: Float32Array) -> Float32Array:
    return np.ascontiguousarray(np.concatenate([weight, bias[:, None]], axis=1))


def _single_step(encoder: Float32Array, gates: Float32Array, head: Float32Array) -> _Step:
    """Make the step for one vehicle: bound functions and preallocated buffers, nothing looked up."""
    size = head.shape[1] - 1
    observed = np.ones(encoder.shape[1], np.float32)
    joined = np.ones(gates.shape[1], np.float32)
    after = np.ones(size + 1, np.float32)
    gated = np.empty(4 * size, np.float32)
    t = np.empty(2 * size, np.float32)
    n, change = np.empty(size, np.float32), np.empty(size, np.float32)
    observed_in, encoded, hidden_in = observed[:-1], joined[: len(encoder)], joined[len(encoder) : -1]
    gate_inputs, candidate_inputs, v = gated[: 2 * size], gated[2 * size : 3 * size], gated[3 * size :]
    t_r, t_z, after_out = t[:size], t[size:], after[:-1]
    zeros, halves = np.zeros(len(encoder), np.float32), np.full(size, 0.5, np.float32)
    encode, gate, act, copy = encoder.dot, gates.dot, head.dot, after_out.copy
    tanh, maximum, add, subtract, multiply = np.tanh, np.maximum, np.add, np.subtract, np.multiply

    def step(observation: Float32Array, hidden: Float32Array) -> tuple[Float32Array, Float32Array]:
        observed_in[:] = observation
        hidden_in[:] = hidden
        encode(observed, encoded)
        maximum(encoded, zeros, encoded)
        gate(joined, gated)
        tanh(gate_inputs, t)
        multiply(t_r, v, n)
        add(n, candidate_inputs, n)
        tanh(n, n)
        subtract(hidden_in, n, change)
        multiply(t_z, change, after_out)
        add(after_out, change, after_out)
        multiply(after_out, halves, after_out)
        add(after_out, n, after_out)
        return act(after), copy()

    return step
