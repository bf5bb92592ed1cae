"""Protects the reference as the command: what comes in goes out, by name, at the moment it was meant for."""

import time
from pathlib import Path

import numpy as np
import pytest

import policies
from hardware import CommandKind, ConfigError, Observation, SafeAction, schema
from hardware.robot import (
    ROBOT_CARD_SCHEMA,
    CommandSpec,
    Delay,
    LatencyCard,
    Limit,
    RobotCard,
    TermSpec,
)
from policies.card import PolicyCard
from policies.controller import load_controller
from policies.policy import ActContext, Policy, PolicyError
from policies.reference import ReferencePolicy
from policies.registry import load_policy

FOLDER = Path(policies.__file__).parent / "reference" / "stream"
# Another order than the policy's: the binding is by name.
NAMES = ("yaw", "x", "y", "z", "velocity_x", "velocity_y", "velocity_z")
TERMS = {
    "reference_position": np.array([1.0, 2.0, 3.0]),
    "reference_velocity": np.array([0.1, 0.2, 0.3]),
    "reference_yaw": np.array([0.7]),
}


def robot():
    return RobotCard(
        schema=ROBOT_CARD_SCHEMA,
        name="follower",
        kind="quadrotor",
        driver="px4",
        observations={"position": TermSpec(("x", "y", "z"), "m", "world", "odom")},
        commands={
            "reference": CommandSpec(
                kind=CommandKind.REFERENCE,
                unit="1",
                rate_hz=50.0,
                max_age_s=0.1,
                timeout_s=0.2,
                robot_timeout_s=0.5,
                safe_action=SafeAction.LAND,
                limits={name: Limit(-10.0, 10.0, slew=20.0) for name in NAMES},
            )
        },
        latency=LatencyCard(Delay(0.02), Delay(0.02)),
    )


def test_the_reference_of_the_moment_goes_out_by_name():
    controller = load_controller(FOLDER, robot(), steady_clock=time.monotonic_ns)
    controller.reset(0)
    seen = Observation({"position": np.zeros(3), **TERMS}, 5_000_000_000, 0)
    chunk = controller.act(seen, now_ns=5_000_000_000)
    assert (chunk.kind, chunk.names, chunk.start_ns) == (CommandKind.REFERENCE, NAMES, 5_000_000_000)
    assert chunk.values.tolist() == [[0.7, 1.0, 2.0, 3.0, 0.1, 0.2, 0.3]]
    assert chunk.valid_for_s == controller.card.max_open_loop_s


def test_it_is_a_policy_without_a_past():
    policy = load_policy(FOLDER)
    assert isinstance(policy, ReferencePolicy)
    assert isinstance(policy, Policy)
    policy.reset(3)
    policy.load_state(policy.state)
    assert policy.state == {}


def test_without_a_reference_there_is_no_command():
    policy = load_policy(FOLDER)
    terms = {name: value for name, value in TERMS.items() if name != "reference_velocity"}
    with pytest.raises(PolicyError, match="the reference lacks 'reference_velocity'"):
        policy.act(Observation(terms, 1, 1), context=ActContext(now_ns=1))


def test_a_reference_that_is_no_number_is_refused():
    controller = load_controller(FOLDER, robot(), steady_clock=time.monotonic_ns)
    terms = {**TERMS, "reference_velocity": np.array([0.0, np.nan, 0.0])}
    with pytest.raises(PolicyError, match="the observation is not finite: reference_velocity"):
        controller.act(Observation(terms, 1, 1), now_ns=1)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "motor"},
        {"names": ["x", "y", "z", "roll"]},
    ],
)
def test_a_card_that_wants_something_else_is_refused_in_words(change):
    plain = schema._plain(schema.load(PolicyCard, FOLDER / "card.yaml"))
    plain["action"] = {**plain["action"], **change}
    with pytest.raises(ConfigError, match=r"expected|Expected kind reference, elements out of x, y, z"):
        ReferencePolicy(schema.parse(PolicyCard, plain, where="card"))
