"""Protects the Foxglove layouts: they show what a robot has, and nothing that its recordings have not."""

from __future__ import annotations

import json

import pytest
from made import CAMERA, COMMAND, JOINTS
from sets import CARD, arm_card, record

from hardware.cards.library import card_names, load_robot_card
from recording import Episode
from recording.decoding import SENT_TOPIC
from recording.foxglove import FOLDER, layout_topics, make_layout, system_topics

READY = {"arm.json": "so101_twin", "quadrotor.json": "quadrotor_twin"}
JOINT_NAMES = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist")


def humanoid():
    """Two arms and a waist: 11 joints, of which no plot may show all."""
    names = ["waist_yaw", *(f"{side}_{name}" for side in ("left", "right") for name in JOINT_NAMES)]
    limits = {name: CARD["commands"]["joints"]["limits"]["a"] for name in names}
    terms = {name: {**term, "names": names} for name, term in CARD["observations"].items()}
    commands = {"joints": {**CARD["commands"]["joints"], "limits": limits}}
    return arm_card(name="upper_body", kind="humanoid", observations=terms, commands=commands)


def shown(layout, tmp_path):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(layout))
    return set(layout_topics(path))


def placed(node):
    return [node] if isinstance(node, str) else placed(node["first"]) + placed(node["second"])


def curves(layout):
    return {
        name: [path["value"] for path in panel["paths"]]
        for name, panel in layout["configById"].items()
        if name.startswith("Plot!")
    }


@pytest.mark.parametrize(
    "card", [*(load_robot_card(name) for name in card_names()), humanoid()], ids=lambda c: c.name
)
def test_every_topic_of_a_layout_is_one_that_the_robot_has(card, tmp_path):
    layout = make_layout(card)
    found = shown(layout, tmp_path)
    assert found <= set(system_topics(card))
    # What a person looks for first is in it.
    assert {f"/{card.name}/{SENT_TOPIC}", "/diagnostics"} <= found
    assert {f"/{card.name}/{name}/image" for name in card.cameras} <= found
    assert {f"/{card.name}/{name}" for name in ("joint_states", "odom")} & found or card.driver == "gym"
    assert sorted(placed(layout["layout"])) == sorted(layout["configById"])
    assert all(1 <= len(values) <= 16 for values in curves(layout).values())


@pytest.mark.parametrize(("file", "card"), READY.items())
def test_layouts_that_lie_ready_are_those_of_the_card(file, card):
    found = json.loads((FOLDER / file).read_text())
    assert found == make_layout(load_robot_card(card)), f"mend: reflexarc data layout {card} {FOLDER / file}"
    assert {path.name for path in FOLDER.glob("*.json")} == set(READY)


def test_an_arm_shows_each_joint_as_measured_sent_and_asked_for():
    card = load_robot_card("so101_twin")
    found = curves(make_layout(card))
    count = len(card.observations["joint_position"].names)
    assert found["Plot!sent"] == [f"/so101/joint_states.position[{i}]" for i in range(count)] + [
        f"/so101/gate/command.points[0].positions[{i}]" for i in range(count)
    ]
    assert found["Plot!policy"] == [f"/so101/command/policy.points[0].positions[{i}]" for i in range(count)]
    assert found["Plot!cube_position"] == [f"/so101/cube_pose.pose.position.{axis}" for axis in "xyz"]


def test_a_humanoid_has_plots_for_each_side():
    found = curves(make_layout(humanoid()))
    assert {"Plot!sent left", "Plot!sent right", "Plot!sent", "Plot!policy left"} <= found.keys()
    # Joints are found where the messages have them, not where the plot has them.
    assert found["Plot!sent right"] == [f"/upper_body/joint_states.position[{i}]" for i in range(6, 11)] + [
        f"/upper_body/gate/command.points[0].positions[{i}]" for i in range(6, 11)
    ]


def test_a_quadrotor_shows_its_place_its_motors_or_its_reference():
    motors = curves(make_layout(load_robot_card("quadrotor_twin")))
    assert motors["Plot!sent"] == [f"/quadrotor/gate/command.points[0].effort[{i}]" for i in range(4)]
    assert motors["Plot!position"] == [f"/quadrotor/odom.pose.pose.position.{axis}" for axis in "xyz"]
    reference = curves(make_layout(load_robot_card("crazyflie")))
    assert "/crazyflie/gate/command.points[0].transforms[0].translation.z" in reference["Plot!sent"]
    assert "/crazyflie/gate/command.points[0].velocities[0].linear.x" in reference["Plot!sent"]


def test_of_a_recording_only_what_is_in_it_is_shown(tmp_path):
    episode = Episode.open(record(tmp_path / "episode_000000.mcap", seconds=0.1))
    layout = make_layout(episode.robot_card, root="/arm", topics=episode.topics)
    assert shown(layout, tmp_path) == {JOINTS.name, CAMERA.name, COMMAND.name}
    assert "3D!robot" not in layout["configById"]
    assert make_layout(episode.robot_card, topics=())["layout"] is None
