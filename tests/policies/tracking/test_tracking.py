"""Protects the outer loop as a policy: it binds to vehicles by name, carries its state openly, and refuses
what it cannot answer."""

import dataclasses

import numpy as np
import pytest

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import Observation
from policies.card import bind, load_policy_card
from policies.policy import ActContext, Policy, PolicyError
from policies.registry import load_policy
from policies.tracking.policy import TrackingPolicy

FOLDER = "policies/tracking/rates"
CONTEXT = ActContext(now_ns=0)


def observation(stamp_ns=1_000_000_000, **changes):
    values = {
        "position": np.zeros(3),
        "orientation": np.array([1.0, 0, 0, 0]),
        "linear_velocity": np.zeros(3),
        "reference_position": np.zeros(3),
        "reference_velocity": np.zeros(3),
        "reference_yaw": np.zeros(1),
    } | {name: np.array(value, dtype=float) for name, value in changes.items()}
    return Observation(values, stamp_ns, stamp_ns)


@pytest.fixture
def policy(pytestconfig, monkeypatch):
    monkeypatch.chdir(pytestconfig.rootpath)
    loaded = load_policy(FOLDER)
    assert isinstance(loaded, Policy)
    return loaded


@pytest.mark.parametrize("name", ["betaflight", "betaflight_sitl", "betaflight_override_sitl"])
def test_it_binds_to_vehicles_that_take_rates(policy, name):
    assert bind(policy.card, load_robot_card(name)).interface_name == "rates"


def test_at_its_place_it_hovers_and_elsewhere_it_leans_towards_it(policy):
    here = policy.act(observation(), context=CONTEXT)
    assert here.values == pytest.approx(np.array([[0, 0, 0, 1.0]]))
    assert here.start_ns == 1_000_000_000
    roll, pitch, _, _ = policy.act(observation(reference_position=[1, 1, 0]), context=CONTEXT).values[0]
    # Ahead is nose down, to the left is left side down.
    assert pitch > 0.1
    assert roll < -0.1


def test_velocity_is_understood_in_the_body(policy):
    # It looks to the left (+y) and flies ahead: in the world that is +y, and it brakes by lifting its nose.
    half = np.sqrt(0.5)
    looks_left = observation(
        orientation=[half, 0, 0, half], linear_velocity=[1, 0, 0], reference_yaw=[np.pi / 2]
    )
    assert policy.act(looks_left, context=CONTEXT).values[0][1] < -0.1


def test_elements_go_out_in_the_order_of_the_card():
    card = load_policy_card(FOLDER)
    turned = dataclasses.replace(card.action, names=("thrust", "yaw_rate", "pitch_rate", "roll_rate"))
    policy = TrackingPolicy(dataclasses.replace(card, action=turned))
    assert policy.act(observation(), context=CONTEXT).values[0] == pytest.approx([1.0, 0, 0, 0])


def test_its_state_is_open_and_a_reset_forgets_it(policy):
    for step in range(100):
        policy.act(
            observation(1_000_000_000 + step * 10_000_000, reference_position=[0.2, 0, 0]), context=CONTEXT
        )
    state = policy.state
    assert state["integral"][0] > 0.05
    assert {n: a.shape for n, a in state.items()} == {n: s.shape for n, s in policy.card.recurrent.items()}
    later = observation(2_000_000_000, reference_position=[0.2, 0, 0])
    expected = policy.act(later, context=CONTEXT).values
    other = load_policy(FOLDER)
    other.load_state(state)
    other.act(observation(1_990_000_000, reference_position=[0.2, 0, 0]), context=CONTEXT)
    assert other.act(later, context=CONTEXT).values == pytest.approx(expected, abs=1e-3)
    policy.reset()
    assert policy.state["integral"] == pytest.approx([0, 0, 0])
    with pytest.raises(ConfigError, match="pass what the policy's `state` gave"):
        policy.load_state({"integral": np.zeros(2)})


@pytest.mark.parametrize("term", ["position", "orientation", "reference_velocity"])
def test_what_is_missing_or_not_finite_is_refused(policy, term):
    broken = observation()
    broken.values[term][0] = np.nan
    with pytest.raises(PolicyError, match="not finite"):
        policy.act(broken, context=CONTEXT)
    del broken.values[term]
    with pytest.raises(PolicyError, match=f"missing: {term}"):
        policy.act(broken, context=CONTEXT)


def test_time_that_goes_back_is_refused(policy):
    policy.act(observation(), context=CONTEXT)
    with pytest.raises(PolicyError, match="lies before the previous one"):
        policy.act(observation(999), context=CONTEXT)


def test_a_card_that_wants_something_else_is_refused():
    card = load_policy_card(FOLDER)
    with pytest.raises(ConfigError, match="with the recurrent states"):
        TrackingPolicy(dataclasses.replace(card, recurrent={}))
    with pytest.raises(ConfigError, match="attitude_per_s is -1"):
        TrackingPolicy(dataclasses.replace(card, parameters={"attitude_per_s": -1.0}))
