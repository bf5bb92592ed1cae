"""`reflexarc/PairPickCube-v0`: pick a cube up from the table with one of two SO-101."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.tasks.arm import ArmEnv
from sim.worlds.pair_pick_cube import PairPickCubeSettings, PairPickCubeWorld


class PairPickCubeEnv(ArmEnv):
    """Pick a cube up that lies between two arms, with either of them, and hold it.

    An action is twelve joint position targets in the order of `sim.worlds.so101_pair.JOINTS`, rad, 25 times
    a second. An observation is that of `PickCubeEnv` with twelve joints, its images `front`, `left_wrist` and
    `right_wrist`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.

    Args:
        settings: where the cube starts and what counts as success.
        image_size: width and height of the images in the observation; None: no images.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: an image size or duration that is not positive, or an unknown render mode.
    """

    metadata: ClassVar[dict[str, Any]] = {**ArmEnv.metadata, "render_fps": PairPickCubeWorld.CONTROL_HZ}

    def __init__(
        self,
        *,
        settings: PairPickCubeSettings | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float = PairPickCubeWorld.DURATION_S,
        render_mode: str | None = None,
    ) -> None:
        """Build the world."""
        super().__init__(
            PairPickCubeWorld(settings=settings),
            image_size=image_size,
            duration_s=duration_s,
            render_mode=render_mode,
        )
