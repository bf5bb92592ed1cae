"""What a flight controller believes about its state: late, noisy, and lost without a position source."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.frames import yaw_of

# Noise is drawn for this many estimates at a time: it is one call instead of many.
_NOISE_ROWS = 512


@dataclass(frozen=True)
class EstimatorSettings:
    """How good the estimate is. Standard deviations are per estimate and independent."""

    # Age of the state that the estimate tells of.
    delay_s: float = 0.008
    # Noise of position, velocity, attitude and turning rate.
    position_m: float = 0.003
    velocity_m_s: float = 0.008
    attitude_rad: float = 0.001
    rate_rad_s: float = 0.01
    # Drift of position and heading without satellites, per square root of a second.
    drift_m: float = 0.05
    drift_rad: float = 0.005
    # Share of an external pose's surprise that is believed at once.
    gain: float = 0.2
    # An external pose that is further off than this is not believed.
    gate_m: float = 1.0
    # Without an external pose for this long the position is lost.
    external_timeout_s: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """Position (m) and velocity (m/s) in the world, attitude body to world, turning rate in the body."""

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    velocity: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def yaw(self) -> float:
        """Heading, radians, from east, counter-clockwise."""
        w, x, y, z = self.orientation
        return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


class Estimator:
    """Follows the truth as an onboard filter would.

    Args:
        seed: of noise and drift.
        step_s: time between two calls of `advance`.
        settings: how good it is.
    """

    def __init__(self, *, seed: int, step_s: float, settings: EstimatorSettings | None = None) -> None:
        """Start without a position."""
        self.settings = EstimatorSettings() if settings is None else settings
        self._random = np.random.default_rng(seed)
        self._step_s = step_s
        self._late = round(self.settings.delay_s / step_s)
        self._past: deque[Sequence[float]] = deque(maxlen=max(2, round(0.5 / step_s)))
        self._offset: FloatArray = np.zeros(3)
        self._yaw_offset = 0.0
        self._now_s = 0.0
        self._noise: list[list[float]] = []
        self._drawn = 0
        self._external_s: float | None = None
        # Whether the position comes from outside alone, as indoors.
        self.needs_external = False
        # External poses that were not believed: too old or too far off.
        self.refused = 0
        self.accepted = 0

    def advance(self, truth: Sequence[float], now_s: float) -> None:
        """Take in the true state of this step, as `QuadrotorState.packed`."""
        self._past.append(truth)
        self._now_s = now_s
        if self.needs_external:
            s, root = self.settings, math.sqrt(self._step_s)
            self._offset = self._offset + self._random.normal(size=3) * (s.drift_m * root)
            self._yaw_offset += float(self._random.normal()) * s.drift_rad * root
        elif self._offset.any() or self._yaw_offset:
            self._offset, self._yaw_offset = np.zeros(3), 0.0

    @property
    def has_position(self) -> bool:
        """Whether the position can be relied on."""
        if not self.needs_external:
            return True
        age_s = math.inf if self._external_s is None else self._now_s - self._external_s
        return age_s <= self.settings.external_timeout_s

    def external(self, position: FloatArray, orientation: FloatArray, sampled_s: float) -> None:
        """Take in a pose from outside.

        Args:
            position: shape (3,), metres, world.
            orientation: shape (4,), body to world.
            sampled_s: when it was captured, on the vehicle's clock.
        """
        age = round((self._now_s - sampled_s) / self._step_s)
        if not 0 <= age < len(self._past) or not np.isfinite([*position, *orientation]).all():
            self.refused += 1
            return
        then = np.array(self._past[-1 - age])
        surprise = position - (then[0:3] + self._offset)
        turned = math.remainder(yaw_of(orientation) - yaw_of(then[3:7]) - self._yaw_offset, 2.0 * math.pi)
        gain = self.settings.gain
        if not self.has_position:
            gain = 1.0
        elif float(np.linalg.norm(surprise)) > self.settings.gate_m:
            self.refused += 1
            return
        self._offset = self._offset + gain * surprise
        self._yaw_offset += gain * turned
        self._external_s = self._now_s
        self.accepted += 1

    def estimate(self) -> Estimate:
        """The present estimate; draws new noise."""
        s = self.settings
        packed = self._past[-1 - min(self._late, len(self._past) - 1)]
        if self._drawn == len(self._noise):
            self._noise, self._drawn = self._random.normal(size=(_NOISE_ROWS, 12)).tolist(), 0
        n = self._noise[self._drawn]
        self._drawn += 1
        ox, oy, oz = self._offset.tolist()
        x, y, z = packed[0:3]
        k = s.position_m
        return Estimate(
            (x + ox + k * n[0], y + oy + k * n[1], z + oz + k * n[2]),
            self._turned(packed[3:7], [0.5 * s.attitude_rad * e for e in n[3:6]]),
            tuple(v + s.velocity_m_s * e for v, e in zip(packed[7:10], n[6:9], strict=True)),
            tuple(v + s.rate_rad_s * e for v, e in zip(packed[10:13], n[9:12], strict=True)),
        )

    def _turned(self, quaternion: Sequence[float], half: list[float]) -> tuple[float, ...]:
        """An attitude with a small turn of the body and the drifted heading of the world."""
        w, x, y, z = quaternion
        a, b, c = half
        w, x, y, z = (
            w - x * a - y * b - z * c,
            x + w * a + y * c - z * b,
            y + w * b - x * c + z * a,
            z + w * c + x * b - y * a,
        )
        if self._yaw_offset:
            k, d = math.cos(0.5 * self._yaw_offset), math.sin(0.5 * self._yaw_offset)
            w, x, y, z = k * w - d * z, k * x - d * y, k * y + d * x, k * z + d * w
        size = math.sqrt(w * w + x * x + y * y + z * z)
        return (w / size, x / size, y / size, z / size)
