"""`reflexarc/PairPickCube-v0`: pick a cube up from the table with one of two SO-101."""

from __future__ import annotations

from sim.tasks.arm import ArmEnv
from sim.worlds.pair_pick_cube import PairPickCubeSettings, PairPickCubeWorld


class PairPickCubeEnv(ArmEnv[PairPickCubeSettings]):
    """Pick a cube up that lies between two arms, with either of them, and hold it.

    An action is twelve joint position targets in the order of `sim.worlds.so101_pair.JOINTS`, rad, 25 times
    a second. An observation is that of `PickCubeEnv` with twelve joints, its images `front`, `left_wrist` and
    `right_wrist`. Reward, end and info: as `sim.tasks.arm.ArmEnv` says.
    """

    WORLD = PairPickCubeWorld
