"""The physics of pushing a T block to its place with a Panda that holds a rod.

The T has the proportions of the published PushT (Florence et al., 2021; Chi et al., 2023): a bar of four by
one units and a stem of one by three. What counts is how much of the goal it covers, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import panda
from sim.worlds.arm_world import ORIENTATION, POSITION, ArmWorld, joint_terms, upright
from sim.worlds.coverage import coverage
from sim.worlds.look import look_at
from sim.worlds.panda_reach import PandaReach, pointing_down

FloatArray = NDArray[np.float64]

# One unit of the T, its height and half of it, metres, and its mass, kg.
UNIT_M = 0.03
HEIGHT_M = 0.03
MASS_KG = 0.20
# The convex parts of the T in its own frame, corners anticlockwise, metres: the origin is the T's centre of
# area, the stem points along -y.
_TOP_M = UNIT_M * (4 * 0.5 + 3 * 2.5) / 7
PARTS = (
    np.array([[-2, -1], [2, -1], [2, 0], [-2, 0]]) * UNIT_M + [0.0, _TOP_M],
    np.array([[-0.5, -4], [0.5, -4], [0.5, -1], [-0.5, -1]]) * UNIT_M + [0.0, _TOP_M],
)
# Where the T ought to be: x, y in base_link, metres, and its angle, rad.
GOAL = (0.52, 0.0, float(np.pi / 4))
# The rod that pushes: its radius, how far it reaches below the finger tips, and how high its end is carried
# above the table, metres.
ROD_RADIUS_M = 0.010
ROD_LENGTH_M = 0.10
CARRY_HEIGHT_M = 0.010
# Where the rod may go, base_link, metres.
ROD_X_M = (0.32, 0.72)
ROD_Y_M = (-0.26, 0.26)
# Friction between T and table, and between T and rod.
TABLE_FRICTION = 0.35
ROD_FRICTION = 0.25


@dataclass(frozen=True)
class PushTSettings:
    """How an attempt begins and what counts as success."""

    # Where the T may start on the table: its centre of area, base_link, metres.
    block_x_m: tuple[float, float] = (0.44, 0.60)
    block_y_m: tuple[float, float] = (-0.10, 0.10)
    # Largest turn of the T away from its goal's angle, rad.
    block_turn_rad: float = float(np.pi / 2)
    # Where the rod may start, base_link, metres; at least `clear_m` from the T's centre.
    rod_x_m: tuple[float, float] = (0.36, 0.66)
    rod_y_m: tuple[float, float] = (-0.20, 0.20)
    clear_m: float = 0.12
    # The share of the goal that the T must cover, 0 to 1; gym-pusht asks for 0.95.
    coverage: float = 0.90

    def __post_init__(self) -> None:
        """Refuse a start that cannot be or lies out of reach.

        Raises:
            ConfigError: an empty range, a place out of reach, or a share that is none.
        """
        for name, limits in (
            ("block_x_m", ROD_X_M),
            ("block_y_m", ROD_Y_M),
            ("rod_x_m", ROD_X_M),
            ("rod_y_m", ROD_Y_M),
        ):
            lower, upper = getattr(self, name)
            if not limits[0] <= lower <= upper <= limits[1]:
                raise ConfigError(
                    f"{name} is ({lower}, {upper})",
                    where="PushTSettings",
                    expected=f"lower <= upper, within {limits[0]} to {limits[1]} m",
                    mend=f"correct {name}",
                )
        if not (0 <= self.block_turn_rad <= np.pi and 0 < self.coverage < 1):
            raise ConfigError(
                f"block_turn_rad {self.block_turn_rad}, coverage {self.coverage}",
                where="PushTSettings",
                expected="a turn of 0 to pi and a share between 0 and 1",
                mend="correct the number",
            )
        corners = np.array([(x, y) for x in self.rod_x_m for y in self.rod_y_m])
        blocks = np.array([(x, y) for x in self.block_x_m for y in self.block_y_m])
        room = np.linalg.norm(corners[:, None] - blocks[None], axis=2).max(axis=0).min()
        if not 0.08 <= self.clear_m <= room:
            raise ConfigError(
                f"clear_m is {self.clear_m}",
                where="PushTSettings",
                expected=f"0.08 m (the rod must not start inside the T) to {room:.3f} m (it must fit)",
                mend="correct clear_m, or widen rod_x_m and rod_y_m",
            )


class PushTWorld(ArmWorld):
    """A table, a T with its goal, and a Panda with a rod; physics runs in steps of at most 2 ms.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    TASK = "reflexarc/PushT-v0"
    CONTROL_HZ = 10
    JOINTS = panda.JOINTS
    HOME = panda.HOME
    GATE_CARD = "panda_push_t"
    CAMERAS = {"front": 42.0, "wrist": 75.0}
    MEASURED = {
        **joint_terms(panda.JOINTS),
        "tool_position": POSITION,
        "tool_orientation": ORIENTATION,
        "block_position": POSITION,
        "block_orientation": ORIENTATION,
    }
    SUCCESS = "the T covers its goal"
    DURATION_S = 30.0

    def __init__(self, *, settings: PushTSettings | None = None) -> None:
        """Compile the world and lay everything out."""
        self.settings = settings or PushTSettings()
        super().__init__(hold_s=0.0)
        self._reach = PandaReach()
        self._block = self.model.body("block").id
        self._tool = self.model.site("tool").id
        self._goal = np.array(GOAL)
        self._lay_out(np.array([0.40, 0.0]), np.array([GOAL[0], 0.05, GOAL[2]]))

    @staticmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world; with `visual`, with light and sky."""
        return _build_spec(visual=visual).compile()

    @staticmethod
    def urdf() -> str:
        """Describe the arm for RViz and Foxglove."""
        return panda.urdf()

    @property
    def block_pose(self) -> FloatArray:
        """Where the T is on the table: x, y, m in base_link, and its angle, rad, shape (3,)."""
        rotation = self.data.xmat[self._block]
        return np.array([*self.data.xpos[self._block][:2], np.arctan2(rotation[3], rotation[0])])

    @property
    def coverage(self) -> float:
        """The share of its goal that the T covers, 0 to 1."""
        return coverage(PARTS, self.block_pose, self._goal)

    @property
    def reached(self) -> bool:
        """Whether the T covers enough of its goal, lying flat."""
        pose = self.block_pose
        # The polygons need not be cut while the T is far off.
        is_near = abs(pose[0] - GOAL[0]) < UNIT_M and abs(pose[1] - GOAL[1]) < UNIT_M
        is_flat = bool(self.data.xmat[self._block][8] > 0.999)
        return is_near and is_flat and self.coverage >= self.settings.coverage

    def progress(self) -> dict[str, float]:
        """The coverage, 0 to 1."""
        return {"coverage": self.coverage}

    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt: the T somewhere near its goal, the rod beside it.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """
        settings = self.settings
        block = np.array(
            [
                rng.uniform(*settings.block_x_m),
                rng.uniform(*settings.block_y_m),
                GOAL[2] + rng.uniform(-settings.block_turn_rad, settings.block_turn_rad),
            ]
        )
        while True:
            rod = np.array([rng.uniform(*settings.rod_x_m), rng.uniform(*settings.rod_y_m)])
            if np.hypot(*(rod - block[:2])) >= settings.clear_m:
                break
        self._lay_out(rod, block)

    def observe(self) -> dict[str, FloatArray]:
        """Measure everything that the robot card names.

        Returns:
            joint_position (7,) rad, joint_velocity (7,) rad/s, tool_position (3,) the end of the rod and
            block_position (3,) m in base_link, tool_orientation and block_orientation (4,) quaternions
            w, x, y, z with w >= 0, both with z upwards; new arrays.
        """
        tool = np.empty(4)
        mujoco.mju_mat2Quat(tool, self.data.site_xmat[self._tool])
        return {
            **self._joint_terms(),
            "tool_position": self.data.site_xpos[self._tool].copy(),
            "tool_orientation": upright(tool),
            "block_position": self.data.xpos[self._block].copy(),
            "block_orientation": upright(self.data.xquat[self._block]),
        }

    def _lay_out(self, rod: FloatArray, block: FloatArray) -> None:
        self._begin(rod_joints(self._reach, rod))
        half = block[2] / 2
        self.data.qpos[len(panda.JOINTS) :] = [
            block[0],
            block[1],
            HEIGHT_M / 2,
            np.cos(half),
            0.0,
            0.0,
            np.sin(half),
        ]
        mujoco.mj_forward(self.model, self.data)


def rod_joints(reach: PandaReach, place_m: FloatArray, start: FloatArray | None = None) -> FloatArray:
    """Find joints that carry the rod's end over a place on the table.

    Args:
        reach: the arm's kinematics.
        place_m: x and y in base_link, shape (2,), metres.
        start: where the search begins, rad; None: home.

    Returns:
        Shape (7,), rad.
    """
    position = np.array([place_m[0], place_m[1], CARRY_HEIGHT_M + ROD_LENGTH_M])
    return reach.inverse(np.array(panda.HOME) if start is None else start, position, pointing_down(0.0))


def _build_spec(*, visual: bool) -> mujoco.MjSpec:
    spec = panda.build_spec("panda_push_t", grip_m=2 * ROD_RADIUS_M, visual=visual)
    hand = spec.body("hand")
    top = panda.HAND_LENGTH_M - 0.02
    hand.add_geom(
        name="rod",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[0.0, 0.0, top, 0.0, 0.0, panda.HAND_LENGTH_M + ROD_LENGTH_M - ROD_RADIUS_M],
        size=[ROD_RADIUS_M, 0.0, 0.0],
        mass=0.05,
        contype=panda.TOOL_BIT,
        conaffinity=0,
        friction=[ROD_FRICTION, 0.005, 0.0001],
        priority=1,
        rgba=[0.86, 0.30, 0.16, 1.0],
    )
    hand.add_site(
        name="tool",
        pos=[0.0, 0.0, panda.HAND_LENGTH_M + ROD_LENGTH_M],
        quat=[0.0, 1.0, 0.0, 0.0],
        group=4,
        size=[0.004, 0.004, 0.004],
    )
    block = spec.worldbody.add_body(name="block", pos=[GOAL[0], GOAL[1], HEIGHT_M / 2])
    block.add_freejoint(name="block")
    half = GOAL[2] / 2
    goal = spec.worldbody.add_body(
        name="goal", pos=[GOAL[0], GOAL[1], 0.0], quat=[float(np.cos(half)), 0.0, 0.0, float(np.sin(half))]
    )
    areas = [float(np.prod(np.ptp(part, axis=0))) for part in PARTS]
    for name, part, area in zip(("bar", "stem"), PARTS, areas, strict=True):
        middle, size = part.mean(axis=0), np.ptp(part, axis=0) / 2
        block.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[*size.tolist(), HEIGHT_M / 2],
            pos=[*middle.tolist(), 0.0],
            mass=MASS_KG * area / sum(areas),
            contype=panda.OBJECT_BIT,
            conaffinity=panda.TABLE_BIT | panda.ARM_BIT | panda.TOOL_BIT,
            friction=[TABLE_FRICTION, 0.005, 0.0001],
            rgba=[0.16, 0.36, 0.72, 1.0],
        )
        goal.add_geom(
            name=f"goal_{name}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[*size.tolist(), 0.0004],
            pos=[*middle.tolist(), 0.0004],
            contype=0,
            conaffinity=0,
            rgba=[0.40, 0.72, 0.42, 1.0],
        )
    spec.geom("table").friction = [TABLE_FRICTION, 0.005, 0.0001]
    look_at(
        spec.worldbody, "front", (0.98, -0.34, 0.46), (0.50, 0.0, 0.02), fovy_deg=PushTWorld.CAMERAS["front"]
    )
    look_at(hand, "wrist", (0.085, 0.0, 0.05), (0.02, 0.0, 0.23), fovy_deg=PushTWorld.CAMERAS["wrist"])
    return spec
