"""`reflexarc/Quadrotor-v0`: follow a reference with quadrotors that are all different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from sim.quadrotor.airframes import load_airframe
from sim.quadrotor.fleet import CODE, QuadrotorFleet, RewardRules, StartRules, TerminationRules
from sim.quadrotor.fleet_airframes import AirframeBatch, BoolArray, Float32Array
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.references import TRAINING, ReferenceRules
from sim.quadrotor.sampling import sample_airframes

_SIZES = {
    "position": 3,
    "orientation": 4,
    "linear_velocity": 3,
    "angular_velocity": 3,
    "reference_position": 3,
    "reference_velocity": 3,
    "reference_yaw": 1,
    "previous_action": 4,
}


@dataclass(frozen=True)
class QuadrotorTask:
    """What is flown; the defaults are RAPTOR's training."""

    # Name of the airframe that all vehicles have; None: every vehicle is drawn from RAPTOR's distribution.
    airframe: str | None = None
    # Seed of that draw. The airframes stay when an episode ends.
    airframe_seed: int = 0
    # Where episodes begin.
    start: StartRules = CODE
    # What is to be followed.
    reference: ReferenceRules = TRAINING
    # What makes it harder.
    perturbations: Perturbations = Perturbations()
    # When an episode is lost.
    termination: TerminationRules = TerminationRules()
    # What a step is worth.
    reward: RewardRules = RewardRules()
    # Length of a physics step, seconds, and how many of them an action is held for.
    dt_s: float = 0.01
    physics_steps: int = 1
    # Control steps after which an episode is truncated.
    episode_steps: int = 500

    def fleet(self, count: int, seed: int) -> QuadrotorFleet:
        """Make the fleet.

        Args:
            count: how many vehicles.
            seed: of everything but the airframes.

        Returns:
            The fleet, its episodes begun.

        Raises:
            ConfigError: an unknown airframe, or a rule out of range.
        """
        if self.airframe is None:
            airframes = sample_airframes(count, seed=self.airframe_seed)
        else:
            airframes = AirframeBatch.of([load_airframe(self.airframe)] * count)
        return QuadrotorFleet(
            airframes,
            seed=seed,
            start=self.start,
            reference=self.reference,
            perturbations=self.perturbations,
            dt_s=self.dt_s,
            physics_steps=self.physics_steps,
            episode_steps=self.episode_steps,
            termination=self.termination,
            reward=self.reward,
        )


class QuadrotorVectorEnv(VectorEnv[dict[str, Float32Array], Float32Array, BoolArray]):  # type: ignore[misc]
    """Many quadrotors at once; `gymnasium.make_vec("reflexarc/Quadrotor-v0", num_envs=1024)`.

    An action is four numbers a vehicle, -1 to 1 for efforts 0 to 1, in the order of `MOTORS`. An observation
    has the names of the robot card: position, orientation (w, x, y, z), linear_velocity and angular_velocity
    in the body frame, reference_position, reference_velocity, reference_yaw; and previous_action. Late
    and noisy as the perturbations are. Reward and termination: RAPTOR's.

    An episode that has ended begins anew with the next step, whose action is not used and whose reward is
    zero (Gymnasium's NEXT_STEP). `info["success"]` is true where an episode lasted to its end;
    `info["position_error_m"]` is the true distance from the reference.

    Args:
        num_envs: how many vehicles.
        task: what is flown; RAPTOR's training when absent.

    Raises:
        ConfigError: no vehicles, or a rule out of range.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, *, task: QuadrotorTask | None = None) -> None:
        """Make the fleet and the spaces."""
        if num_envs < 1:
            raise ConfigError(
                f"num_envs is {num_envs}",
                where="reflexarc/Quadrotor-v0",
                expected="at least 1",
                mend="ask for a vehicle",
            )
        self.num_envs = num_envs
        self.task = task or QuadrotorTask()
        self.single_observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in _SIZES.items()}
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._fleet = self.task.fleet(num_envs, seed=0)
        self._ended: BoolArray = np.zeros(num_envs, np.bool_)

    @property
    def fleet(self) -> QuadrotorFleet:
        """The vehicles, for experts and evaluation."""
        return self._fleet

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Float32Array], dict[str, Any]]:
        """Begin a new episode for every vehicle.

        Args:
            seed: the same seed gives the same episodes; None goes on drawing. All vehicles share one seed.
            options: none are known.

        Returns:
            The first observations and their info.

        Raises:
            ConfigError: a list of seeds.
        """
        if isinstance(seed, list):
            raise ConfigError(
                "a list of seeds",
                where="reflexarc/Quadrotor-v0",
                expected="one seed, from which all vehicles' chance comes",
                mend="give one number",
            )
        if seed is not None:
            self._fleet = self.task.fleet(self.num_envs, seed=seed)
        self._fleet.reset()
        self._ended[:] = False
        return named_observation(self._fleet), self._info()

    def step(
        self, actions: Float32Array
    ) -> tuple[dict[str, Float32Array], Float32Array, BoolArray, BoolArray, dict[str, Any]]:
        """Fly one control step.

        Args:
            actions: shape (N, 4).

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            ConfigError: actions of another shape.
        """
        fleet = self._fleet
        fleet.step(np.asarray(actions, np.float32))
        fleet.reset(self._ended)
        terminated = fleet.terminated.copy()
        truncated = fleet.truncated & ~terminated
        self._ended = terminated | truncated
        return named_observation(fleet), fleet.reward.astype(np.float64), terminated, truncated, self._info()

    def _info(self) -> dict[str, Any]:
        fleet = self._fleet
        error = np.linalg.norm(fleet.state[:3] - fleet.reference_position, axis=0)
        return {"success": fleet.truncated & ~fleet.terminated, "position_error_m": error}


class QuadrotorEnv(gymnasium.Env[dict[str, Float32Array], Float32Array]):  # type: ignore[misc]
    """One quadrotor; as `QuadrotorVectorEnv` otherwise, and without its way of beginning anew.

    Args:
        task: what is flown; RAPTOR's training when absent.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, *, task: QuadrotorTask | None = None) -> None:
        """Make a fleet of one."""
        self._many = QuadrotorVectorEnv(1, task=task)
        self.observation_space = self._many.single_observation_space
        self.action_space = self._many.single_action_space

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Float32Array], dict[str, Any]]:
        """Begin a new episode; as in `QuadrotorVectorEnv.reset`."""
        super().reset(seed=seed)
        observation, info = self._many.reset(seed=seed)
        return _first(observation), _first_info(info)

    def step(self, action: Float32Array) -> tuple[dict[str, Float32Array], float, bool, bool, dict[str, Any]]:
        """Fly one control step.

        Args:
            action: shape (4,).

        Returns:
            Observation, reward, terminated, truncated, info.
        """
        self._many._ended[:] = False
        observation, reward, terminated, truncated, info = self._many.step(np.asarray(action)[None])
        return (
            _first(observation),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _first_info(info),
        )


def named_observation(fleet: QuadrotorFleet) -> dict[str, Float32Array]:
    """What the vehicles' sensors say now and what they are to follow, by the robot card's names.

    Args:
        fleet: N vehicles.

    Returns:
        Arrays of shape (N, n), float32; velocities in the body frame.
    """
    seen = fleet.measured
    rotation = rotation_matrix(seen[3:7].T.astype(np.float64))
    body = np.einsum("nji,jn->ni", rotation, seen[7:10])
    columns = {
        "position": seen[0:3],
        "orientation": seen[3:7],
        "angular_velocity": seen[10:13],
        "reference_position": fleet.reference_position,
        "reference_velocity": fleet.reference_velocity,
        "reference_yaw": np.zeros((1, len(fleet)), np.float32),
        "previous_action": fleet.previous_action,
    }
    # Copies: the fleet's arrays move on.
    values = {name: np.array(rows.T, order="C") for name, rows in columns.items()}
    return values | {"linear_velocity": body.astype(np.float32)}


def _first(observation: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    return {name: values[0] for name, values in observation.items()}


def _first_info(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "success": bool(info["success"][0]),
        "position_error_m": float(info["position_error_m"][0]),
    }
