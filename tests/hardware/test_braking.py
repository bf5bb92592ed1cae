"""Protects the plans to rest: that they keep to the limits, end at rest, and are as good as can be."""

import math

import numpy as np
import pytest

from hardware.braking import Axis, AxisLimits, mix
from hardware.errors import ConfigError

DT = 0.02
LIMITS = [
    AxisLimits(-1.5, 1.5, 3.0, 10.0, 100.0),
    AxisLimits(-0.5, 2.0, 2.0, 15.0, 400.0),
    AxisLimits(-3.0, 3.0, 0.5, 40.0, 300.0),
    AxisLimits(-0.6, 0.6, 0.5, 3.0, 2000.0),
    AxisLimits(-10.0, 10.0, 6.0, 2.0, 5.0),
]
each_axis = pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: f"jerk{limits.jerk:g}")


def states(limits, count, seed=0):
    """Random motion within velocity and acceleration."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        v, a = rng.uniform(-1, 1, 2) * (limits.velocity, limits.acceleration)
        yield 0.0, float(v), float(a)


def derivatives(x, v, a, plan):
    """Finite differences of a plan, begun at a state: velocities, accelerations, jerks."""
    vs = np.diff([x, *plan[0]]) / DT
    accelerations = np.diff([v, *vs]) / DT
    return vs, accelerations, np.diff([a, *accelerations]) / DT


def keeps_to(limits, x, v, a, plan):
    vs, accelerations, jerks = derivatives(x, v, a, plan)
    assert np.allclose(vs, plan[1], atol=1e-9)
    assert np.abs(accelerations).max() <= limits.acceleration * (1 + 1e-9)
    assert np.abs(jerks).max() <= limits.jerk * (1 + 1e-7)
    # At rest: staying there next breaks nothing.
    assert abs(vs[-1]) <= 1e-9
    assert abs(accelerations[-1]) <= limits.jerk * DT * (1 + 1e-7)


@each_axis
def test_stopping_keeps_to_acceleration_and_jerk_and_ends_at_rest(limits):
    axis = Axis(limits, period_s=DT, name="axis")
    for x, v, a in states(limits, 400):
        keeps_to(limits, x, v, a, axis.stop(x, v, a))
        for direction in (1, -1):
            keeps_to(limits, x, v, a, axis.stop_short(x, v, a, direction=direction))


@each_axis
def test_stopping_takes_no_longer_than_it_must(limits):
    """Against the fastest continuous stop from a state without acceleration, three periods of grace."""
    axis = Axis(limits, period_s=DT, name="axis")
    for v in np.linspace(0.05, 1.0, 20) * limits.velocity:
        a, j = limits.acceleration, limits.jerk
        fastest_s = v / a + a / j if v * j > a * a else 2.0 * math.sqrt(v / j)
        assert len(axis.stop(0.0, float(v), 0.0)[0]) * DT <= fastest_s + 3 * DT


def test_a_resting_axis_needs_no_plan():
    assert Axis(LIMITS[0], period_s=DT, name="axis").stop(0.3, 0.0, 0.0) == ([], [])


@each_axis
def test_nothing_goes_less_far_than_the_short_stop(limits):
    """No random motion within the limits is below it at any period before it turns."""
    axis = Axis(limits, period_s=DT, name="axis")
    rng = np.random.default_rng(1)
    for x, v, a in states(limits, 60, seed=2):
        short = axis.stop_short(x, v, a, direction=1)[0]
        peak = max([x, *short])
        assert peak <= max([x, *axis.stop(x, v, a)[0]]) + 1e-12
        for _ in range(20):
            x1, v1, a1, highest = x, v, a, x
            bias = rng.uniform(-3, 1)
            for _ in range(len(short)):
                j = limits.jerk * float(np.clip(rng.normal(bias), -1, 1))
                a1 = min(max(a1 + j * DT, -limits.acceleration), limits.acceleration)
                v1 += a1 * DT
                x1 += v1 * DT
                highest = max(highest, x1)
            assert v1 > 0.0 or highest >= peak - 1e-12


@each_axis
def test_the_quick_bound_is_never_too_small(limits):
    axis = Axis(limits, period_s=DT, name="axis")
    certain = 0
    for x, v, a in states(limits, 2000, seed=3):
        reach = axis.reach(v, a)
        if math.isinf(reach):
            continue
        certain += 1
        xs, vs = axis.stop(x, v, a)
        assert max(map(abs, xs), default=0.0) <= reach
        assert max(map(abs, vs), default=0.0) <= limits.velocity
    assert certain > 100


def test_a_plan_is_found_beside_the_end_of_the_range_or_it_is_said_that_there_is_none():
    axis = Axis(LIMITS[0], period_s=DT, name="axis")
    soft = axis.stop(0.0, 2.0, -8.0)
    short = axis.stop_short(0.0, 2.0, -8.0, direction=1)
    room = 1.5 - max(short[0])
    assert max(short[0]) < max(soft[0])
    found = axis.safe_plan(room, 2.0, -8.0)
    assert found is not None
    assert max(found[0]) <= 1.5 + 1e-12
    assert axis.safe_plan(room + 1e-6, 2.0, -8.0) is None
    # The same at the lower end.
    found = axis.safe_plan(-room, -2.0, 8.0)
    assert found is not None
    assert min(found[0]) >= -1.5 - 1e-12
    assert axis.safe_plan(-room - 1e-6, -2.0, 8.0) is None


def test_no_plan_is_found_where_the_velocity_will_be_exceeded():
    axis = Axis(LIMITS[0], period_s=DT, name="axis")
    assert axis.safe_plan(0.0, 2.9, 10.0) is None
    assert axis.safe_plan(0.0, -2.9, -10.0) is None


def test_a_mix_of_plans_is_a_plan():
    axis = Axis(LIMITS[0], period_s=DT, name="axis")
    x, v, a = 0.0, 1.0, 2.0
    first, second = axis.stop(x, v, a), axis.stop_short(x, v, a, direction=1)
    for share in (0.0, 0.3, 1.0):
        keeps_to(LIMITS[0], x, v, a, mix(first, second, share))
    assert mix(first, second, 0.0)[0][: len(first[0])] == first[0]


def test_the_share_of_a_wish_ends_where_a_limit_is_met():
    axis = Axis(LIMITS[0], period_s=DT, name="axis")
    v, a = 2.0, 0.0
    x = 1.499 - axis.stop(0.0, v, a)[0][-1]
    safe = axis.stop(x, v, a)
    v1 = v + axis.jdt * DT
    rest = axis.stop(x + v1 * DT, v1, axis.jdt)
    wish = ([x + v1 * DT, *rest[0]], [v1, *rest[1]])
    assert not axis.fits(wish)
    share = axis.share(safe, wish)
    assert 0.0 < share < 1.0
    assert max(mix(safe, wish, share)[0]) == pytest.approx(1.5, abs=1e-9)
    # Velocity likewise.
    safe, rest = axis.stop(0.0, 2.98, 0.0), axis.stop(3.02 * DT, 3.02, 2.0)
    wish = ([3.02 * DT, *rest[0]], [3.02, *rest[1]])
    assert max(mix(safe, wish, axis.share(safe, wish))[1]) == pytest.approx(3.0, abs=1e-9)
    assert axis.share(safe, safe) == 1.0


def test_limits_that_never_stop_are_refused():
    with pytest.raises(ConfigError) as error:
        Axis(AxisLimits(-1, 1, velocity=1.0, acceleration=1e-3, jerk=1.0), period_s=DT, name="lift")
    assert str(error.value) == (
        "limits: stopping 'lift' from full speed takes 1000 s. Expected less than 2000 periods of 0.02 s. "
        "To mend: raise its acceleration or jerk, or lower its velocity."
    )
