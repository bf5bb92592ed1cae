"""Protects the gate's promise: nothing that leaves it violates a limit, whatever comes in.

A million random calls, all command kinds together: NaN, infinities, extreme values, steps and chirps, bursts
and gaps, late, early, repeated and forged commands, jumping and stopped clocks, lost, frozen, partial and
poisoned states, source switches, emergency stops. An oracle that knows nothing of the gate's insides judges
every answer from what went out (`gate_oracle`), and every rule must have had something to do.
"""

from collections import Counter

import pytest
from gate_storm import Storm

from hardware.command import CommandKind
from hardware.gate import GateAction
from hardware.gate_rules import RULES

CALLS = {
    CommandKind.JOINT_POSITION: 80_000,
    CommandKind.CARTESIAN_POSITION: 110_000,
    CommandKind.RATES_THRUST: 245_000,
    CommandKind.REFERENCE: 245_000,
    CommandKind.MOTOR: 320_000,
}
STORM = 2500


def test_the_calls_are_a_million():
    assert sum(CALLS.values()) >= 1_000_000


@pytest.mark.million
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", list(CommandKind), ids=lambda kind: kind.value)
def test_nothing_that_leaves_the_gate_violates_a_limit(kind):
    actions, reasons = Counter(), Counter()
    for seed in range(CALLS[kind] // STORM):
        storm = Storm(kind, 1000 + seed)
        wrong = storm.run(STORM)
        assert not wrong, f"storm {1000 + seed}, call {sum(storm.counts.values())}: {wrong}"
        actions += storm.counts
        reasons += storm.reasons
    calls = sum(actions.values())
    assert calls == CALLS[kind] // STORM * STORM
    # The weather was neither so bad that nothing went out, nor so good that nothing was tried.
    assert actions[GateAction.PASS] > 0.05 * calls
    assert actions[GateAction.LIMITED] > 0.05 * calls
    assert 0.01 * calls < actions[GateAction.SAFE] < 0.5 * calls
    assert {rule.name for rule in RULES[kind]} <= set(reasons)
