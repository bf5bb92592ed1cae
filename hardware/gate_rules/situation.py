"""Rules about the situation: whether anybody may command at all, and whether somebody still does."""

from __future__ import annotations

import math

import numpy as np

from hardware.errors import ConfigError
from hardware.gate_rules.base import Binding, Situation, SituationCheck, to_ns


def estop(b: Binding) -> SituationCheck:
    """Latched emergency stop: pressed, or the engaged operator link fell silent."""
    timeout_ns = to_ns(b.config.operator_timeout_s)

    def check(s: Situation) -> bool:
        if not s.estop_reason:
            heard_ns = s.operator_heard_ns
            if s.operator_pressed:
                s.estop_reason = "the operator pressed stop"
            elif s.operator_engaged and (heard_ns is None or heard_ns > s.steady_now_ns):
                s.operator_heard_ns = s.steady_now_ns
            elif s.operator_engaged and heard_ns is not None and s.steady_now_ns - heard_ns >= timeout_ns:
                s.estop_reason = "the operator link fell silent"
        return bool(s.estop_reason)

    return check


def publishers(b: Binding) -> SituationCheck:
    """One source is one publisher: two that claim to be the same one are both not trusted."""

    def check(s: Situation) -> bool:
        return bool(s.crowded)

    return check


def clock(b: Binding) -> SituationCheck:
    """The data clock runs forward: set back or stopped, it is trusted again only after running on."""
    c = b.config
    back_ns, stop_ns, recover_ns = (
        to_ns(c.clock_back_tolerance_s),
        to_ns(c.clock_stop_s),
        to_ns(c.clock_recover_s),
    )
    started = faulty = False
    newest = moved = fault_data = fault_steady = 0

    def check(s: Situation) -> bool:
        nonlocal started, faulty, newest, moved, fault_data, fault_steady
        data, steady = s.data_now_ns, s.steady_now_ns
        if not started:
            started, newest, moved = True, data, steady
            return False
        wrong = s.steady_went_back
        if data > newest:
            newest, moved = data, steady
        elif data < newest - back_ns:
            wrong, newest, moved = True, data, steady
        elif steady - moved >= stop_ns:
            wrong = True
        if wrong:
            faulty, fault_data, fault_steady = True, data, steady
            if s.steady_went_back:
                moved = steady
        elif faulty and data - fault_data >= recover_ns and steady - fault_steady >= recover_ns:
            faulty = False
        return faulty

    return check


def state_missing(b: Binding) -> SituationCheck:
    """There is a state, and it has every term in its shape."""
    shapes = {}
    for term in b.state_terms:
        if term not in b.card.observations:
            raise ConfigError(
                f"the state term {term!r} is not on the robot card {b.card.name!r}",
                where="gate config: state_terms",
                expected="terms out of " + ", ".join(b.card.observations),
                mend="correct the name",
            )
        shapes[term] = (len(b.card.observations[term].names),)
    missing = True

    def check(s: Situation) -> bool:
        nonlocal missing
        if s.state is None:
            return True
        if s.state_is_new:
            values = s.state.values
            missing = any(term not in values or values[term].shape != shape for term, shape in shapes.items())
        return missing

    return check


def state_finite(b: Binding) -> SituationCheck:
    """Every number of the state is finite."""
    faulty = False

    def check(s: Situation) -> bool:
        nonlocal faulty
        if s.state_is_new and s.state is not None:
            faulty = not all(
                all(map(math.isfinite, value.tolist())) if value.ndim == 1 else np.isfinite(value).all()
                for value in s.state.values.values()
            )
        return faulty

    return check


def state_stale(b: Binding) -> SituationCheck:
    """The state is fresh on both clocks, and not from the future."""
    timeout_s = b.config.state_timeout_s
    if timeout_s is None:
        rate_hz = max(b.card.observations[t].rate_hz for t in b.state_terms if t in b.card.observations)
        timeout_s = max(b.spec.timeout_s, 3.0 / rate_hz)
    timeout_ns, future_ns = to_ns(timeout_s), to_ns(b.config.future_tolerance_s)

    def check(s: Situation) -> bool:
        if s.state is None:
            return False
        age_ns = s.data_now_ns - s.state.stamp_ns
        if s.steady_now_ns - s.state.received_steady_ns >= timeout_ns or age_ns >= timeout_ns:
            return True
        return age_ns < -future_ns

    return check


def state_frozen(b: Binding) -> SituationCheck:
    """The values of the state change, as those of a living sensor do."""
    limit_ns, terms = to_ns(b.card.frozen_after_s), b.state_terms
    last, since_ns, frozen = b"", 0, False

    def check(s: Situation) -> bool:
        nonlocal last, since_ns, frozen
        if limit_ns and s.state_is_new and s.state is not None:
            values = s.state.values
            now = b"".join([values[term].tobytes() for term in terms if term in values])
            if now != last or s.state.stamp_ns < since_ns:
                last, since_ns = now, s.state.stamp_ns
            frozen = s.state.stamp_ns - since_ns >= limit_ns
        return frozen

    return check


def geofence_of_vehicle(b: Binding) -> SituationCheck:
    """The vehicle is inside the geofence (for commands that do not say where they lead)."""
    if b.card.geofence is None:
        return lambda s: False
    if "position" not in b.card.observations:
        raise ConfigError(
            "the card has a geofence and no observation 'position'",
            where=f"robot card {b.card.name!r}: geofence",
            expected="a measured position to judge it by",
            mend="add the observation or remove the geofence",
        )
    lower, upper, margin = b.card.geofence.lower_m, b.card.geofence.upper_m, b.config.geofence_margin_m
    outside = False

    def check(s: Situation) -> bool:
        nonlocal outside
        position = None if s.state is None else s.state.values.get("position")
        if s.state_is_new and position is not None and position.shape == (3,):
            extra = margin if outside else 0.0
            outside = not all(
                low + extra <= x <= high - extra
                for low, x, high in zip(lower, position.tolist(), upper, strict=True)
            )
        return outside

    return check


def staleness(b: Binding) -> SituationCheck:
    """Somebody commands: the newest accepted command is younger than the timeout, on the steady clock."""
    timeout_ns = to_ns(b.spec.timeout_s)

    def check(s: Situation) -> bool:
        return s.steady_now_ns - s.accepted_steady_ns >= timeout_ns

    return check
