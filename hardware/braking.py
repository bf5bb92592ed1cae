"""How one axis comes to rest within its limits: the plans on which the motion limiter's promise stands.

Time is cut into periods. A set-point is moved by semi-implicit Euler, so that finite differences of the
set-points *are* velocity, acceleration and jerk:

    a' = a + j dt,    v' = v + a' dt,    x' = x + v' dt

The stopping law is time-optimal and ends at rest exactly. Let b(s) be the largest deceleration from which
a ramp of the jerk limit down to zero uses up the speed s: with b = m J dt + r, 0 <= r < J dt, the ramp
takes off  dt ((m + 1) r + J dt m (m + 1) / 2), which is solved for m and r in closed form. Steering
a' towards -sign(v) b(|v|), within one period's jerk and the acceleration limit, meets that curve and then
follows it: the next value of b is b - J dt, down to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.errors import ConfigError

# Positions and velocities of the periods to come, the next one first, the last one at rest.
Plan = tuple[list[float], list[float]]

_MAX_PERIODS = 2000


@dataclass(frozen=True)
class AxisLimits:
    """What one axis may do, in its own unit; infinite where nothing is limited."""

    # Smallest and largest position.
    lower: float
    upper: float
    # Largest absolute velocity, acceleration and jerk, per second, second² and second³.
    velocity: float
    acceleration: float
    jerk: float


# Stand-in for "not limited": far above any machine, small enough to calculate with.
_UNLIMITED = 1e9


class Axis:
    """The limits of one axis, cut into periods.

    Args:
        limits: what it may do.
        period_s: the time between two set-points, in seconds.
        name: the axis, for messages.

    Raises:
        ConfigError: stopping from full speed would take thousands of periods.
    """

    __slots__ = (
        *("low", "high", "v_max", "a_max", "dt", "jdt", "jdt2", "rest_speed"),
        *("low_ok", "high_ok", "v_ok", "a_ok", "j_ok"),
    )

    def __init__(self, limits: AxisLimits, *, period_s: float, name: str) -> None:
        """Prepare limits and the tolerances that rounding needs."""
        v, a, j = (min(value, _UNLIMITED) for value in (limits.velocity, limits.acceleration, limits.jerk))
        dt = period_s
        stopping_s = v / a + a / j if v * j > a * a else 2.0 * math.sqrt(v / j)
        if v < _UNLIMITED and stopping_s > _MAX_PERIODS * dt:
            raise ConfigError(
                f"stopping {name!r} from full speed takes {stopping_s:.0f} s",
                where="limits",
                expected=f"less than {_MAX_PERIODS} periods of {dt:g} s",
                mend="raise its acceleration or jerk, or lower its velocity",
            )
        self.dt, self.v_max, self.a_max = dt, v, a
        self.jdt, self.jdt2 = j * dt, j * dt * dt
        self.low, self.high = limits.lower, limits.upper
        # Finite differences of doubles are off by some units in the last place of the position.
        ulp = 2.3e-16 * max((abs(x) for x in (limits.lower, limits.upper) if math.isfinite(x)), default=1.0)
        self.low_ok, self.high_ok = self.low - 4 * ulp, self.high + 4 * ulp
        self.v_ok = v * (1 + 1e-9) + 8 * ulp / dt
        self.a_ok = a * (1 + 1e-9) + 16 * ulp / dt**2
        self.j_ok = j * (1 + 1e-9) + 32 * ulp / dt**3
        self.rest_speed = 1e-10 * min(self.jdt2, a * dt)

    def stop(self, x: float, v: float, a: float) -> Plan:
        """Come to rest as soon as possible.

        Args:
            x: position now.
            v: velocity now.
            a: acceleration now, within the limit.

        Returns:
            The plan; empty at rest. It keeps to acceleration and jerk; `fits` tells about the rest.
        """
        dt, jdt, jdt2, a_max, rest = self.dt, self.jdt, self.jdt2, self.a_max, self.rest_speed
        settle = jdt * (1.0 + 1e-9)
        sqrt = math.sqrt
        xs: list[float] = []
        vs: list[float] = []
        while True:
            s = v if v > 0.0 else -v
            if s <= rest and -settle <= a <= settle:
                if a != 0.0 or v != 0.0:
                    xs.append(x)
                    vs.append(0.0)
                return xs, vs
            m = int((sqrt(1.0 + 8.0 * s / jdt2) - 1.0) * 0.5)
            b = m * jdt + (s / dt - jdt * (m * (m + 1) // 2)) / (m + 1)
            want = -b if v > 0.0 else b
            if want < a - jdt:
                want = a - jdt
            elif want > a + jdt:
                want = a + jdt
            a = -a_max if want < -a_max else (a_max if want > a_max else want)
            v += a * dt
            x += v * dt
            xs.append(x)
            vs.append(v)

    def stop_short(self, x: float, v: float, a: float, *, direction: int) -> Plan:
        """Come to rest so that the position goes no further in one direction than it must.

        Full deceleration until the motion turns, then `stop`: at every period the lowest position that the
        limits allow, at the price of a way back.

        Args:
            x: position now.
            v: velocity now.
            a: acceleration now, within the limit.
            direction: +1 to spare the upper end of the range, -1 for the lower.

        Returns:
            The plan, as of `stop`.
        """
        dt, jdt, a_max = self.dt, self.jdt, self.a_max
        xs: list[float] = []
        vs: list[float] = []
        v *= direction
        a *= direction
        while v > 0.0 or a > 0.0:
            a = a - jdt if a - jdt > -a_max else -a_max
            v += a * dt
            x += direction * v * dt
            xs.append(x)
            vs.append(direction * v)
        rest_x, rest_v = self.stop(x, direction * v, direction * a)
        return xs + rest_x, vs + rest_v

    def fits(self, plan: Plan) -> bool:
        """Whether a plan stays within range and velocity."""
        xs, vs = plan
        if not xs:
            return True
        return (
            max(xs) <= self.high_ok
            and min(xs) >= self.low_ok
            and max(vs) <= self.v_ok
            and min(vs) >= -self.v_ok
        )

    def safe_plan(self, x: float, v: float, a: float) -> Plan | None:
        """Find a plan to rest that keeps to every limit.

        Args:
            x: position now, within the range.
            v: velocity now.
            a: acceleration now, within the limit.

        Returns:
            The plan, or None when there is none of the two kinds.
        """
        plan = self.stop(x, v, a)
        if self.fits(plan):
            return plan
        if max(plan[0]) > self.high_ok:
            direction = 1
        elif min(plan[0]) < self.low_ok:
            direction = -1
        else:
            return None
        plan = self.stop_short(x, v, a, direction=direction)
        return plan if self.fits(plan) else None

    def reach(self, v: float, a: float) -> float:
        """Bound the way to rest, without planning it.

        Args:
            v: velocity now.
            a: acceleration now, within the limit.

        Returns:
            A distance that `stop` does not exceed on either side, or infinity where its velocity might
            exceed the limit on the way.
        """
        jerk = self.jdt / self.dt
        size = a if a > 0.0 else -a
        swing = v + 0.5 * a * size / jerk
        if swing < 0.0:
            swing = -swing
        peak = (swing if swing > abs(v) else abs(v)) + size * self.dt
        if peak > self.v_max:
            return math.inf
        return peak * ((size + self.a_max) / jerk + peak / self.a_max + 3.0 * self.dt)

    def share(self, safe: Plan, wish: Plan) -> float:
        """Find how much of a wish can be mixed into a safe plan.

        The dynamics are linear and the limits convex: any mix of two plans from the same state is a plan,
        and keeps to acceleration and jerk as both do.

        Args:
            safe: a plan that fits.
            wish: a plan that keeps to acceleration and jerk, from the same state.

        Returns:
            The largest share in 0..1 for which the mix keeps to range and velocity.
        """
        if self.fits(wish):
            return 1.0
        share = 1.0
        for x0, x1, v0, v1 in _aligned(safe, wish):
            if x1 > self.high and x1 > x0:
                share = min(share, (self.high - x0) / (x1 - x0))
            elif x1 < self.low and x1 < x0:
                share = min(share, (self.low - x0) / (x1 - x0))
            if v1 > self.v_max and v1 > v0:
                share = min(share, (self.v_max - v0) / (v1 - v0))
            elif v1 < -self.v_max and v1 < v0:
                share = min(share, (-self.v_max - v0) / (v1 - v0))
        return max(0.0, share)


def mix(safe: Plan, wish: Plan, share: float) -> Plan:
    """Mix two plans from the same state.

    Args:
        safe: the one, not empty unless the other is.
        wish: the other.
        share: how much of the other, 0..1.

    Returns:
        The plan in between.
    """
    keep = 1.0 - share
    xs: list[float] = []
    vs: list[float] = []
    for x0, x1, v0, v1 in _aligned(safe, wish):
        xs.append(keep * x0 + share * x1)
        vs.append(keep * v0 + share * v1)
    return xs, vs


def _aligned(first: Plan, second: Plan) -> zip[tuple[float, float, float, float]]:
    """Pair two plans; the shorter one rests where it ends."""
    (x0, v0), (x1, v1) = first, second
    missing = len(x1) - len(x0)
    if missing > 0:
        x0, v0 = x0 + [x0[-1]] * missing, v0 + [0.0] * missing
    elif missing < 0:
        x1, v1 = x1 + [x1[-1]] * -missing, v1 + [0.0] * -missing
    return zip(x0, x1, v0, v1, strict=True)
