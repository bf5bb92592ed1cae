"""What an SO-101 stands at: a table with a cube, light, and how the physics is computed."""

from __future__ import annotations

import mujoco

# Edge of the cube, metres, and its mass, kg (printed, hollow).
CUBE_EDGE_M = 0.028
CUBE_MASS_KG = 0.03
_TIMESTEP_S = 0.002
_CUBE_RGBA = (0.10, 0.42, 0.85, 1.0)

# Bits: 1 table and cube, 2 the arm, 4 the hand. The hand meets the rest of the arm, links do not
# meet each other (their joint limits keep them apart). A second arm has the next two bits, and meets all
# of the first one.
TABLE_BIT, ARM_BIT, HAND_BIT = 1, 2, 4
SECOND = 2
ARM_BITS = (ARM_BIT | HAND_BIT) | (ARM_BIT | HAND_BIT) << SECOND


def set_options(spec: mujoco.MjSpec) -> None:
    """Set how the physics is computed, and what a free camera looks at.

    Args:
        spec: the world.
    """
    spec.option.timestep = _TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Elliptic cones with stiff friction: a grasped cube does not creep out of the jaw.
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 20.0
    # A state that is not finite must be seen, not silently reset.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    spec.stat.center = [0.18, 0.0, 0.08]
    spec.stat.extent = 0.5


def add_table_and_cube(spec: mujoco.MjSpec, *, table_width_m: float = 0.9) -> None:
    """Put a table, what is below it, and a cube into a world; everything may touch them.

    Args:
        spec: the world.
        table_width_m: from the left to the right side.
    """
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.40, table_width_m / 2, 0.015],
        pos=[0.22, 0.0, -0.015],
        contype=TABLE_BIT,
        conaffinity=TABLE_BIT | ARM_BITS,
        friction=[0.6, 0.005, 0.0001],
    )
    # What falls off the table stops here.
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[4.0, 4.0, 0.1],
        pos=[0.0, 0.0, -0.72],
        contype=TABLE_BIT,
        conaffinity=TABLE_BIT,
    )
    cube = spec.worldbody.add_body(name="cube", pos=[0.22, 0.0, CUBE_EDGE_M / 2])
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[CUBE_EDGE_M / 2] * 3,
        mass=CUBE_MASS_KG,
        contype=TABLE_BIT,
        conaffinity=TABLE_BIT | ARM_BITS,
        friction=[0.6, 0.005, 0.0001],
        condim=4,
        rgba=_CUBE_RGBA,
    )


def add_scenery(spec: mujoco.MjSpec) -> None:
    """Add sky, light and the materials of table and floor.

    Args:
        spec: a world with a table.
    """
    add_light(spec)
    spec.add_material(name="table", rgba=[0.76, 0.73, 0.68, 1.0], specular=0.1, shininess=0.2)
    spec.add_material(name="floor", rgba=[0.66, 0.71, 0.76, 1.0], specular=0.0, shininess=0.0)
    spec.geom("table").material = "table"
    spec.geom("floor").material = "floor"


def add_light(spec: mujoco.MjSpec) -> None:
    """Add sky and light.

    Args:
        spec: any world.
    """
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
    spec.worldbody.add_light(
        name="key",
        pos=[0.5, -0.7, 1.5],
        dir=[-0.22, 0.42, -0.88],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.52, 0.51, 0.48],
        specular=[0.25, 0.25, 0.25],
        castshadow=True,
    )
    spec.worldbody.add_light(
        name="fill",
        pos=[-0.4, 0.8, 1.2],
        dir=[0.35, -0.55, -0.75],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.18, 0.19, 0.22],
        specular=[0.0, 0.0, 0.0],
        castshadow=False,
    )
