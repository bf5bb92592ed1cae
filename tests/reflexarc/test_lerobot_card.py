"""Protects `reflexarc export lerobot-card`: what LeRobot saved acts on our robot, or stays as it was."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.robot import Observation
from policies.controller import load_controller
from policies.policy import ActContext
from policies.registry import load_policy
from reflexarc.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "policies" / "lerobot"))

from saved_policies import ACT, train_and_save

ROBOT = load_robot_card("so101_twin")
STATE = "observation.state=joint_position,joint_velocity"
ENVIRONMENT = "observation.environment_state=cube_position,cube_orientation"
TO_ROBOT = ["--robot", "so101_twin", "--fps", "25"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return train_and_save("act", ACT, tmp_path_factory.mktemp("lerobot") / "act")


@pytest.fixture
def folder(saved):
    (saved / "card.yaml").unlink(missing_ok=True)
    return saved


def export(folder, *words):
    return main(["export", "lerobot-card", str(folder), *TO_ROBOT, *words])


def observation(scale=1.0):
    random = np.random.default_rng(0)
    values = {name: scale * random.uniform(-1, 1, len(o.names)) for name, o in ROBOT.observations.items()}
    return Observation(values, 0, 0)


def test_a_folder_of_lerobots_acts_on_our_robot_and_is_told_what_it_says(folder, capsys):
    words = ["--feature", STATE, ENVIRONMENT, "--instruction", "pick up the cube", "--name", "mine"]
    assert export(folder, *words, "--execute", "3", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["name"] == "mine"
    assert document["horizon"] == 8
    assert document["features"] == {
        "observation.state": "joint_position,joint_velocity",
        "observation.environment_state": "cube_position,cube_orientation",
    }
    controller = load_controller(folder, ROBOT, steady_clock=time.monotonic_ns)
    controller.reset(0)
    assert controller.card.action.execute == 3
    assert controller.card.parameters["task"] == "pick up the cube"
    assert np.isfinite(controller.act(observation(), now_ns=0).values).all()


def test_a_policy_in_degrees_sees_and_gives_degrees(folder):
    assert export(folder, "--feature", STATE, ENVIRONMENT) == 0
    seen, per_rad = observation(), 180 / np.pi
    in_degrees = {n: v * (per_rad if n.startswith("joint") else 1.0) for n, v in seen.values.items()}
    radians = load_policy(folder)
    context = ActContext(now_ns=0)
    wanted = radians.act(Observation(in_degrees, 0, 0), context=context).values / per_rad
    assert export(folder, "--feature", STATE, ENVIRONMENT, "--degrees") == 0
    np.testing.assert_allclose(load_policy(folder).act(seen, context=context).values, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--feature", STATE],
            "says what the input 'observation.environment_state' of shape (7,)",
        ),
        (["--feature", STATE, "cube"], "the feature 'cube'"),
        (["--feature", STATE, "observation.environment_state=cube_position"], "has 3 numbers on the card"),
        (["--feature", STATE, ENVIRONMENT, "observation.luck=cube_position"], "no input 'observation.luck'"),
        (["--feature", STATE, "observation.environment_state=luck"], "the term 'luck'"),
        (["--feature", STATE, ENVIRONMENT, "--execute", "0"], "execute 0"),
    ],
)
def test_what_does_not_fit_is_said_and_the_folder_stays_as_it_was(folder, words, told, capsys):
    (folder / "card.yaml").write_text("as it was")
    assert export(folder, *words) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert (folder / "card.yaml").read_text() == "as it was"
    (folder / "card.yaml").unlink()
    assert export(folder, *words) == 2
    assert not (folder / "card.yaml").exists()


def test_images_and_joints_are_found_by_their_names(tmp_path, capsys):
    folder = train_and_save("act", ACT, tmp_path / "images", image=True)
    assert export(folder, "--feature", STATE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["features"]["observation.images.front"] == "camera:front"
    assert export(tmp_path / "nothing") == 2
    assert "no configuration of a LeRobot policy" in capsys.readouterr().err
