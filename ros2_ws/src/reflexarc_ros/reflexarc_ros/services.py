"""Calls of services whose answers arrive.

A server that has not yet discovered the reader for its answer throws the answer away: Fast DDS waits
100 ms for it and then says `client will not receive response` in the server's log. The caller cannot see
that, and asking again is wrong for what has consequences (arm, a lifecycle transition). So the server is
greeted first, with a question that may be asked any number of times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

# How long a greeting waits for its answer before the next is sent, and how long one turn of `spin` may
# last, seconds.
_GREETING_S = 0.5
_TURN_S = 0.02


class ServiceCaller:
    """Calls one service of a node; the node's parameter services are on, as by default.

    Args:
        node: the caller.
        kind: the service's type.
        name: the service, `NODE/SERVICE`.
    """

    def __init__(self, node: Node, kind: Any, name: str) -> None:  # noqa: ANN401
        """Make the clients."""
        self._client = node.create_client(kind, name)
        # Made second: discovery tells of endpoints in the order in which they were made, so a server
        # whose answer to the greeting arrives knows the reader of the first client too.
        self._greeting = node.create_client(GetParameters, f"{name.rpartition('/')[0]}/get_parameters")

    def call(self, request: Any, *, spin: Callable[[float], object], timeout_s: float) -> Any:  # noqa: ANN401
        """Ask once, and wait for the answer.

        Args:
            request: what to ask.
            spin: lets the node work for at most so many seconds; `time.sleep` where a thread spins it.
            timeout_s: how long to wait for the service and its answer, seconds.

        Returns:
            The answer; None: there is no such service, or no answer came in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not (self._client.service_is_ready() and self._greeting.service_is_ready()):
            if time.monotonic() >= deadline_s:
                return None
            spin(_TURN_S)
        while not self._answer(self._greeting, GetParameters.Request(), spin, _GREETING_S):
            if time.monotonic() >= deadline_s:
                return None
        return self._answer(self._client, request, spin, deadline_s - time.monotonic())

    @staticmethod
    def _answer(client: Any, request: Any, spin: Callable[[float], object], timeout_s: float) -> Any:  # noqa: ANN401
        future = client.call_async(request)
        deadline_s = time.monotonic() + timeout_s
        while not future.done():
            if time.monotonic() >= deadline_s:
                client.remove_pending_request(future)
                return None
            spin(_TURN_S)
        return future.result()
