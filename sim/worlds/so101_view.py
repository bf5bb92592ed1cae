"""Looks at the SO-101's world: images of states, for policies with cameras and for videos."""

from __future__ import annotations

from sim.worlds.arm_view import ArmView
from sim.worlds.pick_cube import PickCubeWorld
from sim.worlds.render import Quality


class So101View(ArmView):
    """Renders states of the world in which an SO-101 picks a cube.

    Args:
        quality: what the images are for.
    """

    def __init__(self, *, quality: Quality = Quality.FAST) -> None:
        """Hold nothing yet."""
        super().__init__(PickCubeWorld, quality=quality)
