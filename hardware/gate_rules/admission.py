"""Rules about one command: whether it is taken at all."""

from __future__ import annotations

import math

import numpy as np

from hardware.command import Command
from hardware.gate_rules.base import AdmissionCheck, Binding, Situation, to_ns


def names(b: Binding) -> AdmissionCheck:
    """The command is of this interface: its kind, its names in their order, one float64 each."""
    kind, names, shape = b.spec.kind, b.spec.names, (len(b.spec.names),)

    def check(command: Command, s: Situation) -> bool:
        values = command.values
        return (
            command.kind is not kind
            or command.names != names
            or values.shape != shape
            or values.dtype != np.float64
        )

    return check


def finite(b: Binding) -> AdmissionCheck:
    """Every set-point is finite."""
    finite = math.isfinite

    def check(command: Command, s: Situation) -> bool:
        return not all(map(finite, command.values.tolist()))

    return check


def age(b: Binding) -> AdmissionCheck:
    """The data behind the command is young enough, and so is its receipt."""
    limit_ns, timeout_ns = to_ns(b.spec.max_age_s), to_ns(b.spec.timeout_s)

    def check(command: Command, s: Situation) -> bool:
        if s.data_now_ns - command.stamp_ns > limit_ns:
            return True
        return s.steady_now_ns - command.received_steady_ns >= timeout_ns

    return check


def future(b: Binding) -> AdmissionCheck:
    """The stamp is not ahead of the data clock."""
    limit_ns = to_ns(b.config.future_tolerance_s)

    def check(command: Command, s: Situation) -> bool:
        return command.stamp_ns - s.data_now_ns > limit_ns

    return check


def source(b: Binding) -> AdmissionCheck:
    """The source is known and no more important one holds the lease."""
    rank = {source: i for i, source in enumerate(b.config.sources)}
    lease_ns = b.lease_ns

    def check(command: Command, s: Situation) -> bool:
        source = command.source
        if source not in rank:
            return True
        if not s.engaged or source == s.holder or rank[source] < rank.get(s.holder, math.inf):
            return False
        return s.steady_now_ns - s.accepted_steady_ns < lease_ns

    return check


def switch(b: Binding) -> AdmissionCheck:
    """A source that takes over motors has delivered enough acceptable ones in a row, this one included."""
    count, lease_ns = b.config.switch_count, b.lease_ns

    def check(command: Command, s: Situation) -> bool:
        source = command.source
        if s.engaged and source == s.holder:
            return False
        streak, last_ns = s.streaks.get(source, (0, 0))
        streak = streak + 1 if s.steady_now_ns - last_ns < lease_ns else 1
        s.streaks[source] = (streak, s.steady_now_ns)
        return streak < count

    return check
