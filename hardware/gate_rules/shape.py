"""Rules about set-points that go out as they came in, or nearly so: range, geofence and slew."""

from __future__ import annotations

import math

from hardware.command import CommandKind
from hardware.errors import ConfigError
from hardware.frames import yaw_of
from hardware.gate_rules.base import Binding, Shaper, Situation


def _clip(values: list[float], bounds: list[tuple[int, float, float]]) -> bool:
    changed = False
    for i, low, high in bounds:
        x = values[i]
        if x < low:
            values[i], changed = low, True
        elif x > high:
            values[i], changed = high, True
    return changed


def range_limit(b: Binding) -> Shaper:
    """Clip every element to its range."""
    bounds = [(i, limit.lower, limit.upper) for i, limit in enumerate(b.spec.limits.values())]
    return lambda values, s: _clip(values, bounds)


def geofence_of_reference(b: Binding) -> Shaper:
    """Clip the elements x, y and z to the geofence."""
    if b.card.geofence is None:
        return lambda values, s: False
    bounds = box_bounds(b, b.card.geofence.lower_m, b.card.geofence.upper_m, what="geofence")
    return lambda values, s: _clip(values, bounds)


def box_bounds(b: Binding, lower: tuple[float, ...], upper: tuple[float, ...], *, what: str) -> list[
    tuple[int, float, float]
]:  # fmt: skip
    """Find the elements that are coordinates, with their bounds: (index, lower, upper) each."""
    axes = [(i, "xyz".index(name)) for i, name in enumerate(b.spec.names) if name in ("x", "y", "z")]
    if not axes:
        raise ConfigError(
            f"the card has a {what} and this interface no element named x, y or z",
            where=f"robot card {b.card.name!r}: {what}",
            expected="positions by these names, so that the box can be applied",
            mend=f"name the elements, or remove the {what}",
        )
    return [(i, lower[axis], upper[axis]) for i, axis in axes]


def slew(b: Binding) -> Shaper:
    """Limit the change per time, with a credit of up to two periods for commands that arrive unevenly.

    Between any two commands that leave the gate, no element changes by more than its slew limit times
    (their distance in time + two periods). A change that is too large is cut in direction: all elements
    keep their proportion.
    """
    inverse = [1.0 / x for x in b.spec.limit_array("slew").tolist()]
    limits = list(b.spec.limits.values())
    full = 2e-9 * b.spec.period_ns
    turns = [
        name == "yaw" and limit.upper - limit.lower >= 2.0 * math.pi
        for name, limit in zip(b.spec.names, limits, strict=True)
    ]
    last: list[float] = []
    last_ns, credit = 0, 0.0

    def check(values: list[float], s: Situation) -> bool:
        nonlocal last, last_ns, credit
        if not s.engaged:
            last, credit = _measured_reference(b, values, s), full
        elif s.steady_now_ns > last_ns:
            credit = min(full, credit + (s.steady_now_ns - last_ns) * 1e-9)
        last_ns = s.steady_now_ns
        change = [x - x0 for x, x0 in zip(values, last, strict=True)]
        for i, turn in enumerate(turns):
            if turn and not -math.pi <= change[i] <= math.pi:
                change[i] = math.remainder(change[i], 2.0 * math.pi)
        needed = max([abs(d) * k for d, k in zip(change, inverse, strict=True)])
        if needed <= credit:
            credit -= needed
            last = list(values)
            return False
        share = credit / needed
        for i, x0 in enumerate(last):
            x = x0 + share * change[i]
            values[i] = math.remainder(x, 2.0 * math.pi) if turns[i] and abs(x) > math.pi else x
        credit = 0.0
        last = list(values)
        return True

    return check


def _measured_reference(b: Binding, values: list[float], s: Situation) -> list[float]:
    """Where a reference starts: at the vehicle where that is measured, else at the command itself."""
    start = list(values)
    if b.spec.kind is not CommandKind.REFERENCE or s.state is None:
        return start
    position, orientation = s.state.values.get("position"), s.state.values.get("orientation")
    for i, name in enumerate(b.spec.names):
        if name in ("x", "y", "z") and position is not None and position.shape == (3,):
            start[i] = float(position["xyz".index(name)])
        elif name == "yaw" and orientation is not None and orientation.shape == (4,):
            start[i] = yaw_of(orientation)
    range_limit(b)(start, s)
    if b.card.geofence is not None:
        geofence_of_reference(b)(start, s)
    return start
