"""An independent judge of the command gate.

It sees what goes in and what comes out, and knows the card; it knows nothing of how the gate works. From
the outgoing commands alone it recomputes finite differences, slew windows, pace and boxes, and from the
incoming ones whether anybody could have been allowed to command at that moment. `check` gives the first
violation as a sentence, or None.
"""

from __future__ import annotations

import math

from gate_cards import tool_of

from hardware.command import CommandKind, SafeAction
from hardware.frames import rotation_matrix, yaw_of
from hardware.gate import GATE_SOURCE, GateAction, GateConfig

MOTION = (CommandKind.JOINT_POSITION, CommandKind.CARTESIAN_POSITION)
# A restart from rest is right only after so many periods of silence.
GAP_PERIODS = 4


def ns(seconds):
    return round(seconds * 1e9)


class Oracle:
    """Judges one gate, call by call."""

    def __init__(self, card, interface, config=None):
        self.card, self.spec = card, card.commands[interface]
        self.config = config or GateConfig()
        spec = self.spec
        self.period = spec.period_ns
        self.lower = spec.limit_array("lower").tolist()
        self.upper = spec.limit_array("upper").tolist()
        self.timeout = ns(spec.timeout_s)
        self.lease = ns(spec.timeout_s / 2 if self.config.lease_s is None else self.config.lease_s)
        self.rank = {name: i for i, name in enumerate(self.config.sources)}
        self.is_motion = spec.kind in MOTION
        rate = max(term.rate_hz for term in card.observations.values())
        self.state_timeout = ns(self.config.state_timeout_s or max(spec.timeout_s, 3 / rate))
        c = self.config
        self.max_age, self.future = ns(spec.max_age_s), ns(c.future_tolerance_s)
        self.back, self.stop, self.recover = map(
            ns, (c.clock_back_tolerance_s, c.clock_stop_s, c.clock_recover_s)
        )
        self.operator_timeout = ns(c.operator_timeout_s)
        self.shapes = {name: (len(term.names),) for name, term in card.observations.items()}
        # The situation.
        self.steady = 0
        self.state = None
        self.state_ok = False
        self.state_bytes, self.state_since, self.frozen = None, 0, False
        # Which limits of flight the vehicle was beyond at the newest state.
        self.beyond = {}
        self.newest, self.moved, self.fault = None, 0, None
        self.estop, self.pressed, self.heard = False, False, None
        self.crowd = set()
        # Who commands.
        self.last_command = None
        self.last_good = None
        self.streaks = {}
        self.holder, self.holder_good = None, 0
        self.inputs = {}
        # What went out.
        self.sent = None
        self.sent_values = None
        self.windows = None
        self.adrift, self.history, self.times, self.latest = True, [], [], 0
        self.authority = None

    # What the test tells the gate, it tells the oracle too.

    def engage(self):
        self.estop = True

    def reset_estop(self):
        self.estop = False

    def heartbeat(self, pressed, steady):
        self.pressed, self.heard = pressed, steady

    def publishers(self, source, count):
        (self.crowd.add if count > 1 else self.crowd.discard)(source)

    def check(self, command, state, data, steady, verdict):
        """Judge one call; give the violation, or None."""
        went_back = steady < self.steady - self.back
        if not went_back:
            steady = max(steady, self.steady)
        self.steady = steady
        forbidden = self._forbidden(state, data, steady, went_back)
        if command is self.last_command:
            command = None
        elif command is not None:
            self.last_command = command
        good = command is not None and self._is_good(command, data, steady)
        if command is not None and self.is_motion:
            key = (command.stamp_ns, command.source)
            self.inputs[key] = (command.values.tolist() if command.values.ndim == 1 else None, good)
        if self.last_good is not None and (steady - self.last_good >= self.timeout or went_back):
            self._nobody()
        if forbidden:
            self._nobody()
        elif good:
            streak, when = self.streaks.get(command.source, (0, 0))
            self.streaks[command.source] = (streak + 1 if steady - when < self.lease else 1, steady)
            self.last_good = steady
        elif command is not None:
            self.streaks.pop(command.source, None)
        return self._judge(verdict, command if good else None, forbidden, data, steady, went_back)

    def _judge(self, verdict, good, forbidden, data, steady, went_back):
        action = verdict.action
        if action is not GateAction.SAFE:
            if forbidden:
                return f"{action.value} although {forbidden}"
            if self.last_good is None:
                return f"{action.value} although nobody commands"
        elif not verdict.reasons:
            return "a safe action without a reason"
        if action is GateAction.LIMITED and not verdict.reasons:
            return "limited without a reason"
        if self.is_motion:
            wrong = self._judge_motion(verdict, good, steady, went_back)
        else:
            wrong = self._judge_direct(verdict, good, steady)
        if wrong:
            return wrong
        if action is GateAction.SAFE:
            if self.holder is not None:
                self._nobody()
                if good is not None and not forbidden:
                    self.streaks[good.source] = (1, steady)
                    self.last_good = steady
            self.holder = None
        return None

    def _nobody(self):
        self.streaks.clear()
        self.last_good = self.holder = self.authority = None

    # --- may anybody command? ---------------------------------------------------------------------

    def _forbidden(self, state, data, steady, went_back):
        why = self._clock(data, steady, went_back)
        if state is not None and state is not self.state:
            self.state = state
            self._look(state)
        if self.heard is not None:
            if self.heard > steady:
                self.heard = steady
            self.estop = self.estop or self.pressed or (
                steady - self.heard >= self.operator_timeout
            )  # fmt: skip
        if self.estop:
            return "the emergency stop is engaged"
        if self.crowd:
            return "one source has two publishers"
        if why:
            return why
        if self.state is None or not self.state_ok:
            return "the state is missing, incomplete or not finite"
        age = data - self.state.stamp_ns
        if steady - self.state.received_steady_ns >= self.state_timeout or age >= self.state_timeout:
            return "the state is stale"
        if -age > self.future:
            return "the state is from the future"
        if self.frozen:
            return "the state is frozen"
        for what, is_beyond in self.beyond.items():
            if is_beyond:
                return f"the vehicle is beyond its {what}"
        return ""

    def _clock(self, data, steady, went_back):
        if self.newest is None:
            self.newest, self.moved = data, steady
            return ""
        wrong = went_back
        if data > self.newest:
            self.newest, self.moved = data, steady
        elif data < self.newest - self.back:
            wrong, self.newest, self.moved = True, data, steady
        elif steady - self.moved >= self.stop:
            wrong = True
        if wrong:
            self.fault = (data, steady)
            self.moved = steady if went_back else self.moved
        if self.fault:
            if min(data - self.fault[0], steady - self.fault[1]) < self.recover:
                return "a clock cannot be trusted"
            self.fault = None
        return ""

    def _look(self, state):
        values = state.values
        self.state_ok = all(
            name in values and values[name].shape == shape for name, shape in self.shapes.items()
        )
        now = [value.tolist() for value in values.values()]
        if self.state_ok and not all(map(math.isfinite, sum(now, []))):
            self.state_ok = False
        # NaN differs from itself, so that a repeated NaN counts as change here: it is forbidden anyway.
        if now != self.state_bytes or state.stamp_ns < self.state_since:
            self.state_bytes, self.state_since = now, state.stamp_ns
        limit = ns(self.card.frozen_after_s)
        self.frozen = limit > 0 and state.stamp_ns - self.state_since >= limit
        if not self.is_motion and self.state_ok:
            self._look_at_flight(state.values["position"], state.values["orientation"])

    def _look_at_flight(self, position, orientation):
        """Judge fence, height and tilt; once beyond, a margin inside is asked for."""

        def inside(what, limit):
            return limit - (margins[what] if self.beyond.get(what) else 0.0)

        margins = {"geofence": self.config.geofence_margin_m, "altitude": self.config.geofence_margin_m,
                   "tilt": self.config.tilt_margin_rad}  # fmt: skip
        fence, flight = self.card.geofence, self.card.flight
        if fence:
            sides = zip(fence.lower_m, position.tolist(), fence.upper_m, strict=True)
            self.beyond["geofence"] = any(
                max(low - x, x - high) > inside("geofence", 0.0) for low, x, high in sides
            )
        if flight and flight.max_altitude_m:
            self.beyond["altitude"] = position[2] > inside("altitude", flight.max_altitude_m)
        if flight and flight.max_tilt_rad:
            up = rotation_matrix(orientation)[2, 2]
            self.beyond["tilt"] = math.acos(min(1.0, max(-1.0, up))) > inside("tilt", flight.max_tilt_rad)

    def _is_good(self, command, data, steady):
        return (
            command.kind is self.spec.kind
            and command.names == self.spec.names
            and command.values.shape == (len(self.spec.names),)
            and all(map(math.isfinite, command.values.tolist()))
            and data - command.stamp_ns <= self.max_age
            and steady - command.received_steady_ns < self.timeout
            and command.stamp_ns - data <= self.future
            and command.source in self.rank
        )

    def _takes_over(self, source, steady):
        """Judge a source that commands now; None where it may."""
        if source == self.holder:
            return None
        if self.holder is not None and self.rank[source] > self.rank[self.holder] and (
            steady - self.holder_good < self.lease
        ):  # fmt: skip
            return f"{source} commands although {self.holder} holds the lease"
        if self.spec.kind is CommandKind.MOTOR and (
            self.streaks.get(source, (0, 0))[0] < self.config.switch_count
        ):
            return f"{source} takes over motors after {self.streaks.get(source, (0, 0))[0]} good command(s)"
        return None

    def _form(self, command):
        """Judge the form of an outgoing command."""
        if command is None:
            return "nothing to send"
        values = command.values.tolist()
        if command.kind is not self.spec.kind or command.names != self.spec.names:
            return "another kind or other names went out"
        if not all(map(math.isfinite, values)):
            return f"not finite: {values}"
        for name, low, x, high in zip(command.names, self.lower, values, self.upper, strict=True):
            if not low <= x <= high:
                return f"range: {name} is {x}"
        return None

    # --- commands without motion limits -------------------------------------------------------------

    def _judge_direct(self, verdict, good, steady):
        action, sent = verdict.action, verdict.command
        if action is GateAction.SAFE:
            return None if sent is None else "a command beside a safe action that the robot owns"
        if action is GateAction.KEEP:
            same = sent is not None and sent.values.tolist() == self.sent_values
            return None if same else "the command in force changed without a new one"
        if good is None:
            return f"{action.value} although the command is not acceptable"
        wrong = self._takes_over(good.source, steady) or self._form(sent)
        if wrong:
            return wrong
        if action is GateAction.PASS and sent is not good:
            return "passed another object"
        if sent.source != good.source or sent.stamp_ns != good.stamp_ns:
            return "what went out is not what came in"
        values = sent.values.tolist()
        # A holder whose last command is too old has lost its authority, whoever else was heard meanwhile.
        lapsed = steady - self.holder_good >= self.timeout
        wrong = self._slew(values, steady, fresh=self.holder is None or lapsed)
        if wrong:
            return wrong
        if self.spec.kind is CommandKind.REFERENCE and self.card.geofence:
            low, high = self.card.geofence.lower_m, self.card.geofence.upper_m
            for i, name in enumerate("xyz"):
                if not low[i] <= values[i] <= high[i]:
                    return f"geofence: {name} is {values[i]}"
        self.holder, self.holder_good, self.sent_values = good.source, steady, values
        return None

    def _slew(self, values, steady, *, fresh):
        """Every change between any two commands must fit their distance in time plus two periods."""
        if self.spec.kind not in (CommandKind.RATES_THRUST, CommandKind.REFERENCE):
            return None
        t, allowed = steady * 1e-9, 2e-9 * self.period
        if fresh or self.windows is None:
            start = self._measured(values)
            self.windows = [
                [x, math.inf, -math.inf, limit.slew]
                for x, limit in zip(start, self.spec.limits.values(), strict=True)
            ]
            self._enter(start, t)
        wrong = None
        for i, (name, x) in enumerate(zip(self.spec.names, values, strict=True)):
            unwrapped, lowest, highest, slew = self.windows[i]
            change = math.remainder(x - unwrapped, 2 * math.pi) if name == "yaw" else x - unwrapped
            now = unwrapped + change
            excess = max(now - slew * t - lowest, highest - now - slew * t) - slew * allowed
            if excess > 1e-6:
                wrong = f"slew: {name} changed by {excess} too much"
        self._enter(values, t)
        return wrong

    def _enter(self, values, t):
        for name, x, window in zip(self.spec.names, values, self.windows, strict=True):
            unwrapped, lowest, highest, slew = window
            change = math.remainder(x - unwrapped, 2 * math.pi) if name == "yaw" else x - unwrapped
            now = unwrapped + change
            window[:3] = now, min(lowest, now - slew * t), max(highest, now + slew * t)

    def _measured(self, values):
        if self.spec.kind is not CommandKind.REFERENCE:
            return values
        position = self.state.values["position"].tolist()
        start = [*position, yaw_of(self.state.values["orientation"])]
        if self.card.geofence:
            low, high = self.card.geofence.lower_m, self.card.geofence.upper_m
            start[:3] = [min(max(x, a), b) for x, a, b in zip(start, low, high, strict=False)]
        return [min(max(x, a), b) for x, a, b in zip(start, self.lower, self.upper, strict=True)]

    # --- motion ---------------------------------------------------------------------------------------

    def _judge_motion(self, verdict, good, steady, went_back):
        action, sent = verdict.action, verdict.command
        silent = steady - self.times[-1] if self.times else 0
        if went_back or silent >= ns(self.spec.robot_timeout_s):
            self.adrift = True
        if action is GateAction.SAFE and sent is None:
            if self.spec.safe_action is SafeAction.HOLD and not self.adrift and self.times:
                return "a hold without a set-point"
            self.adrift = True
            return None
        new_hold = action is GateAction.SAFE and sent is not self.sent and sent.source == GATE_SOURCE
        if action in (GateAction.KEEP, GateAction.SAFE) and not new_hold:
            if good is not None and action is GateAction.KEEP and verdict.reasons == ("pace",):
                wrong = self._takes_over(good.source, steady)
                if wrong:
                    return wrong
                self._accept(good, steady)
            same = sent is not None and sent.values.tolist() == self.sent_values
            self.sent = sent
            # After a longer silence it has stood still anyway.
            is_due = 2 * self.period < silent <= GAP_PERIODS * self.period
            if is_due and not self.adrift and self.history[-1] != self.history[-2]:
                return "the set-point stopped dead in motion"
            return None if same else "the command in force changed without a new one"
        wrong = self._form(sent)
        if wrong:
            return wrong
        values = sent.values.tolist()
        if not new_hold:
            origin, was_good = self.inputs.get((sent.stamp_ns, sent.source), (None, False))
            if not was_good:
                return f"{action.value} towards a command that was not acceptable"
            if action is GateAction.PASS and values != origin:
                return "passed other values than came in"
            if good is not None and good.source == sent.source and good.stamp_ns == sent.stamp_ns:
                wrong = self._takes_over(good.source, steady)
                if wrong:
                    return wrong
                self._accept(good, steady)
            elif sent.source != self.holder:
                return f"went on towards {sent.source}, which has no authority"
        wrong = self._moves(values, steady) or self._with_authority(values, steady, new_hold)
        self.sent, self.sent_values = sent, values
        return wrong

    def _accept(self, good, steady):
        values = [
            min(max(x, a), b) for x, a, b in zip(good.values.tolist(), self.lower, self.upper, strict=True)
        ]
        if self.adrift:
            self._begin_at_measured()
        if good.source != self.holder:
            x3, x2, x1 = self.history
            self.authority = (list(x1), steady, values) if x3 == x2 == x1 else None
        elif self.authority and self.authority[2] != values:
            self.authority = None
        self.holder, self.holder_good = good.source, steady

    def _begin_at_measured(self):
        term = "joint_position" if self.spec.kind is CommandKind.JOINT_POSITION else "tool_position"
        lower, upper = self._inner()
        start = [
            min(max(x, a), b) for x, a, b in zip(self.state.values[term].tolist(), lower, upper, strict=True)
        ]
        self.history, self.times, self.adrift = [start] * 3, [], False

    def _inner(self):
        if self.spec.kind is CommandKind.JOINT_POSITION or self.card.workspace is None:
            return self.lower, self.upper
        box = self.card.workspace
        return (
            [max(pair) for pair in zip(self.lower, box.lower_m, strict=True)],
            [min(pair) for pair in zip(self.upper, box.upper_m, strict=True)],
        )

    def _with_authority(self, values, steady, new_hold):
        ramp = ns(self.spec.authority_ramp_s)
        if new_hold or not self.authority or ramp == 0 or steady - self.authority[1] >= ramp:
            return None
        hold, since, target = self.authority
        share = (steady - since) / ramp
        for name, x0, x, goal in zip(self.spec.names, hold, values, target, strict=True):
            # A moving target is led by up to three periods.
            if abs(x - x0) > (share + 3 * self.period / ramp) * abs(goal - x0) + 1e-9:
                return f"authority: {name} is {abs(x - x0)} away after {share} of the ramp"
        return None

    def _moves(self, values, steady):
        """Recompute the derivatives, the pace and the workspace from what went out."""
        if self.times:
            if steady - self.times[-1] < self.period // 2:
                return "pace: two set-points within half a period"
            if steady - self.times[-1] > GAP_PERIODS * self.period:
                self.history = [self.history[-1]] * 3
                self.times = []
        self.times.append(steady)
        # Against the steadiest pace from any earlier set-point on: at most one period ahead.
        on_grid = steady - len(self.times) * self.period
        self.latest = on_grid if len(self.times) == 1 else max(self.latest, on_grid)
        if self.latest - on_grid > self.period + len(self.times):
            return "pace: more than one set-point a period"
        dt = self.period * 1e-9
        x3, x2, x1 = self.history
        self.history = [x2, x1, values]
        for i, (name, limit) in enumerate(self.spec.limits.items()):
            v, v1, v2 = (values[i] - x1[i]) / dt, (x1[i] - x2[i]) / dt, (x2[i] - x3[i]) / dt
            a, a1 = (v - v1) / dt, (v1 - v2) / dt
            for what, value, bound in (
                ("velocity", v, limit.velocity),
                ("acceleration", a, limit.acceleration),
                ("jerk", (a - a1) / dt, limit.jerk),
            ):
                if abs(value) > bound * (1 + 1e-6):
                    return f"{what} of {name} is {value}"
        if self.card.workspace is not None:
            is_joint = self.spec.kind is CommandKind.JOINT_POSITION
            tool = tool_of(values) if is_joint else values
            slack = 1e-9 if is_joint else 0.0
            box = self.card.workspace
            sides = zip(box.lower_m, tool, box.upper_m, strict=True)
            if not all(low - slack <= x <= high + slack for low, x, high in sides):
                return f"workspace: the tool is at {tool}"
        return None
