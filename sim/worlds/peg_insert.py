"""The physics of inserting a square peg into a square hole with a Panda, with half a millimetre to spare."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import panda
from sim.worlds.arm_world import ORIENTATION, POSITION, ArmWorld, joint_terms, upright
from sim.worlds.look import look_at
from sim.worlds.panda_reach import PandaReach, pointing_down

FloatArray = NDArray[np.float64]

# Edge of the square peg and how much wider the hole is, metres.
PEG_EDGE_M = 0.016
CLEARANCE_M = 0.0005
# How far the peg reaches below the finger tips, metres, and its mass, kg.
PEG_LENGTH_M = 0.05
PEG_MASS_KG = 0.06
# The block with the hole: its edge, its height, the depth of the hole, and its chamfer of 45 degrees, metres.
BLOCK_EDGE_M = 0.09
BLOCK_HEIGHT_M = 0.040
HOLE_DEPTH_M = 0.030
CHAMFER_M = 0.0015
# How far the peg must be in, and what may be amiss then: metres, rad.
SUCCESS_DEPTH_M = 0.025
SUCCESS_OFFSET_M = 0.001
SUCCESS_TILT_RAD = 0.03
# Where the middle of the hole may be on the table, base_link, metres.
REACH_X_M = (0.35, 0.70)
REACH_Y_M = (-0.30, 0.30)

# What the fingers give way: N/m and N m/rad, with damping so that nothing rings.
_GRIP_STIFFNESS, _GRIP_DAMPING = 20_000.0, 40.0
_GRIP_TURN_STIFFNESS, _GRIP_TURN_DAMPING = 60.0, 0.05
_STEP_S = 0.001
_CONTACT = {"solref": [0.002, 1.0], "solimp": [0.95, 0.99, 0.0005, 0.5, 2.0]}


@dataclass(frozen=True)
class PegInsertSettings:
    """How an attempt begins and what counts as success."""

    # Where the hole may be on the table, base_link, metres.
    hole_x_m: tuple[float, float] = (0.45, 0.60)
    hole_y_m: tuple[float, float] = (-0.12, 0.12)
    # Largest turn of the hole about the vertical, rad.
    hole_yaw_rad: float = 0.4
    # How far the peg's end may start beside the hole, and how high above the block, metres.
    start_offset_m: float = 0.05
    start_height_m: tuple[float, float] = (0.04, 0.09)
    # Largest error of the peg in the hand: beside the middle, metres, and turned about each axis, rad.
    grasp_offset_m: float = 0.003
    grasp_turn_rad: float = 0.04
    # For how long the peg must stay in, seconds.
    hold_s: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a start that cannot be or lies out of reach.

        Raises:
            ConfigError: an empty range, a place out of reach, or a number out of range.
        """
        for name, (lower, upper) in (("hole_x_m", REACH_X_M), ("hole_y_m", REACH_Y_M)):
            low, high = getattr(self, name)
            if not lower <= low <= high <= upper:
                raise _out_of_range(name, (low, high), f"lower <= upper, within {lower} to {upper} m")
        low, high = self.start_height_m
        if not 0.01 <= low <= high <= 0.25:
            raise _out_of_range("start_height_m", (low, high), "lower <= upper, within 0.01 to 0.25 m")
        for name, most in (
            ("hole_yaw_rad", float(np.pi / 4)),
            ("start_offset_m", 0.10),
            ("grasp_offset_m", 0.005),
            ("grasp_turn_rad", 0.10),
        ):
            if not 0.0 <= getattr(self, name) <= most:
                raise _out_of_range(name, getattr(self, name), f"0 to {most:.3g}")
        if not self.hold_s > 0:
            raise _out_of_range("hold_s", self.hold_s, "a positive time")


def _out_of_range(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} is {value}", where="PegInsertSettings", expected=expected, mend=f"correct {name}"
    )


class PegInsertWorld(ArmWorld):
    """A table, a block with a hole, and a Panda with a peg; physics runs in steps of at most 1 ms.

    Args:
        settings: how an attempt begins and what counts as success.
    """

    TASK = "reflexarc/PegInsert-v0"
    CONTROL_HZ = 25
    JOINTS = panda.JOINTS
    HOME = panda.HOME
    CAMERAS = {"front": 32.0, "wrist": 70.0}
    MEASURED = {
        **joint_terms(panda.JOINTS),
        "peg_position": POSITION,
        "peg_orientation": ORIENTATION,
        "hole_position": POSITION,
        "hole_orientation": ORIENTATION,
    }
    SUCCESS = "the peg is in the hole"
    DURATION_S = 10.0

    def __init__(self, *, settings: PegInsertSettings | None = None) -> None:
        """Compile the world and lay everything out."""
        self.settings = settings or PegInsertSettings()
        super().__init__(hold_s=self.settings.hold_s)
        self._reach = PandaReach()
        self._tip = self.model.site("peg").id
        self._hole = self.model.site("hole").id
        self._grip = int(self.model.joint("grip_x").qposadr[0])
        self._lay_out(np.array([0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.06, 0.0]), np.zeros(5))

    @staticmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world; with `visual`, with light and sky."""
        return _build_spec(visual=visual).compile()

    @staticmethod
    def urdf() -> str:
        """Describe the arm for RViz and Foxglove."""
        return panda.urdf()

    @property
    def depth(self) -> float:
        """How far the end of the peg is below the rim of the hole, along the hole's axis, metres."""
        return -float(self._tip_in_hole()[2])

    @property
    def offset(self) -> float:
        """How far the end of the peg is beside the hole's axis, metres."""
        return float(np.hypot(*self._tip_in_hole()[:2]))

    @property
    def tilt(self) -> float:
        """The angle between the peg and the hole's axis, rad."""
        peg = self.data.site_xmat[self._tip].reshape(3, 3)[:, 2]
        hole = self.data.site_xmat[self._hole].reshape(3, 3)[:, 2]
        return float(np.arccos(np.clip(peg @ hole, -1.0, 1.0)))

    @property
    def reached(self) -> bool:
        """Whether the peg is in, deep enough and straight."""
        return (
            self.depth >= SUCCESS_DEPTH_M
            and self.offset <= SUCCESS_OFFSET_M
            and self.tilt <= SUCCESS_TILT_RAD
        )

    def progress(self) -> dict[str, float]:
        """The depth of the peg's end below the rim, metres; negative above it."""
        return {"depth_m": self.depth}

    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt: the hole somewhere on the table, the peg above it, not held quite right.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """
        s = self.settings
        hole = np.array(
            [
                rng.uniform(*s.hole_x_m),
                rng.uniform(*s.hole_y_m),
                rng.uniform(-s.hole_yaw_rad, s.hole_yaw_rad),
            ]
        )
        offset = rng.uniform(-s.start_offset_m, s.start_offset_m, 2)
        start = np.array([*offset, rng.uniform(*s.start_height_m), rng.uniform(-0.2, 0.2)])
        grasp = rng.uniform(-1.0, 1.0, 5) * ([s.grasp_offset_m] * 2 + [s.grasp_turn_rad] * 3)
        self._lay_out(hole, start, grasp)

    def observe(self) -> dict[str, FloatArray]:
        """Measure everything that the robot card names.

        Returns:
            joint_position (7,) rad, joint_velocity (7,) rad/s, peg_position (3,) the end of the peg and
            hole_position (3,) the middle of the hole's rim, m in base_link, peg_orientation and
            hole_orientation (4,) quaternions w, x, y, z with w >= 0, both with z upwards; new arrays.
        """
        return {
            **self._joint_terms(),
            "peg_position": self.data.site_xpos[self._tip].copy(),
            "peg_orientation": self._orientation(self._tip),
            "hole_position": self.data.site_xpos[self._hole].copy(),
            "hole_orientation": self._orientation(self._hole),
        }

    def _orientation(self, site: int) -> FloatArray:
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, self.data.site_xmat[site])
        return upright(quaternion)

    def _tip_in_hole(self) -> FloatArray:
        rotation = self.data.site_xmat[self._hole].reshape(3, 3)
        away = self.data.site_xpos[self._tip] - self.data.site_xpos[self._hole]
        return np.asarray(rotation.T @ away)

    def _lay_out(self, hole: FloatArray, start: FloatArray, grasp: FloatArray) -> None:
        position = np.array(
            [hole[0] + start[0], hole[1] + start[1], BLOCK_HEIGHT_M + PEG_LENGTH_M + start[2]]
        )
        joints = self._reach.inverse(np.array(panda.HOME), position, pointing_down(hole[2] + start[3]))
        self._begin(joints)
        self.data.mocap_pos[0] = [hole[0], hole[1], 0.0]
        self.data.mocap_quat[0] = [np.cos(hole[2] / 2), 0.0, 0.0, np.sin(hole[2] / 2)]
        quaternion = np.empty(4)
        mujoco.mju_euler2Quat(quaternion, np.array(grasp[2:]), "xyz")
        grip = np.array([grasp[0], grasp[1], 0.0, *quaternion])
        self.data.qpos[self._grip : self._grip + 7] = grip
        # The fingers hold the peg like this from now on.
        self.model.qpos_spring[self._grip : self._grip + 7] = grip
        mujoco.mj_forward(self.model, self.data)


def _build_spec(*, visual: bool) -> mujoco.MjSpec:
    spec = panda.build_spec("panda_peg_insert", grip_m=PEG_EDGE_M, visual=visual)
    spec.option.timestep = _STEP_S
    hand = spec.body("hand")
    _add_peg(hand)
    _add_block(spec)
    look_at(
        spec.worldbody,
        "front",
        (1.00, -0.42, 0.40),
        (0.53, 0.0, 0.06),
        fovy_deg=PegInsertWorld.CAMERAS["front"],
    )
    look_at(hand, "wrist", (0.085, 0.0, 0.06), (0.01, 0.0, 0.17), fovy_deg=PegInsertWorld.CAMERAS["wrist"])
    return spec


def _add_peg(hand: mujoco.MjsBody) -> None:
    # The origin is between the finger tips, where the peg is held; z points up, out of the hole.
    peg = hand.add_body(
        name="peg", pos=[0.0, 0.0, panda.HAND_LENGTH_M], quat=[0.0, 1.0, 0.0, 0.0], gravcomp=1.0
    )
    for index, axis in enumerate("xyz"):
        peg.add_joint(
            name=f"grip_{axis}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[float(index == i) for i in range(3)],
            stiffness=[_GRIP_STIFFNESS, 0.0, 0.0],
            damping=[_GRIP_DAMPING, 0.0, 0.0],
        )
    peg.add_joint(
        name="grip_turn",
        type=mujoco.mjtJoint.mjJNT_BALL,
        stiffness=[_GRIP_TURN_STIFFNESS, 0.0, 0.0],
        damping=[_GRIP_TURN_DAMPING, 0.0, 0.0],
        armature=2e-5,
    )
    half = PEG_EDGE_M / 2
    peg.add_geom(
        name="peg",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half, half, (PEG_LENGTH_M + 0.02) / 2],
        pos=[0.0, 0.0, 0.01 - PEG_LENGTH_M / 2],
        mass=PEG_MASS_KG,
        contype=panda.TOOL_BIT,
        conaffinity=0,
        friction=[0.2, 0.005, 0.0001],
        priority=1,
        rgba=[0.86, 0.30, 0.16, 1.0],
        **_CONTACT,
    )
    peg.add_site(name="peg", pos=[0.0, 0.0, -PEG_LENGTH_M], group=4, size=[0.003, 0.003, 0.003])


def _add_block(spec: mujoco.MjSpec) -> None:
    block = spec.worldbody.add_body(name="block", mocap=True)
    outer, inner = BLOCK_EDGE_M / 2, (PEG_EDGE_M + CLEARANCE_M) / 2
    bottom, top = BLOCK_HEIGHT_M - HOLE_DEPTH_M, BLOCK_HEIGHT_M - CHAMFER_M
    options = {
        "type": mujoco.mjtGeom.mjGEOM_BOX,
        "contype": panda.TABLE_BIT,
        "conaffinity": panda.TOOL_BIT | panda.ARM_BIT,
        "rgba": [0.34, 0.42, 0.50, 1.0],
    }
    block.add_geom(name="bottom", size=[outer, outer, bottom / 2], pos=[0.0, 0.0, bottom / 2], **options)
    wide, middle = (outer - inner) / 2, (outer + inner) / 2
    high, height = (top - bottom) / 2, (top + bottom) / 2
    # The upper layer begins where the chamfer ends; its slope is the top of a tilted box.
    rim = inner + CHAMFER_M
    rim_wide, rim_middle = (outer - rim) / 2, (outer + rim) / 2
    slope = CHAMFER_M / np.sqrt(2)
    for number in range(4):
        turn = number * np.pi / 2
        sine, cosine = float(np.sin(turn)), float(np.cos(turn))
        quaternion = np.array([np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
        # Four walls, each as long as the block is wide on one side only, so that they do not overlap.
        along = (outer - inner) / 2
        block.add_geom(
            name=f"wall_{number}",
            size=[wide, (outer + inner) / 2, high],
            pos=_turned(sine, cosine, middle, along, height),
            quat=quaternion.tolist(),
            **options,
        )
        block.add_geom(
            name=f"rim_{number}",
            size=[rim_wide, (outer + rim) / 2, CHAMFER_M / 2],
            pos=_turned(sine, cosine, rim_middle, (outer - rim) / 2, BLOCK_HEIGHT_M - CHAMFER_M / 2),
            quat=quaternion.tolist(),
            **options,
        )
        tilt, tilted = np.array([np.cos(-np.pi / 8), 0.0, np.sin(-np.pi / 8), 0.0]), np.empty(4)
        mujoco.mju_mulQuat(tilted, quaternion, tilt)
        # The middle of the slope, and from there half the thickness of the box into the material.
        inside = slope / np.sqrt(2)
        block.add_geom(
            name=f"chamfer_{number}",
            size=[CHAMFER_M / np.sqrt(2), rim, slope],
            pos=_turned(
                sine, cosine, inner + CHAMFER_M / 2 + inside, 0.0, BLOCK_HEIGHT_M - CHAMFER_M / 2 - inside
            ),
            quat=tilted.tolist(),
            **options,
        )
    block.add_site(name="hole", pos=[0.0, 0.0, BLOCK_HEIGHT_M], group=4, size=[0.003, 0.003, 0.003])


def _turned(sine: float, cosine: float, x: float, y: float, z: float) -> list[float]:
    return [cosine * x - sine * y, sine * x + cosine * y, z]
