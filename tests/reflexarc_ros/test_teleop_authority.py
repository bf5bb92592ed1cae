"""Protects authority in whole systems: an operator beside a policy, and one who flies the drone."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from reflexarc_ros import qos
from std_msgs.msg import Bool
from teleop_stand import PATIENCE_S, Stand
from trajectory_msgs.msg import JointTrajectory

from hardware import load_robot_card
from policies.demonstrations.recorded import load_recorded
from recording import Episode
from recording.authority import read_authority
from recording.decoding import read_commands
from recording.folder import finished
from recording.lerobot_export import export_recordings
from recording.lerobot_import import read_frames
from recording.sampling import SamplingConfig
from tests.reflexarc_ros.conftest import wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware" / "teleop"))

from page_client import PageThread  # noqa: E402

pytestmark = pytest.mark.ros
PAGE = {"teleop": "browser", "teleop_options": '{"port": 0}'}


def test_an_operator_takes_over_from_a_policy_gives_back_and_every_step_says_who_commanded(
    domain_id, tmp_path
):
    recorded = {"record": str(tmp_path / "rec"), "record_begin": "activation"}
    with Stand(domain_id, policy="bc/pick_cube", **recorded, **PAGE) as stand:
        engaged, policy, gated = [], [], []
        node = stand.client.node
        node.create_subscription(Bool, "teleop/engaged", lambda m: engaged.append(m.data), qos.LATCHED)
        commands = qos.command(None, None)
        node.create_subscription(JointTrajectory, "command/policy", policy.append, commands)
        node.create_subscription(JointTrajectory, "gate/command", gated.append, commands)
        assert wait_for(lambda: len(policy) > 40 and len(gated) > 40, PATIENCE_S), stand.log
        assert wait_for(lambda: stand.status.get("address"), PATIENCE_S), stand.log
        with PageThread(stand.status["address"]) as page:
            width = stand.joints["gripper"]

            def press():
                page.controls = {"engage": 1.0, "grip_open": 1.0}

            def let_go():
                page.controls = {}

            # Further than the policy ever opens the jaw by itself.
            assert stand.drive_until(lambda: stand.joints["gripper"] > 1.3, press, let_go), (width, stand.log)
            assert True in engaged
            let_go()
            assert wait_for(lambda: engaged[-1] is False, PATIENCE_S), stand.log
            # The policy goes on: it closes the jaw to where it wants it.
            assert wait_for(lambda: stand.joints["gripper"] < 1.0, PATIENCE_S), stand.log
            assert wait_for(lambda: any("the policy begins anew from here" in x for x in stand.lines), 5.0)
            # The operator leaves on purpose, having engaged: no emergency stop.
            assert stand.client.change("/so101/teleop_node", Transition.TRANSITION_DEACTIVATE)
            time.sleep(1.5)
            assert not stand.is_stopped
    _check_recording(tmp_path)


def _check_recording(folder):
    (path,) = finished(folder / "rec")
    episode, card = Episode.open(path), load_robot_card("so101_twin")
    authority = read_authority(episode)
    changes = list(authority.sources)
    begin = changes.index("operator")
    assert changes[begin - 1] == "policy"
    assert "policy" in changes[begin:], changes
    assert authority.interventions >= 1
    # Nothing jumps when authority changes hands: the gate's set-points keep to the joints' speeds.
    commands, names = read_commands(episode, card)
    assert (np.diff(commands.stamps_ns) > 0).all()
    spec = card.commands["joints"]
    fastest = np.array([spec.limits[name].velocity for name in names])
    steps = np.abs(np.diff(commands.values, axis=0)) / fastest
    flags = authority.is_operator(commands.stamps_ns)
    changed = np.flatnonzero(np.diff(flags.astype(int)))
    assert len(changed) >= 2
    assert steps[changed].max() <= 3 * spec.period_ns * 1e-9, steps[changed]
    # From the recording to the learner, and what `reflexarc data show` says of it.
    record, _ = export_recordings(
        folder / "rec", folder / "set", SamplingConfig(fps=25, terms=("joint_position",)), card=card
    )
    frames = list(read_frames(folder / "set"))
    flagged = np.concatenate([f.interventions for f in frames])
    jaw = np.concatenate([f.actions[:, f.action_names.index("gripper")] for f in frames])
    assert 0 < flagged.sum() < len(flagged)
    # It was the person who opened the jaw as far as this.
    assert flagged[np.argmax(jaw > 1.3)]
    assert (jaw > 1.3).any()
    found = load_recorded(folder / "rec", card, step_s=0.04, terms=("joint_position",))
    np.testing.assert_array_equal(np.concatenate([e.expert for e in found.episodes]), flagged)


def test_a_page_flies_the_drone_and_its_loss_ends_in_hover(domain_id):
    with Stand(domain_id, "quadrotor", policy="", **PAGE) as stand:
        places = []

        def on_odometry(message):
            p, v = message.pose.pose.position, message.twist.twist.linear
            places.append((p.x, p.y, p.z, max(abs(v.x), abs(v.y), abs(v.z))))

        stand.client.node.create_subscription(Odometry, "odom", on_odometry, qos.SENSOR)
        assert wait_for(lambda: places and places[-1][2] > 0.9, PATIENCE_S), stand.log
        assert wait_for(lambda: stand.status.get("address"), PATIENCE_S), stand.log
        with PageThread(stand.status["address"]) as page:

            def press():
                page.controls = {"engage": 1.0, "left_y": 0.8}

            def let_go():
                page.controls = {}

            start = places[-1]
            assert stand.drive_until(lambda: places[-1][0] > start[0] + 1.0, press, let_go), stand.log
            assert abs(places[-1][1] - start[1]) < 0.5
        # The page has gone in the middle of the motion.
        assert wait_for(lambda: stand.state == "lost", PATIENCE_S), stand.log
        assert wait_for(lambda: places[-1][3] < 0.1, PATIENCE_S), places[-1]
        hold = places[-1]
        time.sleep(1.5)
        assert max(abs(a - b) for a, b in zip(places[-1][:3], hold[:3], strict=True)) < 0.3
        assert places[-1][2] > 0.7
