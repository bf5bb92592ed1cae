"""Protects the Foxglove layouts: every topic in them is one that a recorded system has."""

from __future__ import annotations

import json

import pytest

from hardware.cards.library import load_robot_card
from recording.decoding import IMAGE_TOPIC, SENT_TOPIC
from recording.foxglove import FOLDER, layout_topics

# Topics that every system has beside those of its robot's card.
_SYSTEM = {SENT_TOPIC, "command/policy", "robot_description"}


@pytest.mark.parametrize(("layout", "card"), [("arm.json", "so101_twin")])
def test_every_topic_of_a_layout_is_one_that_the_robot_publishes(layout, card):
    robot = load_robot_card(card)
    own = {spec.topic for spec in robot.observations.values()} | _SYSTEM
    own |= {IMAGE_TOPIC.format(camera=name) for name in robot.cameras}
    own |= {f"{name}/camera_info" for name in robot.cameras}
    known = {f"/{robot.name}/{topic}" for topic in own} | {"/diagnostics"}
    shown = set(layout_topics(FOLDER / layout))
    assert shown <= known
    # What a person looks for first is in it.
    assert {f"/{robot.name}/joint_states", f"/{robot.name}/{SENT_TOPIC}"} <= shown


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_panel_of_a_layout_is_placed_once(path):
    document = json.loads(path.read_text())

    def placed(node):
        return [node] if isinstance(node, str) else placed(node["first"]) + placed(node["second"])

    assert sorted(placed(document["layout"])) == sorted(document["configById"])


def test_curves_have_as_many_elements_as_the_robot_has_joints():
    joints = load_robot_card("so101_twin").observations["joint_position"].names
    panels = json.loads((FOLDER / "arm.json").read_text())["configById"]
    values = {path["value"] for path in panels["Plot!measured"]["paths"]}
    assert values == {f"/so101/joint_states.position[{i}]" for i in range(len(joints))} | {
        f"/so101/gate/command.points[0].positions[{i}]" for i in range(len(joints))
    }
