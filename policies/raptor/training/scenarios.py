"""What fresh vehicles meet: the random part of training through the simulator.

Every update draws new airframes, starts, references and disturbances. A scenario depends on its seed alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from policies.raptor.network import Float32Array
from policies.raptor.training.flight import (
    LONGEST_ACTION_DELAY_S,
    LONGEST_VELOCITY_DELAY_S,
    NOISY,
    PERIOD_S,
    Scenario,
    past_steps,
)
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.references import TRAINING, References
from sim.quadrotor.sampling import SamplingRules, sample_airframes

Range = tuple[float, float]


@dataclass(frozen=True)
class ScenarioRules:
    """From what scenarios are drawn; every pair is (least, largest) of a uniform distribution."""

    # The airframes: RAPTOR's training distribution.
    airframes: SamplingRules = SamplingRules()
    # Share of airframes that turn slowly, with a torque-to-inertia ratio within `slow_torque_to_inertia`
    # (1/s^2): the published policy crashes with these alone.
    slow: float = 0.2
    slow_torque_to_inertia: Range = (38.0, 110.0)
    # Share of airframes that are small and yaw as violently as they roll: when actions come late, these are
    # the first to be lost.
    yawing: float = 0.1
    yawing_airframes: SamplingRules = SamplingRules(
        mass_kg=(0.02, 0.15), torque_to_inertia=(500.0, 1250.0), torque_constant_m=(0.03, 0.052)
    )
    # Share of airframes from a wider distribution than the one that policies are judged by: real vehicles
    # lie beyond it, such as a Crazyflie (weaker) or a racer (stronger, with faster motors).
    wide: float = 0.1
    wide_airframes: SamplingRules = SamplingRules(
        thrust_to_weight=(1.35, 12.0),
        torque_to_inertia=(36.0, 2500.0),
        rising_s=(0.015, 0.12),
        falling_s=(0.015, 0.30),
    )
    # Share of vehicles that start within `near_m` and a tilt of `near_rad`; the others start as the paper
    # says: within ten arm lengths and with a tilt of up to 90 degrees.
    near: float = 0.4
    near_m: float = 0.3
    near_rad: float = 0.5
    tilt_rad: float = math.pi / 2.0
    start_arms: float = 10.0
    # Largest velocity and body rate per axis at the start.
    start_m_s: float = 1.0
    start_rad_s: float = 1.0
    # Shares of references: figure eight and Langevin; the others hover.
    figure_eight: float = 0.4
    langevin: float = 0.25
    # Seconds a loop of the figure eight; its half width, metres; its half height is half of that.
    period_s: Range = (4.5, 11.0)
    half_width_m: Range = (0.5, 1.2)
    # Delay from action to motors. A share of `no_delay` has none.
    action_delay_s: Range = (0.0, 0.02)
    no_delay: float = 0.25
    # Age of the velocity that the policy sees; the same share has none.
    velocity_delay_s: Range = (0.0, 0.03)
    # Largest standard deviations of the noise on position (m), rotation matrix, velocity (m/s) and body
    # rates (rad/s). A vehicle's are a random share of them.
    position_noise_m: float = 0.01
    rotation_noise: float = 0.01
    velocity_noise_m_s: float = 0.05
    rate_noise_rad_s: float = 0.1
    # Largest deviation of a rotor's thrust from its airframe's, a share.
    motor_mismatch: float = 0.05
    # Share of vehicles with a constant force, and with gusts on top.
    force: float = 0.3
    gust: float = 0.2
    # Their strength as a multiple of what the sampler drew for the airframe.
    force_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shares that are none and ranges upside down.

        Raises:
            ConfigError: a share outside 0 to 1, a range that is none, a delay beyond what a flight can do.
        """
        problems = [
            name
            for name in (
                "slow",
                "yawing",
                "wide",
                "near",
                "figure_eight",
                "langevin",
                "no_delay",
                "force",
                "gust",
            )
            if not 0.0 <= getattr(self, name) <= 1.0
        ]
        problems += [
            field.name
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), tuple) and not 0.0 <= value[0] <= value[1]
        ]
        longest = {
            "action_delay_s": LONGEST_ACTION_DELAY_S,
            "velocity_delay_s": LONGEST_VELOCITY_DELAY_S,
        }
        problems += [name for name, limit in longest.items() if getattr(self, name)[1] > limit + 1e-9]
        for pair in (("figure_eight", "langevin"), ("slow", "yawing", "wide")):
            if sum(getattr(self, name) for name in pair) > 1.0:
                problems += pair
        if problems:
            raise ConfigError(
                ", ".join(f"{name} {getattr(self, name)}" for name in dict.fromkeys(problems)),
                where="ScenarioRules",
                expected="shares from 0 to 1, ranges (least, largest), action delays up to 30 ms and "
                "velocity delays up to 40 ms",
                mend="correct them",
            )


def draw(
    rules: ScenarioRules,
    *,
    count: int,
    steps: int,
    hidden_size: int,
    seed: tuple[int, ...],
    native: int = 1,
) -> Scenario:
    """Draw a scenario.

    Args:
        rules: from what.
        count: vehicles.
        steps: native steps of 10 ms.
        hidden_size: of the policy; the hidden state starts at zero.
        seed: what it depends on.
        native: control steps in a native step: how often the policy is asked.

    Returns:
        The scenario.
    """
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
    airframes = _airframes(rules, count, rng)
    reference = _references(rules, count, steps if native == 1 else steps + 1, rng)
    state = _start(rules, airframes, reference[0], rng)
    # Half of them were activated before take-off, with a previous action of zero; the others know what
    # their motors were doing.
    known = rng.random(count) < 0.5
    action = np.where(known, 2.0 * state[13:17] - 1.0, 0.0).astype(np.float32)
    late = rng.random(count) >= rules.no_delay
    blurred = rng.random(count) >= rules.no_delay
    forced, gusty = rng.random(count) < rules.force, rng.random(count) < rules.gust
    uneven = rules.motor_mismatch * rng.random(count)
    strength = rules.force_scale * airframes.force_std_n
    constant = forced * strength * rng.standard_normal((3, count))
    return Scenario(
        airframes=airframes,
        state=state,
        hidden=np.zeros((hidden_size, count), np.float32),
        past_actions=np.repeat(action[None], past_steps(native)[0], axis=0),
        past_velocities=np.repeat(state[None, 7:10], past_steps(native)[1], axis=0),
        reference=reference if native == 1 else _refine(reference, native),
        force_n=np.repeat(_force(constant, np.where(gusty, strength, 0.0), steps, rng), native, axis=0),
        noise=_noise(rules, count, steps * native, rng),
        motor_gain=(1.0 + uneven * rng.uniform(-1.0, 1.0, (4, count))).astype(np.float32),
        action_delay_s=(late * rng.uniform(*rules.action_delay_s, count)).astype(np.float32),
        velocity_delay_s=(blurred * rng.uniform(*rules.velocity_delay_s, count)).astype(np.float32),
        native=native,
    )


def _refine(reference: Float32Array, native: int) -> Float32Array:
    """Put straight lines between references 10 ms apart, (T + 1, 6, N) to (T native, 6, N)."""
    shares = np.arange(native, dtype=np.float32)[:, None, None] / np.float32(native)
    fine = reference[:-1, None] + shares * (reference[1:] - reference[:-1])[:, None]
    return np.ascontiguousarray(fine.reshape(-1, *reference.shape[1:]))


def _airframes(rules: ScenarioRules, count: int, rng: np.random.Generator) -> AirframeBatch:
    slow = replace(rules.airframes, torque_to_inertia=rules.slow_torque_to_inertia)
    special = (
        (round(rules.slow * count), slow),
        (round(rules.yawing * count), rules.yawing_airframes),
        (round(rules.wide * count), rules.wide_airframes),
    )
    plain = max(count - sum(n for n, _ in special), 0)
    parts = [
        sample_airframes(n, seed=int(rng.integers(2**62)), rules=r)
        for n, r in ((plain, rules.airframes), *special)
    ]
    order = rng.permutation(count)
    return AirframeBatch(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)[..., order]
            for field in fields(AirframeBatch)
        }
    )


def _references(rules: ScenarioRules, count: int, steps: int, rng: np.random.Generator) -> Float32Array:
    reference = np.zeros((steps, 6, count), np.float32)
    kind = rng.random(count)
    walking = np.flatnonzero((kind >= rules.figure_eight) & (kind < rules.figure_eight + rules.langevin))
    if len(walking):
        walk = References(replace(TRAINING, langevin=1.0), len(walking), PERIOD_S, rng)
        walk.reset(np.ones(len(walking), np.bool_))
        for t in range(steps):
            reference[t, :3, walking] = walk.position.T
            reference[t, 3:, walking] = walk.velocity.T
            walk.advance()
    eights = np.flatnonzero(kind < rules.figure_eight)
    n = len(eights)
    # Half begin with the ramp from hover, half somewhere along the loop at full speed.
    since = np.arange(steps)[:, None] * PERIOD_S + np.where(
        rng.random(n) < 0.5, 0.0, rng.uniform(1.0, 12.0, n)
    )
    rate = 2.0 * np.pi / rng.uniform(*rules.period_s, n)
    a = rng.uniform(*rules.half_width_m, n)
    b = 0.5 * a
    ramp = np.minimum(since, 1.0)
    phase, speed = rate * (0.5 * ramp * ramp + since - ramp), rate * ramp
    x, y = a * np.sin(phase), b * np.sin(2.0 * phase)
    vx, vy = a * np.cos(phase) * speed, 2.0 * b * np.cos(2.0 * phase) * speed
    heading = rng.uniform(0.0, 2.0 * np.pi, n)
    c, s = np.cos(heading), np.sin(heading)
    for row, values in enumerate((c * x - s * y, s * x + c * y)):
        reference[:, row, eights] = values
    for row, values in enumerate((c * vx - s * vy, s * vx + c * vy)):
        reference[:, 3 + row, eights] = values
    return reference


def _start(
    rules: ScenarioRules, airframes: AirframeBatch, reference: Float32Array, rng: np.random.Generator
) -> Float32Array:
    count = len(airframes)
    near = rng.random(count) < rules.near
    box = np.where(near, rules.near_m, rules.start_arms * airframes.arm_m)
    angle = np.where(near, rules.near_rad, rules.tilt_rad) * rng.random(count)
    axis = rng.standard_normal((3, count))
    axis /= np.linalg.norm(axis, axis=0)
    state = np.empty((17, count))
    state[0:3] = reference[:3] + box * rng.uniform(-1.0, 1.0, (3, count))
    state[3], state[4:7] = np.cos(0.5 * angle), np.sin(0.5 * angle) * axis
    state[7:10] = reference[3:] + rules.start_m_s * rng.uniform(-1.0, 1.0, (3, count))
    state[10:13] = rules.start_rad_s * rng.uniform(-1.0, 1.0, (3, count))
    # As the paper says, or near hover.
    state[13:17] = np.where(
        rng.random(count) < 0.5,
        rng.uniform(0.0, 0.5, (4, count)),
        (airframes.hover_effort + rng.uniform(-0.2, 0.2, (4, count))).clip(0.0, 1.0),
    )
    return state.astype(np.float32)


def _force(constant: FloatArray, gust: FloatArray, steps: int, rng: np.random.Generator) -> Float32Array:
    force = np.repeat(constant[None].astype(np.float32), steps, axis=0)
    blown = np.flatnonzero(gust > 0.0)
    # First-order noise with a time constant of half a second.
    keep = math.exp(-PERIOD_S / 0.5)
    fresh = rng.standard_normal((steps, 3, len(blown)), dtype=np.float32)
    fresh *= np.float32(math.sqrt(1.0 - keep**2))
    level = rng.standard_normal((3, len(blown)), dtype=np.float32)
    for t in range(steps):
        level = np.float32(keep) * level + fresh[t]
        force[t][:, blown] += level * gust[blown].astype(np.float32)
    return force


def _noise(rules: ScenarioRules, count: int, steps: int, rng: np.random.Generator) -> Float32Array:
    noise = rng.standard_normal((steps, NOISY, count), dtype=np.float32)
    largest = np.repeat(
        [rules.position_noise_m, rules.rotation_noise, rules.velocity_noise_m_s, rules.rate_noise_rad_s],
        [3, 9, 3, 3],
    )
    noise *= (largest[:, None] * rng.random(count) * (rng.random(count) < 0.75)).astype(np.float32)
    return noise
