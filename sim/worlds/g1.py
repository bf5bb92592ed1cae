"""The upper body of a Unitree G1 (29 degrees of freedom): the MuJoCo world.

Kinematics, masses, inertias, joint ranges, torque limits and servo gains are those of `unitree_g1/g1.xml` in
MuJoCo Menagerie (BSD-3-Clause, Unitree Robotics; see LICENSE.g1 beside this file). The shapes are ours:
capsules instead of meshes. The pelvis is fixed on a post, the legs are left out. The world frame is that of
the pelvis, which is also the base of the robot: x forward, y left, z up.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from sim.worlds.look import look_at
from sim.worlds.so101_table import add_light

_Numbers = tuple[float, ...]
_UPRIGHT = (1.0, 0.0, 0.0, 0.0)
_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Link:
    """One link with the joint that moves it."""

    # Its joint is NAME_joint, its body NAME_link, as in the manufacturer's files.
    name: str
    # The name of the link that carries it; empty: the pelvis.
    parent: str
    # Where it is on that one, metres, quaternion w, x, y, z.
    position_m: _Numbers
    # The joint's axis, in the frame of the link, and its range, rad.
    axis: _Numbers
    range_rad: tuple[float, float]
    # Largest torque, N m.
    torque_nm: float
    # Mass, kg, its centre, and the principal moments of inertia with their frame.
    mass_kg: float
    centre_m: _Numbers
    frame_wxyz: _Numbers
    inertia: _Numbers
    quaternion: _Numbers = _UPRIGHT
    # What it looks like, and what of it may be touched: a capsule's ends and its radius, metres.
    capsule: tuple[_Numbers, _Numbers, float] | None = None


_TORSO = (
    Link("waist_yaw", "", (0.0, 0.0, 0.0), _Z, (-2.618, 2.618), 88.0, 0.214, (0.003494, 0.000233, 0.018034),
         (0.289697, 0.591001, -0.337795, 0.672821), (0.000163531, 0.000107714, 0.000102205),
         capsule=((0.0, -0.04, 0.02), (0.0, 0.04, 0.02), 0.055)),
    Link("waist_roll", "waist_yaw", (-0.0039635, 0.0, 0.044), _X, (-0.52, 0.52), 50.0, 0.086,
         (0.0, 2.3e-05, 0.0), (0.5, 0.5, -0.5, 0.5), (8.245e-06, 7.079e-06, 6.339e-06)),
    Link("waist_pitch", "waist_roll", (0.0, 0.0, 0.0), _Y, (-0.52, 0.52), 50.0, 7.818,
         (0.00203158, 0.000339683, 0.184568), (0.999803, -6.03319e-05, 0.0198256, 0.00131986),
         (0.121847, 0.109825, 0.0273735), capsule=((0.0, 0.0, 0.09), (0.0, 0.0, 0.23), 0.085)),
)  # fmt: skip
_LEFT = (
    Link("shoulder_pitch", "waist_pitch", (0.0039563, 0.10022, 0.24778), _Y, (-3.0892, 2.6704), 25.0, 0.718,
         (0.0, 0.035892, -0.011628), (0.654152, 0.0130458, -0.326267, 0.68225),
         (0.000465864, 0.000432842, 0.000406394), (0.990264, 0.139201, 1.38722e-05, -9.86868e-05),
         ((0.0, 0.0, 0.0), (0.0, 0.045, -0.01), 0.04)),
    Link("shoulder_roll", "shoulder_pitch", (0.0, 0.038, -0.013831), _X, (-1.5882, 2.2515), 25.0, 0.643,
         (-0.000227, 0.00727, -0.063243), (0.701256, -0.0196223, -0.00710317, 0.712604),
         (0.000691311, 0.000618011, 0.000388977), (0.990268, -0.139172, 0.0, 0.0),
         ((-0.002, 0.006, -0.02), (-0.002, 0.006, -0.08), 0.035)),
    Link("shoulder_yaw", "shoulder_roll", (0.0, 0.00624, -0.1032), _Z, (-2.618, 2.618), 25.0, 0.734,
         (0.010773, -0.002949, -0.072009), (0.716879, -0.0964829, -0.0679942, 0.687134),
         (0.00106187, 0.00103217, 0.000400661), capsule=((0.0, 0.0, -0.01), (0.008, 0.0, -0.07), 0.033)),
    Link("elbow", "shoulder_yaw", (0.015783, 0.0, -0.080518), _Y, (-1.0472, 2.0944), 25.0, 0.6,
         (0.064956, 0.004454, -0.010062), (0.541765, 0.636132, 0.388821, 0.388129),
         (0.000443035, 0.000421612, 0.000259353), capsule=((0.01, 0.0, -0.006), (0.09, 0.0, -0.01), 0.03)),
    Link("wrist_roll", "elbow", (0.1, 0.00188791, -0.01), _X, (-1.97222, 1.97222), 25.0, 0.085445,
         (0.0171394, 0.000537591, 4.8864e-07), (0.575338, 0.411667, -0.574906, 0.411094),
         (5.48211e-05, 4.96646e-05, 3.57798e-05), capsule=((0.0, 0.0, 0.0), (0.03, 0.0, 0.0), 0.027)),
    Link("wrist_pitch", "wrist_roll", (0.038, 0.0, 0.0), _Y, (-1.61443, 1.61443), 5.0, 0.48405,
         (0.0229999, -0.00111685, -0.00111658), (0.249998, 0.661363, 0.293036, 0.643608),
         (0.000430353, 0.000429873, 0.000164648), capsule=((0.005, 0.0, 0.0), (0.04, 0.0, 0.0), 0.026)),
    Link("wrist_yaw", "wrist_pitch", (0.046, 0.0, 0.0), _Z, (-1.61443, 1.61443), 5.0, 0.254576,
         (0.0708244, 0.000191745, 0.00161742), (0.510571, 0.526295, 0.468078, 0.493188),
         (0.000646113, 0.000559993, 0.000147566), capsule=((0.02, 0.0, 0.0), (0.13, 0.0, 0.0), 0.024)),
)  # fmt: skip
# The middle of the hand, on the last link of an arm, metres.
TOOL_POSITION_M = (0.09, 0.0, 0.0)
# Which links of an arm may touch the torso, and those of the other one.
_TOUCHING = ("elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
_TORSO_BIT, _LEFT_BIT, _RIGHT_BIT = 1, 2, 4

_STIFFNESS, _ARMATURE, _FRICTION_NM = 500.0, 0.01, 0.3
_TIMESTEP_S = 0.002
_LIGHT_RGBA, _DARK_RGBA = (0.78, 0.79, 0.81, 1.0), (0.16, 0.17, 0.20, 1.0)


def _arm(side: str) -> tuple[Link, ...]:
    """An arm; the right one is the left one in a mirror (the source differs from that by 10 micrometres)."""
    named = [
        replace(
            link,
            name=f"{side}_{link.name}",
            parent=link.parent if link.parent.startswith("waist") else f"{side}_{link.parent}",
        )
        for link in _LEFT
    ]
    return tuple(named if side == "left" else map(_mirrored, named))


def _mirrored(link: Link) -> Link:
    def point(p: _Numbers) -> _Numbers:
        return (p[0], -p[1], p[2])

    def turn(q: _Numbers) -> _Numbers:
        return (q[0], -q[1], q[2], -q[3])

    low, high = link.range_rad
    return replace(
        link,
        position_m=point(link.position_m),
        quaternion=turn(link.quaternion),
        centre_m=point(link.centre_m),
        frame_wxyz=turn(link.frame_wxyz),
        range_rad=(low, high) if link.axis == _Y else (-high, -low),
        capsule=link.capsule and (point(link.capsule[0]), point(link.capsule[1]), link.capsule[2]),
    )


# From the waist to both hands, in the order of the robot's motors (12 to 28 of 29).
LINKS = (*_TORSO, *_arm("left"), *_arm("right"))
JOINTS = tuple(f"{link.name}_joint" for link in LINKS)
# Where the joints are at rest, rad: upright, the hands in front of the robot.
HOME = (0.0, 0.0, 0.0, -0.1, 0.2, 0.0, 0.1, 0.0, 0.0, 0.0, -0.1, -0.2, 0.0, 0.1, 0.0, 0.0, 0.0)
# The cameras with their vertical fields of view, degrees: one in front of the robot, one in its head.
CAMERA_FOVY_DEG = {"front": 45.0, "head": 75.0}


def build_spec(*, visual: bool = False) -> mujoco.MjSpec:
    """Describe the robot on its post.

    Args:
        visual: with light and sky, for rendering; a state of one is a state of the other.

    Returns:
        A specification that may be extended.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "g1_upper"
    spec.compiler.degree = False
    spec.option.timestep = _TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # A state that is not finite must be seen, not silently reset.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    spec.stat.center, spec.stat.extent = [0.1, 0.0, 0.15], 0.9
    _add_post(spec)
    bodies = {"": spec.worldbody}
    for link in LINKS:
        bodies[link.name] = _add_link(bodies[link.parent], link)
        actuator = spec.add_actuator(
            name=f"{link.name}_joint", target=f"{link.name}_joint", trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        actuator.set_to_position(kp=_STIFFNESS, dampratio=1.0)
        actuator.ctrlrange = link.range_rad
        actuator.forcerange = [-link.torque_nm, link.torque_nm]
        actuator.ctrllimited = actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    for side in ("left", "right"):
        bodies[f"{side}_wrist_yaw"].add_site(
            name=f"{side}_tool", pos=TOOL_POSITION_M, group=4, size=[0.005] * 3
        )
    torso = bodies["waist_pitch"]
    torso.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[0.062, 0.058, 0.085], pos=[0.01, 0.0, 0.40],
                   contype=0, conaffinity=0, mass=0.0, rgba=_DARK_RGBA)  # fmt: skip
    look_at(torso, "head", (0.075, 0.0, 0.43), (0.40, 0.0, 0.05), fovy_deg=CAMERA_FOVY_DEG["head"])
    look_at(
        spec.worldbody, "front", (1.10, -0.60, 0.52), (0.08, 0.0, 0.15), fovy_deg=CAMERA_FOVY_DEG["front"]
    )
    if visual:
        add_light(spec)
    return spec


def urdf() -> str:
    """Describe the upper body for RViz, Foxglove and robot_state_publisher.

    Returns:
        A URDF document: links `base_link` (the pelvis) and NAME_link, the joints of `JOINTS`; cylinders for
        capsules.
    """
    robot = ElementTree.Element("robot", name="g1_upper")
    ElementTree.SubElement(robot, "link", name="base_link")
    for link in LINKS:
        body = ElementTree.SubElement(robot, "link", name=f"{link.name}_link")
        if link.capsule is not None:
            _add_cylinder(body, *link.capsule)
        joint = ElementTree.SubElement(robot, "joint", name=f"{link.name}_joint", type="revolute")
        rpy = _text(_rpy(link.quaternion))
        ElementTree.SubElement(joint, "origin", xyz=_text(link.position_m), rpy=rpy)
        parent = f"{link.parent}_link" if link.parent else "base_link"
        ElementTree.SubElement(joint, "parent", link=parent)
        ElementTree.SubElement(joint, "child", link=f"{link.name}_link")
        ElementTree.SubElement(joint, "axis", xyz=_text(link.axis))
        low, high = link.range_rad
        ElementTree.SubElement(
            joint, "limit", lower=f"{low}", upper=f"{high}", effort=f"{link.torque_nm}", velocity="3"
        )
    return ElementTree.tostring(robot, encoding="unicode")


def _add_post(spec: mujoco.MjSpec) -> None:
    still = {"contype": 0, "conaffinity": 0}
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[4.0, 4.0, 0.1], pos=[0.0, 0.0, -0.79], **still,
        rgba=[0.66, 0.71, 0.76, 1.0],
    )  # fmt: skip
    spec.worldbody.add_geom(
        name="post", type=mujoco.mjtGeom.mjGEOM_CYLINDER, fromto=[0, 0, -0.79, 0, 0, -0.08],
        size=[0.04, 0, 0], **still, rgba=[0.45, 0.47, 0.50, 1.0],
    )  # fmt: skip
    spec.worldbody.add_geom(
        name="pelvis", type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, -0.05, -0.06, 0, 0.05, -0.06],
        size=[0.065, 0, 0], **still, rgba=_DARK_RGBA,
    )  # fmt: skip


def _add_link(parent: mujoco.MjsBody, link: Link) -> mujoco.MjsBody:
    body = parent.add_body(name=f"{link.name}_link", pos=link.position_m, quat=link.quaternion)
    body.mass, body.ipos, body.iquat = link.mass_kg, link.centre_m, link.frame_wxyz
    body.inertia, body.explicitinertial = link.inertia, True
    body.add_joint(
        name=f"{link.name}_joint",
        axis=link.axis,
        range=link.range_rad,
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        armature=_ARMATURE,
        frictionloss=_FRICTION_NM,
    )
    if link.capsule is None:
        return body
    side, _, part = link.name.partition("_")
    bit, others = 0, 0
    if part in _TOUCHING:
        bit, other = (_LEFT_BIT, _RIGHT_BIT) if side == "left" else (_RIGHT_BIT, _LEFT_BIT)
        others = _TORSO_BIT | other
    elif link.name == "waist_pitch":
        bit, others = _TORSO_BIT, _LEFT_BIT | _RIGHT_BIT
    begin, end, radius = link.capsule
    body.add_geom(
        name=link.name,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[*begin, *end],
        size=[radius, 0.0, 0.0],
        contype=bit,
        conaffinity=others,
        mass=0.0,
        rgba=_DARK_RGBA if part in ("wrist_yaw", "shoulder_roll", "wrist_roll") else _LIGHT_RGBA,
    )
    return body


def _add_cylinder(body: ElementTree.Element, begin: _Numbers, end: _Numbers, radius: float) -> None:
    way = np.array(end) - np.array(begin)
    length = float(np.linalg.norm(way))
    # From the cylinder's z axis to the way: first about y, then about z.
    pitch, yaw = math.acos(way[2] / length), math.atan2(way[1], way[0])
    visual = ElementTree.SubElement(body, "visual")
    middle = _text(tuple((np.array(begin) + np.array(end)) / 2))
    ElementTree.SubElement(visual, "origin", xyz=middle, rpy=_text((0.0, pitch, yaw)))
    shape = ElementTree.SubElement(visual, "geometry")
    ElementTree.SubElement(shape, "cylinder", radius=f"{radius}", length=f"{length + radius:.5f}")


def _rpy(quaternion: _Numbers) -> _Numbers:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return (
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x)))),
        math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    )


def _text(numbers: _Numbers) -> str:
    return " ".join(f"{float(x):.9g}" for x in numbers)
