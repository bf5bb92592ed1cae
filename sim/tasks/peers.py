"""Tasks of others under our names: gym-pusht and gym-aloha, so that peers can be compared on their ground.

Physics, start states and success are theirs, unchanged. What differs is the contract: dict observations with
the names of the robot cards `gym_pusht` and `gym_aloha`, actions in SI units, `info["success"]`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hardware.errors import ConfigError

FloatArray = NDArray[np.float64]

# gym-pusht counts in pixels of its picture; here a pixel is a millimetre.
METRES_A_PIXEL = 0.001
_TABLE_M = 512 * METRES_A_PIXEL

_ARM = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
# The joints of gym-aloha's two ViperX arms in the order of its vectors.
ALOHA_JOINTS = tuple(f"{side}_arm_{name}" for side in ("left", "right") for name in _ARM)
# The joint limits of its model, rad; the grippers' from closed to open.
_ARM_RANGES = (
    (-3.14158, 3.14158),
    (-1.85005, 1.25664),
    (-1.76278, 1.6057),
    (-3.14158, 3.14158),
    (-1.8675, 2.23402),
    (-3.14158, 3.14158),
    (-0.6213, 1.4910),
)
ALOHA_RANGES = np.array(_ARM_RANGES * 2)
_GRIPPERS = [ALOHA_JOINTS.index(f"{side}_arm_gripper") for side in ("left", "right")]
# What the objects of its tasks are called here, in the order of its state.
_ALOHA_OBJECTS = {"transfer_cube": ("cube",), "insertion": ("peg", "socket")}


class PeerEnv(gymnasium.Env[dict[str, NDArray[Any]], FloatArray]):  # type: ignore[misc]
    """A foreign environment that speaks as ours do.

    `info["success"]` is a bool; `info["time_s"]` the time since the start. The reward is 1 in the step of
    success, where the episode terminates, and 0 before.

    Args:
        name: for errors.
        env: the foreign environment.
        control_hz: how often it acts, Hz.
        duration_s: when the episode is truncated.

    Raises:
        ConfigError: the duration is not positive.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(self, name: str, env: Any, *, control_hz: int, duration_s: float) -> None:  # noqa: ANN401
        """Keep the environment; the subclass says what is seen and done."""
        if not duration_s > 0:
            raise _bad(name, "duration_s", duration_s, "a positive number of seconds")
        self._name, self._env = name, env
        self.control_hz = control_hz
        self._limit = round(duration_s * control_hz)
        self._steps = 0
        self._success = False

    @property
    def foreign(self) -> Any:  # noqa: ANN401
        """The environment behind it."""
        return self._env

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin another attempt.

        Args:
            seed: the same seed gives the attempt that the foreign environment gives with it; None goes on
                drawing from the last one.
            options: none are known.

        Returns:
            The first observation and its info.
        """
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        seen, _ = self._env.reset(seed=seed)
        self._steps, self._success = 0, False
        return self._translate(seen), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Let an action act for one control period.

        Args:
            action: as `action_space`.

        Returns:
            Observation, reward, terminated (success), truncated (out of time), info.

        Raises:
            ConfigError: the action has another shape or a number that is not finite.
        """
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.action_space.shape or not np.isfinite(values).all():
            raise _bad(self._name, "action", action, f"{self.action_space.shape[0]} finite numbers")
        values = np.clip(values, self.action_space.low, self.action_space.high)
        seen, _, _, _, info = self._env.step(self._foreign_action(values))
        self._steps += 1
        self._success = bool(info["is_success"])
        truncated = not self._success and self._steps >= self._limit
        return self._translate(seen), float(self._success), self._success, truncated, self._info()

    def render(self) -> Any:  # noqa: ANN401
        """Draw the present state, shape (H, W, 3), uint8."""
        return self._env.render()

    def close(self) -> None:
        """Close the environment behind it."""
        self._env.close()

    def _info(self) -> dict[str, Any]:
        return {"success": self._success, "time_s": self._steps / self.control_hz}

    def _translate(self, seen: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
        raise NotImplementedError

    def _foreign_action(self, values: FloatArray) -> NDArray[Any]:
        raise NotImplementedError


class GymPushTEnv(PeerEnv):
    """`gym_pusht/PushT-v0` (Chi et al., 2023, as LeRobot has it), 10 Hz, success above 0.95 coverage.

    A pixel is a millimetre. An action is the target of the round pusher, x and y in m. An observation has
    tool_position (2,) the pusher's and block_position (2,) the T's, m, block_angle (1,) rad from -pi to pi;
    and, when asked for, the image `top`. x points right and y down, as in its picture.

    Args:
        image_size: width and height of the image in the observation; None: no image.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.
    """

    metadata: ClassVar[dict[str, Any]] = {**PeerEnv.metadata, "render_fps": 10}

    def __init__(
        self,
        *,
        image_size: tuple[int, int] | None = None,
        duration_s: float = 30.0,
        render_mode: str | None = None,
    ) -> None:
        """Make the foreign environment."""
        _import("gym_pusht")
        size = {"observation_width": image_size[0], "observation_height": image_size[1]} if image_size else {}
        kind = "pixels_agent_pos" if image_size else "state"
        env = gymnasium.make("gym_pusht/PushT-v0", obs_type=kind, disable_env_checker=True, **size)
        super().__init__("reflexarc/GymPushT-v0", env.unwrapped, control_hz=10, duration_s=duration_s)
        self.render_mode = render_mode
        self.action_space = spaces.Box(0.0, _TABLE_M, (2,), np.float64)
        # The pusher can be pushed a little beyond the walls.
        self.observation_space = spaces.Dict(
            {
                "tool_position": spaces.Box(-1.0, 2.0, (2,), np.float64),
                "block_position": spaces.Box(-1.0, 2.0, (2,), np.float64),
                "block_angle": spaces.Box(-np.pi, np.pi, (1,), np.float64),
                **_image_space("top", image_size),
            }
        )

    def _translate(self, seen: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
        env = self._env
        angle = (env.block.angle + np.pi) % (2 * np.pi) - np.pi
        values: dict[str, NDArray[Any]] = {
            "tool_position": METRES_A_PIXEL * np.array(env.agent.position, dtype=np.float64),
            "block_position": METRES_A_PIXEL * np.array(env.block.position, dtype=np.float64),
            "block_angle": np.array([angle], dtype=np.float64),
        }
        if isinstance(seen, Mapping):
            values["top"] = np.asarray(seen["pixels"], dtype=np.uint8)
        return values

    def _foreign_action(self, values: FloatArray) -> NDArray[Any]:
        return np.asarray(values / METRES_A_PIXEL)


class GymAlohaEnv(PeerEnv):
    """`gym_aloha` (Zhao et al., 2023): two ViperX arms hand a cube over or insert a peg, 50 Hz.

    An action is fourteen joint position targets in the order of `ALOHA_JOINTS`, rad; the grippers' from
    closed (-0.6213) to open (1.4910). An observation has joint_position (14,) rad and the objects' poses:
    cube_position (3,) m and cube_orientation (4,) quaternion w, x, y, z (or those of peg and socket); and,
    when asked for, the image `top`. The foreign environment always renders: a few steps a second.

    Args:
        task: `transfer_cube` or `insertion`.
        image_size: width and height of the image in the observation; None: no image.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: there is no such task.
    """

    metadata: ClassVar[dict[str, Any]] = {**PeerEnv.metadata, "render_fps": 50}

    def __init__(
        self,
        *,
        task: str = "transfer_cube",
        image_size: tuple[int, int] | None = None,
        duration_s: float = 8.0,
        render_mode: str | None = None,
    ) -> None:
        """Make the foreign environment."""
        if task not in _ALOHA_OBJECTS:
            raise _bad("gym-aloha", "task", task, " or ".join(_ALOHA_OBJECTS))
        _import("gym_aloha")
        title = "".join(word.capitalize() for word in task.split("_"))
        env = gymnasium.make(
            f"gym_aloha/Aloha{title}-v0", obs_type="pixels_agent_pos", disable_env_checker=True
        )
        super().__init__(f"reflexarc/GymAloha{title}-v0", env.unwrapped, control_hz=50, duration_s=duration_s)
        self.render_mode = render_mode
        self._objects, self._image_size = _ALOHA_OBJECTS[task], image_size
        self.action_space = spaces.Box(ALOHA_RANGES[:, 0], ALOHA_RANGES[:, 1], dtype=np.float64)
        self.observation_space = spaces.Dict(
            {
                "joint_position": spaces.Box(-4.0, 4.0, (14,), np.float64),
                **{f"{name}_position": spaces.Box(-20.0, 20.0, (3,), np.float64) for name in self._objects},
                **{
                    f"{name}_orientation": spaces.Box(-1.01, 1.01, (4,), np.float64) for name in self._objects
                },
                **_image_space("top", image_size),
            }
        )

    def _translate(self, seen: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
        joints = np.array(seen["agent_pos"], dtype=np.float64)
        closed, opened = ALOHA_RANGES[_GRIPPERS].T
        joints[_GRIPPERS] = closed + joints[_GRIPPERS] * (opened - closed)
        values: dict[str, NDArray[Any]] = {"joint_position": joints}
        physics = self._env._env.physics
        poses = np.array(self._env._env.task.get_env_state(physics), dtype=np.float64).reshape(-1, 7)
        for name, pose in zip(self._objects, poses, strict=True):
            values[f"{name}_position"] = pose[:3].copy()
            values[f"{name}_orientation"] = -pose[3:] if pose[3] < 0 else pose[3:].copy()
        if self._image_size is not None:
            from PIL import Image

            # It renders 640 x 480 whatever it is asked for; each of our pixels is a mean of its own.
            image = Image.fromarray(np.asarray(seen["pixels"]["top"], dtype=np.uint8))
            values["top"] = np.array(image.resize(self._image_size, Image.Resampling.BOX))
        return values

    def _foreign_action(self, values: FloatArray) -> NDArray[Any]:
        told = values.copy()
        closed, opened = ALOHA_RANGES[_GRIPPERS].T
        told[_GRIPPERS] = (told[_GRIPPERS] - closed) / (opened - closed)
        return told


def _image_space(name: str, size: tuple[int, int] | None) -> dict[str, spaces.Space[Any]]:
    return {} if size is None else {name: spaces.Box(0, 255, (size[1], size[0], 3), np.uint8)}


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        package = module.replace("_", "-")
        raise ConfigError(
            f"{package} cannot be loaded ({error})",
            where="sim.tasks.peers",
            expected=f"the package {package}, which brings the task",
            mend="pip install 'reflexarc[peers]'",
        ) from error


def _bad(where: str, name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"{name} is {value!r}", where=where, expected=expected, mend=f"correct {name}")
