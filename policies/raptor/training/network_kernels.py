"""RAPTOR's network and its derivative as compiled loops over vehicles; importing this imports numba.

Everything is float32 and component-first, `LANES` vehicles a call, so that the innermost loops become
SIMD code. Weights travel as one tuple, in the order of `WEIGHTS`. The hyperbolic tangent is a rational
approximation (a minimax fit on [-7.9, 7.9], relative error below 5e-7 against libm), which SIMD code can
evaluate; policies are flown with the exact one.
"""

# mypy: disallow-untyped-defs=false
# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types; the arrays are told in the docstrings.

from __future__ import annotations

import numpy as np

from policies.raptor.network import Float32Array
from sim.quadrotor.adjoint_kernels import LANES, compiled, inlined

# Evaluations whose share of the weights' gradients is added up in one matrix product.
KEPT = 8

# Fields of `RaptorWeights` in the order of the tuple that the loops take.
WEIGHTS = (
    "encoder_weight",
    "encoder_bias",
    "gru_input_weight",
    "gru_input_bias",
    "gru_hidden_weight",
    "gru_hidden_bias",
    "head_weight",
    "head_bias",
)

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_LIMIT = np.float32(7.90531110763549805)
_P = tuple(
    np.float32(c)
    for c in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
_Q = tuple(
    np.float32(c)
    for c in (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
)


@inlined
def _tanh(x):
    x = min(max(x, -_LIMIT), _LIMIT)
    y = x * x
    p = _P[0] * y + _P[1]
    p = p * y + _P[2]
    p = p * y + _P[3]
    p = p * y + _P[4]
    p = p * y + _P[5]
    p = p * y + _P[6]
    q = _Q[0] * y + _Q[1]
    q = q * y + _Q[2]
    q = q * y + _Q[3]
    return x * p / q


@compiled
def _spread(bias, out):
    for o in range(out.shape[0]):
        for v in range(LANES):
            out[o, v] = bias[o]


@compiled
def _add_product(weight, x, out):
    """Add weight @ x to out."""
    rows, columns = weight.shape
    whole = columns - columns % 4
    for o in range(rows):
        for i in range(0, whole, 4):
            a, b, c, d = weight[o, i], weight[o, i + 1], weight[o, i + 2], weight[o, i + 3]
            for v in range(LANES):
                out[o, v] += (a * x[i, v] + b * x[i + 1, v]) + (c * x[i + 2, v] + d * x[i + 3, v])
        for i in range(whole, columns):
            a = weight[o, i]
            for v in range(LANES):
                out[o, v] += a * x[i, v]


@compiled
def _add_transposed(weight, y, out):
    """Add weight.T @ y to out; the number of rows is a multiple of four."""
    rows, columns = weight.shape
    for i in range(columns):
        for o in range(0, rows, 4):
            a, b, c, d = weight[o, i], weight[o + 1, i], weight[o + 2, i], weight[o + 3, i]
            for v in range(LANES):
                out[i, v] += (a * y[o, v] + b * y[o + 1, v]) + (c * y[o + 2, v] + d * y[o + 3, v])


@compiled
def network_step(weights, observation, hidden, encoded, gates, action, scratch):
    """Evaluate the network once.

    Args:
        weights: the arrays of `WEIGHTS`.
        observation: (22, LANES).
        hidden: (H, LANES), replaced by the next hidden state.
        encoded: (E, LANES), written: what the encoder gave.
        gates: (4 H, LANES), written: reset, update, candidate, hidden part of the candidate.
        action: (4, LANES), written, not clamped.
        scratch: (6 H, LANES).
    """
    w0, b0, wi, bi, wh, bh, w2, b2 = weights
    size = hidden.shape[0]
    gi, gh = scratch[: 3 * size], scratch[3 * size :]
    _spread(b0, encoded)
    _add_product(w0, observation, encoded)
    for m in range(encoded.shape[0]):
        for v in range(LANES):
            encoded[m, v] = max(encoded[m, v], _ZERO)
    _spread(bi, gi)
    _add_product(wi, encoded, gi)
    _spread(bh, gh)
    _add_product(wh, hidden, gh)
    for m in range(size):
        for v in range(LANES):
            reset = _HALF + _HALF * _tanh(_HALF * (gi[m, v] + gh[m, v]))
            update = _HALF + _HALF * _tanh(_HALF * (gi[size + m, v] + gh[size + m, v]))
            part = gh[2 * size + m, v]
            candidate = _tanh(gi[2 * size + m, v] + reset * part)
            gates[m, v] = reset
            gates[size + m, v] = update
            gates[2 * size + m, v] = candidate
            gates[3 * size + m, v] = part
            hidden[m, v] = candidate + update * (hidden[m, v] - candidate)
    _spread(b2, action)
    _add_product(w2, hidden, action)


@compiled
def network_vjp(weights, encoded, gates, before, l_action, l_hidden, l_gates, l_encoded, l_observation):
    """Pull cotangents back through one evaluation.

    Args:
        weights: the arrays of `WEIGHTS`.
        encoded: (E, LANES), as `network_step` wrote it.
        gates: (4 H, LANES), as `network_step` wrote it.
        before: (H, LANES), the hidden state before the step.
        l_action: (4, LANES), cotangent of the action.
        l_hidden: (H, LANES), cotangent of the next hidden state; replaced by that of the one before.
        l_gates: (6 H, LANES), written: cotangents of the input part (3 H) and of the hidden part (3 H).
        l_encoded: (E, LANES), written: cotangent of the encoder's output before its ReLU.
        l_observation: (22, LANES), written.
    """
    w0, _, wi, _, wh, _, w2, _ = weights
    size = before.shape[0]
    l_input, l_part = l_gates[: 3 * size], l_gates[3 * size :]
    _add_transposed(w2, l_action, l_hidden)
    for m in range(size):
        for v in range(LANES):
            reset, update = gates[m, v], gates[size + m, v]
            candidate, part = gates[2 * size + m, v], gates[3 * size + m, v]
            g = l_hidden[m, v]
            dn = g * (_ONE - update) * (_ONE - candidate * candidate)
            dz = g * (before[m, v] - candidate) * update * (_ONE - update)
            dr = dn * part * reset * (_ONE - reset)
            l_input[m, v] = dr
            l_input[size + m, v] = dz
            l_input[2 * size + m, v] = dn
            l_part[m, v] = dr
            l_part[size + m, v] = dz
            l_part[2 * size + m, v] = dn * reset
            l_hidden[m, v] = g * update
    _add_transposed(wh, l_part, l_hidden)
    l_encoded[:] = _ZERO
    _add_transposed(wi, l_input, l_encoded)
    for m in range(l_encoded.shape[0]):
        for v in range(LANES):
            l_encoded[m, v] = l_encoded[m, v] if encoded[m, v] > _ZERO else _ZERO
    l_observation[:] = _ZERO
    _add_transposed(w0, l_encoded, l_observation)


def weight_buffers(encoder_size: int, hidden_size: int) -> tuple[Float32Array, ...]:
    """Make what `collect` sums gradients in.

    Args:
        encoder_size: E, width of the dense layer in front of the GRU.
        hidden_size: H.

    Returns:
        Four sums, one a layer, (rows, columns + 1) with the bias's in the last column: encoder, input part
        of the GRU, hidden part, head. Then for each what was collected since it was last added: cotangents
        (rows, KEPT * LANES) and inputs (columns + 1, KEPT * LANES), whose last row is one. Then how many
        blocks that is, (1,).
    """
    shapes = (
        (encoder_size, 22), (3 * hidden_size, encoder_size), (3 * hidden_size, hidden_size), (4, hidden_size)
    )  # fmt: skip
    width = KEPT * LANES
    sums = [np.zeros((rows, columns + 1), np.float32) for rows, columns in shapes]
    cotangents = [np.zeros((rows, width), np.float32) for rows, _ in shapes]
    inputs = [np.ones((columns + 1, width), np.float32) for _, columns in shapes]
    return (*sums, *cotangents, *inputs, np.zeros(1, np.float32))


def gradients_of(buffers: tuple[Float32Array, ...]) -> tuple[Float32Array, ...]:
    """The summed gradients in the order of `WEIGHTS`."""
    return tuple(part for total in buffers[:4] for part in (total[:, :-1], total[:, -1]))


@compiled
def _put(source, target, start):
    for m in range(source.shape[0]):
        for v in range(LANES):
            target[m, start + v] = source[m, v]


@compiled
def collect(last, l_action, l_gates, l_encoded, observation, encoded, before, after, buffers):
    """Keep what one evaluation adds to the weights' gradients; add it up a few evaluations at a time.

    Args:
        last: whether to add up what is kept in any case.
        l_action: (4, LANES), cotangent of the action.
        l_gates: (6 H, LANES), as `network_vjp` wrote it.
        l_encoded: (E, LANES), as `network_vjp` wrote it.
        observation: (22, LANES).
        encoded: (E, LANES).
        before: (H, LANES), hidden state before.
        after: (H, LANES), hidden state after.
        buffers: from `weight_buffers`.
    """
    s0, si, sh, s2, l0, li, lh, l2, x0, xi, xh, x2, kept = buffers
    half = l_gates.shape[0] // 2
    start = int(kept[0]) * LANES
    _put(l_encoded, l0, start)
    _put(l_gates[:half], li, start)
    _put(l_gates[half:], lh, start)
    _put(l_action, l2, start)
    _put(observation, x0, start)
    _put(encoded, xi, start)
    _put(before, xh, start)
    _put(after, x2, start)
    kept[0] += _ONE
    if last or kept[0] == KEPT:
        end = int(kept[0]) * LANES
        for cotangent in (l0, li, lh, l2):
            cotangent[:, end:] = _ZERO
        s0 += np.dot(l0, x0.T)
        si += np.dot(li, xi.T)
        sh += np.dot(lh, xh.T)
        s2 += np.dot(l2, x2.T)
        kept[0] = _ZERO
