"""The arm in the twin, what a test of teleoperation wants to know of it, and a hand at a gamepad."""

import contextlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from reflexarc_ros import qos
from reflexarc_ros.runner import SystemRunner
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from tests.reflexarc_ros.conftest import Client, wait_for

PATIENCE_S = 60.0


class Stand:
    """A running system, an arm without a policy where nothing else is said, watched from outside."""

    def __init__(self, domain_id, system="arm", **arguments):
        self.system, self.lines = system, []
        self.runner = SystemRunner(
            system,
            {"policy": "none", **arguments},
            on_line=lambda node, line: self.lines.append(f"[{node}] {line}"),
            domain_id=domain_id,
        )
        self.robot = arguments.get("robot", {"arm": "so101_twin", "quadrotor": "quadrotor_twin"}[system])
        self.namespace = f"/{load_robot_card(self.robot).name}"
        self.client = Client(domain_id, self.namespace)
        self.joints, self.speeds, self.status, self.events, self.is_stopped = {}, {}, {}, [], False
        node = self.client.node
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.SENSOR)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        node.create_subscription(String, "teleop/event", lambda m: self.events.append(m.data), qos.EVENTS)
        node.create_subscription(Bool, "gate/estop", self._on_estop, qos.LATCHED)

    def __enter__(self):
        self.runner.__enter__()
        assert wait_for(lambda: any("all active" in line for line in self.lines), PATIENCE_S), self.log
        assert self.system != "arm" or wait_for(lambda: self.joints, PATIENCE_S), self.log
        return self

    def __exit__(self, *error):
        self.runner.stop()
        self.client.close()

    @property
    def log(self):
        return "\n".join([*self.lines[-60:], str(self.status)])

    def _on_joints(self, message):
        self.stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.joints = dict(zip(message.name, message.position, strict=True))
        self.speeds = dict(zip(message.name, message.velocity, strict=True))

    def _on_estop(self, message):
        self.is_stopped = message.data

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name.endswith("teleop_node"):
                self.status = {"message": status.message, **{v.key: v.value for v in status.values}}

    @property
    def state(self):
        return self.status.get("state")

    def release_stop(self):
        """As an operator does after a stop; a machine so busy that the link fell silent stops as well."""
        if self.is_stopped:
            self.client.call(Trigger, "gate_node/reset_estop", Trigger.Request())

    def drive_until(self, condition, press, let_go):
        """Engage and move until something is the case, anew after whatever ended it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            let_go()
            self.release_stop()
            wait_for(lambda: self.state in ("ready", None), 5.0)
            press()
            if wait_for(condition, 8.0):
                return True
        return False

    def rests(self):
        """Whether the arm stands still for a while, and nobody commands it."""
        before = dict(self.joints)
        still = wait_for(lambda: self.state != "engaged", PATIENCE_S)
        with contextlib.suppress(AssertionError):
            assert wait_for(lambda: max(map(abs, self.speeds.values())) < 0.02, PATIENCE_S)
            before = dict(self.joints)
            time.sleep(1.0)
        return still and max(abs(self.joints[n] - before[n]) for n in before) < 0.02

    def moved(self, start, names, least_rad=0.1):
        return max(abs(self.joints[n] - start[n]) for n in names) > least_rad


class Hand:
    """A hand at a gamepad in a teleop_node that joins a running system."""

    def __init__(self, stand, domain_id, mapping="gamepad_arm"):
        self._client, self._node = stand.client, f"{stand.namespace}/teleop_node"
        script = Path(__file__).parent / "gamepad_teleop_node.py"
        parameters = {"card": stand.robot, "mapping": mapping, "use_sim_time": "true"}
        words = [w for name, value in parameters.items() for w in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, script, "--ros-args", "-r", f"__ns:={stand.namespace}", *words],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain_id), "SDL_VIDEODRIVER": "dummy"},
            stdin=subprocess.PIPE,
            text=True,
        )

    def activate(self):
        client = self._client
        assert client.change(self._node, Transition.TRANSITION_CONFIGURE)
        assert client.change(self._node, Transition.TRANSITION_ACTIVATE)

    def do(self, *lines):
        for line in lines:
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait()


def is_near(value, other, tolerance):
    return math.isclose(value, other, abs_tol=tolerance)
