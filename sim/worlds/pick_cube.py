"""The physics of picking up a cube with the SO-101, shared by the task and the twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import so101, so101_table
from sim.worlds.arm_world import ORIENTATION, POSITION, ArmWorld, joint_terms, upright

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PickCubeSettings:
    """How an attempt begins and what counts as success."""

    # Where the middle of the cube may start on the table, base_link, metres.
    cube_x_m: tuple[float, float] = (0.17, 0.27)
    cube_y_m: tuple[float, float] = (-0.10, 0.10)
    # Largest turn of the cube about the vertical, rad; a quarter turn looks the same again.
    cube_yaw_rad: float = float(np.pi / 4)
    # Standard deviation of the arm's start about home, rad, cut off at twice that.
    start_noise_rad: float = 0.03
    # How far the underside of the cube must be above the table, metres.
    lift_m: float = 0.05
    # For how long, in the gripper, without a break, seconds.
    hold_s: float = 0.4
    # Where the middle of the cube is to be held, base_link, metres; None: anywhere, so that it is lifted.
    goal_m: tuple[float, float, float] | None = None
    # How far from there it may be, metres.
    goal_radius_m: float = 0.03

    def __post_init__(self) -> None:
        """Refuse a region that the arm cannot reach.

        Raises:
            ConfigError: an empty range, or a corner out of reach.
        """
        for name, (lower, upper) in (("cube_x_m", self.cube_x_m), ("cube_y_m", self.cube_y_m)):
            if not lower <= upper:
                raise ConfigError(
                    f"{name} ({lower}, {upper}) is empty",
                    where="PickCubeSettings",
                    expected="lower <= upper",
                    mend="swap the two",
                )
        if self.goal_m is not None and not (len(self.goal_m) == 3 and self.goal_radius_m > 0):
            raise ConfigError(
                f"goal_m {self.goal_m}, goal_radius_m {self.goal_radius_m}",
                where="PickCubeSettings",
                expected="x, y and z, and a positive distance",
                mend="correct the goal",
            )
        if not (self.hold_s > 0 and self.start_noise_rad >= 0 and 0 <= self.cube_yaw_rad <= np.pi):
            raise ConfigError(
                f"hold_s {self.hold_s}, start_noise_rad {self.start_noise_rad},"
                f" cube_yaw_rad {self.cube_yaw_rad}",
                where="PickCubeSettings",
                expected="a positive time, a noise of zero or more, and a turn of 0 to pi",
                mend="correct the number",
            )
        self._check_reach()

    def _check_reach(self) -> None:
        # Distances from the pan axis at which the tool can point straight down at the table.
        x = np.array(self.cube_x_m) - so101.PAN_AXIS_X_M
        y = np.abs(self.cube_y_m)
        nearest = float(np.hypot(x[0], 0.0 if self.cube_y_m[0] <= 0.0 <= self.cube_y_m[1] else y.min()))
        farthest = float(np.hypot(x[1], y.max()))
        lower, upper = so101.REACH_M
        if x[0] <= 0.0 or nearest < lower or farthest > upper:
            raise ConfigError(
                f"the cube may start {nearest:.3f} to {farthest:.3f} m from the pan axis",
                where="PickCubeSettings",
                expected=f"{lower} to {upper} m, in front of the arm",
                mend="shrink cube_x_m or cube_y_m",
            )


class PickCubeWorld(ArmWorld):
    """A table, a cube and an SO-101; physics runs in steps of at most 2 ms.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    TASK = "reflexarc/PickCube-v0"
    CONTROL_HZ = 25
    JOINTS: ClassVar[tuple[str, ...]] = so101.JOINTS
    HOME: ClassVar[tuple[float, ...]] = so101.HOME
    GRIPPING: ClassVar[tuple[str, ...]] = ("gripper",)
    CAMERAS = so101.CAMERA_FOVY_DEG
    MEASURED = {**joint_terms(so101.JOINTS), "cube_position": POSITION, "cube_orientation": ORIENTATION}
    SUCCESS = "the cube is lifted and held"
    DURATION_S = 8.0
    # The pads of each gripper.
    PADS: ClassVar[tuple[tuple[str, str], ...]] = (("fixed_pad", "moving_pad"),)

    def __init__(self, *, settings: PickCubeSettings | None = None) -> None:
        """Compile the world and lay everything out at home."""
        self.settings = settings or PickCubeSettings()
        super().__init__(hold_s=self.settings.hold_s)
        self._cube_geom = self.model.geom("cube").id
        self._pads = [{self.model.geom(name).id for name in pads} for pads in self.PADS]
        self._cube_body = self.model.body("cube").id
        self._lay_out(np.array(self.HOME), np.array([0.22, 0.0]), yaw_rad=0.0)

    @staticmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world; with `visual`, with the meshes."""
        return so101.build_model(visual=visual)

    @staticmethod
    def urdf() -> str:
        """Describe the arm for RViz and Foxglove."""
        return so101.urdf()

    @property
    def reached(self) -> bool:
        """Whether the cube is lifted, in the gripper and, where a goal is set, there."""
        return self.held and self.lifted and self.at_goal

    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt: the arm near home, the cube somewhere within reach.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """
        settings = self.settings
        noise = np.clip(rng.standard_normal(len(self.JOINTS)), -2.0, 2.0) * settings.start_noise_rad
        place = np.array([rng.uniform(*settings.cube_x_m), rng.uniform(*settings.cube_y_m)])
        yaw = rng.uniform(-settings.cube_yaw_rad, settings.cube_yaw_rad)
        self._lay_out(np.array(self.HOME) + noise, place, yaw_rad=float(yaw))

    @property
    def lifted(self) -> bool:
        """Whether the underside of the cube is high enough, however it is turned."""
        rotation = self.data.geom_xmat[self._cube_geom].reshape(3, 3)
        below = float(np.abs(rotation[2]).sum()) * so101_table.CUBE_EDGE_M / 2
        return float(self.data.geom_xpos[self._cube_geom, 2]) - below >= self.settings.lift_m

    @property
    def at_goal(self) -> bool:
        """Whether the middle of the cube is where it is to be held; without a goal it is everywhere."""
        goal = self.settings.goal_m
        if goal is None:
            return True
        distance = float(np.linalg.norm(self.data.xpos[self._cube_body] - goal))
        return distance <= self.settings.goal_radius_m

    @property
    def held(self) -> bool:
        """Whether both finger pads of a gripper touch the cube."""
        touching = set()
        for first, second in self.data.contact.geom[: self.data.ncon].tolist():
            if first == self._cube_geom:
                touching.add(second)
            elif second == self._cube_geom:
                touching.add(first)
        return any(pads <= touching for pads in self._pads)

    def observe(self) -> dict[str, FloatArray]:
        """Measure everything that the robot card names.

        Returns:
            joint_position (D,) rad, joint_velocity (D,) rad/s, cube_position (3,) m in base_link,
            cube_orientation (4,) quaternion w, x, y, z with w >= 0; new arrays. D: 6, or 12 for two arms.
        """
        return {
            **self._joint_terms(),
            "cube_position": self.data.xpos[self._cube_body].copy(),
            "cube_orientation": upright(self.data.xquat[self._cube_body]),
        }

    def _lay_out(self, joints: FloatArray, place_m: FloatArray, *, yaw_rad: float) -> None:
        self._begin(joints)
        half = [np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]
        self.data.qpos[len(self.JOINTS) :] = [*place_m, so101_table.CUBE_EDGE_M / 2, *half]
        mujoco.mj_forward(self.model, self.data)
