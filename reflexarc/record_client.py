"""Talks to a recorder over ROS 2: finds it, asks it, knows its status."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import rclpy
from rclpy.executors import SingleThreadedExecutor
from reflexarc_ros import qos
from std_msgs.msg import String
from std_srvs.srv import Trigger

from hardware.errors import ConfigError
from reflexarc.graph import find_namespace

NODE = "recorder_node"
_SUFFIX = f"/{NODE}/start"
# What is asked for with a text, by topic.
TEXTS = {"failure": "failure_reason", "note": "note", "instruction": "instruction"}
_POLL_S = 0.02


class RecorderClient:
    """One recorder, seen from outside; a context manager.

    Args:
        namespace: of the robot; empty: the only recorder there is in this ROS domain.
        search_s: how long to look for it.
        is_alive: whether it still makes sense to look.

    Raises:
        ConfigError: on entry: there is none, or there are several and none was chosen.
    """

    def __init__(
        self, namespace: str, *, search_s: float, is_alive: Callable[[], bool] = lambda: True
    ) -> None:
        """Join the graph."""
        self._wanted, self._search_s, self._is_alive = namespace, search_s, is_alive
        self._context = rclpy.Context()
        # The words of this process are not ROS's.
        self._context.init(args=[])
        self._node = rclpy.create_node("reflexarc_record", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._lock = threading.Lock()
        self._status: Mapping[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._running = True
        self._thread = threading.Thread(target=self._spin, name="recorder-client", daemon=True)
        self.namespace = ""

    def __enter__(self) -> Self:
        """Find the recorder."""
        self._thread.start()
        try:
            self.namespace = find_namespace(
                self._names,
                _SUFFIX,
                wanted=self._wanted,
                search_s=self._search_s,
                what="recorder",
                expected="a running system that records",
                mend="start one (reflexarc up arm record:=recordings), or name one: reflexarc record arm",
            )
        except BaseException:
            self.close()
            raise
        self._node.create_subscription(
            String, f"{self.namespace}/{NODE}/status", self._on_status, qos.LATCHED
        )
        self._words = {
            request: self._node.create_publisher(String, f"{self.namespace}/{NODE}/{topic}", qos.EVENTS)
            for request, topic in TEXTS.items()
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self.close()

    @property
    def status(self) -> Mapping[str, Any]:
        """What the recorder last said of itself; empty before it said anything."""
        with self._lock:
            return self._status

    def ask(self, request: str, text: str = "", *, timeout_s: float = 10.0) -> tuple[bool, str]:
        """Ask for something.

        Args:
            request: start, stop, rerecord, discard, success, failure, note or instruction.
            text: for a failure (may be empty), a note or an instruction.
            timeout_s: how long to wait for the answer.

        Returns:
            Whether it was done, and the answer in words.
        """
        if request in self._words and (text or request != "failure"):
            return self._say(request, text, timeout_s)
        return self.call(f"{NODE}/{request}", timeout_s=timeout_s)

    def _say(self, request: str, text: str, timeout_s: float) -> tuple[bool, str]:
        publisher = self._words[request]
        deadline_s = time.monotonic() + timeout_s
        # A word that is said before the recorder listens is lost.
        while not publisher.get_subscription_count():
            if time.monotonic() > deadline_s or not self._is_alive():
                return False, f"{request}: nobody listens"
            time.sleep(_POLL_S)
        publisher.publish(String(data=text))
        return True, f"{request}: {text}"

    def call(self, service: str, *, timeout_s: float = 10.0) -> tuple[bool, str]:
        """Call a service of the robot's namespace that needs no words.

        Args:
            service: relative, such as recorder_node/start.
            timeout_s: how long to wait for the answer.

        Returns:
            Whether it was done, and the answer in words.
        """
        client = self._clients.get(service)
        if client is None:
            client = self._node.create_client(Trigger, f"{self.namespace}/{service}")
            self._clients[service] = client
        deadline_s = time.monotonic() + timeout_s
        while not client.service_is_ready():
            if time.monotonic() > deadline_s or not self._is_alive():
                return False, f"there is no service {self.namespace}/{service}"
            time.sleep(_POLL_S)
        future = client.call_async(Trigger.Request())
        while not future.done():
            if time.monotonic() > deadline_s or not self._is_alive():
                return False, f"{service}: no answer within {timeout_s:g} s"
            time.sleep(_POLL_S)
        answer = future.result()
        return bool(answer.success), str(answer.message)

    def close(self) -> None:
        """Leave the graph."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _names(self) -> list[str]:
        """The services that are known now."""
        if not self._is_alive():
            raise ConfigError(
                "the system ended before it recorded",
                where="reflexarc record",
                expected="a system that comes up",
                mend="see what its nodes said above",
            )
        time.sleep(_POLL_S)
        return [name for name, _ in self._node.get_service_names_and_types()]

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_status(self, message: String) -> None:
        with self._lock:
            self._status = json.loads(message.data)
