"""Policy and simulator in closed loop, forward and backward, as compiled loops; imports numba.

`LANES` vehicles fly `T` control steps. What a vehicle sees passes through a delay of its velocity, noise and
the error clipping; what it does passes through the clamp and an action delay. A delay of k control steps
and a rest of f seconds means: during the first f seconds of a control step the motors still follow the
action of k + 1 steps ago, then that of k steps ago. Both parts are one Runge-Kutta step, as long as they
need to be.

A control step is the network's native one of 10 ms, or a whole share of it, as in RAPTOR's executor
(`policies.raptor.executor`): then the hidden state advances at every native step alone, steps in between
work on a copy of it, and the previous action that is seen is the mean of those since the last native step.
"""

# mypy: disallow-untyped-defs=false
# ruff: noqa: ANN001, ANN201, ANN202 - numba infers the types; the arrays are told in the docstrings.

from __future__ import annotations

import numpy as np

from policies.raptor.training.network_kernels import collect, network_step, network_vjp
from sim.quadrotor.adjoint_kernels import LANES, ROWS, advance_block, compiled, pull_back_block

_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)


@compiled
def _see(state, reference, noise, velocities, blend, previous, clip_position, clip_velocity, out):
    """Write the observation of every vehicle, (22, LANES)."""
    kept = blend.shape[0]
    for m in range(3):
        for v in range(LANES):
            error = state[m, v] - reference[m, v] + noise[m, v]
            out[m, v] = min(max(error, -clip_position), clip_position)
            out[15 + m, v] = state[10 + m, v] + noise[15 + m, v]
        for v in range(LANES):
            seen = _ZERO
            for d in range(kept):
                seen += blend[d, v] * velocities[kept - 1 - d, m, v]
            error = seen - reference[3 + m, v] + noise[12 + m, v]
            out[12 + m, v] = min(max(error, -clip_velocity), clip_velocity)
    for v in range(LANES):
        w, i, j, k = state[3, v], state[4, v], state[5, v], state[6, v]
        out[3, v] = _ONE - _TWO * (j * j + k * k) + noise[3, v]
        out[4, v] = _TWO * (i * j - w * k) + noise[4, v]
        out[5, v] = _TWO * (i * k + w * j) + noise[5, v]
        out[6, v] = _TWO * (i * j + w * k) + noise[6, v]
        out[7, v] = _ONE - _TWO * (i * i + k * k) + noise[7, v]
        out[8, v] = _TWO * (j * k - w * i) + noise[8, v]
        out[9, v] = _TWO * (i * k - w * j) + noise[9, v]
        out[10, v] = _TWO * (j * k + w * i) + noise[10, v]
        out[11, v] = _ONE - _TWO * (i * i + j * j) + noise[11, v]
    for m in range(4):
        for v in range(LANES):
            out[18 + m, v] = previous[m, v]


@compiled
def _unsee(state, seen, l_seen, blend, l_velocities, clip_position, clip_velocity, l_state):
    """Add the observation's cotangent to those of the state and of the velocities it was made of."""
    kept = blend.shape[0]
    for m in range(3):
        for v in range(LANES):
            l_state[m, v] += l_seen[m, v] if abs(seen[m, v]) < clip_position else _ZERO
            l_state[10 + m, v] += l_seen[15 + m, v]
            g = l_seen[12 + m, v] if abs(seen[12 + m, v]) < clip_velocity else _ZERO
            for d in range(kept):
                l_velocities[kept - 1 - d, m, v] += blend[d, v] * g
            l_state[7 + m, v] += l_velocities[kept - 1, m, v]
    for v in range(LANES):
        w, i, j, k = state[3, v], state[4, v], state[5, v], state[6, v]
        r00, r01, r02 = l_seen[3, v], l_seen[4, v], l_seen[5, v]
        r10, r11, r12 = l_seen[6, v], l_seen[7, v], l_seen[8, v]
        r20, r21, r22 = l_seen[9, v], l_seen[10, v], l_seen[11, v]
        l_state[3, v] += _TWO * (k * (r10 - r01) + j * (r02 - r20) + i * (r21 - r12))
        l_state[4, v] += _TWO * (j * (r01 + r10) + k * (r02 + r20) + w * (r21 - r12) - _TWO * i * (r11 + r22))
        l_state[5, v] += _TWO * (i * (r01 + r10) + k * (r12 + r21) + w * (r02 - r20) - _TWO * j * (r00 + r22))
        l_state[6, v] += _TWO * (i * (r02 + r20) + j * (r12 + r21) + w * (r10 - r01) - _TWO * k * (r00 + r11))


@compiled
def _setpoints(actions, whole, early, late):
    """Efforts asked for before and after the rest of the delay has passed, (4, LANES) each."""
    kept = whole.shape[0]
    for m in range(4):
        for v in range(LANES):
            old, new = _ZERO, _ZERO
            for d in range(kept):
                new += whole[d, v] * actions[kept + 1 - d, m, v]
                old += whole[d, v] * actions[kept - d, m, v]
            early[m, v] = _HALF + _HALF * old
            late[m, v] = _HALF + _HALF * new


@compiled
def _mean(actions, out):
    """Mean of the actions (n, 4, LANES)."""
    share = _ONE / np.float32(actions.shape[0])
    for m in range(4):
        for v in range(LANES):
            out[m, v] = _ZERO
        for d in range(actions.shape[0]):
            for v in range(LANES):
                out[m, v] += share * actions[d, m, v]


@compiled
def _copy(source, target):
    for m in range(target.shape[0]):
        for v in range(LANES):
            target[m, v] = source[m, v]


@compiled
def fly(
    weights, coefficients, gain, force, reference, noise, whole, rest, blend, limits, native, start, hidden,
    alive, states, velocities, actions, raw, observations, encodings, gates, hiddens,
):  # fmt: skip
    """Fly `LANES` vehicles in closed loop.

    Args:
        weights: the arrays of `network_kernels.WEIGHTS`.
        coefficients: (12, LANES), `AirframeBatch.coefficients`.
        gain: (4, LANES), factor on each rotor's thrust.
        force: (T, 3, LANES), newtons.
        reference: (T, 6, LANES), position and velocity.
        noise: (T, 18, LANES).
        whole: (A - 1, LANES), one where the action delay has that many whole control steps.
        rest: (LANES,), the rest of the action delay, seconds.
        blend: (V, LANES), weights of present and past velocities in the one seen.
        limits: of the position error seen, of the velocity error seen, of a vehicle that is not lost
            (position error, speed, rate of rotation); then the length of a control step.
        native: control steps in a native step.
        start: (17, LANES), the first state.
        hidden: (H, LANES), the first hidden state; replaced by the last one.
        alive: (T + 1, LANES), the first row given, the others written.
        states: (T + 1, 17, LANES), written.
        velocities: (T + V - 1, 3, LANES), the past given, the others written.
        actions: (T + A, 4, LANES), clamped; the past given, the others written.
        raw: (T, 4, LANES), written: the network's outputs.
        observations: (T, 22, LANES), written.
        encodings: (T, E, LANES), written.
        gates: (T, 4 H, LANES), written.
        hiddens: (T, H, LANES), written: what the step started from.
    """
    past = whole.shape[0] + 1
    past_velocities = blend.shape[0]
    previous = np.empty((4, LANES), np.float32)
    copied = np.empty(hidden.shape, np.float32)
    b = np.empty((ROWS, LANES), np.float32)
    scratch = np.empty((6 * hidden.shape[0], LANES), np.float32)
    late = np.empty((4, LANES), np.float32)
    clip_position, clip_velocity, far, fast, spin, period = limits
    _copy(gain, b[21:25])
    _copy(coefficients, b[28:40])
    _copy(start, b[41:58])
    _copy(start, states[0])
    for t in range(reference.shape[0]):
        _copy(b[41:58], b[0:17])
        _copy(b[7:10], velocities[t + past_velocities - 1])
        since = t % native if t % native > 0 else native
        _mean(actions[t + past - since : t + past], previous)
        _see(
            b[0:17], reference[t], noise[t], velocities[t : t + past_velocities], blend,
            previous, clip_position, clip_velocity, observations[t],
        )  # fmt: skip
        _copy(hidden, hiddens[t])
        if t % native == 0:
            network_step(weights, observations[t], hidden, encodings[t], gates[t], raw[t], scratch)
        else:
            _copy(hidden, copied)
            network_step(weights, observations[t], copied, encodings[t], gates[t], raw[t], scratch)
        for m in range(4):
            for v in range(LANES):
                actions[t + past, m, v] = min(max(raw[t, m, v], -_ONE), _ONE)
        _setpoints(actions[t : t + past + 1], whole, b[17:21], late)
        _copy(force[t], b[25:28])
        for v in range(LANES):
            b[40, v] = rest[v]
        advance_block(b)
        _copy(b[0:17], b[58:75])
        _copy(b[41:58], b[0:17])
        _copy(late, b[17:21])
        for v in range(LANES):
            b[40, v] = period - rest[v]
        advance_block(b)
        for v in range(LANES):
            worst = _ZERO
            for m in range(3):
                worst = max(worst, abs(b[41 + m, v] - reference[t, m, v]) / far)
                worst = max(worst, abs(b[48 + m, v]) / fast)
                worst = max(worst, abs(b[51 + m, v]) / spin)
            alive[t + 1, v] = alive[t, v] if worst < _ONE else _ZERO
        # A vehicle that is lost stays where it was last: its numbers must not reach infinity.
        for m in range(17):
            for v in range(LANES):
                b[41 + m, v] = b[41 + m, v] if alive[t + 1, v] > _HALF else b[58 + m, v]
        _copy(b[41:58], states[t + 1])


@compiled
def unfly(
    weights, coefficients, gain, force, whole, rest, blend, limits, native, alive,
    states, actions, raw, observations, encodings, gates, hiddens,
    l_states, l_raw, decay, cap, l_velocities, l_actions, gradients,
):  # fmt: skip
    """Pull cotangents of states and actions back to the weights.

    Args:
        weights: as for `fly`, like all down to `hiddens`.
        coefficients: see `fly`.
        gain: see `fly`.
        force: see `fly`.
        whole: see `fly`.
        rest: see `fly`.
        blend: see `fly`.
        limits: see `fly`.
        native: see `fly`.
        alive: see `fly`.
        states: see `fly`.
        actions: see `fly`.
        raw: see `fly`.
        observations: see `fly`.
        encodings: see `fly`.
        gates: see `fly`.
        hiddens: see `fly`.
        l_states: (T + 1, 17, LANES).
        l_raw: (T, 4, LANES).
        decay: factor on a state's cotangent at every control step.
        cap: longest cotangent of a state.
        l_velocities: shape of `velocities`, zeros; scratch.
        l_actions: shape of `actions`, zeros; scratch.
        gradients: as `weight_buffers` makes them; added to.
    """
    size = hiddens.shape[1]
    past = whole.shape[0] + 1
    past_velocities = blend.shape[0]
    copied = np.empty((size, LANES), np.float32)
    heads = np.empty((size, LANES), np.float32)
    clip_position, clip_velocity, _, _, _, period = limits
    b = np.empty((ROWS, LANES), np.float32)
    late = np.empty((4, LANES), np.float32)
    l_late = np.empty((4, LANES), np.float32)
    l_hidden = np.zeros((size, LANES), np.float32)
    l_gate = np.empty((6 * size, LANES), np.float32)
    l_encoded = np.empty((encodings.shape[1], LANES), np.float32)
    l_seen = np.empty((22, LANES), np.float32)
    l_action = np.empty((4, LANES), np.float32)
    scale = np.empty(LANES, np.float32)
    steps = raw.shape[0]
    _copy(gain, b[21:25])
    _copy(coefficients, b[28:40])
    _copy(l_states[steps], b[58:75])
    for t in range(steps - 1, -1, -1):
        for v in range(LANES):
            scale[v] = np.float32(1e-20)
        for m in range(17):
            for v in range(LANES):
                scale[v] += b[58 + m, v] * b[58 + m, v]
        for v in range(LANES):
            scale[v] = min(_ONE, cap / np.sqrt(scale[v])) * alive[t + 1, v]
        for m in range(17):
            for v in range(LANES):
                b[58 + m, v] *= scale[v]
        # The first part of the step again, because the second starts where it ends.
        _setpoints(actions[t : t + past + 1], whole, b[17:21], late)
        _copy(states[t], b[0:17])
        _copy(force[t], b[25:28])
        for v in range(LANES):
            b[40, v] = rest[v]
        advance_block(b)
        _copy(b[41:58], b[0:17])
        _copy(late, b[17:21])
        for v in range(LANES):
            b[40, v] = period - rest[v]
        pull_back_block(b)
        _copy(b[75:79], l_late)
        _setpoints(actions[t : t + past + 1], whole, b[17:21], late)
        _copy(states[t], b[0:17])
        for v in range(LANES):
            b[40, v] = rest[v]
        pull_back_block(b)
        for d in range(past - 1):
            for m in range(4):
                for v in range(LANES):
                    l_actions[t + past - d, m, v] += whole[d, v] * _HALF * l_late[m, v]
                    l_actions[t + past - 1 - d, m, v] += whole[d, v] * _HALF * b[75 + m, v]
        # No later step will add to this action's cotangent. Where the clamp holds, only what leads back
        # inside passes, so that an output beyond the limits can return.
        for m in range(4):
            for v in range(LANES):
                g, a = l_actions[t + past, m, v], raw[t, m, v]
                g = g if (a <= _ONE or g > _ZERO) and (a >= -_ONE or g < _ZERO) else _ZERO
                l_action[m, v] = g + l_raw[t, m, v] * alive[t, v]
        # What the head saw: the state after this step, which lives on at native steps alone.
        for m in range(size):
            for v in range(LANES):
                update, candidate = gates[t, size + m, v], gates[t, 2 * size + m, v]
                heads[m, v] = candidate + update * (hiddens[t, m, v] - candidate)
        if t % native == 0:
            network_vjp(
                weights, encodings[t], gates[t], hiddens[t], l_action, l_hidden, l_gate, l_encoded, l_seen
            )
        else:
            copied[:] = _ZERO
            network_vjp(
                weights, encodings[t], gates[t], hiddens[t], l_action, copied, l_gate, l_encoded, l_seen
            )
            for m in range(size):
                for v in range(LANES):
                    l_hidden[m, v] += copied[m, v]
        collect(
            t == 0, l_action, l_gate, l_encoded, observations[t], encodings[t], hiddens[t], heads, gradients
        )
        since = t % native if t % native > 0 else native
        share = _ONE / np.float32(since)
        for d in range(since):
            for m in range(4):
                for v in range(LANES):
                    l_actions[t + past - 1 - d, m, v] += share * l_seen[18 + m, v]
        for m in range(17):
            for v in range(LANES):
                b[58 + m, v] *= decay
        _unsee(
            b[0:17], observations[t], l_seen, blend, l_velocities[t : t + past_velocities],
            clip_position, clip_velocity, b[58:75],
        )  # fmt: skip
        for m in range(17):
            for v in range(LANES):
                b[58 + m, v] += l_states[t, m, v] * alive[t, v]
