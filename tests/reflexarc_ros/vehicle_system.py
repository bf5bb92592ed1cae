"""A whole system with a vehicle, for tests: brought up, taken off, and watched from the outside."""

import time

from nav_msgs.msg import Odometry
from reflexarc_ros import qos
from reflexarc_ros.runner import SystemRunner
from std_srvs.srv import SetBool, Trigger


def wait_for(condition, timeout_s=90.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


class System:
    """A running system, with what its nodes say."""

    def __init__(self, domain_id, client, arguments):
        self.lines, self.client, self.heights = [], client, []
        # What the simulated motion capture sees.
        client.node.create_subscription(
            Odometry, "mocap/odom", lambda m: self.heights.append(m.pose.pose.position.z), qos.SENSOR
        )
        self.runner = SystemRunner(
            "quadrotor",
            {"realtime": "false", **arguments},
            on_line=lambda n, line: self.lines.append(f"[{n}] {line}"),
            domain_id=domain_id,
        )

    def says(self, text, *, times=1, timeout_s=120.0):
        return wait_for(lambda: sum(text in line for line in self.lines) >= times, timeout_s)

    @property
    def log(self):
        return "\n".join(self.lines)

    def take_off(self):
        assert self.says("all active"), self.log
        # An estimator takes its time; the reason why it will not arm is in the answer.
        asked = []

        def arms():
            asked.append(self.client.call(SetBool, "robot_node/arm", SetBool.Request(data=True), 90.0))
            return asked[-1].success

        assert wait_for(arms, 90.0), asked[-1].message
        answer = self.client.call(Trigger, "robot_node/take_off", Trigger.Request(), 90.0)
        assert answer.success, answer.message
        assert self.says("commands pass again"), self.log
