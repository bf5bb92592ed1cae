"""References for a whole fleet: each vehicle its own, drawn at the start of its episode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.fleet_airframes import BoolArray, Float32Array

Range = tuple[float, float]


class ReferenceKind(IntEnum):
    """What a vehicle is to follow."""

    POSITION = 0
    LANGEVIN = 1
    FIGURE_EIGHT = 2
    WAYPOINTS = 3


@dataclass(frozen=True)
class LangevinRules:
    """A smoothed second-order random walk per axis; specs of RAPTOR, section 2.3."""

    # Damping, 1/s.
    gamma: float = 1.0
    # Frequency of the pull back to the origin: v changes by -omega^2 x.
    omega: float = 2.0
    # Strength of the noise.
    sigma: float = 0.5
    # Share of the walk's velocity that the reference takes over at every step.
    alpha: float = 0.01


@dataclass(frozen=True)
class ReferenceRules:
    """Which references an episode may draw, and how large they are."""

    # Shares of the episodes; what is left of 1 is a fixed position, the origin.
    langevin: float = 0.0
    figure_eight: float = 0.0
    waypoints: float = 0.0
    # The random walk.
    walk: LangevinRules = LangevinRules()
    # Figure eight: seconds a loop (least, largest), half width and half height in metres, and the time
    # over which its speed grows from zero.
    period_s: Range = (5.5, 10.0)
    half_width_m: float = 1.0
    half_height_m: float = 0.5
    ramp_s: float = 1.0
    # Waypoints: half size of the box they lie in, metres, mean speed of a leg, m/s (least, largest), and the
    # rest at each point, seconds. A leg is a straight line at a speed that starts and ends at zero.
    box_m: float = 1.0
    speed_m_s: Range = (0.3, 1.0)
    dwell_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises:
            ConfigError: a share is negative, they add up to more than 1, or a range is no range.
        """
        shares = (self.langevin, self.figure_eight, self.waypoints)
        if min(shares) < 0.0 or sum(shares) > 1.0 + 1e-9:
            raise ConfigError(
                f"shares {shares}",
                where="ReferenceRules",
                expected="langevin, figure_eight and waypoints from 0 to 1, together at most 1",
                mend="correct the shares",
            )
        for name in ("period_s", "speed_m_s"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high:
                raise ConfigError(
                    f"{name} {(low, high)} is no range",
                    where="ReferenceRules",
                    expected="(least, largest), both positive",
                    mend=f"correct {name}",
                )


# Stay at the origin.
HOVER = ReferenceRules()
# What RAPTOR's policies are trained on.
TRAINING = ReferenceRules(langevin=0.5)


def figure_eight(period_s: float) -> ReferenceRules:
    """The paper's figure eight for every vehicle, as `hardware.reference.FigureEight` flies it.

    Args:
        period_s: seconds a loop.

    Returns:
        The rules.
    """
    return ReferenceRules(figure_eight=1.0, period_s=(period_s, period_s))


class References:
    """The references of N vehicles, advanced together."""

    def __init__(self, rules: ReferenceRules, count: int, dt_s: float, rng: np.random.Generator) -> None:
        """Make N references; `reset` starts them.

        Args:
            rules: what is drawn.
            count: how many vehicles.
            dt_s: time between two advances, seconds.
            rng: where chance comes from.
        """
        self.rules = rules
        # Shape (3, N), metres, world; and m/s.
        self.position: Float32Array = np.zeros((3, count), np.float32)
        self.velocity: Float32Array = np.zeros((3, count), np.float32)
        # A `ReferenceKind` a vehicle, shape (N,).
        self.kind = np.zeros(count, np.int8)
        self._dt = dt_s
        self._rng = rng
        self._steps = np.zeros(count, np.int64)
        self._walk = np.zeros((2, 3, count), np.float32)
        self._period = np.full(count, rules.period_s[0])
        self._leg = _Legs(rules, count, rng) if rules.waypoints > 0.0 else None

    def reset(self, mask: BoolArray) -> None:
        """Draw a new reference for some vehicles and put it at its beginning.

        Args:
            mask: which, shape (N,).
        """
        rules, n = self.rules, int(mask.sum())
        draw = self._rng.random(n)
        kind = np.zeros(n, np.int8)
        edge = 0.0
        for share, what in (
            (rules.langevin, ReferenceKind.LANGEVIN),
            (rules.figure_eight, ReferenceKind.FIGURE_EIGHT),
            (rules.waypoints, ReferenceKind.WAYPOINTS),
        ):
            kind[(draw >= edge) & (draw < edge + share)] = what
            edge += share
        self.kind[mask] = kind
        self._period[mask] = self._rng.uniform(*rules.period_s, n)
        self._steps[mask] = 0
        self._walk[:, :, mask] = 0.0
        self.position[:, mask] = 0.0
        self.velocity[:, mask] = 0.0
        if self._leg is not None:
            self._leg.reset(mask)

    def advance(self) -> None:
        """Move every reference on by one step."""
        self._steps += 1
        rules = self.rules
        if rules.langevin > 0.0:
            self._advance_walk(rules.walk)
        if rules.figure_eight > 0.0:
            self._advance_eight()
        if self._leg is not None:
            chosen = self.kind == ReferenceKind.WAYPOINTS
            self._leg.advance(self._dt)
            np.copyto(self.position, self._leg.position, where=chosen)
            np.copyto(self.velocity, self._leg.velocity, where=chosen)

    def _advance_walk(self, walk: LangevinRules) -> None:
        chosen = self.kind == ReferenceKind.LANGEVIN
        dt = np.float32(self._dt)
        x, v = self._walk
        noise = self._rng.standard_normal(v.shape, dtype=np.float32)
        v *= np.float32(1.0 - walk.gamma * self._dt)
        v -= np.float32(walk.omega**2 * self._dt) * x
        v += np.float32(walk.sigma * math.sqrt(self._dt)) * noise
        x += v * dt
        smooth = np.float32(1.0 - walk.alpha) * self.velocity + np.float32(walk.alpha) * v
        np.copyto(self.velocity, smooth, where=chosen)
        np.copyto(self.position, self.position + smooth * dt, where=chosen)

    def _advance_eight(self) -> None:
        chosen = np.flatnonzero(self.kind == ReferenceKind.FIGURE_EIGHT)
        rules = self.rules
        t = self._steps[chosen] * self._dt
        rate = 2.0 * np.pi / self._period[chosen]
        ramp = np.minimum(t, rules.ramp_s)
        gain = ramp / rules.ramp_s if rules.ramp_s > 0.0 else np.ones_like(t)
        phase = rate * (0.5 * gain * ramp + t - ramp)
        speed = rate * gain
        a, b = rules.half_width_m, rules.half_height_m
        self.position[0, chosen] = a * np.sin(phase)
        self.position[1, chosen] = b * np.sin(2.0 * phase)
        self.velocity[0, chosen] = a * np.cos(phase) * speed
        self.velocity[1, chosen] = 2.0 * b * np.cos(2.0 * phase) * speed


class _Legs:
    """Straight legs between random points, one after the other, with a rest at each."""

    def __init__(self, rules: ReferenceRules, count: int, rng: np.random.Generator) -> None:
        self._rules, self._rng = rules, rng
        self.position: Float32Array = np.zeros((3, count), np.float32)
        self.velocity: Float32Array = np.zeros((3, count), np.float32)
        self._start = np.zeros((3, count))
        self._goal = np.zeros((3, count))
        self._duration = np.ones(count)
        self._time = np.zeros(count)

    def reset(self, mask: BoolArray) -> None:
        self._goal[:, mask] = 0.0
        self._new_leg(np.flatnonzero(mask))
        self.position[:, mask] = 0.0
        self.velocity[:, mask] = 0.0

    def advance(self, dt: float) -> None:
        self._time += dt
        over = np.flatnonzero(self._time >= self._duration + self._rules.dwell_s)
        if len(over):
            self._new_leg(over)
        share = np.clip(self._time / self._duration, 0.0, 1.0)
        way = self._goal - self._start
        # Smooth to the second derivative: 10 s^3 - 15 s^4 + 6 s^5.
        self.position[:] = self._start + way * (share**3 * (10.0 + share * (6.0 * share - 15.0)))
        self.velocity[:] = way * (30.0 * (share * (1.0 - share)) ** 2 / self._duration)

    def _new_leg(self, chosen: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> None:
        n, rules = len(chosen), self._rules
        self._start[:, chosen] = self._goal[:, chosen]
        self._goal[:, chosen] = self._rng.uniform(-rules.box_m, rules.box_m, (3, n))
        length = np.linalg.norm(self._goal[:, chosen] - self._start[:, chosen], axis=0)
        self._duration[chosen] = np.maximum(length / self._rng.uniform(*rules.speed_m_s, n), 0.1)
        self._time[chosen] = 0.0
