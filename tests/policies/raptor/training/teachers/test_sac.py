"""Protects the learner: gradients written by hand are the true ones, and teachers do not mix."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from policies.raptor.training.teachers.replay import Replay, Transitions
from policies.raptor.training.teachers.sac import Sac, actions_of
from policies.raptor.training.teachers.stacked import StackedMlp, multiply

T, B = 3, 16


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def transitions(seed: int, count: int = T, batch: int = B) -> Transitions:
    return Transitions(
        observation=draw(seed, count, batch, 26),
        action=draw(seed + 1, count, batch, 4).tanh(),
        reward=draw(seed + 2, count, batch),
        terminated=(draw(seed + 3, count, batch) > 1.0).float(),
        next_observation=draw(seed + 4, count, batch, 26),
    )


def by_autograd(stack: StackedMlp, flat: Tensor, x: Tensor) -> Tensor:
    """The same networks, out of parameters that autograd watches."""
    start = 0
    for number, layer in enumerate(stack.layers):
        size = layer[0].numel()
        part = flat[:, start : start + size].view(layer.shape)
        start += size
        if number % 2 == 0:
            x = x @ part.mT
        else:
            x = x + part if number == 5 else (x + part).relu()
    return x


@pytest.fixture
def sac(small) -> Sac:
    return Sac(T, small(batch_size=B), device="cpu", seed=3)


@pytest.mark.parametrize("outputs", [1, 8])
def test_hand_written_gradients_are_those_of_autograd(outputs):
    stack = StackedMlp(T, 5, 7, outputs, device="cpu", generator=torch.Generator().manual_seed(0))
    run = stack.pass_for(B)
    flat = stack.parameters.clone().requires_grad_()
    x = draw(1, T, B, 5).requires_grad_()
    run.input.copy_(x.detach())
    output = by_autograd(stack, flat, x)
    torch.testing.assert_close(run.forward(), output.detach())
    to_output = draw(2, T, B, outputs)
    output.backward(to_output)
    run.backward(to_output)
    torch.testing.assert_close(stack.gradient, flat.grad)
    torch.testing.assert_close(run.input_gradient(to_output), x.grad)


def test_products_on_the_cpu_take_transposed_views_and_views_of_flat_parameters():
    a, b = draw(0, T, 4, 6), draw(1, T, 4 * 5 + 3)[:, 3:].view(T, 4, 5)
    torch.testing.assert_close(multiply(a.mT, b, torch.empty(T, 6, 5)), torch.bmm(a.mT, b))


def test_the_critics_descend_the_bellman_error(sac):
    batch, noise = transitions(10), draw(20, T, B, 4)
    sac.target.parameters.add_(0.01)  # so that target and critic differ
    sac.critic_gradient(batch, noise)

    with torch.no_grad():
        output = by_autograd(sac.actor, sac.actor.parameters, batch.next_observation)
        action = torch.tanh(output[..., :4] + output[..., 4:].exp() * noise)
        both = torch.cat([batch.next_observation, action], -1).repeat(2, 1, 1)
        values = by_autograd(sac.target, sac.target.parameters, both).view(2, T, B)
        # No entropy bonus in the target, and nothing after a terminal state.
        target = batch.reward + 0.99 * (1.0 - batch.terminated) * values.amin(0)
    flat = sac.critic.parameters.clone().requires_grad_()
    seen = torch.cat([batch.observation, batch.action], -1).repeat(2, 1, 1)
    errors = by_autograd(sac.critic, flat, seen).view(2, T, B) - target
    (0.5 * errors.square().mean(-1).sum()).backward()
    torch.testing.assert_close(sac.critic.gradient, flat.grad)


def test_actor_and_temperature_descend_their_losses(sac):
    observation, noise = draw(30, T, B, 26), draw(40, T, B, 4)
    # Some standard deviations beyond the limit, whose gradient is zero.
    sac.actor.layers[5][..., 4] = 5.0
    sac.log_temperature.copy_(torch.tensor([-1.0, 0.0, 0.5]))
    sac.actor_gradient(observation, noise)

    flat = sac.actor.parameters.clone().requires_grad_()
    log_temperature = sac.log_temperature.clone().requires_grad_()
    output = by_autograd(sac.actor, flat, observation)
    mean, log_spread = output[..., :4], output[..., 4:].clamp(-20.0, 2.0)
    raw = mean + log_spread.exp() * noise
    action = raw.tanh()
    likelihood = torch.distributions.Normal(mean, log_spread.exp()).log_prob(raw)
    # The slope of tanh with the guard that the learner uses.
    likelihood = (likelihood - (1.0 - action.square() + 1e-6).log()).sum(-1)
    both = torch.cat([observation, action], -1).repeat(2, 1, 1)
    value = by_autograd(sac.critic, sac.critic.parameters, both).view(2, T, B).amin(0)
    temperature = log_temperature.exp()[:, None]
    (temperature.detach() * likelihood - value).mean(-1).sum().backward()
    (-temperature * (likelihood.detach() - 2.0)).mean(-1).sum().backward()
    torch.testing.assert_close(sac.actor.gradient, flat.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(sac._log_temperature_gradient, log_temperature.grad)


def test_the_optimiser_is_torchs_adam(sac):
    reference = torch.nn.Parameter(sac.critic.parameters.clone())
    adam = torch.optim.Adam([reference], lr=1e-3, eps=1e-7)
    for step in range(5):
        sac.critic_gradient(transitions(step), draw(step, T, B, 4))
        reference.grad = sac.critic.gradient.clone()
        adam.step()
        sac._optimizers["critic"].step()
        torch.testing.assert_close(sac.critic.parameters, reference.detach())


def test_teachers_together_learn_what_each_learns_alone(small):
    config = small(batch_size=B)
    together = Sac(T, config, device="cpu", seed=3)
    alone = [Sac(1, config, device="cpu", seed=3) for _ in range(T)]
    start = {name: tensor.clone() for name, tensor in together.tensors().items()}
    for t, single in enumerate(alone):
        single.load({name: _row(tensor, t) for name, tensor in start.items()}, updates=0)
    for step in range(6):
        batch, noise = transitions(step), draw(step, 2, T, B, 4)
        together.update(batch, noise)
        for t, single in enumerate(alone):
            one = Transitions(**{name: value[t : t + 1] for name, value in vars(batch).items()})
            single.update(one, noise[:, t : t + 1])
    for name, tensor in together.tensors().items():
        for t, single in enumerate(alone):
            torch.testing.assert_close(_row(tensor, t), single.tensors()[name], rtol=1e-4, atol=1e-6)
    assert not torch.equal(together.actor.parameters, start["actor"])


def _row(tensor: Tensor, t: int) -> Tensor:
    """Teacher t's part; of the critics, which come in pairs, both."""
    return tensor[t::T] if len(tensor) == 2 * T else tensor[t : t + 1]


def test_exploration_follows_its_noise_and_what_teaches_has_none(sac):
    seen, noise = draw(0, T, B, 26), draw(1, T, B, 4)
    calm = actions_of(sac.actor)(seen)
    torch.testing.assert_close(sac.explore(seen, torch.zeros(T, B, 4)), calm)
    assert (sac.explore(seen, noise) != calm).any()
    assert sac.explore(seen, noise).abs().max() <= 1.0


def test_what_is_kept_is_an_average_that_forgets_its_beginning(small):
    sac = Sac(T, small(batch_size=B, actor_every=1, actor_average=0.9), device="cpu", seed=3)
    average, weights = sac.average.clone(), []
    for step in range(120):
        sac.update(transitions(step), draw(step, 2, T, B, 4))
        weights.append(min(0.9, (2.0 + step) / (11.0 + step)))
        average = weights[-1] * average + (1.0 - weights[-1]) * sac.actor.parameters
    torch.testing.assert_close(sac.average, average)
    assert weights[0] == 2.0 / 11.0
    assert weights[-1] == 0.9
    plain = Sac(T, small(batch_size=B, actor_average=0.0), device="cpu", seed=3)
    for step in range(2):
        plain.update(transitions(step), draw(step, 2, T, B, 4))
    assert torch.equal(plain.average, plain.actor.parameters)


def test_a_replay_buffer_forgets_the_oldest_and_gives_each_teacher_its_own():
    replay = Replay(T, 5, device="cpu")
    for step in range(0, 9, 3):  # 9 transitions, three at a time, into room for 5: the 4 to 8 stay
        whole = transitions(step, batch=3)
        whole.reward.copy_(torch.arange(step, step + 3.0) + 100.0 * torch.arange(T)[:, None])
        replay.add(whole)
    assert len(replay) == 5
    found = replay.sample(torch.linspace(0.0, 1.0, 50).expand(T, 50))
    for t in range(T):
        assert sorted(set(found.reward[t].tolist())) == [100.0 * t + k for k in range(4, 9)]
    last = found.reward[0] == 8.0
    torch.testing.assert_close(found.next_observation[0][last][0], whole.next_observation[0, 2])


def test_a_fresh_network_is_drawn_as_torchs_layers_are():
    stack = StackedMlp(1, 26, 64, 8, device="cpu", generator=torch.Generator().manual_seed(0))
    first, bias = stack.layers[0], stack.layers[1]
    limit = 1.0 / math.sqrt(26)
    assert 0.95 * limit < first.abs().max() <= limit
    assert 0.8 * limit < bias.abs().max() <= limit
