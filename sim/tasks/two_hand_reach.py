"""`reflexarc/TwoHandReach-v0`: reach for a mark with each hand, with the upper body of a Unitree G1."""

from __future__ import annotations

from sim.tasks.arm import ArmEnv
from sim.worlds.two_hand_reach import TwoHandReachSettings, TwoHandReachWorld


class TwoHandReachEnv(ArmEnv[TwoHandReachSettings]):
    """Bring each hand to its mark and keep both there.

    An action is seventeen joint position targets in the order of `sim.worlds.g1.JOINTS`, rad, 25 times a
    second. An observation has joint_position (17,) rad, joint_velocity (17,) rad/s, left_mark_position and
    right_mark_position (3,) m in base_link with their orientations; and, when asked for, the images `front`
    and `head`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.
    """

    WORLD = TwoHandReachWorld
