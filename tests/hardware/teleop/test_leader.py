"""Protects where a leader is said to be: by the robot's names, in radians, and only what was measured."""

import dataclasses
import math

import pytest

from hardware.teleop import Reading, load_mapping
from hardware.teleop.leader import Leader
from hardware.teleop.mapping import Follow, Part, PartMode

MAPPING = load_mapping("so101_leader_arm")
CONTROLS = {name: 0.1 * i for i, name in enumerate(MAPPING.parts["arm"].follow)}


def with_parts(**parts):
    return dataclasses.replace(MAPPING, parts=parts)


def test_a_leader_is_told_by_the_names_and_in_the_units_of_the_robot():
    leader = Leader(MAPPING)
    assert leader.names == tuple(CONTROLS)
    found = leader.positions(Reading(True, 5, CONTROLS))
    assert list(found) == list(CONTROLS)
    assert found["elbow_flex"] == pytest.approx(0.2)
    # Half of its range: from -0.17453 to 1.74533.
    assert found["gripper"] == pytest.approx(0.5 * 1.91986 - 0.17453)


def test_a_joint_without_a_number_is_left_out_and_a_lost_leader_is_nowhere():
    leader = Leader(MAPPING)
    assert "shoulder_pan" not in leader.positions(Reading(True, 5, {**CONTROLS, "shoulder_pan": math.nan}))
    assert list(leader.positions(Reading(True, 5, {"wrist_roll": 1.0}))) == ["wrist_roll"]
    assert leader.positions(Reading(False, 5, CONTROLS)) == {}


def test_who_only_follows_the_motion_or_is_moved_at_a_speed_has_no_leader():
    part = MAPPING.parts["arm"]
    assert Leader(with_parts(arm=dataclasses.replace(part, absolute=False))).names == ()
    assert Leader(load_mapping("gamepad_arm")).names == ()
    two = with_parts(
        left=Part(PartMode.JOINTS, follow={"left_elbow": Follow("a")}),
        right=Part(PartMode.JOINTS, follow={"right_elbow": Follow("b", scale=-1.0)}),
    )
    assert Leader(two).positions(Reading(True, 5, {"a": 1.0, "b": 1.0})) == {
        "left_elbow": 1.0,
        "right_elbow": -1.0,
    }
