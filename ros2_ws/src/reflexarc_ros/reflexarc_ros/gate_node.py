"""gate_node: the command gate in a process of its own. Nothing reaches a robot but through it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk, Schedule
from hardware.command import Command
from hardware.errors import ConfigError
from hardware.gate import CommandGate, GateAction, GateConfig, Verdict
from hardware.robot import Observation
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.messages import ChunkCodec, Nothing, ObservationTopic, SafeStop
from reflexarc_ros.node import PACE, REALTIME_PRIORITY, DeadlineLoop, ReflexarcNode, Setting, destroy, run
from reflexarc_ros.robot_node import GATE_TOPIC, with_rate

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
        self._lock = threading.Lock()
        self._gate: CommandGate | None = None

    def configure(self) -> None:
        """Load the card, make the rules, advertise and subscribe."""
        card = load_robot_card(self.setting("card"))
        if self.setting("rate_hz") > 0.0:
            card = with_rate(card, self.setting("rate_hz"))
        interface = self.setting("interface") or next(iter(card.commands))
        if interface not in card.commands:
            raise ConfigError(
                f"no command interface {interface!r}",
                where=f"robot card {card.name!r}",
                expected="one of " + ", ".join(card.commands),
                mend="correct the parameter 'interface'",
            )
        self._spec = card.commands[interface]
        self._sources = tuple(self.setting("sources"))
        self._codec = ChunkCodec(self._spec.kind, self._spec.names)
        self._topic = ObservationTopic(card, pacing_topic(card))
        config = GateConfig(sources=self._sources, state_terms=tuple(self._topic.slices))
        self._gate = CommandGate(card, interface, config=config)
        self._publisher = self.create_publisher(self._codec.message_type, GATE_TOPIC, qos.command(None, None))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._entities = [
            self._publisher,
            self.create_subscription(
                self._topic.message_type,
                self._topic.topic,
                self._on_state,
                qos.LOCKSTEP if self.is_lockstep else qos.SENSOR,
                raw=True,
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
            self.create_timer(_PUBLISHER_CHECK_S, self._check_publishers, clock=steady),
        ]

    def activate(self) -> None:
        """Begin with a gate that has seen nothing."""
        assert self._gate is not None
        with self._lock:
            self._gate.reset()
        self._state: Observation | None = None
        self._schedule = Schedule()
        self._waiting: ActionChunk | SafeStop | Nothing | None = None
        self._last_emitted_ns = 0
        self._is_safe = False
        self._counts: Counter[str] = Counter()
        self._reactions_ms: list[float] = []
        self._last_command_steady_ns = time.monotonic_ns()
        if not self.is_lockstep:
            self._loop = DeadlineLoop(self._spec.period_ns, self._on_deadline, name="gate")
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

    # --- wire --------------------------------------------------------------------------------

    def _on_state(self, raw: bytes) -> None:
        if not self.is_active:
            return
        steady_ns = time.monotonic_ns()
        stamp_ns, terms = self._topic.decode(raw)
        self._state = Observation(terms, stamp_ns, steady_ns)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._on_lockstep(waiting)

    def _reader(self, source: str) -> Callable[[bytes], None]:
        def read(raw: bytes) -> None:
            if not self.is_active:
                return
            steady_ns = time.monotonic_ns()
            try:
                chunk = self._codec.decode(raw, source=source)
            except ConfigError as error:
                self.health.report(DiagnosticStatus.ERROR, str(error))
                return
            if self.is_lockstep:
                self._on_lockstep(chunk)
            elif isinstance(chunk, ActionChunk):
                self._last_command_steady_ns = steady_ns
                if len(chunk.values) > 1:
                    self._schedule.push(chunk, now_ns=self.data_now_ns())
                else:
                    self._schedule.clear()
                self._judge(chunk.command_at(0, received_steady_ns=steady_ns), steady_ns)

        return read

    # --- real time ---------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        """Once a period: the next step of a longer chunk, or what silence asks for."""
        now_ns = time.monotonic_ns()
        if now_ns - self._last_emitted_ns < self._spec.period_ns:
            return
        command = None
        chunk = self._schedule.current
        if chunk is not None:
            data_now_ns = self.data_now_ns()
            values = self._schedule.sample(data_now_ns)
            if values is not None:
                command = Command(chunk.kind, chunk.names, values, data_now_ns, now_ns, chunk.source)
        self._judge(command, now_ns)

    def _judge(self, command: Command | None, steady_ns: int) -> None:
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
        self._note(verdict, steady_ns)

    # --- lockstep ----------------------------------------------------------------------------

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
            self._publisher.publish(self._codec.encode_nothing(stamp_ns))
        else:
            self._emit(verdict, stamp_ns=stamp_ns)
        self._note(verdict, stamp_ns)

    # --- out ---------------------------------------------------------------------------------

    def _emit(self, verdict: Verdict, stamp_ns: int | None = None) -> None:
        command = verdict.command
        assert command is not None
        chunk = ActionChunk(
            command.kind,
            command.names,
            command.values[None],
            command.stamp_ns if stamp_ns is None else stamp_ns,
            self._spec.period_ns,
            self._spec.robot_timeout_s,
        )
        self._publisher.publish(self._codec.encode(chunk))
        self._last_emitted_ns = time.monotonic_ns()

    def _emit_safe(self, verdict: Verdict, stamp_ns: int) -> None:
        if verdict.command is not None:
            self._emit(verdict, stamp_ns=stamp_ns)
            return
        self._publisher.publish(self._codec.encode_stop(stamp_ns))
        self._last_emitted_ns = time.monotonic_ns()

    def _note(self, verdict: Verdict, steady_ns: int) -> None:
        self._counts[verdict.action.value] += 1
        is_safe = verdict.action is GateAction.SAFE
        if verdict.action is not GateAction.PASS:
            self._counts["interventions"] += 1
        if is_safe and not self._is_safe:
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
        with self._lock:
            self._gate.operator_heartbeat(pressed=bool(message.data), steady_now_ns=time.monotonic_ns())

    def _on_reset_estop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Release the latched emergency stop and the operator link; its next message engages it again."""
        if self._gate is None:
            response.success, response.message = False, "the gate is not configured"
            return response
        with self._lock:
            self._gate.release_operator()
            self._gate.reset_estop()
        response.success, response.message = True, "released"
        return response

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
