"""The physics of picking up a cube with one of two SO-101 arms, shared by the task and the twin."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from hardware.errors import ConfigError
from sim.worlds import so101, so101_pair
from sim.worlds.arm_world import ORIENTATION, POSITION, joint_terms
from sim.worlds.pick_cube import PickCubeSettings, PickCubeWorld


@dataclass(frozen=True)
class PairPickCubeSettings(PickCubeSettings):
    """How an attempt begins and what counts as success; the cube starts where one of the arms reaches it."""

    cube_x_m: tuple[float, float] = (0.16, 0.24)
    cube_y_m: tuple[float, float] = (-0.06, 0.06)

    def _check_reach(self) -> None:
        lower_y, upper_y = self.cube_y_m
        lines = {lower_y, upper_y, min(max(0.0, lower_y), upper_y)}
        # To the nearer arm from the corners, and from the line between the two.
        distances = [
            min(float(np.hypot(x - so101.PAN_AXIS_X_M, y - side)) for side in so101_pair.SIDES_M.values())
            for x in self.cube_x_m
            for y in lines
        ]
        lower, upper = so101.REACH_M
        if self.cube_x_m[0] <= so101.PAN_AXIS_X_M or min(distances) < lower or max(distances) > upper:
            raise ConfigError(
                f"the cube may start {min(distances):.3f} to {max(distances):.3f} m from the nearer pan axis",
                where="PairPickCubeSettings",
                expected=f"{lower} to {upper} m, in front of the arms",
                mend="shrink cube_x_m or cube_y_m",
            )


class PairPickCubeWorld(PickCubeWorld):
    """A table, a cube and two SO-101; physics runs in steps of at most 2 ms.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    TASK = "reflexarc/PairPickCube-v0"
    JOINTS = so101_pair.JOINTS
    HOME = so101_pair.HOME
    GRIPPING = tuple(f"{side}_gripper" for side in so101_pair.SIDES_M)
    CAMERAS = so101_pair.CAMERA_FOVY_DEG
    MEASURED = {**joint_terms(so101_pair.JOINTS), "cube_position": POSITION, "cube_orientation": ORIENTATION}
    SUCCESS = "the cube is lifted and held by one of the arms"
    PADS = tuple((f"{side}_fixed_pad", f"{side}_moving_pad") for side in so101_pair.SIDES_M)

    def __init__(self, *, settings: PairPickCubeSettings | None = None) -> None:
        """Compile the world and lay everything out at home."""
        super().__init__(settings=settings or PairPickCubeSettings())

    @staticmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world; with `visual`, with the meshes."""
        return so101_pair.build_model(visual=visual)

    @staticmethod
    def urdf() -> str:
        """Describe both arms for RViz and Foxglove."""
        return so101_pair.urdf()
