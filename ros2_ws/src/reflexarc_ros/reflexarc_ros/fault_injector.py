"""fault_injector: sits on the wires of a system and breaks them on demand, for tests and benches.

The messages of the observation, of the policy's command and of /clock pass through it unchanged
until a fault is switched on. It knows nothing of what is inside the nodes: every fault is one that
a real cable, clock or process can have.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.robot import Observation, RobotCard
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec
from reflexarc_ros.messages import ObservationTopic, to_ns, to_time

# The robot and the policy publish here; the injector passes on to the usual names.
RAW_PREFIX = "raw/"
RAW_CLOCK = "/raw_clock"
_PUMP_S = 0.001
_BREAK_NS = 100_000_000


class Fault(enum.StrEnum):
    """What the injector can do to a wire."""

    NAN_OUT = "NaN out"
    NAN_IN = "NaN in"
    LATE_CHUNK = "late chunk"
    UNPLUGGED = "observation unplugged"
    FROZEN = "observation frozen"
    CLOCK_BACK = "clock back"
    CLOCK_STOPPED = "clock stopped"
    TWO_PUBLISHERS = "two command publishers"
    EMERGENCY_STOP = "emergency stop"


class FaultInjector(Node):
    """Passes three wires through and breaks them.

    Args:
        card: the robot's card.
        namespace: of the system.
        source: whose command passes through.
        late_s: delay of a late chunk, seconds.
        back_s: by how much the clock jumps back, seconds.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        namespace: str,
        source: str = "policy",
        late_s: float = 0.3,
        back_s: float = 5.0,
        context: rclpy.Context | None = None,
    ) -> None:
        """Connect the wires."""
        super().__init__("fault_injector", namespace=namespace, context=context)
        spec = next(iter(card.commands.values()))
        self._codec = ChunkCodec(spec.kind, spec.names)
        self._topic = ObservationTopic(card, pacing_topic(card))
        self._fault: Fault | None = None
        self._late_ns, self._back_ns = round(late_s * 1e9), round(back_s * 1e9)
        self._frozen: dict[str, FloatArray] | None = None
        self._delayed: deque[tuple[int, bytes]] = deque()
        self._second: Any = None
        command = f"command/{source}"
        self._observation_out = self.create_publisher(self._topic.message_type, self._topic.topic, qos.SENSOR)
        self._command_out = self.create_publisher(self._codec.message_type, command, qos.command(None, None))
        self._clock_out = self.create_publisher(ClockMessage, "/clock", qos.LOCKSTEP)
        self._estop_out = self.create_publisher(Bool, "estop", qos.ESTOP)
        self._command_topic = command
        self.create_subscription(
            self._topic.message_type,
            RAW_PREFIX + self._topic.topic,
            self._on_observation,
            qos.SENSOR,
            raw=True,
        )
        self.create_subscription(
            self._codec.message_type,
            RAW_PREFIX + command,
            self._on_command,
            qos.command(None, None),
            raw=True,
        )
        self.create_subscription(ClockMessage, RAW_CLOCK, self._on_clock, qos.LOCKSTEP)
        self.create_timer(_PUMP_S, self._pump, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._wanted: Fault | None = None
        # Since when gated commands have come without a break, steady clock, nanoseconds; 0: not now.
        self._followed_since_ns = self._followed_ns = 0
        self.create_subscription(
            self._codec.message_type, GATE_TOPIC, self._on_gate, qos.command(None, None), raw=True
        )
        self._release_estop = self.create_client(Trigger, "gate_node/reset_estop")

    def following_s(self) -> float:
        """For how long the robot has been given commands without a break, in seconds."""
        now_ns = time.monotonic_ns()
        if self._followed_since_ns == 0 or now_ns - self._followed_ns > _BREAK_NS:
            return 0.0
        return (now_ns - self._followed_since_ns) * 1e-9

    def _on_gate(self, raw: bytes) -> None:
        now_ns = time.monotonic_ns()
        if not isinstance(self._codec.decode(raw, source="gate"), ActionChunk):
            self._followed_since_ns = 0
            return
        if self._followed_since_ns == 0 or now_ns - self._followed_ns > _BREAK_NS:
            self._followed_since_ns = now_ns
        self._followed_ns = now_ns

    def inject(self, fault: Fault | None) -> int:
        """Switch a fault on, or all off; may be called from any thread.

        Args:
            fault: what to break; None: nothing.

        Returns:
            When, steady clock, in nanoseconds.
        """
        self._wanted = fault
        return time.monotonic_ns()

    def _pump(self) -> None:
        """Entities are made and destroyed in the executor's own thread."""
        now_ns = time.monotonic_ns()
        while self._delayed and self._delayed[0][0] <= now_ns:
            self._command_out.publish(self._delayed.popleft()[1])
        if self._wanted is self._fault:
            return
        if self._fault is Fault.EMERGENCY_STOP:
            self._release_estop.call_async(Trigger.Request())
        self._fault, self._frozen = self._wanted, None
        if self._fault is Fault.TWO_PUBLISHERS:
            self._second = self.create_publisher(
                self._codec.message_type, self._command_topic, qos.command(None, None)
            )
        elif self._second is not None:
            self.destroy_publisher(self._second)
            self._second = None
        if self._fault is Fault.EMERGENCY_STOP:
            self._estop_out.publish(Bool(data=True))

    def _on_observation(self, raw: bytes) -> None:
        if self._fault is Fault.UNPLUGGED:
            return
        if self._fault is Fault.FROZEN:
            # The values stay, the stamps go on: a sensor that hangs behind a driver that does not.
            stamp_ns, terms = self._topic.decode(raw)
            self._frozen = self._frozen or terms
            raw = self._topic.encode(Observation(self._frozen, stamp_ns, 0))
        elif self._fault is Fault.NAN_IN:
            stamp_ns, terms = self._topic.decode(raw)
            poisoned = {name: np.full_like(value, np.nan) for name, value in terms.items()}
            raw = self._topic.encode(Observation(poisoned, stamp_ns, 0))
        self._observation_out.publish(raw)

    def _on_command(self, raw: bytes) -> None:
        if self._fault is Fault.NAN_OUT:
            chunk = self._codec.decode(raw, source="policy")
            if isinstance(chunk, ActionChunk):
                raw = self._codec.encode(chunk.with_values(np.full_like(chunk.values, np.nan)))
        elif self._fault is Fault.LATE_CHUNK:
            self._delayed.append((time.monotonic_ns() + self._late_ns, raw))
            return
        self._command_out.publish(raw)

    def _on_clock(self, message: ClockMessage) -> None:
        if self._fault is Fault.CLOCK_STOPPED:
            return
        if self._fault is Fault.CLOCK_BACK:
            message.clock = to_time(to_ns(message.clock) - self._back_ns)
        self._clock_out.publish(message)


class InjectorThread:
    """Spins an injector in a thread of its own, in its own context; a context manager.

    Args:
        make: makes the injector in the context that it is given.
        domain_id: the ROS domain of the system.
    """

    def __init__(self, make: Callable[[rclpy.Context], FaultInjector], *, domain_id: int) -> None:
        """Prepare the thread."""
        self._make, self._domain_id = make, domain_id
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-injector", daemon=True)
        self.injector: FaultInjector | None = None

    def __enter__(self) -> FaultInjector:
        """Start and wait until the wires are connected."""
        self._thread.start()
        self._ready.wait(20.0)
        assert self.injector is not None
        return self.injector

    def __exit__(self, *error: object) -> None:
        """Disconnect."""
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        context = rclpy.Context()
        context.init(domain_id=self._domain_id)
        self.injector = self._make(context)
        executor = EventsExecutor(context=context)
        executor.add_node(self.injector)
        self._ready.set()
        try:
            while not self._stopping.is_set():
                executor.spin_once(timeout_sec=0.05)
        except ExternalShutdownException:
            pass
        finally:
            executor.shutdown()
            self.injector.destroy_node()
            context.try_shutdown()


def remappings(source: str, topic: str) -> dict[str, Sequence[tuple[str, str]]]:
    """Which topics of which node must be renamed so that the injector sits between.

    Args:
        source: whose command passes through.
        topic: the robot's pacing topic.

    Returns:
        Remappings by node name.
    """
    return {
        "robot_node": ((topic, RAW_PREFIX + topic), ("/clock", RAW_CLOCK)),
        "policy_node": ((f"command/{source}", f"{RAW_PREFIX}command/{source}"),),
    }
