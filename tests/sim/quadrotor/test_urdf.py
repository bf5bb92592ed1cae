"""Protects the URDF: well-formed, the airframe's mass and rotors, one tree."""

from xml.etree import ElementTree

import pytest

from sim.quadrotor import MOTORS, airframe_names, load_airframe
from sim.quadrotor.urdf import quadrotor_urdf


@pytest.mark.parametrize("name", airframe_names())
def test_the_urdf_describes_the_airframe(name):
    airframe = load_airframe(name)
    robot = ElementTree.fromstring(quadrotor_urdf(airframe))
    assert robot.get("name") == name
    assert [link.get("name") for link in robot.iter("link")] == ["base_link", *MOTORS]
    assert float(robot.find("link/inertial/mass").get("value")) == airframe.mass_kg
    inertia = robot.find("link/inertial/inertia")
    assert [float(inertia.get(k)) for k in ("ixx", "iyy", "izz")] == list(airframe.inertia_kg_m2)
    for joint, position in zip(robot.iter("joint"), airframe.rotor_positions_m, strict=True):
        assert joint.find("parent").get("link") == "base_link"
        xyz = [float(v) for v in joint.find("origin").get("xyz").split()]
        assert xyz == pytest.approx(position, abs=1e-6)
