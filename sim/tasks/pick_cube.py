"""`reflexarc/PickCube-v0`: pick a cube up from the table with an SO-101."""

from __future__ import annotations

from sim.tasks.arm import ArmEnv
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld


class PickCubeEnv(ArmEnv[PickCubeSettings]):
    """Pick a cube up, five centimetres off the table, and hold it.

    An action is six joint position targets in the order of `sim.worlds.so101.JOINTS`, rad, 25 times
    a second. An observation has joint_position (6,) rad, joint_velocity (6,) rad/s, cube_position
    (3,) m in base_link, cube_orientation (4,) quaternion w, x, y, z; and, when asked for, the images
    `front` and `wrist`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.
    """

    WORLD = PickCubeWorld
