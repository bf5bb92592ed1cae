"""Soft actor-critic for many teachers at once, with gradients written out by hand.

Source: Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications") as RAPTOR's authors run it
(rl_tools, `pre_training/config.h`): twin critics, adaptive temperature, no entropy bonus in the
target of the critics. Teacher t has its own actor, critics, temperature and replay buffer; teachers
share nothing but the matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from policies.raptor.network import ACTION_SIZE
from policies.raptor.training.teachers.bank import PRIVILEGED_SIZE
from policies.raptor.training.teachers.config import TeacherConfig
from policies.raptor.training.teachers.replay import Transitions
from policies.raptor.training.teachers.stacked import Pass, StackedMlp

_LOG_STD_MIN, _LOG_STD_MAX = -20.0, 2.0
_ADAM_BETAS, _ADAM_EPSILON = (0.9, 0.999), 1e-7
# Keeps the logarithm of tanh's slope finite where the action saturates.
_SLOPE_EPSILON = 1e-6


class Sac:
    """T learners.

    Args:
        count: T.
        config: hyper-parameters.
        device: where everything is.
        seed: of the first weights.
    """

    def __init__(self, count: int, config: TeacherConfig, *, device: torch.device | str, seed: int) -> None:
        """Draw the first weights and allocate every buffer."""
        self.count, self.config = count, config
        generator = torch.Generator().manual_seed(seed)
        self.actor = make_actors(count, config.actor_hidden, torch.device(device), generator)
        # What is evaluated and kept: the actors' parameters, averaged over their latest updates.
        self.average = self.actor.parameters.clone()
        # Critics 0 to T-1 are the first of the twins, T to 2T-1 the second.
        critic_inputs = PRIVILEGED_SIZE + ACTION_SIZE
        self.critic, self.target = (
            StackedMlp(2 * count, critic_inputs, config.critic_hidden, 1, device=device, generator=generator)
            for _ in range(2)
        )
        self.target.parameters.copy_(self.critic.parameters)
        self.log_temperature = torch.full((count,), math.log(config.temperature), device=device)
        self.updates = 0
        self._log_temperature_gradient = torch.zeros_like(self.log_temperature)
        self._optimizers = {
            "critic": _Adam(self.critic.parameters, self.critic.gradient, config.critic_rate),
            "actor": _Adam(self.actor.parameters, self.actor.gradient, config.actor_rate),
            "temperature": _Adam(
                self.log_temperature, self._log_temperature_gradient, config.temperature_rate
            ),
        }
        batch = config.batch_size
        self._policy = self.actor.pass_for(batch)
        self._values = self.critic.pass_for(batch)
        self._target_values = self.target.pass_for(batch)
        self._behaviour: dict[int, Pass] = {}
        empty = self.actor.parameters.new_empty
        self._to_values = empty((2 * count, batch, 1))
        self._to_policy = empty((count, batch, 2 * ACTION_SIZE))

    def explore(self, privileged: Tensor, noise: Tensor) -> Tensor:
        """Draw actions from the policies.

        Args:
            privileged: (T, B, 26).
            noise: standard normal, (T, B, 4).

        Returns:
            (T, B, 4), in [-1, 1].
        """
        batch = privileged.shape[1]
        if batch not in self._behaviour:
            self._behaviour[batch] = self.actor.pass_for(batch)
        policy = self._behaviour[batch]
        policy.input.copy_(privileged)
        output = policy.forward()
        spread = output[..., ACTION_SIZE:].clamp(_LOG_STD_MIN, _LOG_STD_MAX).exp_()
        return spread.mul_(noise).add_(output[..., :ACTION_SIZE]).tanh_()

    def update(self, batch: Transitions, noise: Tensor) -> None:
        """Learn from one batch a teacher.

        Args:
            batch: transitions, leading axes (T, B).
            noise: standard normal, (2, T, B, 4): for the next action and for the actor's own.
        """
        self._update_critics(batch, noise[0])
        self.updates += 1
        if self.updates % self.config.actor_every == 0:
            self._update_actor(batch.observation, noise[1])
        self.target.parameters.lerp_(self.critic.parameters, 1.0 - self.config.polyak)

    def critic_gradient(self, batch: Transitions, noise: Tensor) -> None:
        """Put the gradient of the critics' loss into `critic.gradient`.

        The loss of a critic is the mean square of its distance to the target, halved.

        Args:
            batch: transitions, leading axes (T, B).
            noise: standard normal, (T, B, 4), for the next action.
        """
        count = self.count
        self._policy.input.copy_(batch.next_observation)
        output = self._policy.forward()
        spread = output[..., ACTION_SIZE:].clamp(_LOG_STD_MIN, _LOG_STD_MAX).exp_()
        action = spread.mul_(noise).add_(output[..., :ACTION_SIZE]).tanh_()
        following = _fill(self._target_values, batch.next_observation, action).forward()
        value = torch.minimum(following[:count], following[count:]).squeeze(-1)
        wanted = torch.addcmul(batch.reward, 1.0 - batch.terminated, value, value=self.config.discount)
        values = _fill(self._values, batch.observation, batch.action).forward()
        size = self.config.batch_size
        errors = values.view(2, count, size) - wanted
        self._to_values.copy_(errors.view(2 * count, size, 1)).div_(size)
        self._values.backward(self._to_values)

    def actor_gradient(self, observation: Tensor, noise: Tensor) -> None:
        """Put the gradients of the actor's and the temperature's loss into their places.

        The actor's loss is the mean of temperature times log-likelihood minus the lower critic.

        Args:
            observation: (T, B, 26).
            noise: standard normal, (T, B, 4).
        """
        count, size = self.count, self.config.batch_size
        self._policy.input.copy_(observation)
        output = self._policy.forward()
        mean, raw = output[..., :ACTION_SIZE], output[..., ACTION_SIZE:]
        log_spread = raw.clamp(_LOG_STD_MIN, _LOG_STD_MAX)
        deviation = log_spread.exp().mul_(noise)
        action = (mean + deviation).tanh_()
        slope = 1.0 - action * action
        values = _fill(self._values, observation, action).forward()
        first = values[:count] <= values[count:]
        self._to_values[:count].copy_(first)
        self._to_values[count:].copy_(~first)
        self._to_values.div_(-size)
        both = self._values.input_gradient(self._to_values)[..., PRIVILEGED_SIZE:]
        to_action = both[:count] + both[count:]
        temperature = self.log_temperature.exp().view(count, 1, 1)
        safe = slope + _SLOPE_EPSILON
        to_action.addcmul_(temperature / size, 2.0 * action / safe)
        to_mean = to_action.mul_(slope)
        inside = (raw > _LOG_STD_MIN) & (raw < _LOG_STD_MAX)
        to_log_spread = (to_mean * deviation - temperature / size) * inside
        self._to_policy[..., :ACTION_SIZE].copy_(to_mean)
        self._to_policy[..., ACTION_SIZE:].copy_(to_log_spread)
        self._policy.backward(self._to_policy)
        likelihood = noise.square().mul_(-0.5).sub_(log_spread).sub_(safe.log_())
        log_likelihood = likelihood.sum((1, 2)) / size - 0.5 * math.log(2.0 * math.pi) * ACTION_SIZE
        excess = log_likelihood + self.config.target_entropy
        torch.mul(temperature.view(count), -excess, out=self._log_temperature_gradient)

    def tensors(self) -> dict[str, Tensor]:
        """Name everything that a learner is made of, optimisers included; the tensors are not copies."""
        found = {
            "actor": self.actor.parameters,
            "average": self.average,
            "critic": self.critic.parameters,
            "target": self.target.parameters,
            "log_temperature": self.log_temperature,
        }
        for name, optimizer in self._optimizers.items():
            found |= {f"{name}.mean": optimizer.mean, f"{name}.square": optimizer.square}
        return found

    def load(self, tensors: Mapping[str, Tensor], *, updates: int) -> None:
        """Go on from what `tensors` gave.

        Args:
            tensors: the same names and shapes.
            updates: how many updates had been made.
        """
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.updates = updates
        self._optimizers["critic"].steps = updates
        for name in ("actor", "temperature"):
            self._optimizers[name].steps = updates // self.config.actor_every

    def _update_critics(self, batch: Transitions, noise: Tensor) -> None:
        self.critic_gradient(batch, noise)
        self._optimizers["critic"].step()

    def _update_actor(self, observation: Tensor, noise: Tensor) -> None:
        self.actor_gradient(observation, noise)
        self._optimizers["actor"].step()
        self._optimizers["temperature"].step()
        # While there are few updates, a few of them are averaged: the first weights are soon forgotten.
        done = self._optimizers["actor"].steps
        decay = min(self.config.actor_average, (1.0 + done) / (10.0 + done))
        self.average.lerp_(self.actor.parameters, 1.0 - decay)


def make_actors(count: int, hidden: int, device: torch.device, generator: torch.Generator) -> StackedMlp:
    """Make the networks of T actors; their outputs are four means and four log standard deviations.

    Args:
        count: T.
        hidden: width of both hidden layers.
        device: where they are.
        generator: a CPU generator, from which the first weights are drawn.

    Returns:
        The networks.
    """
    return StackedMlp(count, PRIVILEGED_SIZE, hidden, 2 * ACTION_SIZE, device=device, generator=generator)


def actions_of(actors: StackedMlp) -> Callable[[Tensor], Tensor]:
    """Fly actors as they will teach: without noise.

    Args:
        actors: T networks.

    Returns:
        From privileged observations, (T, B, 26), to actions, (T, B, 4), in (-1, 1).
    """
    passes: dict[int, Pass] = {}

    def act(privileged: Tensor) -> Tensor:
        batch = privileged.shape[1]
        if batch not in passes:
            passes[batch] = actors.pass_for(batch)
        passes[batch].input.copy_(privileged)
        return passes[batch].forward()[..., :ACTION_SIZE].tanh()

    return act


def _fill(values: Pass, observation: Tensor, action: Tensor) -> Pass:
    """Give both twins the same observations and actions."""
    count, batch = observation.shape[:2]
    inputs = values.input.view(2, count, batch, -1)
    inputs[..., :PRIVILEGED_SIZE].copy_(observation)
    inputs[..., PRIVILEGED_SIZE:].copy_(action)
    return values


class _Adam:
    """Adam on one flat tensor; Torch's own costs more in bookkeeping than these few parameters take."""

    def __init__(self, parameters: Tensor, gradient: Tensor, rate: float) -> None:
        self._parameters, self._gradient, self._rate = parameters, gradient, rate
        self.mean, self.square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self._root = torch.empty_like(parameters)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        first, second = _ADAM_BETAS
        self.mean.lerp_(self._gradient, 1.0 - first)
        self.square.mul_(second).addcmul_(self._gradient, self._gradient, value=1.0 - second)
        unbiased = math.sqrt(1.0 - second**self.steps)
        torch.sqrt(self.square, out=self._root).add_(_ADAM_EPSILON * unbiased)
        rate = self._rate * unbiased / (1.0 - first**self.steps)
        self._parameters.addcdiv_(self.mean, self._root, value=-rate)
