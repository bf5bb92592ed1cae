"""How the quadrotor's world looks: ground, light, sky, cameras, and a body of primitives.

Nothing in here changes the physics: shapes of the vehicle have no mass, and only those that are
said to touch the ground collide.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from hardware.command import FloatArray
from sim.quadrotor.airframes import MOTORS, ROTOR_SIGNS, TORQUE_SIGNS, Airframe

_Geom = mujoco.mjtGeom
_FRAME = [0.13, 0.14, 0.17, 1.0]
_HUB = [0.93, 0.94, 0.96, 1.0]
_METAL = [0.55, 0.57, 0.62, 1.0]
_FRONT = [0.98, 0.42, 0.13, 1.0]
_PAD = [0.82, 0.84, 0.87, 1.0]
_BACK = [0.12, 0.47, 0.86, 1.0]
# Centre of the flying ground, where the standing camera looks, metres.
_CENTRE_M = (0.0, 0.0, 0.9)


def add_scene(spec: mujoco.MjSpec, arm_m: float) -> mujoco.MjsGeom:
    """Add ground, sky, light and the camera that stands in front of the flying ground.

    Args:
        spec: the world to add to.
        arm_m: the size of the vehicle, to which the pad on the ground is scaled.

    Returns:
        The ground.
    """
    spec.stat.extent = 2.0
    spec.stat.center = list(_CENTRE_M)
    spec.visual.map.znear = 0.005
    spec.visual.map.zfar = 60.0
    spec.visual.map.shadowclip = 2.0
    spec.visual.quality.shadowsize = 4096
    spec.visual.headlight.ambient = [0.42, 0.42, 0.44]
    spec.visual.headlight.diffuse = [0.3, 0.3, 0.3]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.93, 0.95, 0.97],
        rgb2=[0.52, 0.66, 0.82],
        width=256,
        height=256 * 6,
    )
    # One tile is half a metre; the lines around every tile make height and speed readable.
    spec.add_texture(
        name="ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=[0.74, 0.77, 0.80],
        rgb2=[0.68, 0.71, 0.75],
        markrgb=[0.56, 0.60, 0.65],
        width=512,
        height=512,
    )
    material = spec.add_material(name="ground", texrepeat=[1.0, 1.0], texuniform=True, specular=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "ground"
    ground = spec.worldbody.add_geom(
        name="ground", type=_Geom.mjGEOM_PLANE, size=[0.0, 0.0, 0.05], material="ground"
    )
    # Where it takes off. Flat on the ground, and nothing collides with it.
    for share, height, rgba in ((1.75, 0.0006, _BACK), (1.6, 0.0009, _PAD)):
        pad = spec.worldbody.add_geom(
            type=_Geom.mjGEOM_CYLINDER, size=[share * arm_m, height, 0.0], pos=[0.0, 0.0, height], rgba=rgba
        )
        _no_contact(pad)
    light = spec.worldbody.add_light(name="sun", pos=[1.5, -2.0, 6.0], dir=[-0.25, 0.35, -1.0])
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse = [0.62, 0.61, 0.58]
    light.specular = [0.2, 0.2, 0.2]
    eye = np.array([1.5, -3.4, 1.9])
    spec.worldbody.add_camera(name="front", pos=eye, quat=_look(np.array(_CENTRE_M) - eye), fovy=42.0)
    return ground


def add_vehicle_look(body: mujoco.MjsBody, airframe: Airframe, gear_height_m: float) -> None:
    """Add the vehicle's shapes, scaled to the airframe, and the camera that follows it.

    Args:
        body: the vehicle; its origin is the centre of mass.
        airframe: the vehicle's measures.
        gear_height_m: height of the origin when it stands.
    """
    arm = airframe.arm_m
    # Neighbouring discs must not touch.
    disc = min(0.62 * arm, 0.93 * min(airframe.rotor_x_m, airframe.rotor_y_m))
    _shape(
        body,
        _Geom.mjGEOM_ELLIPSOID,
        [0.34 * arm, 0.24 * arm, 0.13 * arm],
        [0, 0, 0.03 * arm],
        _HUB,
        solid=True,
    )
    _shape(body, _Geom.mjGEOM_BOX, [0.22 * arm, 0.13 * arm, 0.07 * arm], [0, 0, -0.1 * arm], _FRAME)
    # The nose: a coloured visor, so that heading can be read in a picture.
    _shape(
        body, _Geom.mjGEOM_ELLIPSOID, [0.1 * arm, 0.13 * arm, 0.07 * arm], [0.28 * arm, 0, 0.05 * arm], _FRONT
    )
    for name, position in zip(MOTORS, airframe.rotor_positions_m, strict=True):
        sign_x, sign_y = ROTOR_SIGNS[name]
        colour = _FRONT if sign_x > 0 else _BACK
        x, y, _ = position
        _rod(body, [0.12 * x, 0.12 * y, 0.0], [x, y, 0.0], 0.045 * arm, _FRAME)
        _shape(body, _Geom.mjGEOM_CYLINDER, [0.09 * arm, 0.07 * arm, 0], [x, y, 0.05 * arm], _METAL)
        _shape(body, _Geom.mjGEOM_CYLINDER, [0.05 * arm, 0.03 * arm, 0], [x, y, 0.15 * arm], colour)
        blur = [*colour[:3], 0.32]
        _shape(body, _Geom.mjGEOM_CYLINDER, [disc, 0.008 * arm, 0], [x, y, 0.15 * arm], blur, solid=True)
        # Blades, as if caught by a short exposure; neighbours turn against each other.
        angle = 0.6 * TORQUE_SIGNS[name]
        blade = body.add_geom(
            type=_Geom.mjGEOM_BOX,
            size=[0.97 * disc, 0.055 * arm, 0.006 * arm],
            pos=[x, y, 0.155 * arm],
            quat=[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)],
            rgba=[*_FRAME[:3], 0.75],
            mass=0.0,
        )
        _no_contact(blade)
        foot = [0.5 * arm * sign_x, 0.5 * arm * sign_y, 0.05 * arm - gear_height_m]
        _rod(body, [0.22 * arm * sign_x, 0.2 * arm * sign_y, -0.08 * arm], foot, 0.03 * arm, _FRAME)
    distance = 4.4 * arm + 0.1
    eye = np.array([-0.86, -0.42, 0.42]) * distance
    body.add_camera(
        name="chase", mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=eye, quat=_look(-eye), fovy=48.0
    )


def _shape(
    body: mujoco.MjsBody,
    kind: mujoco.mjtGeom,
    size: list[float],
    position: list[float],
    rgba: list[float],
    *,
    solid: bool = False,
) -> None:
    geom = body.add_geom(type=kind, size=size, pos=position, rgba=rgba, mass=0.0)
    if not solid:
        _no_contact(geom)


def _rod(
    body: mujoco.MjsBody, start: list[float], end: list[float], radius: float, rgba: list[float]
) -> None:
    geom = body.add_geom(
        type=_Geom.mjGEOM_CAPSULE, size=[radius, 0, 0], fromto=[*start, *end], rgba=rgba, mass=0.0
    )
    _no_contact(geom)


def _no_contact(geom: mujoco.MjsGeom) -> None:
    geom.contype = geom.conaffinity = 0


def _look(direction: FloatArray) -> FloatArray:
    """Orientation of a camera (looks along -z, y up) towards a direction that is not vertical."""
    back = -direction / np.linalg.norm(direction)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).flatten())
    return quaternion
