"""Protects the averaged weights: the average is the one that its closed formula gives, warm-up included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from policies.demonstrations.optimise import average


def trained(steps):
    """Weights before training and behind each step."""
    random = np.random.default_rng(0)
    return [torch.from_numpy(random.standard_normal((3, 2))) for _ in range(steps + 1)]


def averaged(weights, decay):
    module, follower = (nn.Linear(2, 3, bias=False, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        follower.weight.copy_(weights[0])
        for step, now in enumerate(weights[1:], start=1):
            module.weight.copy_(now)
            average(follower, module, decay=decay, step=step)
    return follower.weight.detach()


def test_in_the_first_steps_the_average_follows_more_quickly():
    """Step n keeps n / (n + 10) of what there was, so that step k counts 10 n! (k + 9)! / (k! (n + 10)!)."""
    steps = 30
    weights = trained(steps)
    end = math.lgamma(steps + 1) - math.lgamma(steps + 11)
    counts = [10 * math.exp(end + math.lgamma(k + 10) - math.lgamma(k + 1)) for k in range(1, steps + 1)]
    start = math.exp(end + math.lgamma(11))
    # They are shares of one, and the initial weights are as good as gone.
    assert sum(counts) + start == pytest.approx(1.0)
    assert start < 1e-8
    wanted = start * weights[0] + sum(count * w for count, w in zip(counts, weights[1:], strict=True))
    torch.testing.assert_close(averaged(weights, decay=0.9999), wanted)


def test_later_it_is_an_exponential_average():
    """From the step on where n / (n + 10) reaches the decay, here the tenth."""
    decay, steps = 0.5, 40
    weights = trained(steps)
    wanted = averaged(weights[:11], decay)
    wanted = decay ** (steps - 10) * wanted + (1 - decay) * sum(
        decay ** (steps - k) * weights[k] for k in range(11, steps + 1)
    )
    torch.testing.assert_close(averaged(weights, decay), wanted)
    # Without a decay there is no average at all.
    torch.testing.assert_close(averaged(weights, 0.0), weights[-1])
