"""Talks to a recorder over ROS 2: finds it, asks it, knows its status."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from reflexarc_ros import qos
from std_msgs.msg import String
from std_srvs.srv import Trigger

from hardware.errors import ConfigError
from reflexarc.graph_client import GraphClient

NODE = "recorder_node"
# What is asked for with a text, by topic.
TEXTS = {"failure": "failure_reason", "note": "note", "instruction": "instruction"}
_POLL_S = 0.02


class RecorderClient(GraphClient):
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
        super().__init__(
            "reflexarc_record",
            f"/{NODE}/start",
            namespace=namespace,
            search_s=search_s,
            what="recorder",
            expected="a running system that records",
            mend="start one (reflexarc up arm record:=recordings), or name one: reflexarc record arm",
        )
        self._is_alive = is_alive
        self._lock = threading.Lock()
        self._status: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        """Find the recorder."""
        super().__enter__()
        self._node.create_subscription(
            String, f"{self.namespace}/{NODE}/status", self._on_status, qos.LATCHED
        )
        self._words = {
            request: self._node.create_publisher(String, f"{self.namespace}/{NODE}/{topic}", qos.EVENTS)
            for request, topic in TEXTS.items()
        }
        return self

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
        request = Trigger.Request()
        answer = self._call(Trigger, service, request, timeout_s=timeout_s, is_alive=self._is_alive)
        if answer is not None:
            return bool(answer.success), str(answer.message)
        name = f"{self.namespace}/{service}"
        if name not in super()._services():
            return False, f"there is no service {name}"
        return False, f"{service}: no answer within {timeout_s:g} s"

    def _services(self) -> list[str]:
        """The services that are known now, as long as there is somebody to record."""
        if not self._is_alive():
            raise ConfigError(
                "the system ended before it recorded",
                where="reflexarc record",
                expected="a system that comes up",
                mend="see what its nodes said above",
            )
        return super()._services()

    def _on_status(self, message: String) -> None:
        with self._lock:
            self._status = json.loads(message.data)
