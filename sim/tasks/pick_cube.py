"""`reflexarc/PickCube-v0`: pick a cube up from the table with an SO-101."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.tasks.arm import ArmEnv
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld

CONTROL_HZ = PickCubeWorld.CONTROL_HZ


class PickCubeEnv(ArmEnv):
    """Pick a cube up, five centimetres off the table, and hold it.

    An action is six joint position targets in the order of `sim.worlds.so101.JOINTS`, rad, 25 times
    a second. An observation has joint_position (6,) rad, joint_velocity (6,) rad/s, cube_position
    (3,) m in base_link, cube_orientation (4,) quaternion w, x, y, z; and, when asked for, the images
    `front` and `wrist`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.

    Args:
        settings: where the cube starts and what counts as success.
        image_size: width and height of the images in the observation; None: no images.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: an image size or duration that is not positive, or an unknown render mode.
    """

    metadata: ClassVar[dict[str, Any]] = {**ArmEnv.metadata, "render_fps": CONTROL_HZ}

    def __init__(
        self,
        *,
        settings: PickCubeSettings | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float = PickCubeWorld.DURATION_S,
        render_mode: str | None = None,
    ) -> None:
        """Build the world."""
        super().__init__(
            PickCubeWorld(settings=settings),
            image_size=image_size,
            duration_s=duration_s,
            render_mode=render_mode,
        )
