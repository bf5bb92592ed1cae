"""Protects learning from recordings and datasets: the same episodes from both, those of others refused."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from policies.bc.config import TrainConfig
from policies.bc.train import train
from policies.demonstrations.recorded import load_recorded
from policies.registry import load_policy
from recording.frames import Frames
from recording.lerobot_set import write_set
from sim.experts.collect import collect

TERMS = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")


@pytest.fixture(scope="module")
def demonstrations():
    return collect(3, first_seed=1_000_000)


@pytest.fixture(scope="module")
def dataset(demonstrations, tmp_path_factory):
    def frames():
        for number in range(3):
            rows = demonstrations.episode == number
            stamps = np.arange(rows.sum(), dtype=np.int64) * demonstrations.period_ns
            images = np.arange(len(stamps))[:, None, None, None] * np.ones((1, 8, 8, 3), np.int64) % 256
            yield Frames(
                stamps_ns=stamps,
                terms={name: values[rows] for name, values in demonstrations.observations.items()},
                term_stamps_ns=dict.fromkeys(TERMS, stamps),
                actions=demonstrations.actions[rows],
                action_stamps_ns=stamps,
                action_names=demonstrations.action_names,
                images={"front": list(images.astype(np.uint8))},
                image_stamps_ns={"front": stamps},
                task="pick up the cube",
            )

    root = tmp_path_factory.mktemp("dataset") / "cubes"
    write_set(root, load_robot_card("so101_twin"), frames(), fps=25, video=False)
    return root


def test_a_dataset_gives_the_demonstrations_that_went_in(dataset, demonstrations):
    robot = load_robot_card("so101_twin")
    found = load_recorded(dataset, robot, step_s=0.04, terms=TERMS, cameras=("front",))
    assert (len(found.episodes), found.source, found.period_ns) == (3, "cubes", 40_000_000)
    actions = np.concatenate([episode.actions for episode in found.episodes])
    np.testing.assert_allclose(actions, demonstrations.actions, atol=1e-6)
    for name in TERMS:
        values = np.concatenate([episode.observations[name] for episode in found.episodes])
        np.testing.assert_allclose(values, demonstrations.observations[name], atol=1e-5)
    assert found.episodes[0].images["front"][7, 0, 0].tolist() == [7, 7, 7]


def test_behaviour_cloning_learns_from_a_dataset(dataset, tmp_path):
    config = TrainConfig(
        out=str(tmp_path / "bc"),
        data=str(dataset),
        hidden=(16,),
        horizon=4,
        execute=2,
        steps=20,
        evaluate_every=20,
        rollouts=0,
    )
    policy = load_policy(train(config))
    assert policy.card.action.step_s == 0.04
    assert "data: cubes" in (tmp_path / "bc" / "training.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"step_s": 0.02}, r"25 moments a second.*step_s = 0\.02 s"),
        ({"terms": ("joint_position", "tail")}, "the dataset lacks tail"),
        ({"cameras": ("wrist",)}, "the dataset lacks wrist"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(dataset, changes, text):
    robot = load_robot_card("so101_twin")
    with pytest.raises(ConfigError, match=text):
        load_recorded(dataset, robot, **{"step_s": 0.04, "terms": TERMS, **changes})


def test_a_dataset_of_another_robot_is_refused_with_the_difference(dataset):
    with pytest.raises(ConfigError, match=r"kind: arm instead of quadrotor"):
        load_recorded(dataset, load_robot_card("quadrotor_twin"), step_s=0.04, terms=TERMS)


def test_a_folder_without_recordings_is_refused(tmp_path):
    robot = load_robot_card("so101_twin")
    with pytest.raises(ConfigError, match="there is no finished episode"):
        load_recorded(tmp_path, robot, step_s=0.04, terms=TERMS)
    with pytest.raises(ConfigError, match="a whole number of steps a second"):
        load_recorded(tmp_path, robot, step_s=0.03, terms=TERMS)
