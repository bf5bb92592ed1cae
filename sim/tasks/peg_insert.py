"""`reflexarc/PegInsert-v0`: insert a peg into a hole with a Panda."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.tasks.arm import ArmEnv
from sim.worlds.peg_insert import PegInsertSettings, PegInsertWorld

CONTROL_HZ = PegInsertWorld.CONTROL_HZ


class PegInsertEnv(ArmEnv):
    """Insert a square peg of 16 mm into a square hole that is 0.5 mm wider, 25 mm deep.

    An action is seven joint position targets in the order of `sim.worlds.panda.JOINTS`, rad, 25 times a
    second. An observation has joint_position (7,) rad, joint_velocity (7,) rad/s, peg_position (3,) the peg's
    end and hole_position (3,) the middle of the hole's rim, m in base_link, peg_orientation and
    hole_orientation (4,) quaternions w, x, y, z; and, when asked for, the images `front` and `wrist`.
    `info["depth_m"]` is how far the peg's end is below the rim. Reward, end and the rest of info: as
    `sim.tasks.arm.ArmEnv` says.

    Args:
        settings: where hole and peg start and what counts as success.
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
        settings: PegInsertSettings | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float = PegInsertWorld.DURATION_S,
        render_mode: str | None = None,
    ) -> None:
        """Build the world."""
        super().__init__(
            PegInsertWorld(settings=settings),
            image_size=image_size,
            duration_s=duration_s,
            render_mode=render_mode,
        )
