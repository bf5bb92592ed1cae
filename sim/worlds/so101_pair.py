"""Two SO-101 arms side by side at a table with a cube between them: the MuJoCo world.

Each arm is that of `sim.worlds.so101`, its names with `left_` or `right_` before them. The world frame is
`base_link`, in the middle between the bases of the two: x forward, y left, z up, the table's top at z = 0.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ElementTree

import mujoco

from sim.worlds import so101, so101_table
from sim.worlds.look import look_at

# Where the bases stand to the left of the middle, metres.
SIDES_M = {"left": 0.14, "right": -0.14}
# The joints of the left arm from the base to the jaw, then those of the right one, as on the robot card.
JOINTS = tuple(f"{side}_{name}" for side in SIDES_M for name in so101.JOINTS)
HOME = so101.HOME * len(SIDES_M)
# The cameras with their vertical fields of view, degrees: one looks at both arms from the front, one sits on
# each hand.
CAMERA_FOVY_DEG = {
    "front": 44.0,
    **{f"{side}_wrist": so101.CAMERA_FOVY_DEG["wrist"] for side in SIDES_M},
}
_TABLE_WIDTH_M = 1.2


def build_model(*, visual: bool = False) -> mujoco.MjModel:
    """Compile the world.

    Args:
        visual: see `so101.build_spec`.

    Returns:
        A new model; `nq` 19 (twelve joints, the cube's pose), `nu` 12.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "so101_pair_pick_cube"
    so101_table.set_options(spec)
    spec.stat.extent = 0.7
    for side, y_m in SIDES_M.items():
        arm = so101.build_arm(visual=visual)
        if side == "right":
            so101.as_second(arm)
        spec.attach(arm, prefix=f"{side}_", frame=spec.worldbody.add_frame(pos=[0.0, y_m, 0.0]))
    so101_table.add_table_and_cube(spec, table_width_m=_TABLE_WIDTH_M)
    look_at(
        spec.worldbody, "front", (0.70, -0.24, 0.46), (0.13, 0.0, 0.07), fovy_deg=CAMERA_FOVY_DEG["front"]
    )
    if visual:
        so101_table.add_scenery(spec)
    return spec.compile()


def urdf() -> str:
    """Describe both arms for RViz, Foxglove and robot_state_publisher.

    Returns:
        The wheel's URDF document twice, with `left_` and `right_` before the names of links and joints, both
        fixed to `base_link`; meshes as file:// addresses on this machine.

    Raises:
        ConfigError: the wheel with the arm is not installed.
    """
    arm = ElementTree.fromstring(so101.urdf())
    pair = ElementTree.Element("robot", name="so101_pair")
    ElementTree.SubElement(pair, "link", name="base_link")
    pair.extend(arm.findall("material"))
    for side, y_m in SIDES_M.items():
        mount = ElementTree.SubElement(pair, "joint", name=f"{side}_base", type="fixed")
        ElementTree.SubElement(mount, "origin", xyz=f"0 {y_m} 0", rpy="0 0 0")
        ElementTree.SubElement(mount, "parent", link="base_link")
        ElementTree.SubElement(mount, "child", link=f"{side}_base_link")
        for element in (*arm.findall("link"), *arm.findall("joint")):
            named = copy.deepcopy(element)
            named.set("name", f"{side}_{named.get('name')}")
            for end in (*named.findall("parent"), *named.findall("child")):
                end.set("link", f"{side}_{end.get('link')}")
            pair.append(named)
    return ElementTree.tostring(pair, encoding="unicode")
