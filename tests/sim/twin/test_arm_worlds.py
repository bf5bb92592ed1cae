"""Protects the twins of other arms: they begin as their tasks do, hold when nobody commands, and see."""

import gymnasium
import numpy as np
import pytest

import sim.tasks  # noqa: F401 (registers the tasks)
from hardware.cards.library import load_robot_card
from hardware.command import Command
from hardware.errors import ConfigError, ConfigErrors
from hardware.robot import RobotCard
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE

TASKS = {
    "panda_twin": "reflexarc/PegInsert-v0",
    "panda_push_t": "reflexarc/PushT-v0",
    "so101_pair_twin": "reflexarc/PairPickCube-v0",
    "g1_upper_twin": "reflexarc/TwoHandReach-v0",
}


@pytest.mark.parametrize(("card_name", "task"), TASKS.items())
def test_it_begins_as_its_task_does_with_that_seed_and_sees(card_name, task):
    card = load_robot_card(card_name)
    observation, _ = gymnasium.make(task).reset(seed=11)
    with ArmTwin(card, seed=11, latency=NONE) as twin:
        seen = twin.read().values
        assert set(seen) == set(observation)
        for name, value in observation.items():
            np.testing.assert_array_equal(seen[name], value)
        for name, camera in card.cameras.items():
            image, stamp_ns = twin.read_camera(name)
            assert (image.shape, stamp_ns) == ((camera.height, camera.width, 3), 0)
            assert image.std() > 10
        assert all(name in twin.description for name in twin.command_spec.names)
        assert not twin.success


def test_it_goes_where_it_is_told_and_holds_when_nobody_commands():
    card = load_robot_card("panda_twin")
    with ArmTwin(card, seed=0, latency=NONE) as twin:
        start = twin.read().values["joint_position"]
        goal = start + np.array([0.05, 0.0, 0.0, -0.05, 0.0, 0.0, 0.1])
        for _ in range(25):
            twin.command(
                Command(
                    kind=twin.command_kind,
                    names=twin.command_spec.names,
                    values=goal,
                    stamp_ns=twin.now_ns,
                    received_steady_ns=twin.now_ns,
                    source="test",
                )
            )
            twin.advance(twin.now_ns + 20_000_000)
        np.testing.assert_allclose(twin.read().values["joint_position"], goal, atol=0.005)
        assert twin.safe_stopped is None
        twin.advance(twin.now_ns + 1_000_000_000)
        assert twin.safe_stopped == "command timeout"
        np.testing.assert_allclose(twin.read().values["joint_position"], goal, atol=0.005)


def test_a_card_of_another_world_is_refused():
    card = load_robot_card("panda_twin")
    other = RobotCard(**{**vars(card), "parameters": {"world": "panda_push_t"}})
    with pytest.raises(ConfigErrors, match="peg_position"):
        ArmTwin(other, seed=0)
    unknown = RobotCard(**{**vars(card), "parameters": {"world": "moon"}})
    with pytest.raises(ConfigError, match="there is no world 'moon'"):
        ArmTwin(unknown, seed=0)
