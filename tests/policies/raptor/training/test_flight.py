"""Protects tuning through the simulator: the compiled flight is the simulator's, and so is its derivative."""

import dataclasses

import numpy as np
import pytest
import torch

from policies.raptor.fleet import RaptorFleet
from policies.raptor.network import NumpyBackend, RaptorWeights
from policies.raptor.policy import PUBLISHED
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.flight import FlightRules, fly
from policies.raptor.training.scenarios import ScenarioRules, draw
from sim.quadrotor.fleet import QuadrotorFleet
from sim.quadrotor.perturbations import Perturbations

STEPS = 12


@pytest.fixture(scope="module")
def weights():
    return RaptorWeights.load(PUBLISHED / "model.safetensors")


def _scenario(count, steps=STEPS, rules=None, seed=0, native=1):
    rules = rules or ScenarioRules()
    return draw(rules, count=count, steps=steps, hidden_size=16, seed=(seed,), native=native)


@pytest.mark.parametrize("native", [1, 4])
def test_the_gradient_is_that_of_the_same_flight_in_torch(weights, native):
    # 70: more than one block, and not a whole number of them. Some vehicles are lost on the way.
    late = ScenarioRules(action_delay_s=(0.0, 0.028), velocity_delay_s=(0.0, 0.04))
    scenario = _scenario(70, rules=late, native=native)
    rules = FlightRules(lost_rad_s=12.0, cap=3.0, decay=0.98)
    compiled = RaptorModule.from_weights(weights)
    exact = RaptorModule.from_weights(weights).double()
    ours, theirs = fly(compiled, scenario, rules), fly(exact, scenario, rules)

    lost = (ours.alive[-1] == 0.0).float().mean()
    assert 0.0 < lost < 0.9
    torch.testing.assert_close(ours.alive.double(), theirs.alive, rtol=0.0, atol=0.0)
    torch.testing.assert_close(ours.states.double(), theirs.states, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(ours.actions.double(), theirs.actions, rtol=0.0, atol=1e-3)
    assert (ours.actions.abs() > 1.0).any()
    generator = torch.Generator().manual_seed(0)
    for flight in (ours, theirs):
        generator.manual_seed(0)
        of_states = torch.randn(flight.states.shape, generator=generator) * flight.alive[:, None]
        of_actions = torch.randn(flight.actions.shape, generator=generator) * flight.alive[:-1, None]
        ((flight.states * of_states).sum() + (flight.actions * of_actions).sum()).backward()
    for (name, mine), right in zip(compiled.named_parameters(), exact.parameters(), strict=True):
        error = (mine.grad - right.grad).abs().max() / right.grad.abs().max()
        assert error < 1e-4, name


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.015])
@pytest.mark.parametrize("native", [1, 4])
def test_the_flight_is_that_of_the_fleet(weights, delay_s, native):
    """The simulator that judges policies and the one that trains them must not drift apart: neither at
    100 Hz nor as the executor asks the policy at 400 Hz.
    """
    calm = ScenarioRules(
        figure_eight=0.0, langevin=0.0, no_delay=1.0, position_noise_m=0.0, rotation_noise=0.0,
        velocity_noise_m_s=0.0, rate_noise_rad_s=0.0, motor_mismatch=0.0, force=0.0, gust=0.0,
    )  # fmt: skip
    scenario = dataclasses.replace(
        _scenario(16, steps=15, rules=calm, native=native), action_delay_s=np.full(16, delay_s, np.float32)
    )
    scenario.past_actions[:] = 2.0 * scenario.state[13:17] - 1.0
    flight = fly(RaptorModule.from_weights(weights), scenario, FlightRules(1e3, 1e3, 1e3, 1e3, 1e3))

    fleet = QuadrotorFleet(
        scenario.airframes,
        seed=0,
        perturbations=Perturbations(action_delay_s=(delay_s, delay_s)),
        dt_s=0.0025 if native == 4 else 0.005,
        physics_steps=1 if native == 4 else 2,
    )
    fleet.place(scenario.state)
    pilot = RaptorFleet(NumpyBackend(weights), weights.initial_hidden, clipping=None)
    pilot.reset(16)
    for step in range(scenario.steps):
        np.testing.assert_allclose(fleet.state, flight.states[step].detach().numpy(), rtol=1e-3, atol=2e-3)
        fleet.step(pilot.act(fleet.observe(), step * 10_000_000 // native))
    np.testing.assert_allclose(fleet.state, flight.states[-1].detach().numpy(), rtol=1e-3, atol=2e-3)


def test_a_lost_vehicle_stands_still_and_teaches_nothing(weights):
    scenario = _scenario(4, steps=6)
    module = RaptorModule.from_weights(weights)
    flight = fly(module, scenario, FlightRules(lost_m=1e-3))
    assert (flight.alive[1:] == 0.0).all()
    torch.testing.assert_close(flight.states[1:], flight.states[:1].expand(6, -1, -1))
    (flight.states.square().sum() + flight.actions.square().sum() * 0.0).backward()
    assert module.head.weight.grad.abs().max() == 0.0


def test_a_scenario_depends_on_its_seed_alone():
    one, again, other = _scenario(8), _scenario(8), _scenario(8, seed=1)
    for name in ("state", "reference", "noise", "force_n", "motor_gain", "action_delay_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_a_scenario_holds_what_its_rules_say():
    rules = ScenarioRules(slow=0.5, wide=0.0, no_delay=0.5)
    scenario = _scenario(400, rules=rules)
    slow = (scenario.airframes.torque_to_inertia <= rules.slow_torque_to_inertia[1]).mean()
    assert 0.5 <= slow < 0.6
    assert 0.4 < (scenario.action_delay_s == 0.0).mean() < 0.6
    assert scenario.action_delay_s.max() <= 0.02
    np.testing.assert_allclose(np.linalg.norm(scenario.state[3:7], axis=0), 1.0, atol=1e-5)
    # The references' velocities are those of their positions.
    moved = np.diff(scenario.reference[:, 0:3], axis=0) / 0.01
    np.testing.assert_allclose(
        moved, 0.5 * (scenario.reference[1:, 3:] + scenario.reference[:-1, 3:]), atol=0.02
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("slow", 1.5), ("action_delay_s", (0.0, 0.031)), ("period_s", (5.0, 4.0)), ("langevin", 0.9)],
)
def test_rules_that_are_none_are_told(field, value):
    from hardware.errors import ConfigError

    with pytest.raises(ConfigError, match=field):
        ScenarioRules(**{field: value})
