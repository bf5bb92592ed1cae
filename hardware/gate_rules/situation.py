"""Rules about the situation: whether anybody may command at all, and whether somebody still does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.frames import tilt_of
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
    """The vehicle is measured inside the geofence."""
    if b.card.geofence is None:
        return _never
    _need(b, "position", "geofence")
    lower, upper, margin = b.card.geofence.lower_m, b.card.geofence.upper_m, b.config.geofence_margin_m

    def is_outside(position: FloatArray, was_outside: bool) -> bool:
        extra = margin if was_outside else 0.0
        return not all(
            low + extra <= x <= high - extra
            for low, x, high in zip(lower, position.tolist(), upper, strict=True)
        )

    return _judge_term("position", 3, is_outside)


def altitude(b: Binding) -> SituationCheck:
    """The vehicle is measured below its greatest altitude."""
    limit = None if b.card.flight is None else b.card.flight.max_altitude_m
    if limit is None:
        return _never
    _need(b, "position", "greatest altitude")
    margin = b.config.geofence_margin_m

    def is_high(position: FloatArray, was_high: bool) -> bool:
        # Written so that a height that is no number counts as too high.
        return not float(position[2]) <= limit - (margin if was_high else 0.0)

    return _judge_term("position", 3, is_high)


def tilt(b: Binding) -> SituationCheck:
    """The vehicle is measured to tilt less than its limit."""
    limit = None if b.card.flight is None else b.card.flight.max_tilt_rad
    if limit is None:
        return _never
    _need(b, "orientation", "steepest tilt")
    margin = b.config.tilt_margin_rad

    def is_steep(orientation: FloatArray, was_steep: bool) -> bool:
        return tilt_of(orientation) > limit - (margin if was_steep else 0.0)

    return _judge_term("orientation", 4, is_steep)


def _never(s: Situation) -> bool:
    return False


def _need(b: Binding, term: str, what: str) -> None:
    if term not in b.card.observations:
        raise ConfigError(
            f"the card has a {what} and no observation {term!r}",
            where=f"robot card {b.card.name!r}",
            expected=f"a measured {term} to judge it by",
            mend=f"add the observation or remove the {what}",
        )


def _judge_term(term: str, size: int, is_beyond: Callable[[FloatArray, bool], bool]) -> SituationCheck:
    """Judge a term of every new state; what was found holds until the next one.

    Args:
        term: its name; a state without it, or with another size, changes nothing (other rules see to it).
        size: its length.
        is_beyond: takes the term, and whether it was beyond its limit before (hysteresis).

    Returns:
        The check.
    """
    beyond = False

    def check(s: Situation) -> bool:
        nonlocal beyond
        value = None if s.state is None else s.state.values.get(term)
        if s.state_is_new and value is not None and value.shape == (size,):
            beyond = is_beyond(value, beyond)
        return beyond

    return check


def staleness(b: Binding) -> SituationCheck:
    """Somebody commands: the newest accepted command is younger than the timeout, on the steady clock."""
    timeout_ns = to_ns(b.spec.timeout_s)

    def check(s: Situation) -> bool:
        return s.steady_now_ns - s.accepted_steady_ns >= timeout_ns

    return check
