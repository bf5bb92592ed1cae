"""What makes flying harder than the simulator's equations: delays, noise, tired batteries, wind."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.fleet_airframes import AirframeBatch, BoolArray, Float32Array

Range = tuple[float, float]
_NONE: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Perturbations:
    """What an episode may draw, vehicle by vehicle; every pair is (least, largest), uniform. Default: none.

    Delays are rounded to whole physics steps.
    """

    # From an action to its set-point at the rotors, seconds.
    action_delay_s: Range = _NONE
    # Age of everything measured when it is observed, seconds. References and the previous action are known.
    observation_delay_s: Range = _NONE
    # Further age of the velocity, seconds: that of a filter in the estimator.
    velocity_delay_s: Range = _NONE
    # Standard deviations, per axis, of white noise on what is observed: position in metres, orientation as
    # a small rotation about a body axis, velocity in m/s, body rates.
    position_noise_m: Range = _NONE
    orientation_noise_rad: Range = _NONE
    velocity_noise_m_s: Range = _NONE
    angular_velocity_noise_rad_s: Range = _NONE
    # Thrust lost to an emptier battery when the episode begins, as a share; and the share lost a second.
    battery_sag: Range = _NONE
    battery_drain_per_s: Range = _NONE
    # How far the thrust of each rotor may lie from its airframe's, as a share; drawn for every rotor.
    motor_mismatch: Range = _NONE
    # Wind: mean speed, m/s, in a random horizontal direction; standard deviation of gusts per axis, m/s,
    # that come and go within `gust_time_s`; and the drag by which air moves the vehicle, as acceleration
    # per relative speed, 1/s. Drag alone acts without any wind.
    wind_m_s: Range = _NONE
    gust_m_s: Range = _NONE
    gust_time_s: float = 1.0
    drag_per_s: Range = _NONE
    # Constant force per axis, normal, as a multiple of the airframe's `force_std_n`; RAPTOR trains on 1.
    force_scale: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that are none.

        Raises:
            ConfigError: a range is negative or upside down, or a share is 1 or more.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = value if isinstance(value, tuple) else (value, value)
            limit = 1.0 if field.name in ("battery_sag", "motor_mismatch") else np.inf
            if not 0.0 <= low <= high < limit or (field.name == "gust_time_s" and low == 0.0):
                raise ConfigError(
                    f"{field.name} {value}",
                    where="Perturbations",
                    expected="(least, largest), from 0" + (" to below 1" if limit == 1.0 else ""),
                    mend=f"correct {field.name}",
                )

    @property
    def noisy(self) -> bool:
        """Whether anything observed is noisy."""
        return any(
            pair[1] > 0.0
            for pair in (
                self.position_noise_m,
                self.orientation_noise_rad,
                self.velocity_noise_m_s,
                self.angular_velocity_noise_rad_s,
            )
        )


class Disturbance:
    """The perturbations of N vehicles in flight: their draws, their histories, their gusts."""

    def __init__(
        self,
        rules: Perturbations,
        airframes: AirframeBatch,
        dt_s: float,
        physics_steps: int,
        rng: np.random.Generator,
    ) -> None:
        """Make the draws' arrays; `reset` fills them.

        Args:
            rules: what is drawn.
            airframes: the vehicles.
            dt_s: length of a physics step, seconds.
            physics_steps: physics steps in a control step.
            rng: where chance comes from.
        """
        count = len(airframes)
        self.rules = rules
        self._mass, self._force_std = airframes.mass, airframes.force_std_n
        self._dt, self._per_control, self._rng = dt_s, physics_steps, rng
        self._ticks = 0

        def steps(pair: Range) -> int:
            return round(pair[1] / dt_s)

        self._action_delay = np.zeros(count, np.int64)
        self._observation_delay = np.zeros(count, np.int64)
        self._velocity_delay = np.zeros(count, np.int64)
        commands = -(-steps(rules.action_delay_s) // physics_steps) + 1
        self._commands = np.zeros((commands, 4, count), np.float32) if commands > 1 else None
        memory = steps(rules.observation_delay_s) + steps(rules.velocity_delay_s) + 1
        self._memory = np.zeros((memory, 13, count), np.float32) if memory > 1 else None
        self._columns = np.arange(count)
        self._noise = np.zeros((4, count), np.float32)
        # Factor on each rotor's thrust, shape (4, N), or None.
        self.gain: Float32Array | None = None
        self._mismatch = np.ones((4, count), np.float32)
        self._battery = np.ones(count, np.float32)
        self._drain = np.zeros(count, np.float32)
        self._weak = max(rules.battery_sag[1], rules.battery_drain_per_s[1], rules.motor_mismatch[1]) > 0.0
        # Force on each vehicle in newtons, shape (3, N), or None.
        self.force: Float32Array | None = None
        self._constant = np.zeros((3, count), np.float32)
        self._wind = np.zeros((3, count), np.float32)
        self._gust = np.zeros((3, count), np.float32)
        self._gust_std = np.zeros(count, np.float32)
        self._drag = np.zeros(count, np.float32)
        self._airy = rules.drag_per_s[1] > 0.0
        if rules.force_scale > 0.0 or self._airy:
            self.force = self._constant.copy()
        if self._weak:
            self.gain = self._mismatch.copy()

    def reset(self, mask: BoolArray, state: Float32Array, action: Float32Array) -> None:
        """Draw anew for some vehicles; their pasts are as their present.

        Args:
            mask: which, shape (N,).
            state: shape (17, N), where they start.
            action: shape (4, N), what their rotors were told before.
        """
        rules, n = self.rules, int(mask.sum())

        def draw(pair: Range, *rows: int) -> Float32Array:
            return self._rng.uniform(*pair, (*rows, n)).astype(np.float32)

        for delay, pair in (
            (self._action_delay, rules.action_delay_s),
            (self._observation_delay, rules.observation_delay_s),
            (self._velocity_delay, rules.velocity_delay_s),
        ):
            delay[mask] = np.rint(self._rng.uniform(*pair, n) / self._dt)
        self._velocity_delay[mask] += self._observation_delay[mask]
        for row, pair in enumerate(
            (
                rules.position_noise_m,
                rules.velocity_noise_m_s,
                rules.angular_velocity_noise_rad_s,
                rules.orientation_noise_rad,
            )
        ):
            self._noise[row, mask] = draw(pair)
        if self._commands is not None:
            self._commands[:, :, mask] = action[:, mask]
        if self._memory is not None:
            self._memory[:, :, mask] = state[:13, mask]
        if self._weak:
            self._mismatch[:, mask] = 1.0 + draw(rules.motor_mismatch) * draw((-1.0, 1.0), 4)
            self._battery[mask] = 1.0 - draw(rules.battery_sag)
            self._drain[mask] = draw(rules.battery_drain_per_s)
        self._constant[:, mask] = (
            rules.force_scale * self._force_std[mask] * self._rng.standard_normal((3, n), dtype=np.float32)
        )
        if self._airy:
            heading, speed = draw((0.0, 2.0 * np.pi)), draw(rules.wind_m_s)
            self._wind[0, mask], self._wind[1, mask] = speed * np.cos(heading), speed * np.sin(heading)
            self._gust_std[mask] = draw(rules.gust_m_s)
            self._gust[:, mask] = self._gust_std[mask] * self._rng.standard_normal((3, n), dtype=np.float32)
            self._drag[mask] = draw(rules.drag_per_s)
        if self.force is not None:
            self.force[:, mask] = self._constant[:, mask]

    def begin(self, action: Float32Array) -> None:
        """Take the action of a control step.

        Args:
            action: shape (4, N), -1 to 1.
        """
        if self._commands is not None:
            self._commands[(self._ticks // self._per_control) % len(self._commands)] = action
        if self.gain is not None:
            self._battery -= self._drain * np.float32(self._dt * self._per_control)
            np.maximum(self._battery, 0.0, out=self._battery)
            np.multiply(self._mismatch, self._battery, out=self.gain)

    def action(self, current: Float32Array) -> Float32Array:
        """The action that reaches the rotors in the physics step that comes.

        Args:
            current: what was told in this control step, shape (4, N).

        Returns:
            Shape (4, N).
        """
        if self._commands is None:
            return current
        slot = ((self._ticks - self._action_delay) // self._per_control) % len(self._commands)
        return np.ascontiguousarray(self._commands[slot, :, self._columns].T)

    def blow(self, state: Float32Array) -> None:
        """Bring the force up to date for the physics step that comes.

        Args:
            state: shape (17, N).
        """
        if not self._airy or self.force is None:
            return
        keep = np.float32(np.exp(-self._dt / self.rules.gust_time_s))
        renew = np.sqrt(np.float32(1.0) - keep * keep) * self._gust_std
        self._gust *= keep
        self._gust += renew * self._rng.standard_normal(self._gust.shape, dtype=np.float32)
        relative = self._wind + self._gust - state[7:10]
        np.multiply(relative, self._drag * self._mass, out=self.force)
        self.force += self._constant

    def remember(self, state: Float32Array) -> None:
        """Note the state that a physics step reached.

        Args:
            state: shape (17, N).
        """
        self._ticks += 1
        if self._memory is not None:
            self._memory[self._ticks % len(self._memory)] = state[:13]

    def measured(self, state: Float32Array) -> Float32Array:
        """What sensors and estimator say of the state now: late and noisy.

        Args:
            state: the true one, shape (17, N).

        Returns:
            Shape (13, N) or (17, N), C-contiguous; `state` itself where nothing is delayed or noisy.
        """
        seen = state
        if self._memory is not None:
            slot = (self._ticks - self._observation_delay) % len(self._memory)
            seen = np.ascontiguousarray(self._memory[slot, :, self._columns].T)
            slot = (self._ticks - self._velocity_delay) % len(self._memory)
            seen[7:10] = self._memory[slot, 7:10, self._columns].T
        if self.rules.noisy:
            seen = seen if self._memory is not None else seen[:13].copy()
            noise = self._rng.standard_normal((4, 3, seen.shape[1]), dtype=np.float32)
            noise *= self._noise[:, None]
            seen[0:3] += noise[0]
            seen[7:10] += noise[1]
            seen[10:13] += noise[2]
            _turn(seen[3:7], noise[3])
        return seen


def _turn(orientation: Float32Array, angle: Float32Array) -> None:
    """Turn quaternions (4, N), in place, by small angles (3, N) about the body's axes."""
    w, x, y, z = orientation.copy()
    i, j, k = np.float32(0.5) * angle
    orientation[0] -= x * i + y * j + z * k
    orientation[1] += w * i + y * k - z * j
    orientation[2] += w * j - x * k + z * i
    orientation[3] += w * k + x * j - y * i
    orientation /= np.sqrt((orientation * orientation).sum(axis=0))
