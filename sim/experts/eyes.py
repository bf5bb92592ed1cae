"""The robot's cameras beside an expert, as they are in a run: each at its own rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hardware.images import fit_image
from hardware.robot import CameraSpec
from sim.worlds.arm_view import ArmView
from sim.worlds.arm_world import ArmWorld


class Eyes:
    """Looks at a world while time passes in it. What a camera saw last stays until it looks again.

    A policy that runs sees images of a camera's own rate, up to one of its periods old; whoever learns from
    images that are always fresh learns what it will never see.

    Args:
        world: what is looked at.
        cameras: some of the world's, by name, as the robot's card describes them.
        size: width and height of the images that are kept, pixels: those of the cameras, made smaller as
            `hardware.images.fit_image` does. None: as the cameras give them.
    """

    def __init__(
        self, world: ArmWorld, cameras: Mapping[str, CameraSpec], *, size: tuple[int, int] | None = None
    ) -> None:
        """Look at nothing yet."""
        self._world, self._cameras, self._size = world, dict(cameras), size
        self._view = ArmView(type(world))
        self._due_ns: dict[str, int] = {}
        self._seen: dict[str, NDArray[np.uint8]] = {}

    @property
    def images(self) -> dict[str, NDArray[np.uint8]]:
        """The newest image of each camera, (height, width, 3) uint8."""
        return dict(self._seen)

    def begin(self, random: np.random.Generator) -> None:
        """Look at the beginning of an attempt.

        Args:
            random: says when, within its period, each camera looks next.
        """
        for name, camera in self._cameras.items():
            self._look(name)
            self._due_ns[name] = self._world.time_ns + math.ceil(random.uniform(0.0, 1e9) / camera.rate_hz)

    def advance(self, duration_ns: int) -> None:
        """Let time pass in the world, and look when it is time to.

        The world is only stopped between two of its own steps: it goes on as if nobody looked.

        Args:
            duration_ns: how long, nanoseconds.
        """
        until_ns = self._world.time_ns + duration_ns
        while True:
            due = {name: self._on_step(at_ns) for name, at_ns in self._due_ns.items()}
            next_ns = min([until_ns, *due.values()])
            self._world.advance(next_ns - self._world.time_ns)
            for name in [name for name, at_ns in due.items() if at_ns <= next_ns]:
                self._look(name)
                self._due_ns[name] += round(1e9 / self._cameras[name].rate_hz)
            if next_ns == until_ns:
                return

    def close(self) -> None:
        """Give the OpenGL contexts back."""
        self._view.close()

    def _on_step(self, at_ns: int) -> int:
        step_ns = self._world.step_ns
        return int(-(-at_ns // step_ns) * step_ns)

    def _look(self, name: str) -> None:
        camera = self._cameras[name]
        image = self._view.image(self._world.state, name, width=camera.width, height=camera.height)
        width, height = self._size or (camera.width, camera.height)
        self._seen[name] = fit_image(image, height=height, width=width, where=f"camera {name!r}")
