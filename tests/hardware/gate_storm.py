"""Random weather for the command gate: what commanders, sensors and clocks may do wrong, all at once."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

from gate_cards import HOME, INTERFACES, arm_state, command, drone_state, tool_of
from gate_oracle import MOTION, Oracle

from hardware.command import CommandKind, SafeAction
from hardware.gate import CommandGate, GateAction

NAN, INF = math.nan, math.inf
# Faults that last, with their longest duration in calls.
SPELLS = {
    "state_nan": 4,
    "state_lost": 45,
    "state_frozen": 30,
    "state_partial": 4,
    "state_old": 4,
    "state_future": 4,
    "outside": 6,
    "high": 6,
    "tilted": 6,
    "clock_stopped": 25,
    "silence": 25,
    "operator": 40,
    "old_commands": 14,
    "two_publishers": 4,
    "link_lost": 80,
}
ONCE = ("clock_back", "clock_forward", "clock_nudged", "steady_back", "estop", "press", "pause")
EXTREMES = (1e308, -1e308, 1e3, -1e3, 5e-324, -0.0, 1e17)


class Storm:
    """Drives one gate with random calls and lets the oracle judge every answer."""

    def __init__(self, kind, seed, *, rules=None, faults=0.006):
        self.random = random.Random(seed)
        self.card, self.interface = self._robot(kind)
        self.kind = kind
        self.spec = self.card.commands[self.interface]
        self.gate = CommandGate(self.card, self.interface, rules=rules)
        self.oracle = Oracle(self.card, self.interface)
        self.faults = faults
        self.period = self.spec.period_ns
        self.lower = self.spec.limit_array("lower").tolist()
        self.upper = self.spec.limit_array("upper").tolist()
        self.steady = self.data = 10**12
        self.spells = {}
        self.counts = Counter()
        self.reasons = Counter()
        self.stopped_calls = 0
        self.listens = self.random.random() < 0.5
        # In lockstep there is one clock.
        self.lockstep = self.random.random() < 0.2
        # The robot: where it is, and the newest state.
        self.tool = tool_of(HOME)
        self.posture = list(HOME) if kind is not CommandKind.CARTESIAN_POSITION else self.tool
        self.sent = self.posture if kind in MOTION else [0.5] * len(self.lower)
        self.position = [0.0, 0.0, 1.0]
        self.state = None
        # The commander.
        self.manner, self.goal, self.phase = "noise", self._anywhere(), 0.0
        self.command = None
        self.last_stamp = 0

    def _robot(self, kind):
        """The test robot of a kind; for motion with varied authority and safe action."""
        make, interface = INTERFACES[kind]
        card = make()
        if kind in MOTION:
            ramp_s = self.random.choice((0.0, 0.0, 1.0))
            action = self.random.choice((SafeAction.HOLD, SafeAction.HOLD, SafeAction.DAMP))
            spec = replace(card.commands[interface], authority_ramp_s=ramp_s, safe_action=action)
            card = replace(card, commands={**card.commands, interface: spec})
        return card, interface

    def run(self, calls):
        """Make calls until one is judged wrong; give the judgement, or None."""
        for _ in range(calls):
            wrong = self.call()
            if wrong:
                return wrong
        return None

    def call(self):
        rnd = self.random.random
        self._time(rnd)
        self._mishaps(rnd)
        if self.lockstep:
            self.steady = self.data
        state = self._sense(rnd)
        given = None if "silence" in self.spells or rnd() < 0.06 else self._command(rnd)
        verdict = self.gate.filter(given, state, self.data, self.steady)
        self.counts[verdict.action] += 1
        for reason in verdict.reasons:
            self.reasons[reason] += 1
        if verdict.command is not None:
            self.sent = verdict.command.values.tolist()
            self.posture = self.sent
        return self.oracle.check(given, state, self.data, self.steady, verdict)

    def _time(self, rnd):
        u = rnd()
        if u < 0.85:
            step = self.period * (0.75 + 0.5 * rnd())
        elif u < 0.94:
            step = self.period * 0.2 * rnd()
        elif u < 0.994:
            step = self.period * (1 + 2 * rnd())
        else:
            step = self.period * (4 + 6 * rnd())
        self.steady += int(step)
        if "clock_stopped" not in self.spells:
            self.data += int(step)

    def _mishaps(self, rnd):
        for name in list(self.spells):
            self.spells[name] -= 1
            if self.spells[name] <= 0:
                del self.spells[name]
                if name == "two_publishers":
                    self._tell_publishers(1)
        if self.oracle.estop or self.stopped_calls:
            self.stopped_calls += 1
            if self.stopped_calls > 6:
                self.stopped_calls = 0
                self.oracle.reset_estop()
                self.gate.reset_estop()
        if self.listens and "link_lost" not in self.spells:
            self._beat(pressed=False)
        if rnd() >= self.faults:
            return
        name = self.random.choice((*SPELLS, *ONCE))
        if name in SPELLS:
            self.spells[name] = 1 + int(rnd() * SPELLS[name])
            if name == "two_publishers":
                self._tell_publishers(2)
        elif name == "clock_back":
            self.data -= int(10 ** (6.5 + 4 * rnd()))
        elif name == "clock_forward":
            self.data += int(10 ** (6.5 + 4 * rnd()))
        elif name == "clock_nudged":
            self.data -= int(rnd() * 9e6)
        elif name == "steady_back":
            self.steady -= int(10 ** (6 + 4 * rnd()))
        elif name == "pause":
            self.steady += 60 * self.period
            self.data += 60 * self.period
        elif name == "press" and self.listens:
            self._beat(pressed=True)
        else:
            self.gate.engage_estop("a storm")
            self.oracle.engage()

    def _tell_publishers(self, count):
        self.gate.report_publishers("policy", count)
        self.oracle.publishers("policy", count)

    def _beat(self, *, pressed):
        self.gate.operator_heartbeat(pressed=pressed, steady_now_ns=self.steady)
        self.oracle.heartbeat(pressed, self.steady)

    def _sense(self, rnd):
        """The newest state; the very same object where nothing new came."""
        spells = self.spells
        if "state_lost" in spells or (self.state is not None and rnd() < 0.1):
            return self.state if rnd() < 0.5 else None
        stamp, received = self.data - int(2e6 * rnd()), self.steady - int(1e6 * rnd())
        if "state_old" in spells:
            stamp -= int(5e8 * rnd())
        if "state_future" in spells:
            stamp += int(1e8 * rnd())
        if self.state is not None and "state_frozen" in spells:
            self.state = replace(self.state, stamp_ns=stamp, received_steady_ns=received)
            return self.state
        if self.kind in MOTION:
            noisy = [x + 1e-4 * (rnd() - 0.5) for x in self.posture]
            if self.kind is CommandKind.JOINT_POSITION:
                state = arm_state(stamp, noisy, steady_ns=received, tool=self.tool)
            else:
                state = arm_state(stamp, HOME, steady_ns=received, tool=noisy)
        else:
            self.position = [min(max(x + 0.1 * (rnd() - 0.5), -4), 4) for x in self.position]
            state = self._fly(rnd, stamp, received)
        if "state_nan" in spells:
            term = self.random.choice(list(state.values))
            state.values[term][0] = self.random.choice((NAN, INF, -INF))
        if "state_partial" in spells:
            values = dict(state.values)
            values.pop(next(iter(values)))
            state = replace(state, values=values)
        self.state = state
        return state

    def _fly(self, rnd, stamp, received):
        """A vehicle about its place, or a little or far beyond a limit of flight."""
        place, half = self.position, 0.3 * rnd()
        if "outside" in self.spells:
            place = (self.random.choice((-1, 1)) * (4.75 + rnd()), 0.0, 1.0)
        if "high" in self.spells:
            place = (0.0, 0.0, 4.25 + 0.6 * rnd())
        if "tilted" in self.spells:
            half = (0.55 + rnd()) / 2
        turn = 6.28 * rnd()
        c, s = math.cos(half), math.sin(half)
        orientation = (c, s * math.cos(turn), s * math.sin(turn), 0.0)
        return drone_state(stamp, place, steady_ns=received, orientation=orientation)

    def _anywhere(self, stretch=1.0):
        rnd = self.random.random
        return [
            (a + b) / 2 + stretch * (rnd() - 0.5) * (b - a)
            for a, b in zip(self.lower, self.upper, strict=True)
        ]

    def _command(self, rnd):
        if self.command is not None and rnd() < 0.02:
            return self.command
        if rnd() < 0.03:
            self.manner = self.random.choice(("noise", "steps", "chirp", "near", "wild"))
            self.goal = self._anywhere(1.1)
        self.phase += 0.3 * rnd()
        values = self.goal
        if self.manner == "noise":
            values = self._anywhere(1.05)
        elif self.manner == "chirp":
            s = math.sin(self.phase)
            values = [0.5 * (a + b) + 0.5 * s * (b - a) for a, b in zip(self.lower, self.upper, strict=True)]
        elif self.manner == "near":
            values = [x + 1e-4 * (rnd() - 0.5) for x in self.sent]
        elif self.manner == "wild":
            values = [x if rnd() < 0.6 else self.random.choice(EXTREMES) for x in values]
        if rnd() < 0.02:
            values = list(values)
            values[int(rnd() * len(values))] = self.random.choice((NAN, INF, -INF))
        # Every command has a stamp of its own, by which the oracle knows it again.
        stamp = self.data - int(1e7 * rnd())
        if stamp == self.last_stamp:
            stamp -= 1
        received = self.steady - int(1e6 * rnd())
        u = rnd()
        if "old_commands" in self.spells or u < 0.01:
            stamp -= int(self.spec.max_age_s * 1e9 * (0.5 + rnd()))
        elif u < 0.02:
            stamp += int(1.2e8 * rnd())
        elif u < 0.025:
            received -= int(self.spec.timeout_s * 2e9 * rnd())
        self.last_stamp = stamp
        source = "operator" if "operator" in self.spells and rnd() < 0.7 else "policy"
        if rnd() < 0.01:
            source = "stranger"
        names = kind = None
        u = rnd()
        if u < 0.005:
            names = self.spec.names[::-1]
        elif u < 0.01:
            kind = CommandKind.MOTOR if self.kind is not CommandKind.MOTOR else CommandKind.REFERENCE
        elif u < 0.013:
            values = values[:-1]
        self.command = command(
            self.spec, values, stamp, source=source, steady_ns=received, names=names, kind=kind
        )
        return self.command


def acted(storm):
    """The share of calls after which the gate let somebody command."""
    total = sum(storm.counts.values())
    return 1.0 - storm.counts[GateAction.SAFE] / max(total, 1)
