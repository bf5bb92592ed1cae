"""Protects authority in whole systems: an operator beside a policy, and one who flies the drone."""

import sys
import time
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from reflexarc_ros import qos
from std_msgs.msg import Bool
from teleop_stand import PATIENCE_S, Stand
from trajectory_msgs.msg import JointTrajectory

from tests.reflexarc_ros.conftest import wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "hardware" / "teleop"))

from page_client import PageThread  # noqa: E402

pytestmark = pytest.mark.ros
PAGE = {"teleop": "browser", "teleop_options": '{"port": 0}'}


def test_an_operator_takes_over_from_a_policy_and_gives_back(domain_id):
    with Stand(domain_id, policy="bc/pick_cube", **PAGE) as stand:
        engaged, policy, gated = [], [], []
        node = stand.client.node
        node.create_subscription(Bool, "teleop/engaged", lambda m: engaged.append(m.data), qos.LATCHED)
        commands = qos.command(None, None)
        node.create_subscription(JointTrajectory, "command/policy", policy.append, commands)
        node.create_subscription(JointTrajectory, "gate/command", gated.append, commands)
        assert wait_for(lambda: policy and gated, PATIENCE_S), stand.log
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
            # The operator leaves on purpose, having engaged: no emergency stop.
            assert stand.client.change("/so101/teleop_node", Transition.TRANSITION_DEACTIVATE)
            time.sleep(1.5)
            assert not stand.is_stopped


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
