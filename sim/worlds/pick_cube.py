"""The physics of picking up a cube with the SO-101, shared by the task and the twin.

Whoever steps it decides when a command acts; nothing here knows of control rates, latency or
observation stamps.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import so101

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
        if not (self.hold_s > 0 and self.start_noise_rad >= 0 and 0 <= self.cube_yaw_rad <= np.pi):
            raise ConfigError(
                f"hold_s {self.hold_s}, start_noise_rad {self.start_noise_rad},"
                f" cube_yaw_rad {self.cube_yaw_rad}",
                where="PickCubeSettings",
                expected="a positive time, a noise of zero or more, and a turn of 0 to pi",
                mend="correct the number",
            )
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


class PickCubeWorld:
    """A table, a cube and an SO-101; physics runs in steps of at most 2 ms.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    # Success is looked for on this grid, so that it does not depend on how callers slice time.
    CHECK_PERIOD_NS = 10_000_000

    def __init__(self, *, settings: PickCubeSettings | None = None) -> None:
        """Compile the world and lay everything out at home."""
        self.settings = settings or PickCubeSettings()
        self.model = so101.build_model()
        self.data = mujoco.MjData(self.model)
        self.step_ns = round(self.model.opt.timestep * 1e9)
        self._ranges = so101.joint_ranges(self.model)
        self._cube_geom = self.model.geom("cube").id
        self._pads = tuple(self.model.geom(name).id for name in ("fixed_pad", "moving_pad"))
        self._cube_body = self.model.body("cube").id
        # The model's first joints are the arm's, in the order of so101.JOINTS; the cube follows.
        self._arm = slice(0, len(so101.JOINTS))
        # Time since the beginning of the attempt, nanoseconds.
        self.time_ns = 0
        self._held_checks = 0
        self._lay_out(np.array(so101.HOME), np.array([0.22, 0.0]), yaw_rad=0.0)

    @property
    def joint_ranges(self) -> FloatArray:
        """Joint limits, shape (6, 2), rad."""
        return self._ranges.copy()

    @property
    def targets(self) -> FloatArray:
        """The joint positions that the servos aim at now, shape (6,), rad."""
        return np.array(self.data.ctrl)

    @property
    def success(self) -> bool:
        """Whether the cube is lifted, and has been in the gripper for long enough."""
        return self._held_checks * self.CHECK_PERIOD_NS >= round(self.settings.hold_s * 1e9)

    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt: the arm near home, the cube somewhere within reach.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """
        settings = self.settings
        noise = np.clip(rng.standard_normal(len(so101.JOINTS)), -2.0, 2.0) * settings.start_noise_rad
        place = np.array([rng.uniform(*settings.cube_x_m), rng.uniform(*settings.cube_y_m)])
        yaw = rng.uniform(-settings.cube_yaw_rad, settings.cube_yaw_rad)
        self._lay_out(np.array(so101.HOME) + noise, place, yaw_rad=float(yaw))

    def set_targets(self, targets: FloatArray) -> None:
        """Tell the servos where to go.

        Args:
            targets: joint positions in the order of `so101.JOINTS`, shape (6,), rad; the servos
                stop at their limits.
        """
        self.data.ctrl[:] = np.clip(targets, self._ranges[:, 0], self._ranges[:, 1])

    def advance(self, duration_ns: int) -> None:
        """Let time pass, in steps of `step_ns` that are cut where needed.

        Args:
            duration_ns: how long, nanoseconds, of any length.
        """
        until_ns = self.time_ns + duration_ns
        while self.time_ns < until_ns:
            check_ns = (self.time_ns // self.CHECK_PERIOD_NS + 1) * self.CHECK_PERIOD_NS
            self._integrate(min(check_ns, until_ns) - self.time_ns)
            if self.time_ns == check_ns:
                self._held_checks = self._held_checks + 1 if self.held and self.lifted else 0

    def _integrate(self, duration_ns: int) -> None:
        whole, rest_ns = divmod(duration_ns, self.step_ns)
        if whole:
            mujoco.mj_step(self.model, self.data, nstep=whole)
        if rest_ns:
            self.model.opt.timestep = rest_ns * 1e-9
            mujoco.mj_step(self.model, self.data)
            self.model.opt.timestep = self.step_ns * 1e-9
        self.time_ns += duration_ns

    @property
    def lifted(self) -> bool:
        """Whether the underside of the cube is high enough, however it is turned."""
        rotation = self.data.geom_xmat[self._cube_geom].reshape(3, 3)
        below = float(np.abs(rotation[2]).sum()) * so101.CUBE_EDGE_M / 2
        return float(self.data.geom_xpos[self._cube_geom, 2]) - below >= self.settings.lift_m

    @property
    def held(self) -> bool:
        """Whether both finger pads touch the cube."""
        touching = set()
        for first, second in self.data.contact.geom[: self.data.ncon].tolist():
            if first == self._cube_geom:
                touching.add(second)
            elif second == self._cube_geom:
                touching.add(first)
        return touching.issuperset(self._pads)

    def observe(self) -> dict[str, FloatArray]:
        """Measure everything that the robot card names.

        Returns:
            joint_position (6,) rad, joint_velocity (6,) rad/s, cube_position (3,) m in base_link,
            cube_orientation (4,) quaternion w, x, y, z with w >= 0; new arrays.
        """
        quaternion = self.data.xquat[self._cube_body]
        return {
            "joint_position": self.data.qpos[self._arm].copy(),
            "joint_velocity": self.data.qvel[self._arm].copy(),
            "cube_position": self.data.xpos[self._cube_body].copy(),
            "cube_orientation": -quaternion if quaternion[0] < 0 else quaternion.copy(),
        }

    @property
    def state(self) -> FloatArray:
        """The positions, for replay with the visual model: six joints, the cube's pose, shape (13,)."""
        return np.array(self.data.qpos)

    def _lay_out(self, joints: FloatArray, place_m: FloatArray, *, yaw_rad: float) -> None:
        mujoco.mj_resetData(self.model, self.data)
        joints = np.clip(joints, self._ranges[:, 0], self._ranges[:, 1])
        self.data.qpos[self._arm] = joints
        half = [np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)]
        self.data.qpos[len(so101.JOINTS) :] = [*place_m, so101.CUBE_EDGE_M / 2, *half]
        self.data.ctrl[:] = joints
        self.time_ns = 0
        self._held_checks = 0
        mujoco.mj_forward(self.model, self.data)
