"""Tuning through the simulator: every update flies fresh random vehicles and follows the cost's gradient.

No teacher and no reward model: the policy's weights are differentiated through two and a half seconds of
closed loop, delays and noise included. Source of the idea: analytic policy gradients, as "Back to Newton's
Laws" (Zhang et al. 2025) uses them for flight; its decay of the gradient is `FlightRules.decay`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.config import RaptorTrainConfig
from policies.raptor.training.flight import Flight, Scenario, fly
from policies.raptor.training.scenarios import draw

# Vehicles whose flight is differentiated at once on a CPU, where more would not fit its caches.
_PART = 128
# How slowly the averaged weights, which are judged and kept, follow the trained ones.
_AVERAGE = 0.99
# Updates over which the learning rate rises.
_RISE = 20
_TUNING_SEED, _EXECUTOR_SEED = 2, 3
# Calls of the policy in a native step of the executor: 400 Hz.
_EXECUTOR_CALLS = 4
# Sine of half the heading error at which its cost turns from square to logarithmic.
_HEADING = 0.05


@dataclass(frozen=True)
class Update:
    """What one update came to."""

    # Mean cost of a step.
    loss: float
    # Share of the vehicles that were lost.
    lost: float
    # Norm of the gradient before it was limited.
    gradient: float


class Tuner:
    """The second stage: weights, their average and the optimiser.

    Args:
        module: the policy; trained in place.
        config: every setting.
    """

    def __init__(self, module: RaptorModule, config: RaptorTrainConfig) -> None:
        """Start at update 0."""
        self.module, self.config = module, config
        self.average = copy.deepcopy(module).requires_grad_(False)
        self.optimizer = torch.optim.Adam(module.parameters(), lr=config.tuning_rate, betas=(0.9, 0.99))
        self.done = 0

    @property
    def finished(self) -> bool:
        """Whether all updates are made."""
        return self.done >= self.config.updates

    def update(self) -> Update:
        """Make one update.

        Returns:
            What it came to.
        """
        config, module = self.config, self.module
        self.optimizer.zero_grad()
        total, steps, lost = 0.0, 0.0, 0.0
        for part in self._parts():
            flight = fly(module, part, config.flight(part.native))
            # The sum, not the mean: so that `gradient_cap` means the same whatever the number of vehicles.
            loss = cost(flight, part, config)
            loss.backward()
            total += loss.item()
            steps += flight.alive[1:].sum().item() / part.native
            lost += (1.0 - flight.alive[-1]).sum().item()
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad /= max(steps, 1.0)
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), config.gradient_norm).item()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        # A gradient that is none teaches nothing; the next update has other vehicles.
        if math.isfinite(norm):
            self.optimizer.step()
        follow = 1.0 - min(_AVERAGE, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            for kept, trained in zip(self.average.parameters(), module.parameters(), strict=True):
                kept.lerp_(trained, follow)
        self.done += 1
        return Update(total / max(steps, 1.0), lost / (config.vehicles + config.executor_vehicles), norm)

    def _parts(self) -> Iterator[Scenario]:
        """What this update flies: most vehicles at 100 Hz, some as RAPTOR's executor asks the policy."""
        config = self.config
        for purpose, count, steps, native in (
            (_TUNING_SEED, config.vehicles, config.steps, 1),
            (_EXECUTOR_SEED, config.executor_vehicles, config.executor_steps, _EXECUTOR_CALLS),
        ):
            if not count:
                continue
            scenario = draw(
                config.scenarios(),
                count=count,
                steps=steps,
                hidden_size=config.hidden_size,
                seed=(config.seed, purpose, self.done),
                native=native,
            )
            at_once = _PART if config.device == "cpu" else count
            for start in range(0, count, at_once):
                yield scenario.part(start, min(start + at_once, count))

    def _rate(self) -> float:
        config = self.config
        share = 0.5 * (1.0 + math.cos(math.pi * self.done / config.updates))
        rate = config.tuning_end_rate + (config.tuning_rate - config.tuning_end_rate) * share
        return rate * min(1.0, (self.done + 1) / _RISE)


def cost(flight: Flight, scenario: Scenario, config: RaptorTrainConfig) -> Tensor:
    """Sum over vehicles and steps of what a flight costs; lost vehicles cost nothing any more.

    Position and velocity errors cost s * log(1 + (e / s)^2): square near the reference, and far from it
    so flat that what is far away does not drown what is near.

    Args:
        flight: what came of the scenario.
        scenario: for its references.
        config: weights and scales.

    Returns:
        The cost, a scalar.
    """
    reference = torch.from_numpy(scenario.reference).to(flight.states)
    # The state after step t meets the reference of step t + 1.
    state, alive = flight.states[1:-1], flight.alive[1:-1]
    position = (state[:, 0:3] - reference[1:, 0:3]).square().sum(1) / config.position_scale_m**2
    velocity = (state[:, 7:10] - reference[1:, 3:6]).square().sum(1) / config.velocity_scale_m_s**2
    w, x, y, z = (state[:, row].square() for row in range(3, 7))
    # The squared sines of half the heading and of half the tilt. The heading counts like a distance, or it
    # would come to rest several degrees off; the tilt is what a vehicle flies with.
    heading = z / (w + z + 0.01) / _HEADING**2
    attitude = _HEADING * heading.log1p() + 0.5 * (x + y)
    rotation = (state[:, 10:13].square().sum(1) + 1.0).sqrt()
    running = (
        config.position_scale_m * position.log1p()
        + config.velocity_cost * config.velocity_scale_m_s * velocity.log1p()
        + config.attitude_cost * attitude
        + config.rotation_cost * rotation
    )
    actions, acting = flight.actions, flight.alive[:-1]
    change = (actions[1:] - actions[:-1]).square().sum(1)
    beyond = (actions.abs() - 1.0).clamp_min(0.0).square().sum(1)
    # A second costs the same however often the policy is asked in it; a change that is spread over several
    # steps costs as much as in one.
    share = 1.0 / scenario.native
    return (
        share * (running * alive).sum()
        + config.change_cost / share * (change * acting[:-1]).sum()
        + share * _BEYOND_COST * (beyond * acting).sum()
    )


# Weight of the squared excess of an action beyond its limits, which leads outputs back inside them.
_BEYOND_COST = 0.02
