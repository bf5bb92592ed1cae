"""The motion limiter: set-points that never break a limit, and that can always still be stopped.

Position commands are held to range, velocity, acceleration, jerk and workspace. Holding each new
set-point to these limits is not enough: at full speed beside the end of the range every next set-point
breaks one of them. So the limiter keeps, as its invariant, a *plan to rest* that keeps to every limit
(`hardware.braking`), and moves in one of three ways:

1. to the target itself, bit for bit, when that step keeps to the limits and leaves a plan to rest;
2. else along a mix of the plan in force and one that goes towards the target as hard as the limits allow.
   The dynamics are linear and the limits convex, so the largest share of the wish for which every limit
   holds is found in closed form; the workspaces, which are not convex in joint space, are checked point by
   point, for falling shares and then axis by axis, each with the axes that move its tool alone;
3. at share zero, along the plan in force, which was safe when it was made and still is.

The wish aims at the place where the target itself would come to rest, so that a target that moves within
the limits is caught up with, not followed at a distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from hardware.braking import Axis, AxisLimits, Plan, mix
from hardware.command import FloatArray

# Joint positions (N, D) to tool positions (N, 3) in the base frame, metres.
ToolPositions = Callable[[FloatArray], FloatArray]

_SHARES = (0.5, 0.2)


class Workspace:
    """Where a tool may be, and how far it can come when the joints move.

    Args:
        lower_m: the smallest corner, base frame, metres.
        upper_m: the largest corner.
        tool_positions: the forward kinematics.
        lever_m: shape (D,), upper bounds of the tool's way per radian of each joint, metres; 0 for those that
            do not move it, infinite where unknown.
    """

    def __init__(
        self,
        lower_m: Sequence[float],
        upper_m: Sequence[float],
        *,
        tool_positions: ToolPositions,
        lever_m: Sequence[float],
    ) -> None:
        """Keep the box; nothing is known of any posture yet."""
        self._lower = np.asarray(lower_m, dtype=np.float64)
        self._upper = np.asarray(upper_m, dtype=np.float64)
        self._positions = tool_positions
        self._lever = [float(x) for x in lever_m]
        # The axes that move the tool.
        self.axes = frozenset(i for i, lever in enumerate(self._lever) if lever > 0.0)
        self._anchor: list[float] = []
        self._margin = -math.inf

    def contains(self, postures: FloatArray) -> bool:
        """Whether the tool is inside at every one of some postures, shape (N, D)."""
        tool = self._positions(postures)
        return bool((tool >= self._lower).all() and (tool <= self._upper).all())

    def surely_contains(self, posture: list[float], reach: list[float]) -> bool:
        """Whether the tool stays inside however the joints move.

        Args:
            posture: shape (D,).
            reach: how far each joint may go from there, shape (D,).

        Returns:
            True when that is certain; the kinematics are asked only when the last answer is used up.
        """
        if not all(map(math.isfinite, posture)):
            return False
        if self._anchor and self._way(posture, reach) < self._margin:
            return True
        tool = self._positions(np.array([posture]))[0]
        self._margin = float(min((tool - self._lower).min(), (self._upper - tool).min()))
        self._anchor = list(posture)
        return self._way(posture, reach) < self._margin

    def _way(self, posture: list[float], reach: list[float]) -> float:
        way = 0.0
        for lever, x, x0, extra in zip(self._lever, posture, self._anchor, reach, strict=True):
            way += lever * (abs(x - x0) + extra)
        return way


class MotionLimiter:
    """Moves a set-point towards targets within limits, one call a period.

    Args:
        limits: per axis, in the order of the command.
        names: the axes.
        period_s: the time between two set-points, in seconds.
        workspaces: where each tool may be.

    Raises:
        ConfigError: an axis cannot be stopped within a sensible time.
    """

    def __init__(
        self,
        limits: Sequence[AxisLimits],
        *,
        names: Sequence[str],
        period_s: float,
        workspaces: Sequence[Workspace] = (),
    ) -> None:
        """Prepare the axes; `restart` must give the first posture."""
        self._axes = [
            Axis(limit, period_s=period_s, name=name) for limit, name in zip(limits, names, strict=True)
        ]
        self._dt = period_s
        self._workspaces = tuple(workspaces)
        self._count = len(self._axes)
        self._x: list[float] = []
        self._v: list[float] = []
        self._a: list[float] = []
        # Per axis the plan in force; None: the one that `Axis.stop` makes from here, known to fit.
        self._plans: list[Plan | None] = []
        self._locked: list[bool] = []
        self._targets: list[list[float]] = []

    @property
    def position(self) -> list[float]:
        """The set-point in force, shape (D,)."""
        return list(self._x)

    @property
    def at_rest(self) -> bool:
        """Whether the set-point stands still and may stay where it is."""
        return not any(self._v) and not any(self._a)

    def admits(self, posture: Sequence[float]) -> bool:
        """Whether the workspaces admit a posture, shape (D,)."""
        return self._contain(np.array([posture], dtype=np.float64))

    def restart(self, posture: Sequence[float]) -> None:
        """Begin at rest.

        Args:
            posture: shape (D,), inside the range and the workspaces.
        """
        self._x = list(posture)
        self.settle()

    def settle(self) -> None:
        """Take the set-point as resting: nothing was sent for a while, so it stood still."""
        self._v = [0.0] * self._count
        self._a = [0.0] * self._count
        self._plans = [None] * self._count
        self._locked = [True] * self._count
        self._targets = []

    def forget_target(self) -> None:
        """Expect nothing of the next target from the ones before: another source takes over."""
        self._targets = []

    def brake(self) -> list[float]:
        """Move one period along the plan in force.

        Returns:
            The new set-point, shape (D,).
        """
        self._targets = []
        self._locked = [False] * self._count
        plans = [self._plan(i) for i in range(self._count)]
        self._follow(plans)
        return list(self._x)

    def step(self, target: list[float]) -> tuple[list[float], tuple[str, ...]]:
        """Move one period towards a target.

        Args:
            target: shape (D,), inside the range.

        Returns:
            The new set-point, shape (D,), and the limits that kept it from the target (none: it *is*
            the target).
        """
        dt = self._dt
        self._targets = [*self._targets[-3:], target]
        vs: list[float] = []
        accelerations: list[float] = []
        reach: list[float] = []
        reasons: set[str] = set()
        clear = True
        possible: list[bool] = []
        for axis, p, x, v0, a0 in zip(self._axes, target, self._x, self._v, self._a, strict=True):
            v = (p - x) / dt
            a = (v - v0) / dt
            vs.append(v)
            accelerations.append(a)
            if -axis.j_ok <= (a - a0) / dt <= axis.j_ok and -axis.a_ok <= a <= axis.a_ok and (
                -axis.v_ok <= v <= axis.v_ok
            ):  # fmt: skip
                possible.append(True)
                way = axis.reach(v, a)
                reach.append(way)
                if not (axis.low <= p - way and p + way <= axis.high and way < math.inf):
                    clear = False
                continue
            clear = False
            possible.append(False)
            reach.append(math.inf)
            if not -axis.v_ok <= v <= axis.v_ok:
                reasons.add("velocity")
            if not -axis.a_ok <= a <= axis.a_ok:
                reasons.add("acceleration")
            if not -axis.j_ok <= (a - a0) / dt <= axis.j_ok:
                reasons.add("jerk")
        clear = clear and all(self._locked)
        if clear and all(w.surely_contains(target, reach) for w in self._workspaces):
            self._x, self._v, self._a = list(target), vs, accelerations
            self._plans = [None] * self._count
        else:
            self._step_carefully(target, vs, accelerations, possible, reach, reasons)
        return list(self._x), tuple(sorted(reasons))

    def _step_carefully(
        self,
        target: list[float],
        vs: list[float],
        accelerations: list[float],
        possible: list[bool],
        reach: list[float],
        reasons: set[str],
    ) -> None:
        """Take each axis to its target where possible, else towards it; then see to the workspaces."""
        wishes: list[Plan | None] = []
        for i, axis in enumerate(self._axes):
            wish: Plan | None = None
            exact = False
            if possible[i] and (self._locked[i] or self._can_lock(i, vs[i], accelerations[i])):
                p, way = target[i], reach[i]
                if axis.low <= p - way and p + way <= axis.high and way < math.inf:
                    exact = True
                    if self._workspaces:
                        wish = _ahead(p, vs[i], axis.stop(p, vs[i], accelerations[i]))
                else:
                    rest = axis.safe_plan(p, vs[i], accelerations[i])
                    if rest is not None:
                        exact = True
                        wish = _ahead(p, vs[i], rest)
                    else:
                        reasons.add("range" if math.isfinite(way) else "velocity")
            self._locked[i] = exact
            if not exact:
                wish = self._approach(i, target[i])
                if possible[i] and not reasons:
                    reasons.add("jerk")
            wishes.append(wish)
        if self._workspaces:
            self._follow(self._inside([wish for wish in wishes if wish is not None], reasons))
            return
        for i, wish in enumerate(wishes):
            if wish is None:
                self._x[i], self._v[i], self._a[i], self._plans[i] = target[i], vs[i], accelerations[i], None
            else:
                self._follow_axis(i, wish)

    def _can_lock(self, i: int, v: float, a: float) -> bool:
        """Whether, having reached the target, an axis could go on with it from the next period on."""
        axis = self._axes[i]
        vt, at = self._target_motion(i)
        a_next = at + (vt - v) / self._dt
        return abs(a_next) <= axis.a_max and abs(a_next - a) <= axis.jdt and abs(a_next - at) <= axis.jdt

    def _target_motion(self, i: int) -> tuple[float, float]:
        """Velocity and acceleration of the target, where they keep to the limits; else it may jump: rest."""
        if len(self._targets) < 4:
            return 0.0, 0.0
        axis, dt = self._axes[i], self._dt
        p4, p3, p2, p1 = (target[i] for target in self._targets)
        v1, v2, v3 = (p1 - p2) / dt, (p2 - p3) / dt, (p3 - p4) / dt
        a1, a2 = (v1 - v2) / dt, (v2 - v3) / dt
        if (
            max(abs(v1), abs(v2), abs(v3)) <= axis.v_ok
            and max(abs(a1), abs(a2)) <= axis.a_ok
            and abs(a1 - a2) <= axis.j_ok * dt
        ):
            return v1, a1
        return 0.0, 0.0

    def _approach(self, i: int, p: float) -> Plan:
        """Mix the plan in force with the hardest motion towards the target's place of rest."""
        axis = self._axes[i]
        x, v, a = self._x[i], self._v[i], self._a[i]
        vt, at = self._target_motion(i)
        if vt or at:
            ahead = axis.stop(p, vt, at)[0]
            p = min(max(ahead[-1] if ahead else p, axis.low), axis.high)
        safe = self._plan(i)
        rest = safe[0][-1]
        direction = 1.0 if p > rest else -1.0
        a1 = a + direction * axis.jdt
        a1 = min(max(a1, -axis.a_max), axis.a_max)
        v1 = v + a1 * axis.dt
        x1 = x + v1 * axis.dt
        wish = _ahead(x1, v1, axis.stop(x1, v1, a1))
        gain = wish[0][-1] - rest
        if gain * direction <= 0.0:
            return safe
        share = min(axis.share(safe, wish), (p - rest) / gain)
        return wish if share >= 1.0 else mix(safe, wish, share)

    def _plan(self, i: int) -> Plan:
        """The plan in force of one axis, at least one period long."""
        plan = self._plans[i]
        if plan is None:
            plan = self._axes[i].stop(self._x[i], self._v[i], self._a[i])
        return plan if plan[0] else ([self._x[i]], [0.0])

    def _contain(self, postures: FloatArray) -> bool:
        """Whether every tool is in its workspace at every one of some postures, shape (N, D)."""
        return all(workspace.contains(postures) for workspace in self._workspaces)

    def _inside(self, wishes: list[Plan], reasons: set[str]) -> list[Plan]:
        """Give the wishes, or what of them keeps every tool inside; what moves another tool goes on."""
        chosen = wishes
        safe: list[Plan] = []
        for workspace in self._workspaces:
            if not workspace.contains(_postures(chosen)):
                safe = safe or [self._plan(i) for i in range(self._count)]
                chosen = self._within([workspace], workspace.axes, chosen, safe)
        if safe:
            reasons.add("workspace")
            # Of tools that share an axis (a waist), one may have been helped at the other's cost.
            if len(self._workspaces) > 1 and not self._contain(_postures(chosen)):
                chosen = self._within(self._workspaces, frozenset(range(self._count)), wishes, safe)
        return chosen

    def _within(
        self, workspaces: Sequence[Workspace], axes: frozenset[int], wishes: list[Plan], safe: list[Plan]
    ) -> list[Plan]:
        """Give a share of what some axes wish, or the wishes of some of them, so that tools stay inside.

        With `safe` in the place of `wishes`, all of `workspaces` hold, and none depends on another axis.
        """
        for i in axes:
            self._locked[i] = False
        for share in _SHARES:
            mixed = [
                mix(s, w, share) if i in axes else w
                for i, (s, w) in enumerate(zip(safe, wishes, strict=True))
            ]
            if all(w.contains(_postures(mixed)) for w in workspaces):
                return mixed
        # Slide along the boundary: let every axis have its wish that can.
        chosen = [s if i in axes else w for i, (s, w) in enumerate(zip(safe, wishes, strict=True))]
        for i in sorted(axes):
            trial = [*chosen[:i], wishes[i], *chosen[i + 1 :]]
            if all(w.contains(_postures(trial)) for w in workspaces):
                chosen = trial
        return chosen

    def _follow(self, plans: list[Plan]) -> None:
        for i, plan in enumerate(plans):
            self._follow_axis(i, plan)

    def _follow_axis(self, i: int, plan: Plan) -> None:
        """Take the first step of a plan; the rest of it is in force from now on."""
        axis = self._axes[i]
        x = min(max(plan[0][0], axis.low), axis.high)
        v = (x - self._x[i]) / self._dt
        a = (v - self._v[i]) / self._dt
        self._x[i], self._v[i], self._a[i] = x, v, a
        self._plans[i] = (plan[0][1:], plan[1][1:])


def _ahead(x: float, v: float, rest: Plan) -> Plan:
    """Put a first step before a plan."""
    return [x, *rest[0]], [v, *rest[1]]


def _postures(plans: list[Plan]) -> FloatArray:
    """Postures of all periods, shape (K, D); an axis that has arrived rests."""
    length = max(len(plan[0]) for plan in plans)
    rows = np.empty((length, len(plans)))
    for i, (xs, _) in enumerate(plans):
        rows[: len(xs), i] = xs
        rows[len(xs) :, i] = xs[-1]
    return rows
