"""A fleet: N quadrotors, each in its own episode, flown together by one batched policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.batch import observe_batch, privileged_batch, step_batch
from sim.quadrotor.dynamics import STATE_SIZE
from sim.quadrotor.fleet_airframes import AirframeBatch, BoolArray, Float32Array
from sim.quadrotor.perturbations import Disturbance, Perturbations
from sim.quadrotor.references import HOVER, ReferenceRules, References


@dataclass(frozen=True)
class StartRules:
    """Where episodes begin; specs of RAPTOR, section 2.2."""

    # Share of episodes that begin at rest, upright at the origin; their rotors turn as others' do.
    guidance: float = 0.1
    # Half the box of positions, per axis: so many arm lengths plus so many metres.
    position_arms: float = 10.0
    position_m: float = 0.0
    # Largest angle about an axis of any direction, radians, uniform.
    tilt_rad: float = 1.0
    # Largest velocity and body rate per axis, uniform.
    linear_velocity_m_s: float = 1.0
    angular_velocity_rad_s: float = 1.0
    # Effort of each rotor, (least, largest), uniform. The previous action says the same.
    effort: tuple[float, float] = (0.0, 0.5)


# As in the RAPTOR authors' code.
CODE = StartRules()
# As their paper says: up to 90 degrees.
PAPER = StartRules(tilt_rad=math.pi / 2.0)
# As their code does while the student learns: a box of fixed size.
IMITATION = StartRules(position_arms=0.0, position_m=0.5)


@dataclass(frozen=True)
class TerminationRules:
    """When an episode is lost; specs of RAPTOR, section 2.2. Numbers that are not finite always end it."""

    # Largest distance per axis, in arm lengths from the origin.
    position_arms: float = 20.0
    # Largest velocity per axis.
    linear_velocity_m_s: float = 2.0
    # Largest body rate per axis.
    angular_velocity_rad_s: float = 35.0


@dataclass(frozen=True)
class RewardRules:
    """What a step is worth to a teacher; paper equation 1."""

    # For every step that is survived.
    survival: float = 1.5
    # Cost per metre from the reference.
    position: float = 1.0
    # Cost per radian of heading, told from the quaternion's z.
    yaw: float = 0.1
    # Cost per distance between two actions that follow each other.
    action_change: float = 1.0
    # Instead of all that, when the step loses the episode.
    termination: float = -100.0


class QuadrotorFleet:
    """N vehicles in N episodes; component-first float32 arrays, one vehicle a column.

    A control step holds one action for `physics_steps` Runge-Kutta steps of `dt_s`. The fleet does not
    reset on its own: look at `terminated` and `truncated` and call `reset`. A lost vehicle flies on.
    """

    def __init__(
        self,
        airframes: AirframeBatch,
        *,
        seed: int,
        start: StartRules = CODE,
        reference: ReferenceRules = HOVER,
        perturbations: Perturbations | None = None,
        dt_s: float = 0.01,
        physics_steps: int = 1,
        episode_steps: int = 500,
        termination: TerminationRules | None = None,
        reward: RewardRules | None = None,
    ) -> None:
        """Make a fleet and start every episode.

        Args:
            airframes: the vehicles.
            seed: the same seed, rules and actions give the same numbers.
            start: where episodes begin.
            reference: what is to be followed.
            perturbations: what makes it harder; nothing when absent.
            dt_s: length of a physics step, seconds.
            physics_steps: physics steps in a control step.
            episode_steps: control steps after which an episode is truncated.
            termination: when an episode is lost; None: only when its numbers are no longer finite.
            reward: what a step is worth; RAPTOR's when absent.

        Raises:
            ConfigError: a length or a count is not positive.
        """
        if not (dt_s > 0.0 and physics_steps > 0 and episode_steps > 0):
            raise ConfigError(
                f"dt_s {dt_s}, physics_steps {physics_steps}, episode_steps {episode_steps}",
                where="QuadrotorFleet",
                expected="positive numbers",
                mend="correct them",
            )
        count = len(airframes)
        self.airframes = airframes
        self.start, self.termination = start, termination
        self.reward_rules = reward or RewardRules()
        self.dt_s, self.physics_steps, self.episode_steps = dt_s, physics_steps, episode_steps
        seeds = np.random.SeedSequence(seed).spawn(3)
        starts, references, disturbances = (np.random.Generator(np.random.SFC64(s)) for s in seeds)
        self._rng = starts
        self.references = References(reference, count, dt_s * physics_steps, references)
        self.perturbations = perturbations or Perturbations()
        self._disturbance = Disturbance(self.perturbations, airframes, dt_s, physics_steps, disturbances)
        # Rows as in `sim.quadrotor.dynamics`, shape (17, N).
        self.state: Float32Array = np.zeros((STATE_SIZE, count), np.float32)
        # The last action as it was given, not limited, shape (4, N).
        self.previous_action: Float32Array = np.zeros((4, count), np.float32)
        # Of the last step, shape (N,).
        self.reward: Float32Array = np.zeros(count, np.float32)
        # Whether the last step lost the episode, shape (N,).
        self.terminated: BoolArray = np.zeros(count, np.bool_)
        # Control steps since the episode began, shape (N,).
        self.time_step = np.zeros(count, np.int64)
        self._setpoint = np.zeros((4, count), np.float32)
        arms = np.inf if termination is None else termination.position_arms
        self._limit: Float32Array = np.float32(arms) * airframes.arm_m
        self._measured: Float32Array | None = None
        self.reset()

    def __len__(self) -> int:
        """How many vehicles."""
        return len(self.airframes)

    @property
    def reference_position(self) -> Float32Array:
        """Where to be now, shape (3, N), metres, world."""
        return self.references.position

    @property
    def reference_velocity(self) -> Float32Array:
        """How fast to move now, shape (3, N), m/s, world."""
        return self.references.velocity

    @property
    def truncated(self) -> BoolArray:
        """Whether an episode has reached its full length, shape (N,)."""
        return self.time_step >= self.episode_steps

    @property
    def measured(self) -> Float32Array:
        """What sensors and estimator say now, late and noisy as the perturbations are; not to be written to.

        Shape (13, N) or (17, N), rows as in `state`. Noise is drawn once a step: asked again before the next
        step or reset, the same numbers come back.
        """
        if self._measured is None:
            self._measured = self._disturbance.measured(self.state)
        return self._measured

    def reset(self, mask: BoolArray | None = None) -> None:
        """Begin new episodes.

        Args:
            mask: for which vehicles, shape (N,); all when absent.
        """
        chosen = np.ones(len(self), np.bool_) if mask is None else np.asarray(mask, np.bool_)
        if not chosen.any():
            return
        self.references.reset(chosen)
        self._begin(chosen, self._draw_start(chosen))

    def place(self, state: Float32Array, mask: BoolArray | None = None) -> None:
        """Begin new episodes at given states instead of drawn ones.

        Args:
            state: shape (17, N) or (17, 1), rows as in `sim.quadrotor.dynamics`.
            mask: for which vehicles, shape (N,); all when absent.
        """
        chosen = np.ones(len(self), np.bool_) if mask is None else np.asarray(mask, np.bool_)
        self.references.reset(chosen)
        whole = np.broadcast_to(np.asarray(state, np.float32), self.state.shape)
        self._begin(chosen, whole[:, chosen])

    def observe(
        self, *, position_clip_m: float = math.inf, velocity_clip_m_s: float = math.inf
    ) -> Float32Array:
        """What a policy sees now: `measured` relative to the reference, with the previous action.

        Args:
            position_clip_m: largest position error per axis; what is clipped is what was measured.
            velocity_clip_m_s: largest velocity error per axis.

        Returns:
            Shape (N, 22), one vehicle a row, order of specs of RAPTOR, section 1.5. A new array.
        """
        return observe_batch(
            self.measured,
            self.reference_position,
            self.reference_velocity,
            self.previous_action,
            position_clip_m=position_clip_m,
            velocity_clip_m_s=velocity_clip_m_s,
        )

    def privileged(self) -> Float32Array:
        """What a teacher sees now: the truth, relative to the reference, with the rotors' speeds.

        Returns:
            Shape (N, 26), one vehicle a row. A new array.
        """
        return privileged_batch(
            self.state, self.reference_position, self.reference_velocity, self.previous_action
        )

    def step(self, action: Float32Array) -> None:
        """Fly one control step; afterwards look at `state`, `reward`, `terminated` and `truncated`.

        Args:
            action: shape (N, 4), -1 to 1 for efforts of 0 to 1; what lies beyond is limited at the rotors,
                kept in `previous_action` and charged in the reward.

        Raises:
            ConfigError: the action has another shape.
        """
        if np.shape(action) != (len(self), 4):
            raise ConfigError(
                f"action has shape {np.shape(action)}",
                where="QuadrotorFleet.step",
                expected=f"({len(self)}, 4)",
                mend="one row a vehicle",
            )
        told = np.ascontiguousarray(np.asarray(action, np.float32).T)
        cost = self._cost(told)
        disturbance = self._disturbance
        disturbance.begin(told)
        for _ in range(self.physics_steps):
            np.multiply(disturbance.action(told), np.float32(0.5), out=self._setpoint)
            self._setpoint += np.float32(0.5)
            disturbance.blow(self.state)
            step_batch(
                self.airframes,
                self.state,
                self._setpoint,
                dt_s=self.dt_s,
                force_n=disturbance.force,
                motor_gain=disturbance.gain,
                out=self.state,
            )
            disturbance.remember(self.state)
        self.previous_action[:] = told
        self.references.advance()
        self.time_step += 1
        self._measured = None
        self.terminated = self._lost()
        rules = self.reward_rules
        self.reward = np.where(
            self.terminated, np.float32(rules.termination), np.float32(rules.survival) - cost
        )

    def _draw_start(self, chosen: BoolArray) -> Float32Array:
        rng, rules, n = self._rng, self.start, int(chosen.sum())
        state = np.zeros((STATE_SIZE, n))
        moving = rng.random(n) >= rules.guidance
        box = rules.position_arms * self.airframes.arm_m[chosen] + rules.position_m
        state[0:3] = box * rng.uniform(-1.0, 1.0, (3, n)) * moving
        axis = rng.standard_normal((3, n))
        axis /= np.linalg.norm(axis, axis=0)
        half = 0.5 * rules.tilt_rad * rng.random(n) * moving
        state[3] = np.cos(half)
        state[4:7] = np.sin(half) * axis
        state[7:10] = rules.linear_velocity_m_s * rng.uniform(-1.0, 1.0, (3, n)) * moving
        state[10:13] = rules.angular_velocity_rad_s * rng.uniform(-1.0, 1.0, (3, n)) * moving
        state[13:17] = rng.uniform(*rules.effort, (4, n))
        return state.astype(np.float32)

    def _begin(self, chosen: BoolArray, state: Float32Array) -> None:
        self.state[:, chosen] = state
        self.previous_action[:, chosen] = 2.0 * state[13:17] - 1.0
        self.time_step[chosen] = 0
        self.terminated[chosen] = False
        self.reward[chosen] = 0.0
        self._measured = None
        self._disturbance.reset(chosen, self.state, self.previous_action)

    def _cost(self, action: Float32Array) -> Float32Array:
        rules = self.reward_rules
        error = self.state[0:3] - self.reference_position
        change = action - self.previous_action
        cost: Float32Array = np.float32(rules.position) * np.sqrt((error * error).sum(axis=0))
        cost += np.float32(rules.action_change) * np.sqrt((change * change).sum(axis=0))
        cosine = np.float32(1.0) - np.minimum(np.abs(self.state[6]), np.float32(1.0))
        cost += np.float32(2.0 * rules.yaw) * np.arccos(cosine)
        return cost

    def _lost(self) -> BoolArray:
        # Compared so that NaN is lost.
        rules = self.termination
        if rules is None:
            return np.logical_not(np.isfinite(self.state).all(axis=0))
        kept = (np.abs(self.state[0:3]) <= self._limit).all(axis=0)
        kept &= (np.abs(self.state[7:10]) <= rules.linear_velocity_m_s).all(axis=0)
        kept &= (np.abs(self.state[10:13]) <= rules.angular_velocity_rad_s).all(axis=0)
        return np.logical_not(kept)
