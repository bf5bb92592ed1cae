"""Protects the proof itself: for every rule of every command kind, a gate without it is caught.

The rule is replaced by the identity, and the oracle of the million random commands must find a violation.
The cases are the gate's own tables, so a new rule that the oracle does not understand fails here.
"""

from dataclasses import replace

import pytest
from gate_storm import Storm

from hardware.command import CommandKind
from hardware.gate_rules import RULES, Stage

CASES = [(kind, rule.name) for kind in CommandKind for rule in RULES[kind]]


def identity(rule):
    """The rule, never objecting to anything."""
    if rule.stage is Stage.MOTION:
        return replace(rule, make=lambda binding: lambda settings: settings)
    return replace(rule, make=lambda binding: lambda *seen: False)


def without(kind, name):
    return [identity(rule) if rule.name == name else rule for rule in RULES[kind]]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.value}-{name}" for kind, name in CASES])
def test_a_gate_without_the_rule_is_caught(kind, name):
    rules = without(kind, name)
    for seed in range(40):
        storm = Storm(kind, seed, rules=rules, faults=0.03)
        if storm.run(400):
            return
    pytest.fail(f"nothing that left a {kind.value} gate without {name!r} was found wrong")


def test_every_kind_has_the_rules_of_the_architecture():
    common = {"estop", "publishers", "clock", "state_missing", "state_finite", "state_stale", "state_frozen"}
    common |= {"staleness", "names", "finite", "age", "future", "source", "range"}
    motion = {"velocity", "acceleration", "jerk", "authority", "workspace"}
    flight = {"geofence", "altitude", "tilt"}
    own = {
        CommandKind.JOINT_POSITION: motion,
        CommandKind.CARTESIAN_POSITION: motion,
        CommandKind.RATES_THRUST: flight | {"slew"},
        CommandKind.REFERENCE: flight | {"slew", "reference_geofence"},
        CommandKind.MOTOR: flight | {"switch"},
    }
    assert {kind: {rule.name for rule in RULES[kind]} for kind in CommandKind} == {
        kind: common | rules for kind, rules in own.items()
    }
