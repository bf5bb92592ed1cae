"""The Franka Emika Panda at a table: the MuJoCo world that its tasks are built on.

The kinematics, joint limits and torque limits are those of the manufacturer's documentation (modified
Denavit-Hartenberg parameters; Robot Control Parameters), the link masses those of Gaz et al., "Dynamic
Identification of the Franka Emika Panda Robot", 2019. The shapes are ours: cylinders and capsules as thick
as the links. The world frame is the arm's `base_link` (franka's `panda_link0`): x forward, y left, z up, the
arm stands on the table whose top is z = 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# The joints from the base to the flange, as on the robot card.
JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
# Joint limits, rad.
RANGES = (
    (-2.8973, 2.8973),
    (-1.7628, 1.7628),
    (-2.8973, 2.8973),
    (-3.0718, -0.0698),
    (-2.8973, 2.8973),
    (-0.0175, 3.7525),
    (-2.8973, 2.8973),
)
# Where the arm waits: the tool 0.5 m in front of the base, 0.30 m above the table, pointing down, rad.
HOME = (0.0, -0.1101, 0.0, -2.2727, 0.0, 2.1626, 0.7854)
# From the flange to the point between the finger tips, metres, and how the hand is turned on the flange, rad.
HAND_LENGTH_M = 0.1034
HAND_TURN_RAD = -float(np.pi / 4)

# Collision bits: the table and what stands on it, what is moved, the arm and hand, the tool.
TABLE_BIT, OBJECT_BIT, ARM_BIT, TOOL_BIT = 1, 2, 4, 8


@dataclass(frozen=True)
class Link:
    """One link: where its joint is in the frame of the link before, and what it weighs."""

    # Modified Denavit-Hartenberg parameters, metres and rad.
    a_m: float
    d_m: float
    alpha_rad: float
    # Mass, kg.
    mass_kg: float

    @property
    def origin_m(self) -> tuple[float, float, float]:
        """The joint's origin in the frame of the link before."""
        sine, cosine = np.sin(self.alpha_rad), np.cos(self.alpha_rad)
        return (self.a_m, float(-sine * self.d_m), float(cosine * self.d_m))

    @property
    def orientation_wxyz(self) -> tuple[float, float, float, float]:
        """The joint's orientation in the frame of the link before."""
        return (float(np.cos(self.alpha_rad / 2)), float(np.sin(self.alpha_rad / 2)), 0.0, 0.0)


_QUARTER = float(np.pi / 2)
LINKS = (
    Link(0.0, 0.333, 0.0, 4.97),
    Link(0.0, 0.0, -_QUARTER, 0.647),
    Link(0.0, 0.316, _QUARTER, 3.229),
    Link(0.0825, 0.0, _QUARTER, 3.588),
    Link(-0.0825, 0.384, -_QUARTER, 1.226),
    Link(0.0, 0.0, _QUARTER, 1.667),
    Link(0.088, 0.0, _QUARTER, 0.736),
)
FLANGE_M = 0.107
_HAND_MASS_KG = 0.73


@dataclass(frozen=True)
class Drive:
    """A joint under the arm's own impedance controller: a spring and a damper with a torque limit."""

    # Torque for one radian of error, N m / rad.
    stiffness: float
    # Torque against one radian a second, N m s / rad.
    damping: float
    # Largest torque, N m.
    torque_limit_nm: float


# Stiffness: the one that libfranka's examples set. Damping: a steady ramp is followed 40 ms behind. The
# controller carries the links' weight by itself.
LAG_S = 0.04
DRIVES = tuple(
    Drive(stiffness, LAG_S * stiffness, torque_nm)
    for stiffness, torque_nm in (
        (3000.0, 87.0),
        (3000.0, 87.0),
        (3000.0, 87.0),
        (2500.0, 87.0),
        (2500.0, 12.0),
        (2000.0, 12.0),
        (2000.0, 12.0),
    )
)
# What the rotor adds to the inertia about each joint, kg m^2; friction is made up for by the controller.
_ARMATURE = 0.2
_JOINT_DAMPING = 1.0

_WHITE = (0.93, 0.94, 0.95, 1.0)
_DARK = (0.17, 0.18, 0.20, 1.0)


@dataclass(frozen=True)
class _Bar:
    # Link number, 0 the base; from, to, metres; radius, metres; flat ends or round.
    link: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    flat: bool = True
    dark: bool = False


_SHAPES = (
    _Bar(0, (-0.05, 0.0, 0.035), (0.0, 0.0, 0.035), 0.07),
    _Bar(0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.14), 0.075),
    _Bar(1, (0.0, 0.0, -0.19), (0.0, 0.0, -0.03), 0.062),
    _Bar(1, (0.0, -0.065, 0.0), (0.0, 0.065, 0.0), 0.062),
    _Bar(2, (0.0, 0.0, 0.0), (0.0, -0.15, 0.0), 0.058),
    _Bar(3, (0.0, 0.0, -0.165), (0.0, 0.0, -0.05), 0.058),
    _Bar(3, (0.0, 0.0, -0.06), (0.0825, 0.0, 0.0), 0.050, flat=False),
    _Bar(3, (0.0825, -0.060, 0.0), (0.0825, 0.060, 0.0), 0.052),
    _Bar(4, (0.0, 0.0, 0.0), (-0.0825, 0.075, 0.0), 0.050, flat=False),
    _Bar(4, (-0.0825, 0.07, 0.0), (-0.0825, 0.13, 0.0), 0.055),
    _Bar(5, (0.0, 0.0, -0.254), (0.0, 0.035, -0.05), 0.050, flat=False),
    _Bar(5, (0.0, -0.055, 0.0), (0.0, 0.075, 0.0), 0.048),
    _Bar(6, (0.0, 0.0, 0.0), (0.088, 0.0, 0.0), 0.045, flat=False),
    _Bar(6, (0.088, -0.05, 0.0), (0.088, 0.050, 0.0), 0.046),
    _Bar(7, (0.0, 0.0, 0.04), (0.0, 0.0, 0.107), 0.044, dark=True),
)
# The hand's box: half sizes and middle, metres, in the hand's frame; z points out of it.
_HAND_SIZE_M = (0.030, 0.100, 0.033)
_HAND_MIDDLE_M = (0.0, 0.0, 0.033)
_FINGER_SIZE_M = (0.010, 0.006, 0.022)


def build_spec(name: str, *, grip_m: float, visual: bool) -> mujoco.MjSpec:
    """Describe the arm with its hand, the table and the floor.

    Args:
        name: of the model.
        grip_m: how far the fingers are apart: the thickness of what they hold, metres.
        visual: with light and sky, for rendering.

    Returns:
        A specification to which a task adds its objects, cameras and the tool (`hand`, z out of the hand).
    """
    spec = mujoco.MjSpec()
    spec.modelname = name
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.timestep = 0.002
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.compiler.degree = False
    _add_table(spec)
    _add_arm(spec)
    _add_hand(spec, grip_m)
    if visual:
        _light(spec)
    return spec


def _add_table(spec: mujoco.MjSpec) -> None:
    table = spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.60, 0.60, 0.02],
        pos=[0.40, 0.0, -0.02],
        contype=TABLE_BIT,
        conaffinity=OBJECT_BIT | ARM_BIT | TOOL_BIT,
        friction=[0.4, 0.005, 0.0001],
        rgba=[0.76, 0.73, 0.68, 1.0],
    )
    table.priority = 0
    # What falls off the table stops here.
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[4.0, 4.0, 0.1],
        pos=[0.0, 0.0, -0.72],
        contype=TABLE_BIT,
        conaffinity=OBJECT_BIT,
        rgba=[0.66, 0.71, 0.76, 1.0],
    )


def _add_arm(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="panda_link0")
    _add_shapes(body, 0)
    for number, (joint, link) in enumerate(zip(JOINTS, LINKS, strict=True), start=1):
        body = body.add_body(
            name=f"panda_link{number}",
            pos=list(link.origin_m),
            quat=list(link.orientation_wxyz),
            gravcomp=1.0,
        )
        body.add_joint(
            name=joint,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=[0, 0, 1],
            range=list(RANGES[number - 1]),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            armature=_ARMATURE,
            damping=[_JOINT_DAMPING, 0.0, 0.0],
        )
        _add_shapes(body, number)
        drive = DRIVES[number - 1]
        actuator = spec.add_actuator(
            name=joint,
            target=joint,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrlrange=list(RANGES[number - 1]),
            ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            forcerange=[-drive.torque_limit_nm, drive.torque_limit_nm],
            forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        )
        actuator.set_to_position(kp=drive.stiffness, kv=drive.damping)


def _add_shapes(body: mujoco.MjsBody, number: int) -> None:
    bars = [bar for bar in _SHAPES if bar.link == number]
    for index, bar in enumerate(bars):
        body.add_geom(
            name=f"panda_link{number}_{index}",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER if bar.flat else mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=[*bar.start, *bar.end],
            size=[bar.radius, 0.0, 0.0],
            mass=(LINKS[number - 1].mass_kg if number else 3.0) / len(bars),
            # The links above the elbow cannot come down to the table.
            contype=ARM_BIT if number >= 5 else 0,
            conaffinity=0,
            rgba=_DARK if bar.dark else _WHITE,
        )


def _add_hand(spec: mujoco.MjSpec, grip_m: float) -> None:
    half = HAND_TURN_RAD / 2
    hand = spec.body("panda_link7").add_body(
        name="hand",
        pos=[0.0, 0.0, FLANGE_M],
        quat=[float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],
        gravcomp=1.0,
    )
    hand.add_geom(
        name="hand",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=list(_HAND_SIZE_M),
        pos=list(_HAND_MIDDLE_M),
        mass=_HAND_MASS_KG * 0.8,
        contype=ARM_BIT,
        conaffinity=0,
        rgba=_WHITE,
    )
    for side, name in ((1, "left_finger"), (-1, "right_finger")):
        hand.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=list(_FINGER_SIZE_M),
            pos=[0.0, side * (grip_m / 2 + _FINGER_SIZE_M[1]), 0.088],
            mass=_HAND_MASS_KG * 0.1,
            contype=ARM_BIT,
            conaffinity=0,
            rgba=_DARK,
        )
    hand.add_site(name="hand", pos=[0.0, 0.0, HAND_LENGTH_M], group=4, size=[0.004, 0.004, 0.004])


def _light(spec: mujoco.MjSpec) -> None:
    spec.visual.headlight.ambient = [0.40, 0.40, 0.42]
    spec.visual.headlight.diffuse = [0.22, 0.22, 0.22]
    spec.visual.headlight.specular = [0.05, 0.05, 0.05]
    spec.visual.quality.shadowsize = 1024
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 20.0
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.96, 0.97, 0.99],
        rgb2=[0.80, 0.86, 0.93],
        width=64,
        height=384,
    )
    for name, pos, direction, strength, shadow in (
        ("key", [0.9, -0.9, 1.8], [-0.22, 0.42, -0.88], 0.50, True),
        ("fill", [-0.4, 0.8, 1.2], [0.35, -0.55, -0.75], 0.20, False),
    ):
        spec.worldbody.add_light(
            name=name,
            pos=pos,
            dir=direction,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            diffuse=[strength, strength, strength],
            specular=[0.2, 0.2, 0.2] if shadow else [0.0, 0.0, 0.0],
            castshadow=shadow,
        )


def urdf() -> str:
    """Describe the arm for RViz, Foxglove and robot_state_publisher.

    Returns:
        A URDF document: links `base_link`, `panda_link1` to `panda_link7` and `hand`, the joints of `JOINTS`;
        cylinders for shapes.
    """
    return "\n".join(['<?xml version="1.0"?>', '<robot name="panda">', *_urdf_lines(), "</robot>", ""])


def _urdf_lines() -> Iterator[str]:
    names = ("base_link", *(f"panda_link{number}" for number in range(1, 8)))
    for number, name in enumerate(names):
        yield f'  <link name="{name}">'
        for bar in (bar for bar in _SHAPES if bar.link == number):
            start, end = np.array(bar.start), np.array(bar.end)
            middle, axis = (start + end) / 2, end - start
            length = float(np.linalg.norm(axis))
            pitch = float(np.arctan2(np.hypot(axis[0], axis[1]), axis[2]))
            yaw = float(np.arctan2(axis[1], axis[0]))
            yield (
                f'    <visual><origin xyz="{_numbers(middle)}" rpy="{_numbers((0.0, pitch, yaw))}"/>'
                f'<geometry><cylinder radius="{bar.radius}" length="{length:.6g}"/></geometry></visual>'
            )
        yield "  </link>"
    for number, (joint, link, limits, drive) in enumerate(zip(JOINTS, LINKS, RANGES, DRIVES, strict=True)):
        yield f'  <joint name="{joint}" type="revolute">'
        yield f'    <parent link="{names[number]}"/><child link="{names[number + 1]}"/>'
        yield f'    <origin xyz="{_numbers(link.origin_m)}" rpy="{link.alpha_rad:.9g} 0 0"/>'
        yield '    <axis xyz="0 0 1"/>'
        yield (
            f'    <limit lower="{limits[0]}" upper="{limits[1]}" effort="{drive.torque_limit_nm}"'
            f' velocity="{2.175 if number < 4 else 2.61}"/>'
        )
        yield "  </joint>"
    yield '  <link name="hand">'
    size = _numbers(2 * np.array(_HAND_SIZE_M))
    yield (
        f'    <visual><origin xyz="{_numbers(_HAND_MIDDLE_M)}"/>'
        f'<geometry><box size="{size}"/></geometry></visual>'
    )
    yield "  </link>"
    yield '  <joint name="hand_joint" type="fixed">'
    yield '    <parent link="panda_link7"/><child link="hand"/>'
    yield f'    <origin xyz="0 0 {FLANGE_M}" rpy="0 0 {HAND_TURN_RAD:.9g}"/>'
    yield "  </joint>"


def _numbers(values: FloatArray | tuple[float, ...]) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)
