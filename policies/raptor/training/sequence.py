"""The network along recorded observations, differentiable in its weights: what imitation learns on.

On the CPU this is compiled code with a hand-written derivative, elsewhere Torch; both give the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.raptor.network import ACTION_SIZE, Float32Array
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.flight import weights_of


def follow(module: RaptorModule, observations: Float32Array, kept: Float32Array) -> Tensor:
    """Evaluate the network along rows of observations, from a zero hidden state on.

    Args:
        module: the network, on whatever device.
        observations: shape (T, 22, N).
        kept: shape (T, N); 0 where the hidden state goes back to zero before the step, else 1.

    Returns:
        The actions, not clamped, shape (T, 4, N), on the network's device.
    """
    like = module.head.weight
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return _Follow.apply(observations, kept, *weights_of(module))
    seen = torch.from_numpy(observations).to(like.device, like.dtype)
    keep = torch.from_numpy(kept).to(like.device, like.dtype)
    hidden = like.new_zeros(observations.shape[2], like.shape[1])
    actions = []
    for t in range(len(seen)):
        action, hidden = module(seen[t].T, hidden * keep[t, :, None])
        actions.append(action.T)
    return torch.stack(actions)


class _Follow(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    @staticmethod
    def forward(ctx: Any, observations: Float32Array, kept: Float32Array, *weights: Tensor) -> Tensor:  # noqa: ANN401
        from policies.raptor.training import sequence_kernels
        from sim.quadrotor.adjoint_kernels import LANES

        steps, _, count = observations.shape
        arrays = tuple(np.ascontiguousarray(w.detach().numpy()) for w in weights)
        size, width = arrays[4].shape[1], arrays[0].shape[0]
        actions = np.empty((steps, ACTION_SIZE, count), np.float32)
        ctx.weights, ctx.tapes = arrays, []
        for start in range(0, count, LANES):
            seen, keep = (_lanes(a, start, LANES) for a in (observations, kept))
            said = np.empty((steps, ACTION_SIZE, LANES), np.float32)
            encodings = np.empty((steps, width, LANES), np.float32)
            gates = np.empty((steps, 4 * size, LANES), np.float32)
            hiddens = np.empty((steps + 1, size, LANES), np.float32)
            sequence_kernels.follow(arrays, seen, keep, said, encodings, gates, hiddens)
            actions[..., start : start + LANES] = said[..., : min(LANES, count - start)]
            ctx.tapes.append((seen, keep, encodings, gates, hiddens))
        return torch.from_numpy(actions)

    @staticmethod
    def backward(ctx: Any, l_actions: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from policies.raptor.training import sequence_kernels
        from policies.raptor.training.network_kernels import gradients_of, weight_buffers
        from sim.quadrotor.adjoint_kernels import LANES

        size, width = ctx.weights[4].shape[1], ctx.weights[0].shape[0]
        gradients = weight_buffers(width, size)
        heads = np.empty((size, LANES), np.float32)
        for block, tape in enumerate(ctx.tapes):
            cotangent = _lanes(l_actions.numpy(), block * LANES, LANES)
            sequence_kernels.unfollow(ctx.weights, *tape, heads, cotangent, gradients)
        ctx.tapes = []
        return None, None, *(torch.from_numpy(part.copy()) for part in gradients_of(gradients))


def _lanes(array: Float32Array, start: int, lanes: int) -> Float32Array:
    """Rows start to start + lanes - 1; beyond the last one, zeros."""
    part = array[..., start : start + lanes]
    if part.shape[-1] == lanes:
        return np.ascontiguousarray(part, dtype=np.float32)
    out = np.zeros((*part.shape[:-1], lanes), np.float32)
    out[..., : part.shape[-1]] = part
    return out
