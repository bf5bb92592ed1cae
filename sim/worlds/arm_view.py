"""Looks at a world with an arm: images of states, for policies with cameras and for videos."""

from __future__ import annotations

import functools
from types import TracebackType
from typing import Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.worlds.arm_world import ArmWorld
from sim.worlds.render import OffscreenRenderer, Quality


class ArmView:
    """Renders states of the world, whoever computed them: a task, a twin or a recorded trace.

    The meshes are loaded when the first image is taken, once a process. Also a context manager.

    Args:
        world: whose states they are.
        quality: what the images are for.
    """

    def __init__(self, world: type[ArmWorld], *, quality: Quality = Quality.FAST) -> None:
        """Hold nothing yet."""
        self._world = world
        self._quality = quality
        self._data: mujoco.MjData | None = None
        self._renderers: dict[tuple[int, int], OffscreenRenderer] = {}

    def image(
        self,
        state: NDArray[np.float64],
        camera: str | mujoco.MjvCamera,
        *,
        width: int,
        height: int,
    ) -> NDArray[np.uint8]:
        """Render one state.

        Args:
            state: as `ArmWorld.state` and the rows of a trace's `qpos`.
            camera: a camera of the world, or a free camera.
            width: in pixels.
            height: in pixels.

        Returns:
            Shape (height, width, 3), uint8, red, green, blue.

        Raises:
            ConfigError: no OpenGL library can be loaded, or the camera is unknown.
        """
        model = visual_model(self._world)
        if self._data is None:
            self._data = mujoco.MjData(model)
        renderer = self._renderers.get((width, height))
        if renderer is None:
            renderer = OffscreenRenderer(model, width, height, quality=self._quality)
            self._renderers[width, height] = renderer
        self._data.qpos[:] = state[: model.nq]
        if model.nmocap:
            placed = state[model.nq :].reshape(model.nmocap, 7)
            self._data.mocap_pos[:], self._data.mocap_quat[:] = placed[:, :3], placed[:, 3:]
        mujoco.mj_kinematics(model, self._data)
        mujoco.mj_comPos(model, self._data)
        mujoco.mj_camlight(model, self._data)
        return renderer.frame(self._data, camera)

    def close(self) -> None:
        """Give the OpenGL contexts back; the view can be used again."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def __enter__(self) -> Self:
        """Return the view itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


@functools.cache
def visual_model(world: type[ArmWorld]) -> mujoco.MjModel:
    """The visual model of a world, compiled once a process; not to be written to.

    Args:
        world: the world.
    """
    return world.build_model(visual=True)
