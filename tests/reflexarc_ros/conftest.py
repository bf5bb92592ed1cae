"""Every test gets a ROS domain of its own, on loopback; every process is ended by its own pid."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import rclpy
import yaml
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from reflexarc_ros.bringup import environment
from reflexarc_ros.domain import OwnDomain

os.environ.update(environment())
# What several test modules share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def domain_id():
    with OwnDomain() as domain:
        yield domain.id


class Client:
    """A node of the test, spun in a thread."""

    def __init__(self, domain_id, namespace):
        self.context = rclpy.Context()
        self.context.init(domain_id=domain_id)
        self.node = rclpy.create_node("test_client", context=self.context, namespace=namespace)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._running = True
        self._thread.start()

    def _spin(self):
        while self._running:
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self._running = False
        self._thread.join(5)
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def call(self, kind, name, request, timeout_s=60.0):
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_s), f"no service {name}"
        future = client.call_async(request)
        assert wait_for(future.done, timeout_s), f"{name} does not answer"
        return future.result()

    def change(self, node, transition_id):
        request = ChangeState.Request()
        request.transition.id = transition_id
        return self.call(ChangeState, f"{node}/change_state", request).success

    def state(self, node):
        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label


def wait_for(condition, timeout_s=20.0):
    """Whether a condition came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


@pytest.fixture
def client(domain_id):
    made = Client(domain_id, "/robot")
    yield made
    made.close()


class NodeProcess:
    """One node in a process of its own."""

    def __init__(self, name, parameters, domain_id, folder, script=None):
        path = folder / f"{name}-{len(os.listdir(folder))}.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        words = script or ["-m", f"reflexarc_ros.{name}"]
        command = [sys.executable, *words, "--ros-args", "-r", "__ns:=/robot"]
        self.process = subprocess.Popen(
            [*command, "--params-file", str(path)],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self):
        return "\n".join(self.lines)

    def end(self, *numbers, timeout_s=15.0):
        for number in numbers or (signal.SIGINT,):
            self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        self._reader.join(2)
        return code


@pytest.fixture
def start(domain_id, tmp_path):
    """Starts nodes; those that still run at the end are killed."""
    made = []

    def start_node(name, script=None, **parameters):
        made.append(NodeProcess(name, parameters, domain_id, tmp_path, script))
        return made[-1]

    yield start_node
    for node in made:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()
