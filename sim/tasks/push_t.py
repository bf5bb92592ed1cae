"""`reflexarc/PushT-v0`: push a T block to its place with a Panda that holds a rod."""

from __future__ import annotations

from sim.tasks.arm import ArmEnv
from sim.worlds.push_t import PushTSettings, PushTWorld


class PushTEnv(ArmEnv[PushTSettings]):
    """Push the T onto its goal: success when it covers the share that the settings ask for (0.90).

    An action is seven joint position targets in the order of `sim.worlds.panda.JOINTS`, rad, ten times a
    second. An observation has joint_position (7,) rad, joint_velocity (7,) rad/s, tool_position (3,) the end
    of the rod and block_position (3,) the T's centre, m in base_link, tool_orientation and block_orientation
    (4,) quaternions w, x, y, z; and, when asked for, the images `front` and `wrist`. The goal stays where it
    is (`sim.worlds.push_t.GOAL`). `info["coverage"]` is the share of the goal that is covered, 0 to 1.
    Reward, end and the rest of info: as `sim.tasks.arm.ArmEnv` says.
    """

    WORLD = PushTWorld
