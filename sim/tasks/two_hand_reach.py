"""`reflexarc/TwoHandReach-v0`: reach for a mark with each hand, with the upper body of a Unitree G1."""

from __future__ import annotations

from typing import Any, ClassVar

from sim.tasks.arm import ArmEnv
from sim.worlds.two_hand_reach import TwoHandReachSettings, TwoHandReachWorld


class TwoHandReachEnv(ArmEnv):
    """Bring each hand to its mark and keep both there.

    An action is seventeen joint position targets in the order of `sim.worlds.g1.JOINTS`, rad, 25 times a
    second. An observation has joint_position (17,) rad, joint_velocity (17,) rad/s, left_mark_position and
    right_mark_position (3,) m in base_link with their orientations; and, when asked for, the images `front`
    and `head`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.

    Args:
        settings: where the marks are and what counts as success.
        image_size: width and height of the images in the observation; None: no images.
        duration_s: when the episode is truncated.
        render_mode: `rgb_array`, or None.

    Raises:
        ConfigError: an image size or duration that is not positive, or an unknown render mode.
    """

    metadata: ClassVar[dict[str, Any]] = {**ArmEnv.metadata, "render_fps": TwoHandReachWorld.CONTROL_HZ}

    def __init__(
        self,
        *,
        settings: TwoHandReachSettings | None = None,
        image_size: tuple[int, int] | None = None,
        duration_s: float = TwoHandReachWorld.DURATION_S,
        render_mode: str | None = None,
    ) -> None:
        """Build the world."""
        super().__init__(
            TwoHandReachWorld(settings=settings),
            image_size=image_size,
            duration_s=duration_s,
            render_mode=render_mode,
        )
