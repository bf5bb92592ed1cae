"""policy_node: a bound controller between observations and the gate."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool

from hardware.cards import load_robot_card
from hardware.chunk import ActionChunk, Interpolation, Schedule
from hardware.errors import ConfigError
from hardware.gate import GATE_SOURCE
from hardware.robot import Observation, with_rate
from policies.controller import Controller, load_controller
from policies.policy import PolicyError
from policies.runtime.inference import Immediate, InferenceThread
from policies.warm_up import warm_up
from reflexarc_ros import qos
from reflexarc_ros.assembler import Assembler
from reflexarc_ros.chunks import GATE_SOURCE_TOPIC, ChunkCodec, ReferenceCodec, reference_terms
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.messages import INSTRUCTION_TOPIC
from reflexarc_ros.node import PACE, REALTIME_PRIORITY, ReflexarcNode, Setting, destroy, run
from reflexarc_ros.policy_outputs import LayerPublisher, open_journal, warn_of_airframe
from reflexarc_ros.reference_node import REFERENCE_TOPIC
from reflexarc_ros.sight import Sight

if TYPE_CHECKING:
    from policies.runtime.journal_file import JournalFile

_WATCH_NS = 100_000_000
# Stamps that go back by more than this are a robot that was started anew.
_BACK_NS = 500_000_000
# A chunked policy that takes a larger share of a control step than this thinks in a thread of its own.
_SHARE_OF_STEP = 0.5
AUTO, STEP, THREAD = "auto", "step", "thread"


class PolicyNode(ReflexarcNode):
    """Acts on every observation, or not at all: nothing is filled in, nothing stale is used."""

    settings = (
        Setting(
            "card", "quadrotor_twin", "Robot card: a name from hardware/cards or the path of a YAML file."
        ),
        PACE,
        REALTIME_PRIORITY,
        Setting("policy", "", "A policy folder, or the YAML file of a controller with its layers."),
        Setting("source", "policy", "Name under which commands are published: command/<source>."),
        Setting(
            "rate_hz",
            0.0,
            "Rate of the robot's observations; 0: as on the card.",
            minimum=0.0,
            maximum=2000.0,
        ),
        Setting("seed", 0, "Seed of the policy's randomness."),
        Setting(
            "inference",
            AUTO,
            "Where the policy thinks: step, within the control step; thread, in a thread of its own, on the"
            " latest observation; auto: what a warm-up finds. In lockstep always within the step.",
            choices=(AUTO, STEP, THREAD),
        ),
        Setting(
            "instruction",
            "",
            "What is to be done, for a policy that understands words; the topic instruction changes it."
            " Empty: as its controller file or its card says.",
        ),
        Setting(
            "airframe",
            "",
            "Airframe of a quadrotor, to warn of one unlike those of the training; empty: as on the card.",
        ),
        Setting(
            "journal",
            "",
            "Folder for journals: what the policy's answers depend on, for `reflexarc replay`; empty: none.",
        ),
        Setting("report_layers", True, "Whether to publish policy/<layer>/action every step."),
    )

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("policy_node")
        self._entities: list[Any] = []
        self._controller: Controller | None = None
        self._journal: JournalFile | None = None
        self._loop: DeadlineLoop | None = None

    def configure(self) -> None:
        """Load the policy, bind it to the robot, warm it up, advertise and subscribe."""
        card = load_robot_card(self.setting("card"))
        if self.setting("rate_hz") > 0.0:
            card = with_rate(card, self.setting("rate_hz"))
        path = self.setting("policy")
        if not path:
            raise ConfigError(
                "no policy",
                where=f"{self.get_fully_qualified_name()}: parameter 'policy'",
                expected="a policy folder or a controller file",
                mend="set the parameter",
            )
        controller = load_controller(
            path, card, steady_clock=time.monotonic_ns, rate_hz=self.setting("rate_hz") or None
        )
        controller.instruction = self.setting("instruction") or controller.instruction
        binding = controller.binding
        self._controller, self._card = controller, card
        self._warm_up(controller)
        self._assembler = Assembler(card, binding.term_order, exact=self.is_lockstep)
        self._codec = ChunkCodec(binding.interface.kind, binding.interface.names)
        sensor = qos.LOCKSTEP if self.is_lockstep else qos.SENSOR
        period_s = 1.0 / controller.card.rate_hz
        self._publisher = self.create_publisher(
            self._codec.message_type,
            f"command/{self.setting('source')}",
            qos.LOCKSTEP if self.is_lockstep else qos.command(3.0 * period_s, binding.interface.max_age_s),
        )
        self._topic_by_name = {t.topic: t for t in self._assembler.topics}
        self._entities = [
            self.create_subscription(
                t.message_type, t.topic, self.guarded(t.topic, self._reader(t.topic)), sensor, raw=True
            )
            for t in self._assembler.topics
        ]
        self._sight = Sight(card, controller.cameras, exact=self.is_lockstep) if controller.cameras else None
        if self._sight is not None:
            self._entities += [
                self.create_subscription(
                    Image, topic, self.guarded(topic, self._viewer(self._sight, name)), sensor, raw=True
                )
                for name, topic in self._sight.topics.items()
            ]
        self._needs_reference = bool(binding.reference_terms)
        self._reference = Schedule(interpolation=Interpolation.LINEAR)
        self._reference_codec = ReferenceCodec()
        if self._needs_reference:
            self._entities.append(
                self.create_subscription(
                    self._reference_codec.message_type,
                    REFERENCE_TOPIC,
                    self.guarded(REFERENCE_TOPIC, self._on_reference),
                    qos.command(None, None),
                    raw=True,
                )
            )
        self._entities.append(
            self.create_subscription(Header, GATE_SOURCE_TOPIC, self._on_source, qos.LATCHED)
        )
        self._entities.append(
            self.create_subscription(String, INSTRUCTION_TOPIC, self._on_instruction, qos.LATCHED)
        )
        if controller.card.method == "raptor":
            sentence = warn_of_airframe(self.setting("airframe") or card.parameters.get("airframe"))
            if sentence is not None:
                self.get_logger().warning(sentence)
                self.health.note(airframe=sentence)
        self._layer_publishers: dict[str, Any] = {}
        self._entities.append(self.create_service(SetBool, "~/enable_layers", self._on_enable))
        self._age_limit_ns = round(controller.card.max_open_loop_s * 1e9)
        self._reports_layers = self.setting("report_layers")
        self._steps = self._refused = 0

    def activate(self) -> None:
        """Begin with a fresh recurrent state and an empty schedule."""
        assert self._controller is not None
        if self.setting("journal"):
            self._journal = open_journal(
                Path(self.setting("journal")),
                robot=self._card,
                controller=self._controller,
                policy=self.setting("policy"),
                rate_hz=self.setting("rate_hz") or None,
            )
            self.get_logger().info(f"the journal is {self._journal.path}")
            self._controller.journal = self._journal
        self._controller.reset(self.setting("seed"))
        self._reference.clear()
        self._assembler.clear()
        if self._sight is not None:
            self._sight.clear()
        self._waiting: Observation | None = None
        self._answered: tuple[int, bytes] | None = None
        self._is_displaced = False
        self._last_steady_ns = time.monotonic_ns()
        self._steps = self._refused = 0
        self._slowest_ns = 0
        self._oldest_s, self._refusal = 0.0, ""
        self._refused_last = False
        if not self.is_lockstep:
            self._loop = self.loop(_WATCH_NS, self._on_watch, name="policy-watch")
            self._loop.start()

    def deactivate(self) -> None:
        """Stop acting."""
        if self._loop is not None:
            self._loop.stop()
        if self._journal is not None and self._controller is not None:
            self._controller.journal = None
            self._journal.close()
            if self._journal.failure:
                self.get_logger().error(f"the journal is not whole: {self._journal.failure}")
            self._journal = None

    def cleanup(self) -> None:
        """Withdraw everything."""
        if hasattr(self, "_publisher"):
            self.destroy_publisher(self._publisher)
            del self._publisher
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []
        if self._controller is not None:
            self._controller.close()
        self._controller = None

    def _warm_up(self, controller: Controller) -> None:
        """Let the policy answer a few times, and choose by its speed where it is to think."""
        period_s = 1.0 / controller.card.rate_hz
        try:
            took_s = warm_up(controller.base, controller.cameras, steady_clock=time.monotonic_ns)
            took = f"{took_s * 1e3:.2f} ms"
        except PolicyError as error:
            took_s, took = math.inf, "an unknown time"
            self.get_logger().warning(f"the policy does not answer a made-up observation: {error}")
        is_slow = controller.card.action.horizon > 1 and took_s > _SHARE_OF_STEP * period_s
        wanted = self.setting("inference")
        threaded = not self.is_lockstep and (wanted == THREAD or (wanted == AUTO and is_slow))
        controller.use(InferenceThread if threaded else Immediate)
        self.health.note(inference=controller.inference, warm_up=took)
        self.get_logger().info(
            f"an answer of the policy takes {took}; it thinks "
            + ("in a thread of its own" if threaded else "within the control step")
        )

    # --- wire --------------------------------------------------------------------------------

    def _reader(self, topic: str) -> Any:  # noqa: ANN401
        codec = self._topic_by_name[topic]

        def read(raw: bytes) -> None:
            if not self.is_active:
                return
            steady_ns = time.monotonic_ns()
            stamp_ns, terms = codec.decode(raw)
            observation = self._assembler.push(topic, stamp_ns, terms, steady_ns=steady_ns)
            if observation is not None:
                self._last_steady_ns = steady_ns
                self._on_observation(observation)

        return read

    def _viewer(self, sight: Sight, name: str) -> Any:  # noqa: ANN401
        def view(raw: bytes) -> None:
            if self.is_active:
                sight.push(name, raw)
                self._go_on()

        return view

    def _on_instruction(self, message: String) -> None:
        """Tell the policy what is to be done from its next chunk on; the present one is carried out."""
        assert self._controller is not None
        if message.data != self._controller.instruction:
            self._controller.instruction = message.data
            self.get_logger().info(f"the instruction is {message.data!r}")

    def _on_source(self, message: Header) -> None:
        """Begin anew from where the robot is now, when another source has given authority back.

        While the other one commands, the policy goes on answering: it sees where the robot is brought. What
        it then had in mind is not carried on.
        """
        if not self.is_active:
            return
        is_displaced = message.frame_id not in (self.setting("source"), GATE_SOURCE)
        if self._is_displaced and not is_displaced:
            assert self._controller is not None
            self.get_logger().info("authority is given back: the policy begins anew from here")
            try:
                self._controller.reset(self.setting("seed"))
            except PolicyError as error:
                self.get_logger().error(str(error))
        self._is_displaced = is_displaced

    def _on_reference(self, raw: bytes) -> None:
        if not self.is_active:
            return
        chunk = self._reference_codec.decode(raw)
        if chunk is None:
            return
        self._reference.push(chunk, now_ns=chunk.start_ns)
        self._go_on()

    def _go_on(self) -> None:
        """Answer the observation that waits, where what it waits for has come."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._on_observation(waiting)

    def _on_observation(self, observation: Observation) -> None:
        if self._answered is not None and observation.stamp_ns < self._answered[0] - _BACK_NS:
            self.get_logger().warning(
                "observations begin anew at an earlier time: the policy begins anew too"
            )
            assert self._controller is not None
            self._controller.reset(self.setting("seed"))
            self._answered = None
        if self._answered is not None and observation.stamp_ns <= self._answered[0]:
            if self.is_lockstep and observation.stamp_ns == self._answered[0]:
                self._publisher.publish(self._answered[1])
            return
        if self._needs_reference:
            reference = self._reference.sample(observation.stamp_ns)
            current = self._reference.current
            if self.is_lockstep and (current is None or current.start_ns != observation.stamp_ns):
                self._waiting = observation
                return
            if reference is None:
                self._refuse(observation, "no reference for this moment")
                return
            observation = replace(observation, values={**observation.values, **reference_terms(reference)})
        if self._sight is not None:
            try:
                seen = self._sight.see(observation)
            except PolicyError as error:
                self._refuse(observation, str(error))
                return
            if seen is None:
                self._waiting = observation
                return
            observation = seen
        self._act(observation)

    def _act(self, observation: Observation) -> None:
        controller = self._controller
        assert controller is not None
        now_ns = observation.stamp_ns if self.is_lockstep else self.data_now_ns()
        if not self.is_lockstep and now_ns - observation.stamp_ns > self._age_limit_ns:
            age_s = observation.age_s(now_ns)
            self._refuse(observation, f"the observation is {age_s * 1e3:.0f} ms old")
            return
        try:
            chunk = controller.act(observation, now_ns=now_ns)
        except PolicyError as error:
            self._refuse(observation, str(error))
            return
        except Exception as error:
            # A fault in a policy must not take the node down: the gate sees the silence.
            self._refuse(observation, f"{type(error).__name__}: {error}")
            return
        self._send(observation, self._codec.encode(chunk))
        self._steps += 1
        self._refused_last = False
        self._slowest_ns = max(self._slowest_ns, time.monotonic_ns() - observation.received_steady_ns)
        self._oldest_s = max(self._oldest_s, controller.report.age_s)
        self._refusal = controller.report.refusal
        if self._reports_layers:
            self._report(chunk)

    def _send(self, observation: Observation, raw: bytes) -> None:
        self._publisher.publish(raw)
        self._answered = (observation.stamp_ns, raw)

    def _refuse(self, observation: Observation, reason: str) -> None:
        """Say why there is no action; in lockstep somebody waits for an answer all the same."""
        self._refused += 1
        self._refused_last = True
        self.health.report(DiagnosticStatus.WARN, f"refused: {reason}", refused=self._refused)
        if self.is_lockstep:
            self._send(observation, self._codec.encode_nothing(observation.stamp_ns))

    def _report(self, chunk: ActionChunk) -> None:
        assert self._controller is not None
        for layer, action in self._controller.report.actions.items():
            publisher = self._layer_publishers.get(layer)
            if publisher is None:
                publisher = self._layer_publishers[layer] = LayerPublisher(self, layer, chunk.names)
                self._entities.append(publisher.publisher)
            publisher.publish(chunk.start_ns, action)

    def _on_watch(self, index: int, deadline_ns: int) -> None:
        """Silence of the robot is reported here; that it ends in the safe action is the gate's task."""
        silent_s = (deadline_ns - self._last_steady_ns) * 1e-9
        self.health.note(
            steps=self._steps,
            refused=self._refused,
            slowest_ms=f"{self._slowest_ns * 1e-6:.2f}",
            observation_age_ms=f"{self._oldest_s * 1e3:.1f}",
        )
        self._oldest_s = 0.0
        if silent_s > 0.2:
            missing = f" (no {self._assembler.missing})" if self._assembler.missing else ""
            self.health.report(DiagnosticStatus.WARN, f"no observation for {silent_s:.1f} s{missing}")
        elif self._journal is not None and self._journal.failure:
            self.health.report(DiagnosticStatus.WARN, f"the journal has ended: {self._journal.failure}")
        elif self._refusal and not self._refused_last:
            self.health.report(
                DiagnosticStatus.WARN, f"no new chunk ({self._refusal}); the last one is carried out"
            )
        elif self._steps and not self._refused_last:
            self.health.report(DiagnosticStatus.OK, "active")

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Switch all steering and residual layers."""
        assert self._controller is not None
        layers = self._controller.layers
        for layer in layers:
            self._controller.enable(layer, on=request.data)
        response.success = True
        response.message = ", ".join(layers) or "this controller has only its base"
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(PolicyNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
