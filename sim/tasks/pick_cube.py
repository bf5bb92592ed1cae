"""`reflexarc/PickCube-v0`: pick a cube up from the table with an SO-101."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import so101
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld
from sim.worlds.render import Quality
from sim.worlds.so101_view import So101View

FloatArray = NDArray[np.float64]

CONTROL_HZ = 25
# What `render` returns: width, height.
_RENDER_SIZE = (640, 480)


class PickCubeEnv(gymnasium.Env[dict[str, NDArray[Any]], FloatArray]):  # type: ignore[misc]
    """Pick a cube up, five centimetres off the table, and hold it.

    An action is six joint position targets in the order of `sim.worlds.so101.JOINTS`, rad, 25 times
    a second. An observation has the names of the robot card: joint_position (6,) rad,
    joint_velocity (6,) rad/s, cube_position (3,) m in base_link, cube_orientation (4,) quaternion
    w, x, y, z; and, when asked for, the images `front` and `wrist`, (H, W, 3) uint8. The reward is
    1 in the step in which the cube has been held long enough, where the episode terminates, and 0
    before. `info["success"]` is a bool; `info["time_s"]` the time since the start.

    Args:
        settings: where the cube starts and what counts as success.
        image_size: width and height of the images in the observation; None: no images.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: an image size or duration that is not positive, or an unknown render mode.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}

    def __init__(
        self,
        *,
        settings: PickCubeSettings | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float = 8.0,
        render_mode: str | None = None,
    ) -> None:
        """Build the world and the spaces."""
        if render_mode not in (None, "rgb_array"):
            raise _bad("render_mode", render_mode, "rgb_array or None")
        if not duration_s > 0:
            raise _bad("duration_s", duration_s, "a positive number of seconds")
        if image_size is not None and not (len(image_size) == 2 and all(n > 0 for n in image_size)):
            raise _bad("image_size", image_size, "a width and a height in pixels, or None")
        self.render_mode = render_mode
        self._image_size = image_size
        self._duration_ns = round(duration_s * 1e9)
        self._world = PickCubeWorld(settings=settings)
        self._view = So101View()
        self._render_view = So101View(quality=Quality.FINE)
        ranges = self._world.joint_ranges
        self.action_space = spaces.Box(ranges[:, 0], ranges[:, 1], dtype=np.float64)
        self.observation_space = spaces.Dict(_observation_spaces(image_size))

    @property
    def world(self) -> PickCubeWorld:
        """The physics behind the task, for experts' tests and evaluation."""
        return self._world

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin another attempt.

        Args:
            seed: the same seed gives the same attempt; None goes on drawing from the last one.
            options: none are known.

        Returns:
            The first observation and its info.
        """
        super().reset(seed=seed)
        self._world.reset(self.np_random)
        return self._observation(), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Let an action act for one control period.

        Args:
            action: joint position targets, shape (6,), rad; the servos stop at their limits.

        Returns:
            Observation, reward, terminated (success), truncated (out of time), info.

        Raises:
            ConfigError: the action has another shape or a number that is not finite.
        """
        targets = np.asarray(action, dtype=np.float64)
        if targets.shape != (len(so101.JOINTS),) or not np.isfinite(targets).all():
            raise _bad("action", action, "six finite joint positions, " + ", ".join(so101.JOINTS))
        self._world.set_targets(targets)
        self._world.advance(1_000_000_000 // CONTROL_HZ)
        success = self._world.success
        truncated = not success and self._world.time_ns >= self._duration_ns
        return self._observation(), float(success), success, truncated, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the present state as people like it.

        Returns:
            Shape (480, 640, 3), uint8; None without a render mode.
        """
        if self.render_mode is None:
            return None
        width, height = _RENDER_SIZE
        return self._render_view.image(self._world.state, "front", width=width, height=height)

    def close(self) -> None:
        """Give the OpenGL contexts back."""
        self._view.close()
        self._render_view.close()

    def _observation(self) -> dict[str, NDArray[Any]]:
        values: dict[str, NDArray[Any]] = dict(self._world.observe())
        if self._image_size is not None:
            width, height = self._image_size
            for camera in so101.CAMERAS:
                values[camera] = self._view.image(self._world.state, camera, width=width, height=height)
        return values

    def _info(self) -> dict[str, Any]:
        return {"success": self._world.success, "time_s": self._world.time_ns * 1e-9}


def _observation_spaces(image_size: tuple[int, int] | None) -> dict[str, spaces.Space[Any]]:
    # Bounds that nothing physical leaves: joints overshoot their soft limits a little, and a cube
    # that was thrown off the table ends on the floor.
    result: dict[str, spaces.Space[Any]] = {
        "joint_position": spaces.Box(-4.0, 4.0, (6,), np.float64),
        "joint_velocity": spaces.Box(-100.0, 100.0, (6,), np.float64),
        "cube_position": spaces.Box(-20.0, 20.0, (3,), np.float64),
        "cube_orientation": spaces.Box(-1.01, 1.01, (4,), np.float64),
    }
    if image_size is not None:
        width, height = image_size
        for camera in so101.CAMERAS:
            result[camera] = spaces.Box(0, 255, (height, width, 3), np.uint8)
    return result


def _bad(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} is {value!r}", where="reflexarc/PickCube-v0", expected=expected, mend=f"correct {name}"
    )
