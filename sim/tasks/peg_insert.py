"""`reflexarc/PegInsert-v0`: insert a peg into a hole with a Panda."""

from __future__ import annotations

from sim.tasks.arm import ArmEnv
from sim.worlds.peg_insert import PegInsertSettings, PegInsertWorld


class PegInsertEnv(ArmEnv[PegInsertSettings]):
    """Insert a square peg of 16 mm into a square hole that is 0.5 mm wider, 25 mm deep.

    An action is seven joint position targets in the order of `sim.worlds.panda.JOINTS`, rad, 25 times a
    second. An observation has joint_position (7,) rad, joint_velocity (7,) rad/s, peg_position (3,) the peg's
    end and hole_position (3,) the middle of the hole's rim, m in base_link, peg_orientation and
    hole_orientation (4,) quaternions w, x, y, z; and, when asked for, the images `front` and `wrist`.
    `info["depth_m"]` is how far the peg's end is below the rim. Reward, end and the rest of info: as
    `sim.tasks.arm.ArmEnv` says.
    """

    WORLD = PegInsertWorld
