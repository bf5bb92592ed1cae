"""Watches a system over ROS 2 from the outside, as an operator's screen does: it only listens and asks.

Imports rclpy; whoever wants the demo without it imports something else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec, SafeStop
from reflexarc_ros.messages import ObservationTopic
from reflexarc_ros.services import ServiceCaller
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger

from hardware.command import FloatArray
from hardware.robot import RobotCard
from reflexarc.demos.records import GateCounts

_SPIN_S = 0.02


@dataclass(frozen=True)
class Sighting:
    """One observation, as it was seen from the outside."""

    # When it was captured, ROS clock.
    stamp_ns: int
    # When it arrived here, steady clock.
    received_steady_ns: int
    # Its terms by name.
    terms: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Status:
    """What a node last said about itself on /diagnostics."""

    # In words.
    message: str = ""
    # Its numbers, as text.
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """The gate went over to its safe action, or back to passing commands."""

    # When it was seen here, steady clock.
    steady_ns: int
    # Whether it is the safe action.
    is_safe: bool


class Observer:
    """Listens to a robot's pacing topic, its gate and everybody's diagnostics; a context manager.

    Args:
        card: the robot.
        namespace: of the system.
        domain_id: the ROS domain.
        interface: which one is commanded; None: the card's first.
    """

    def __init__(
        self, card: RobotCard, *, namespace: str, domain_id: int, interface: str | None = None
    ) -> None:
        """Prepare; nothing is heard before the block begins."""
        self._card, self._namespace, self._domain_id = card, namespace.strip("/"), domain_id
        spec = next(iter(card.commands.values())) if interface is None else card.commands[interface]
        self._codec = ChunkCodec(spec.kind, spec.names)
        self._topic = ObservationTopic(card, pacing_topic(card))
        self.latest: Sighting | None = None
        # Every change between commands and the safe action (a trajectory without points).
        self.changes: list[Change] = []
        self._statuses: dict[str, Status] = {}
        self._callers: dict[str, ServiceCaller] = {}

    def __enter__(self) -> Self:
        """Join the graph."""
        self._context = rclpy.Context()
        self._context.init(domain_id=self._domain_id)
        self._node = Node("demo", namespace=self._namespace, context=self._context)
        self._executor = EventsExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(
            self._topic.message_type, self._topic.topic, self._on_observation, qos.SENSOR, raw=True
        )
        self._node.create_subscription(
            self._codec.message_type, GATE_TOPIC, self._on_command, qos.command(None, None), raw=True
        )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self._estop = self._node.create_publisher(Bool, "estop", qos.ESTOP)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self._executor.remove_node(self._node)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
        # What is still referred to keeps its files in shared memory.
        self._context.destroy()

    # --- looking -----------------------------------------------------------------------------

    def status(self, node: str) -> Status:
        """What a node of the system last said; empty before it said anything."""
        return self._statuses.get(f"{self._namespace}/{node}", Status())

    def number(self, node: str, name: str) -> int | None:
        """A number of a node's diagnostics; None where there is none yet."""
        text = self.status(node).values.get(name)
        return None if text is None else int(float(text))

    def change_after(self, steady_ns: int, *, is_safe: bool) -> Change | None:
        """The first change of a kind after a moment on the steady clock."""
        return next((c for c in self.changes if c.steady_ns >= steady_ns and c.is_safe is is_safe), None)

    # --- waiting and asking ------------------------------------------------------------------

    def spin_once(self) -> None:
        """Handle what has arrived, or wait a little."""
        self._executor.spin_once(timeout_sec=_SPIN_S)

    def wait_for(self, is_there: Callable[[], bool], *, timeout_s: float, every: Callable[[], None]) -> bool:
        """Listen until something holds.

        Args:
            is_there: what to wait for.
            timeout_s: how long.
            every: called after everything that arrived.

        Returns:
            Whether it came to hold in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not is_there():
            if time.monotonic() >= deadline_s:
                return False
            self.spin_once()
            every()
        return True

    def ask(
        self, service: str, *, timeout_s: float, on: bool | None = None
    ) -> Trigger.Response | SetBool.Response | None:
        """Call a Trigger or SetBool service of the system.

        Args:
            service: its name relative to the namespace.
            timeout_s: how long to wait for the service and its answer.
            on: what a SetBool service is asked for; None: it is a Trigger.

        Returns:
            The answer, or None in case of silence.
        """
        caller = self._callers.get(service)
        if caller is None:
            kind = Trigger if on is None else SetBool
            caller = self._callers[service] = ServiceCaller(self._node, kind, service)
        request = Trigger.Request() if on is None else SetBool.Request(data=on)
        return caller.call(request, spin=lambda _: self.spin_once(), timeout_s=timeout_s)

    def press_emergency_stop(self) -> None:
        """Publish a pressed emergency stop; an operator's panel repeats it."""
        self._estop.publish(Bool(data=True))

    # --- wire --------------------------------------------------------------------------------

    def _on_observation(self, raw: bytes) -> None:
        steady_ns = time.monotonic_ns()
        stamp_ns, terms = self._topic.decode(raw)
        self.latest = Sighting(stamp_ns, steady_ns, terms)

    def _on_command(self, raw: bytes) -> None:
        steady_ns = time.monotonic_ns()
        is_safe = isinstance(self._codec.decode(raw, source="gate"), SafeStop)
        if not self.changes or self.changes[-1].is_safe is not is_safe:
            self.changes.append(Change(steady_ns, is_safe))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self._statuses[status.name] = Status(status.message, values)


def gate_counts(observer: Observer) -> GateCounts:
    """Read the gate's counts off /diagnostics."""
    reactions = observer.status("gate_node").values.get("reactions_ms", "")
    return GateCounts(
        observer.number("gate_node", "pass") or 0,
        observer.number("gate_node", "limited") or 0,
        observer.number("gate_node", "keep") or 0,
        len(reactions.split()),
    )
