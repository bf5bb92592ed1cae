"""The crash test's recorder as people run it: recorder_node in a process of its own, messages over ROS 2."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from reflexarc_ros import qos
from reflexarc_ros.bringup import environment
from reflexarc_ros.domain import OwnDomain
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from hardware.errors import ConfigError
from reflexarc.crash_test import Life

_CARD = "so101_twin"
_PERIOD_S = 0.005
_IMAGE_EVERY, _WIDTH, _HEIGHT = 10, 64, 48
_PATIENCE_S = 60.0
_QOS = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)
_PARAMETERS = {"chunk_s": 0.05, "chunk_mb": 0.05, "reserve_mb": 0.0}


class RosCrash:
    """Publishes numbers and lets recorders live and die beside it, in a ROS domain of its own."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._domain = OwnDomain()
        self._lives = 0

    def __enter__(self) -> Self:
        """Claim a domain."""
        self._domain.__enter__()
        self._environment = {**os.environ, **environment(), "ROS_DOMAIN_ID": str(self._domain.id)}
        os.environ.update(environment())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the domain back."""
        self._domain.__exit__(kind, error, trace)

    def live(self, folder: Path, delay_s: float, seed: int) -> Life:
        """Start recorder_node, record episodes, and kill it a while after the first one began.

        Args:
            folder: for the episodes.
            delay_s: how long after the first episode began.
            seed: of the lengths of the episodes.

        Returns:
            What had been said before the kill.

        Raises:
            ConfigError: the node does not come up.
        """
        self._lives += 1
        folder.mkdir(parents=True, exist_ok=True)
        namespace = f"/crash_{self._lives}"
        peer = _Peer(self._domain.id, namespace)
        words = ["-r", f"__ns:={namespace}", "-p", f"card:={_CARD}", "-p", f"folder:={folder}"]
        for name, value in _PARAMETERS.items():
            words += ["-p", f"{name}:={value}"]
        with (folder / "log.txt").open("ab") as log:
            node = subprocess.Popen(
                [sys.executable, "-m", "reflexarc_ros.start", "recorder_node", "--ros-args", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        try:
            return _live(peer, node, delay_s, random.Random(seed))
        finally:
            if node.poll() is None:
                os.kill(node.pid, signal.SIGKILL)
            node.wait()
            peer.close()


def _live(peer: _Peer, node: subprocess.Popen[bytes], delay_s: float, chance: random.Random) -> Life:
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = peer.call(ChangeState, "change_state", request, node)
        if answer is None or not answer.success:
            raise _not_up("it refuses to be configured")
    deadline_s = time.monotonic() + _PATIENCE_S
    while not peer.is_heard:
        if node.poll() is not None or time.monotonic() > deadline_s:
            raise _not_up("it does not subscribe")
        time.sleep(0.01)
    life = Life()
    killer = threading.Timer(delay_s, os.kill, (node.pid, signal.SIGKILL))
    try:
        while node.poll() is None:
            answer = peer.call(Trigger, "start", Trigger.Request(), node)
            if answer is None or not answer.success:
                break
            number, next_number = int(answer.message.split()[1]), peer.next_number
            if not killer.is_alive() and not killer.finished.is_set():
                killer.start()
            life.open = (number, -1, -1, 0)
            end_s = time.monotonic() + chance.uniform(0.05, 0.5)
            while node.poll() is None and time.monotonic() < end_s:
                time.sleep(0.002)
            answer = peer.call(Trigger, "stop", Trigger.Request(), node)
            if answer is not None and answer.success:
                life.finished[number] = (-1, -1)
                life.at_most[number] = next_number
                life.open = None
    finally:
        killer.cancel()
        if killer.is_alive():
            killer.join()
    if life.open is not None:
        number = life.open[0]
        life.open = (number, -1, -1, peer.durable.get(number, 0))
    return life


def _not_up(why: str) -> ConfigError:
    return ConfigError(
        f"recorder_node does not come up: {why}",
        where="reflexarc data crash-test",
        expected="a recorder to be killed",
        mend="see log.txt in the folder (--folder), and reflexarc doctor",
    )


class _Peer:
    """Publishes numbers at a fixed rate, asks the recorder, and listens to its status."""

    def __init__(self, domain_id: int, namespace: str) -> None:
        self._context = rclpy.Context()
        self._context.init(domain_id=domain_id)
        self._node = rclpy.create_node("crash_peer", context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._joints = self._node.create_publisher(JointState, "joint_states", _QOS)
        self._images = self._node.create_publisher(Image, "front/image", _QOS)
        self._node.create_subscription(String, "recorder_node/status", self._on_status, qos.LATCHED)
        self._clients: dict[str, Any] = {}
        # The next number to be published, and messages on the disk by episode, as the recorder tells it.
        self.next_number = 0
        self.durable: dict[int, int] = {}
        self._running = True
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._spin, self._publish)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_heard(self) -> bool:
        """Whether the recorder listens to everything that is published."""
        return all(p.get_subscription_count() > 0 for p in (self._joints, self._images))

    def call(self, kind: Any, name: str, request: Any, node: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401
        """Ask the recorder; None when it dies meanwhile."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self._node.create_client(kind, f"recorder_node/{name}")
        deadline_s = time.monotonic() + _PATIENCE_S
        while not client.service_is_ready():
            if node.poll() is not None or time.monotonic() > deadline_s:
                return None
            time.sleep(0.005)
        future = client.call_async(request)
        while not future.done():
            if node.poll() is not None or time.monotonic() > deadline_s:
                return None
            time.sleep(0.001)
        return future.result()

    def close(self) -> None:
        """Stop publishing and leave the graph."""
        self._running = False
        for thread in self._threads:
            thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.02)

    def _publish(self) -> None:
        joints = JointState(name=["counter"])
        image = Image(width=_WIDTH, height=_HEIGHT, encoding="rgb8", step=3 * _WIDTH)
        image.data = os.urandom(3 * _WIDTH * _HEIGHT)
        while self._running:
            stamp = self._node.get_clock().now().to_msg()
            joints.header.stamp = image.header.stamp = stamp
            joints.position = [float(self.next_number)]
            self._joints.publish(joints)
            if self.next_number % _IMAGE_EVERY == 0:
                self._images.publish(image)
            self.next_number += 1
            time.sleep(_PERIOD_S)

    def _on_status(self, message: String) -> None:
        status = json.loads(message.data)
        if status["state"] == "recording":
            self.durable[status["episode"]] = status["durable_messages"]
