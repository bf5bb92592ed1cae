"""Protects the way from the robot to a learner: an expert over ROS 2 ends as a set that LeRobot loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from reflexarc_ros.domain import OwnDomain
from reflexarc_ros.runner import SystemRunner

from hardware.cards.library import load_robot_card
from policies.demonstrations.recorded import load_recorded
from recording import Episode, Outcome
from recording.decoding import SENT_TOPIC, read_commands
from recording.folder import finished
from recording.foxglove import FOLDER, layout_topics
from recording.lerobot_export import Selection, export_recordings
from recording.lerobot_set import open_set
from recording.repair import verify
from recording.rerun_file import write_rerun
from recording.sampling import SamplingConfig

pytestmark = pytest.mark.ros

TERMS = ("joint_position", "joint_velocity", "cube_position", "cube_orientation")


def reflexarc(*words, domain_id=0):
    done = subprocess.run(
        [sys.executable, "-m", "reflexarc", *map(str, words), "--json"],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "MUJOCO_GL": "egl", "ROS_DOMAIN_ID": str(domain_id)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demonstrations") / "recordings"
    with OwnDomain() as domain:
        record_two(folder, domain.id)
    return folder


def record_two(folder, domain_id):
    reflexarc(
        "record", "arm", "policy:=expert/pick_cube", "cameras:=true", "--out", folder, "--no-page",
        "--episodes", 2, "--seconds", 3, "--task", "PickCube", "--instruction", "pick up the cube",
        domain_id=domain_id,
    )  # fmt: skip


def test_recordings_of_the_expert_become_a_dataset_that_lerobot_loads(recordings, tmp_path):
    assert len(finished(recordings)) == 2
    assert all(verify(path).is_ok for path in finished(recordings))
    # A busy machine loses messages: what that cuts is left out and named.
    config = SamplingConfig(fps=25, stale_periods=10.0)
    selection = Selection(skip_faulty=True)
    made, _ = export_recordings(recordings, tmp_path / "set", config, selection=selection)
    again, _ = export_recordings(recordings, tmp_path / "again", config, selection=selection)
    assert made.tables == again.tables
    dataset = open_set(tmp_path / "set")
    assert dataset.num_episodes == len(made.episodes) >= 1
    item = dataset[5]
    assert item["task"] == "pick up the cube"
    # Every command that was sent answers the very observation beside it, and passed the gate.
    assert int(item["reflexarc.stamp_ns.joint_position"]) == int(item["reflexarc.stamp_ns.cube_position"])
    assert 0 <= int(item["reflexarc.stamp_ns"]) - int(item["reflexarc.stamp_ns.action"]) <= 200_000_000
    assert (item["observation.state"][:6] - item["action"]).abs().max() < 0.5
    robot = load_robot_card("so101_twin")
    found = load_recorded(tmp_path / "set", robot, step_s=0.04, terms=TERMS)
    assert sum(len(episode.actions) for episode in found.episodes) == len(dataset)


def test_requested_and_sent_actions_are_both_there(recordings):
    robot = load_robot_card("so101_twin")
    episode = Episode.open(finished(recordings)[0])
    assert episode.robot_card == robot
    sent, names = read_commands(episode, robot, SENT_TOPIC)
    asked, _ = read_commands(episode, robot, "command/policy")
    assert names == robot.commands["joints"].names
    common, rows, others = np.intersect1d(sent.stamps_ns, asked.stamps_ns, return_indices=True)
    assert len(common) > 20
    # While authority grows the gate changes what was asked for.
    assert np.abs(sent.values[rows] - asked.values[others]).max() > 1e-4


def test_foxglove_finds_every_topic_of_its_layout_in_a_recording(recordings):
    episode = Episode.open(finished(recordings)[0])
    assert set(layout_topics(FOLDER / "arm.json")) <= set(episode.topics)


def test_the_panda_is_recorded_in_lockstep_without_a_finding(tmp_path, domain_id):
    done = reflexarc(
        "record", "arm", "robot:=panda_twin", "policy:=expert/peg_insert", "pace:=lockstep", "--judged",
        "--episodes", 1, "--seconds", 120, "--task", "PegInsert", "--instruction", "insert the peg",
        "--out", tmp_path / "recordings", "--no-page",
        domain_id=domain_id,
    )  # fmt: skip
    assert done
    episode = Episode.open(finished(tmp_path / "recordings")[0])
    assert episode.metadata.outcome is Outcome.SUCCESS
    assert episode.metadata.quality["findings"] == []
    made, skipped = export_recordings(tmp_path / "recordings", tmp_path / "set", SamplingConfig(fps=25))
    assert skipped == ()
    assert (len(made.episodes), made.episodes[0].dropped, made.episodes[0].success) == (1, 0, True)


def test_foxglove_finds_every_topic_of_its_layout_in_a_flight(tmp_path, domain_id):
    lines = []
    with SystemRunner(
        "quadrotor",
        {"pace": "lockstep", "record": str(tmp_path), "record_begin": "activation"},
        on_line=lambda name, line: lines.append(line),
        domain_id=domain_id,
    ) as runner:
        deadline_s = time.monotonic() + 120.0
        # Topics that come up late are found within half a second.
        while sum(path.stat().st_size for path in tmp_path.glob("episode_*")) < 100_000:
            assert runner.is_running, "\n".join(lines)
            assert time.monotonic() < deadline_s, "\n".join(lines)
            time.sleep(0.05)
    topics = Episode.open(finished(tmp_path)[0]).topics
    assert set(layout_topics(FOLDER / "quadrotor.json")) <= {n for n, topic in topics.items() if topic.count}


def test_rerun_shows_terms_commands_and_cameras(recordings, tmp_path):
    shown = write_rerun(finished(recordings)[0], tmp_path / "e.rrd")
    assert {"joint_position/gripper", "sent/gripper", "requested/policy/gripper", "cube_position/z"} <= set(
        shown
    )
    assert {"cameras/front", "cameras/wrist"} <= set(shown)
    assert (tmp_path / "e.rrd").stat().st_size > 10_000
