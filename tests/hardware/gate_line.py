"""A gate with its clocks: tests say what happens when, in seconds, and look at the verdict."""

from __future__ import annotations

import pytest
from gate_cards import HOME, INTERFACES, arm_state, command, drone_state
from gate_oracle import MOTION

from hardware.command import CommandKind
from hardware.gate import CommandGate, GateAction

START_NS = 10**12
KINDS = list(CommandKind)
PASS, LIMITED, KEEP, SAFE = GateAction.PASS, GateAction.LIMITED, GateAction.KEEP, GateAction.SAFE
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)


def answer(verdict):
    return verdict.action, verdict.reasons


class Line:
    """One gate, its clocks, a living state, and a commander."""

    def __init__(self, kind, *, card=None, config=None):
        make, interface = INTERFACES[kind]
        self.kind = kind
        self.card = card or make()
        self.gate = CommandGate(self.card, interface, config=config)
        self.spec = self.gate.spec
        self.period_s = self.spec.period_ns * 1e-9
        self.now = START_NS
        self.data_offset = 0
        self.values = {
            CommandKind.JOINT_POSITION: HOME,
            CommandKind.CARTESIAN_POSITION: (0.3, 0.0, 0.2),
            CommandKind.RATES_THRUST: (0.0, 0.0, 0.0, 0.5),
            CommandKind.REFERENCE: (0.0, 0.0, 1.0, 0.0),
            CommandKind.MOTOR: (0.4, 0.5, 0.6, 0.7),
        }[kind]
        self.place = (0.3, 0.0, 0.2) if kind is CommandKind.CARTESIAN_POSITION else None
        self.posture = HOME

    @property
    def data(self):
        return self.now + self.data_offset

    def at(self, seconds):
        """Set both clocks, in seconds since the start."""
        self.now = START_NS + round(seconds * 1e9)
        return self

    def after(self, seconds=None, *, ns=None):
        """Advance both clocks; by one period unless told."""
        self.now += ns if ns is not None else round((self.period_s if seconds is None else seconds) * 1e9)
        return self

    def state(self, **terms):
        """A healthy state of this moment, or one with other terms."""
        if self.kind in MOTION:
            # What is not commanded changes a little, as a living sensor does.
            wiggle, tool, posture = 1e-12 * (self.now % 1_000_003), self.place, self.posture
            if self.kind is CommandKind.JOINT_POSITION:
                tool = (wiggle, 0.0, 0.0)
            else:
                posture = tuple(x + wiggle for x in HOME)
            return arm_state(self.data, posture, steady_ns=self.now, tool=tool)
        return drone_state(self.data, steady_ns=self.now, **terms)

    def command(self, values=None, *, age_s=0.0, source="policy", **others):
        return command(
            self.spec,
            self.values if values is None else values,
            self.data - round(age_s * 1e9),
            source=source,
            steady_ns=self.now,
            **others,
        )

    def send(self, values=None, *, state="fresh", **others):
        """Send a command now; give the verdict."""
        return self.give(self.command(values, **others), state=state)

    def tick(self, *, state="fresh"):
        """Call without a command."""
        return self.give(None, state=state)

    def give(self, given, *, state="fresh"):
        return self.gate.filter(given, self.state() if state == "fresh" else state, self.data, self.now)

    def engage(self, **others):
        """Let the commander get authority; gives the last verdict."""
        verdict = self.send(**others)
        for _ in range(self.gate.config.switch_count - 1 if self.kind is CommandKind.MOTOR else 0):
            verdict = self.after().send(**others)
        assert verdict.action is GateAction.PASS, verdict
        return verdict
