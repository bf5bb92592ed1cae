"""What every client of a running system is: a guest in the ROS graph with a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import rclpy
from rclpy.executors import SingleThreadedExecutor
from reflexarc_ros.services import ServiceCaller

from reflexarc.graph import find_namespace

_POLL_S = 0.02


class _GoneError(Exception):
    """Who is asked lives no more."""


class GraphClient:
    """One robot's namespace, seen from outside; a context manager.

    Args:
        name: of the node by which the client is known.
        suffix: of the service by which the namespace is found.
        namespace: of the robot; empty: the only one that offers the service in this ROS domain.
        search_s: how long to look for it.
        what: what is looked for, in one word.
        expected: what would have been right where there is none.
        mend: what to do then.

    Raises:
        ConfigError: on entry: there is none, or there are several and none was chosen.
    """

    def __init__(
        self,
        name: str,
        suffix: str,
        *,
        namespace: str,
        search_s: float,
        what: str,
        expected: str,
        mend: str,
    ) -> None:
        """Join the graph."""
        self._suffix, self._wanted, self._search_s = suffix, namespace, search_s
        self._what, self._expected, self._mend = what, expected, mend
        self._context = rclpy.Context()
        # The words of this process are not ROS's.
        self._context.init(args=[])
        self._node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._callers: dict[str, ServiceCaller] = {}
        self._running = True
        self._thread = threading.Thread(target=self._spin, name=f"{name}-client", daemon=True)
        self.namespace = ""

    def __enter__(self) -> Self:
        """Find the robot."""
        self._thread.start()
        try:
            self.namespace = find_namespace(
                self._services,
                self._suffix,
                wanted=self._wanted,
                search_s=self._search_s,
                what=self._what,
                expected=self._expected,
                mend=self._mend,
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _call(
        self,
        kind: Any,  # noqa: ANN401
        service: str,
        request: Any,  # noqa: ANN401
        *,
        timeout_s: float,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> Any:  # noqa: ANN401
        """The answer of a service of the namespace, `NODE/SERVICE`, or None."""
        caller = self._callers.get(service)
        if caller is None:
            caller = self._callers[service] = ServiceCaller(self._node, kind, f"{self.namespace}/{service}")

        def wait(turn_s: float) -> None:
            if not is_alive():
                raise _GoneError
            time.sleep(turn_s)

        try:
            return caller.call(request, spin=wait, timeout_s=timeout_s)
        except _GoneError:
            return None

    def _services(self) -> list[str]:
        """The services that are known now."""
        time.sleep(_POLL_S)
        return [name for name, _ in self._node.get_service_names_and_types()]

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)
