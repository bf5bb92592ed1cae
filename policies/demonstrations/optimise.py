"""What the optimisations of all learners from demonstrations share."""

from __future__ import annotations

import math

import torch
from torch import nn


def warm_cosine(share: float) -> float:
    """The learning rate over the training, as a share of its peak.

    Args:
        share: of the training that is over, 0 to 1.

    Returns:
        Up over the first 2 %, then down to zero along a cosine.
    """
    return min(1.0, share / 0.02) * 0.5 * (1.0 + math.cos(math.pi * share))


def average(averaged: nn.Module, module: nn.Module, *, decay: float, step: int) -> None:
    """Let averaged weights follow the trained ones; in the first steps they follow more quickly.

    Args:
        averaged: the average, changed in place.
        module: the trained one.
        decay: how slowly it follows in the long run, 0 to 1.
        step: gradient steps so far, from 1.
    """
    weight = 1.0 - min(decay, step / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(module.parameters()), weight)
