"""An airframe as URDF, so that RViz and Foxglove can draw it at its odometry."""

from __future__ import annotations

import math

from sim.quadrotor.airframes import MOTORS, ROTOR_SIGNS, Airframe

_FRONT, _BACK, _DARK, _LIGHT = (
    "0.98 0.42 0.13 0.6",
    "0.12 0.47 0.86 0.6",
    "0.13 0.14 0.17 1",
    "0.93 0.94 0.96 1",
)


def quadrotor_urdf(airframe: Airframe) -> str:
    """Describe an airframe: one link `base_link` at the centre of mass, one fixed link a rotor.

    Args:
        airframe: the vehicle.

    Returns:
        The URDF document; front rotors orange, back rotors blue.
    """
    arm = airframe.arm_m
    jx, jy, jz = airframe.inertia_kg_m2
    parts = [
        '<?xml version="1.0"?>',
        f'<robot name="{airframe.name}">',
        '  <link name="base_link">',
        "    <inertial>",
        f'      <mass value="{airframe.mass_kg:.9g}"/>',
        f'      <inertia ixx="{jx:.9g}" iyy="{jy:.9g}" izz="{jz:.9g}" ixy="0" ixz="0" iyz="0"/>',
        "    </inertial>",
        _visual("body", _box(0.5 * arm, 0.3 * arm, 0.2 * arm), (0.0, 0.0, 0.0), 0.0, _LIGHT),
    ]
    for name, (x, y, _) in zip(MOTORS, airframe.rotor_positions_m.tolist(), strict=True):
        yaw = math.atan2(y, x)
        beam = _box(arm, 0.08 * arm, 0.08 * arm)
        parts.append(_visual(f"{name}_arm", beam, (0.5 * x, 0.5 * y, 0.0), yaw, _DARK))
    parts.append("  </link>")
    disc = min(0.62 * arm, 0.93 * min(airframe.rotor_x_m, airframe.rotor_y_m))
    for name, (x, y, _) in zip(MOTORS, airframe.rotor_positions_m.tolist(), strict=True):
        colour = _FRONT if ROTOR_SIGNS[name][0] > 0 else _BACK
        cylinder = f'<cylinder radius="{disc:.6g}" length="{0.02 * arm:.6g}"/>'
        parts += [
            f'  <link name="{name}">',
            _visual(f"{name}_disc", cylinder, (0.0, 0.0, 0.15 * arm), 0.0, colour),
            "  </link>",
            f'  <joint name="{name}_mount" type="fixed">',
            '    <parent link="base_link"/>',
            f'    <child link="{name}"/>',
            f'    <origin xyz="{x:.6g} {y:.6g} 0"/>',
            "  </joint>",
        ]
    parts.append("</robot>")
    return "\n".join(parts) + "\n"


def _box(x: float, y: float, z: float) -> str:
    return f'<box size="{x:.6g} {y:.6g} {z:.6g}"/>'


def _visual(name: str, shape: str, position: tuple[float, float, float], yaw: float, rgba: str) -> str:
    x, y, z = position
    return (
        f'    <visual name="{name}">\n'
        f'      <origin xyz="{x:.6g} {y:.6g} {z:.6g}" rpy="0 0 {yaw:.6g}"/>\n'
        f"      <geometry>{shape}</geometry>\n"
        f'      <material name="{name}"><color rgba="{rgba}"/></material>\n'
        "    </visual>"
    )
