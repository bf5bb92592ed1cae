"""gate_node: the command gate in a process of its own. Nothing reaches a robot but through it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool, Header
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk, Schedule
from hardware.command import Command
from hardware.gate import GATE_SOURCE, CommandGate, GateAction, GateConfig, Verdict
from hardware.robot import Observation, with_rate
from reflexarc_ros import qos
from reflexarc_ros.assembler import Assembler, pacing_topic
from reflexarc_ros.chunks import (
    GATE_ESTOP_TOPIC,
    GATE_SOURCE_TOPIC,
    GATE_TOPIC,
    ChunkCodec,
    Nothing,
    SafeStop,
)
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import ObservationTopic, to_time
from reflexarc_ros.node import PACE, REALTIME_PRIORITY, ReflexarcNode, Setting, destroy, run

_PUBLISHER_CHECK_S = 0.1


class GateNode(ReflexarcNode):
    """Judges every step of every chunk; answers on arrival, and by itself when nothing arrives."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        REALTIME_PRIORITY,
        Setting("interface", "", "Command interface on the card; empty: its first one."),
        Setting(
            "sources", ["operator", "policy"], "Who may command, most important first: command/<source>."
        ),
        Setting("rate_hz", 0.0, "Rate of commands; 0: as on the card.", minimum=0.0, maximum=2000.0),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("gate_node")
        self._entities: list[Any] = []
        self._loop: DeadlineLoop | None = None
        self._lock = threading.RLock()
        self._gate: CommandGate | None = None

    def configure(self) -> None:
        """Load the card, make the rules, advertise and subscribe."""
        card = load_robot_card(self.setting("card"))
        if self.setting("rate_hz") > 0.0:
            card = with_rate(card, self.setting("rate_hz"))
        interface = self.setting("interface") or next(iter(card.commands))
        sources = tuple(self.setting("sources"))
        # Judged by what paces the loops; that other terms are there is for the policy to see.
        pacing = ObservationTopic(card, pacing_topic(card))
        judged = tuple(name for name in card.observations if name in pacing.slices)
        self._gate = CommandGate(card, interface, config=GateConfig(sources=sources, state_terms=judged))
        self._spec = card.commands[interface]
        self._sources = sources
        self._codec = ChunkCodec(self._spec.kind, self._spec.names)
        self._assembler = Assembler(card, judged, exact=self.is_lockstep)
        self._publisher = self.create_publisher(self._codec.message_type, GATE_TOPIC, self._gated_qos())
        self._estop_publisher = self.create_publisher(Bool, GATE_ESTOP_TOPIC, qos.LATCHED)
        self._source_publisher = self.create_publisher(Header, GATE_SOURCE_TOPIC, qos.LATCHED)
        self._is_latched = False
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        sensor = qos.LOCKSTEP if self.is_lockstep else qos.SENSOR
        self._entities = [
            self._publisher,
            self._estop_publisher,
            self._source_publisher,
            *(
                self.create_subscription(
                    t.message_type, t.topic, self.guarded(t.topic, self._state_reader(t)), sensor, raw=True
                )
                for t in self._assembler.topics
            ),
            *(
                self.create_subscription(
                    self._codec.message_type,
                    f"command/{s}",
                    self._reader(s),
                    qos.command(None, None),
                    raw=True,
                )
                for s in self._sources
            ),
            self.create_subscription(Bool, "estop", self._on_estop, qos.ESTOP),
            self.create_service(Trigger, "~/reset_estop", self._on_reset_estop),
            self.create_service(Trigger, "~/release_operator", self._on_release_operator),
            self.create_timer(_PUBLISHER_CHECK_S, self._check_publishers, clock=steady),
        ]

    def activate(self) -> None:
        """Begin with a gate that has seen nothing."""
        assert self._gate is not None
        with self._lock:
            self._gate.reset()
        self._state: Observation | None = None
        self._assembler.clear()
        # What is left of each source's chunk of several steps.
        self._schedules = {source: Schedule() for source in self._sources}
        self._waiting: ActionChunk | SafeStop | Nothing | None = None
        # Lockstep: the last question (its source, and the message), and what was answered to it.
        self._question: tuple[str, bytes] | None = None
        self._answer: bytes | None = None
        self._last_emitted_ns = self._last_stamp_ns = 0
        self._told_source = ""
        self._tell_source(GATE_SOURCE, self.data_now_ns())
        self._is_safe = False
        self._counts: Counter[str] = Counter()
        self._reactions_ms: list[float] = []
        self._last_command_steady_ns = time.monotonic_ns()
        if not self.is_lockstep:
            self._loop = self.loop(self._spec.period_ns, self._on_deadline, name="gate")
            self._loop.start()

    def deactivate(self) -> None:
        """Stop; the robot's own timeout takes over."""
        if self._loop is not None:
            self._loop.stop()

    def cleanup(self) -> None:
        """Withdraw everything."""
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []
        self._gate = None

    def _gated_qos(self) -> QoSProfile:
        """A gated command is worthless once the robot has given up waiting for it."""
        if self.is_lockstep:
            return qos.LOCKSTEP
        return qos.command(self._spec.robot_timeout_s, self._spec.robot_timeout_s)

    # --- wire --------------------------------------------------------------------------------

    def _state_reader(self, topic: ObservationTopic) -> Callable[[bytes], None]:
        def read(raw: bytes) -> None:
            if not self.is_active:
                return
            steady_ns = time.monotonic_ns()
            stamp_ns, terms = topic.decode(raw)
            state = self._assembler.push(topic.topic, stamp_ns, terms, steady_ns=steady_ns)
            if state is None:
                return
            self._state = state
            if self._waiting is not None:
                waiting, self._waiting = self._waiting, None
                self._on_lockstep(waiting)

        return read

    def _reader(self, source: str) -> Callable[[bytes], None]:
        def read(raw: bytes) -> None:
            if not self.is_active:
                return
            steady_ns = time.monotonic_ns()
            if self.is_lockstep:
                self._on_question(source, raw)
                return
            chunk = self._codec.decode(raw, source=source)
            with self._lock:
                schedule = self._schedules[source]
                if not isinstance(chunk, ActionChunk):
                    schedule.clear()
                    if isinstance(chunk, SafeStop) and self._gate is not None and self._gate.holder == source:
                        # Whoever commands gives up: the safe action, until somebody commands again.
                        self._gate.reset()
                        self._judge(None, steady_ns)
                    return
                self._last_command_steady_ns = steady_ns
                if len(chunk.values) == 1:
                    schedule.clear()
                    self._judge(chunk.command_at(0, received_steady_ns=steady_ns), steady_ns)
                elif schedule.push(chunk, now_ns=self.data_now_ns()):
                    self._judge(self._step(source, schedule, steady_ns), steady_ns)

        return read

    # --- real time ---------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        """Once a period: the next step of a longer chunk, or what silence asks for."""
        with self._lock:
            now_ns = time.monotonic_ns()
            if now_ns - self._last_emitted_ns < self._spec.period_ns // 2:
                return
            steps = (self._step(source, schedule, now_ns) for source, schedule in self._schedules.items())
            commands = [step for step in steps if step is not None]
            for command in commands or [None]:
                self._judge(command, now_ns)

    def _step(self, source: str, schedule: Schedule, steady_ns: int) -> Command | None:
        """The step of a source's chunk for this moment."""
        data_now_ns = self.data_now_ns()
        values = schedule.sample(data_now_ns)
        chunk = schedule.current
        if values is None or chunk is None:
            return None
        return Command(chunk.kind, chunk.names, values, data_now_ns, steady_ns, source)

    def _judge(self, command: Command | None, steady_ns: int) -> None:
        """Judge and send, under the lock: verdicts leave in the order in which they were given."""
        gate = self._gate
        if gate is None:
            return
        with self._lock:
            verdict = gate.filter(command, self._state, self.data_now_ns(), steady_ns)
            if verdict.action is GateAction.SAFE:
                stamp_ns = self._state.stamp_ns if self._state is not None else self.data_now_ns()
                self._emit_safe(verdict, stamp_ns)
            elif verdict.action is not GateAction.KEEP:
                self._emit(verdict)
            elif command is None:
                return
            self._note(verdict)

    # --- lockstep ----------------------------------------------------------------------------

    def _on_question(self, source: str, raw: bytes) -> None:
        if self._question == (source, raw) and self._answer is not None:
            # The robot asked again, because it could not hear the first answer yet. Judged anew, a command
            # that has passed already would be nothing new.
            self._publisher.publish(self._answer)
            return
        self._question, self._answer = (source, raw), None
        self._on_lockstep(self._codec.decode(raw, source=source))

    def _on_lockstep(self, chunk: ActionChunk | SafeStop | Nothing) -> None:
        """Answer each step once, with the state of the same instant; all clocks are the data's."""
        gate = self._gate
        stamp_ns = chunk.start_ns
        if gate is None or self._state is None or self._state.stamp_ns < stamp_ns:
            self._waiting = chunk
            return
        command = None
        if isinstance(chunk, ActionChunk):
            command = chunk.command_at(0, received_steady_ns=stamp_ns)
        verdict = gate.filter(command, self._state, stamp_ns, stamp_ns)
        if verdict.action is GateAction.SAFE:
            self._emit_safe(verdict, stamp_ns)
        elif verdict.action is GateAction.KEEP:
            self._send(self._codec.encode_nothing(stamp_ns))
        else:
            self._emit(verdict, stamp_ns=stamp_ns)
        self._note(verdict)

    # --- out ---------------------------------------------------------------------------------

    def _emit(self, verdict: Verdict, stamp_ns: int | None = None) -> None:
        command = verdict.command
        assert command is not None
        stamp_ns = self._not_before_the_last(command.stamp_ns if stamp_ns is None else stamp_ns)
        self._tell_source(command.source, stamp_ns)
        chunk = ActionChunk(
            command.kind,
            command.names,
            command.values[None],
            stamp_ns,
            self._spec.period_ns,
            self._spec.robot_timeout_s,
        )
        self._send(self._codec.encode(chunk))
        self._last_emitted_ns = time.monotonic_ns()

    def _emit_safe(self, verdict: Verdict, stamp_ns: int) -> None:
        if verdict.command is not None:
            self._emit(verdict, stamp_ns=stamp_ns)
            return
        stamp_ns = self._not_before_the_last(stamp_ns)
        self._tell_source(GATE_SOURCE, stamp_ns)
        self._send(self._codec.encode_stop(stamp_ns))
        self._last_emitted_ns = time.monotonic_ns()

    def _not_before_the_last(self, stamp_ns: int) -> int:
        """Keep the stamps in order where a source takes over whose data is older; a clock set back counts."""
        if not self.is_lockstep:
            stamp_ns = max(stamp_ns, min(self._last_stamp_ns, self.data_now_ns()))
        self._last_stamp_ns = stamp_ns
        return stamp_ns

    def _tell_source(self, source: str, stamp_ns: int) -> None:
        """Tell whose commands pass from a stamp on, when they become another one's."""
        if source != self._told_source:
            self._told_source = source
            self._source_publisher.publish(Header(stamp=to_time(stamp_ns), frame_id=source))

    def _send(self, raw: bytes) -> None:
        self._publisher.publish(raw)
        self._answer = raw

    def _note(self, verdict: Verdict) -> None:
        self._counts[verdict.action.value] += 1
        is_safe = verdict.action is GateAction.SAFE
        self._tell_estop()
        if verdict.action is not GateAction.PASS:
            self._counts["interventions"] += 1
        if is_safe and not self._is_safe:
            if self._counts[GateAction.PASS.value] + self._counts[GateAction.LIMITED.value]:
                self._reactions_ms.append((time.monotonic_ns() - self._last_command_steady_ns) * 1e-6)
            self.get_logger().warning(f"safe action: {', '.join(verdict.reasons)}")
        elif self._is_safe and not is_safe:
            self.get_logger().info("commands pass again")
        changed = is_safe != self._is_safe
        self._is_safe = is_safe
        reasons = ", ".join(verdict.reasons)
        if is_safe:
            level, message = DiagnosticStatus.ERROR, f"safe action: {reasons}"
        elif verdict.action is GateAction.PASS:
            level, message = DiagnosticStatus.OK, "active"
        else:
            level, message = DiagnosticStatus.WARN, f"{verdict.action.value}: {reasons}"
        if changed or self._counts.total() % 20 == 1:
            self.health.report(
                level,
                message,
                reactions_ms=" ".join(f"{r:.1f}" for r in self._reactions_ms[-20:]),
                **{key: value for key, value in self._counts.items()},
            )

    # --- operator ----------------------------------------------------------------------------

    def _on_estop(self, message: Bool) -> None:
        if self._gate is None:
            return
        now_ns = time.monotonic_ns()
        if self.is_lockstep:
            now_ns = 0 if self._state is None else self._state.stamp_ns
        if message.data:
            # What passed before the stop is not said again after it.
            self._answer = None
        with self._lock:
            self._gate.operator_heartbeat(pressed=bool(message.data), steady_now_ns=now_ns)

    def _on_reset_estop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Release the latched emergency stop and the operator link; its next message engages it again."""
        if self._gate is None:
            response.success, response.message = False, "the gate is not configured"
            return response
        with self._lock:
            self._gate.release_operator()
            self._gate.reset_estop()
            self._is_latched = False
            self._estop_publisher.publish(Bool(data=False))
        response.success, response.message = True, "released"
        return response

    def _on_release_operator(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Let the operator link go on purpose: its silence means nothing any more; a latched stop stays."""
        if self._gate is None:
            response.success, response.message = False, "the gate is not configured"
            return response
        with self._lock:
            self._gate.release_operator()
        response.success, response.message = True, "released"
        return response

    def _tell_estop(self) -> None:
        """Tell the robot when the latch closes; that it opens is told by the reset alone."""
        if self._gate is not None and self._gate.estop_reason is not None and not self._is_latched:
            self._is_latched = True
            self._estop_publisher.publish(Bool(data=True))

    def _check_publishers(self) -> None:
        if self._gate is None or not self.is_active:
            return
        with self._lock:
            for source in self._sources:
                self._gate.report_publishers(source, self.count_publishers(f"command/{source}"))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(GateNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
