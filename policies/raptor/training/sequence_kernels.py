"""The network along recorded observations, forward and backward, as compiled loops; imports numba."""

# mypy: disallow-untyped-defs=false
# ruff: noqa: ANN001, ANN201 - numba infers the types; the arrays are told in the docstrings.

from __future__ import annotations

import numpy as np

from policies.raptor.training.network_kernels import collect, network_step, network_vjp
from sim.quadrotor.adjoint_kernels import LANES, compiled

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled
def follow(weights, observations, kept, actions, encodings, gates, hiddens):
    """Evaluate the network along `LANES` rows of T observations.

    Args:
        weights: the arrays of `network_kernels.WEIGHTS`.
        observations: (T, 22, LANES).
        kept: (T, LANES), 0 where the hidden state is reset before the step, else 1.
        actions: (T, 4, LANES), written.
        encodings: (T, E, LANES), written.
        gates: (T, 4 H, LANES), written.
        hiddens: (T + 1, H, LANES), written: at t the state that step t began with, after its reset.
    """
    size = hiddens.shape[1]
    hidden = np.zeros((size, LANES), np.float32)
    scratch = np.empty((6 * size, LANES), np.float32)
    for t in range(observations.shape[0]):
        for m in range(size):
            for v in range(LANES):
                hidden[m, v] *= kept[t, v]
                hiddens[t, m, v] = hidden[m, v]
        network_step(weights, observations[t], hidden, encodings[t], gates[t], actions[t], scratch)
    hiddens[-1] = hidden


@compiled
def unfollow(weights, observations, kept, encodings, gates, hiddens, heads, l_actions, gradients):
    """Pull cotangents of the actions back to the weights.

    Args:
        weights: as for `follow`, like all down to `hiddens`.
        observations: see `follow`.
        kept: see `follow`.
        encodings: see `follow`.
        gates: see `follow`.
        hiddens: see `follow`.
        heads: (H, LANES), scratch.
        l_actions: (T, 4, LANES).
        gradients: from `network_kernels.weight_buffers`; added to.
    """
    size = hiddens.shape[1]
    l_hidden = np.zeros((size, LANES), np.float32)
    l_gate = np.empty((6 * size, LANES), np.float32)
    l_encoded = np.empty((encodings.shape[1], LANES), np.float32)
    l_seen = np.empty((22, LANES), np.float32)
    for t in range(observations.shape[0] - 1, -1, -1):
        # The head saw the state before the next step's reset.
        for m in range(size):
            for v in range(LANES):
                update, candidate = gates[t, size + m, v], gates[t, 2 * size + m, v]
                heads[m, v] = candidate + update * (hiddens[t, m, v] - candidate)
        network_vjp(
            weights, encodings[t], gates[t], hiddens[t], l_actions[t], l_hidden, l_gate, l_encoded, l_seen
        )
        collect(
            t == 0, l_actions[t], l_gate, l_encoded,
            observations[t], encodings[t], hiddens[t], heads, gradients,
        )  # fmt: skip
        for m in range(size):
            for v in range(LANES):
                l_hidden[m, v] *= kept[t, v]
