"""Lets a policy answer before it matters, so that the first true observation is not its first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import numpy as np

from hardware.robot import Observation
from policies.cameras import CameraInput
from policies.policy import ActContext, Policy, PolicyError


def warm_up(
    policy: Policy,
    cameras: Mapping[str, CameraInput],
    *,
    steady_clock: Callable[[], int],
    repeats: int = 3,
) -> float:
    """Ask a policy about observations that are made up: zeros, unit quaternions and black images.

    What it answers goes nowhere. The policy must be reset before it acts.

    Args:
        policy: the policy.
        cameras: whose images it wants; one without a size on the card is left out.
        steady_clock: gives the steady clock in nanoseconds.
        repeats: how often, after once more.

    Returns:
        The median time of an answer, in seconds.

    Raises:
        PolicyError: the policy does not answer what is made up, in its words. It may want images of a size
            that its card does not say; it may be broken.
    """
    card = policy.card
    values = {
        name: np.eye(1, len(term.names))[0] if term.unit == "quaternion" else np.zeros(len(term.names))
        for name, term in card.observation.items()
    }
    images = {n: np.zeros((c.height, c.width, 3), np.uint8) for n, c in cameras.items() if c.height}
    period_ns = round(1e9 / card.rate_hz)
    times_ns = []
    for index in range(repeats + 1):
        observation = Observation(values, index * period_ns, index * period_ns, images)
        began_ns = steady_clock()
        try:
            policy.act(observation, context=ActContext(now_ns=observation.stamp_ns))
        except PolicyError:
            raise
        except Exception as error:  # A policy may raise anything; whoever asked is told what.
            raise PolicyError(f"{type(error).__name__}: {error}") from error
        times_ns.append(steady_clock() - began_ns)
    return statistics.median(times_ns[1:]) * 1e-9
