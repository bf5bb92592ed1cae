"""What the tasks with an arm share: Gymnasium environments made of a world of `sim.worlds`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds.arm_view import ArmView
from sim.worlds.arm_world import ArmWorld
from sim.worlds.gated import TargetWire
from sim.worlds.render import Quality

FloatArray = NDArray[np.float64]

# What `render` returns: width, height.
_RENDER_SIZE = (640, 480)
# Bounds that nothing physical leaves: joints overshoot their soft limits a little, and an object
# that was thrown off the table ends on the floor.
_BOUNDS = {"rad": 4.0, "rad/s": 100.0, "m": 20.0, "quaternion": 1.01}


class ArmEnv[S](gymnasium.Env[dict[str, NDArray[Any]], FloatArray]):  # type: ignore[misc]
    """A task with an arm; a subclass names its world.

    An action is the joint position targets in the order of the world's `JOINTS`, rad. An observation
    has the terms that the world measures, under the names of the robot card, and, when asked for, its
    cameras' images, (H, W, 3) uint8. The reward is 1 in the step of success, where the episode
    terminates, and 0 before. `info["success"]` is a bool; `info["time_s"]` the time since the start.

    Args:
        settings: of the world: where things start and what counts as success; None: the usual ones.
        image_size: width and height of the images in the observation; None: no images.
        duration_s: when the episode is truncated; None: the world's `DURATION_S`.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: an image size or duration that is not positive, or an unknown render mode.
    """

    # The physics: an `ArmWorld` that takes such settings.
    WORLD: ClassVar[type[Any]]
    metadata: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        """Tell Gymnasium how often the world acts."""
        cls.metadata = {"render_modes": ["rgb_array"], "render_fps": cls.WORLD.CONTROL_HZ}

    def __init__(
        self,
        *,
        settings: S | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build the world and the spaces."""
        world: ArmWorld = self.WORLD(settings=settings)
        duration_s = world.DURATION_S if duration_s is None else duration_s
        self._name = world.TASK
        if render_mode not in (None, "rgb_array"):
            raise self._bad("render_mode", render_mode, "rgb_array or None")
        if not duration_s > 0:
            raise self._bad("duration_s", duration_s, "a positive number of seconds")
        if image_size is not None and not (len(image_size) == 2 and all(n > 0 for n in image_size)):
            raise self._bad("image_size", image_size, "a width and a height in pixels, or None")
        self.render_mode = render_mode
        self._image_size = image_size
        self._duration_ns = round(duration_s * 1e9)
        self._world = world
        self._wire = TargetWire(world)
        self._view = ArmView(type(world))
        self._render_view = ArmView(type(world), quality=Quality.FINE)
        ranges = world.joint_ranges
        self.action_space = spaces.Box(ranges[:, 0], ranges[:, 1], dtype=np.float64)
        self.observation_space = spaces.Dict(_observation_spaces(world, image_size))

    @property
    def world(self) -> ArmWorld:
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
        self._wire.reset()
        return self._observation(), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Let an action act for one control period.

        Args:
            action: joint position targets, shape (D,), rad; the servos stop at their limits.

        Returns:
            Observation, reward, terminated (success), truncated (out of time), info.

        Raises:
            ConfigError: the action has another shape or a number that is not finite.
        """
        targets = np.asarray(action, dtype=np.float64)
        joints = self._world.JOINTS
        if targets.shape != (len(joints),) or not np.isfinite(targets).all():
            count = _COUNTS[len(joints)]
            raise self._bad("action", action, f"{count} finite joint positions, " + ", ".join(joints))
        self._wire.hold(targets, 1_000_000_000 // self._world.CONTROL_HZ)
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
        camera = next(iter(self._world.CAMERAS))
        return self._render_view.image(self._world.state, camera, width=width, height=height)

    def close(self) -> None:
        """Give the OpenGL contexts back."""
        self._view.close()
        self._render_view.close()

    def _observation(self) -> dict[str, NDArray[Any]]:
        values: dict[str, NDArray[Any]] = dict(self._world.observe())
        if self._image_size is not None:
            width, height = self._image_size
            for camera in self._world.CAMERAS:
                values[camera] = self._view.image(self._world.state, camera, width=width, height=height)
        return values

    def _info(self) -> dict[str, Any]:
        return {
            "success": self._world.success,
            "time_s": self._world.time_ns * 1e-9,
            **self._world.progress(),
        }

    def _bad(self, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(
            f"{name} is {value!r}", where=self._name, expected=expected, mend=f"correct {name}"
        )


_COUNTS = {6: "six", 7: "seven", 12: "twelve", 17: "seventeen"}


def _observation_spaces(world: ArmWorld, image_size: tuple[int, int] | None) -> dict[str, spaces.Space[Any]]:
    result: dict[str, spaces.Space[Any]] = {}
    for name, term in world.MEASURED.items():
        bound = _BOUNDS[term.unit]
        result[name] = spaces.Box(-bound, bound, (len(term.names),), np.float64)
    if image_size is not None:
        width, height = image_size
        for camera in world.CAMERAS:
            result[camera] = spaces.Box(0, 255, (height, width, 3), np.uint8)
    return result
