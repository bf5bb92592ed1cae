"""recorder_node: everything that a robot's namespace says, into one file an episode.

Messages are taken as bytes and handed to a thread (`recording.session`); nothing is decoded on the way, and a
slow disk holds nobody up. What is recorded is what is there: topics are found by looking at the graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger

from hardware.cards import load_robot_card
from hardware.errors import ConfigError
from recording.folder import Forecast, forecast
from recording.metadata import EventKind
from recording.session import Session
from recording.session_status import State
from reflexarc_ros import qos
from reflexarc_ros.assembler import pacing_topic
from reflexarc_ros.messages import INSTRUCTION_TOPIC
from reflexarc_ros.node import ReflexarcNode, destroy, run
from reflexarc_ros.recorder_page import RecorderPage
from reflexarc_ros.recorder_session import make_session
from reflexarc_ros.recorder_settings import RECORDER_SETTINGS
from reflexarc_ros.recorder_status import describe, health
from reflexarc_ros.recorder_topics import TopicRecorder, TwinClock

_LOOK_S, _TELL_S = 0.5, 0.5
# How long a service waits for the disk; the thread goes on when that is not enough.
_PATIENCE_S = 2.0


class RecorderNode(ReflexarcNode):
    """Records episodes when it is asked to, or one for every time that it is active."""

    settings = RECORDER_SETTINGS

    def __init__(self) -> None:
        """Declare the parameters."""
        super().__init__("recorder_node")
        self._entities: list[Any] = []
        self._topics: TopicRecorder | None = None
        self._session: Session | None = None
        self._page: RecorderPage | None = None
        self._may_record = self._awaits_robot = False

    # --- lifecycle ---------------------------------------------------------------------------

    def configure(self) -> None:
        """Open the folder, advertise, and begin to look for topics."""
        folder = self.setting("folder")
        if not folder:
            raise ConfigError(
                "no folder",
                where=f"{self.get_fully_qualified_name()}: parameter 'folder'",
                expected="a folder for the episodes",
                mend="set the parameter",
            )
        self._card = load_robot_card(self.setting("card"))
        self._root = self.get_namespace().rstrip("/")
        has_twin_clock = bool(self.setting("use_sim_time")) and not self.is_lockstep
        clock = TwinClock(self)
        self._now_ns = clock.now_ns if has_twin_clock else self.data_now_ns
        exclude = [self._absolute(name) for name in self.setting("exclude") if name]
        self._session = make_session(
            self,
            self._card,
            Path(folder),
            now_ns=self._now_ns,
            exclude=exclude,
            expected=[self._absolute(name) for name in self.setting("expected") if name],
            on_finish=self._on_finish,
        )
        self._topics = TopicRecorder(
            self,
            self._session,
            now_ns=self._now_ns,
            exclude=exclude,
            pacing=self._absolute(pacing_topic(self._card)),
            on_pace=self._begin,
        )
        self._forecast = self._look_at_disk()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_publisher = self.create_publisher(String, "~/status", qos.LATCHED)
        # The policy hears it too.
        self._instruction_publisher = self.create_publisher(String, INSTRUCTION_TOPIC, qos.LATCHED)
        self._entities = [
            self._status_publisher,
            self.create_service(Trigger, "~/start", self._answer(self._start)),
            self.create_service(Trigger, "~/stop", self._answer(self._stop)),
            self.create_service(Trigger, "~/rerecord", self._answer(self._rerecord)),
            self.create_service(Trigger, "~/discard", self._answer(self._discard)),
            self.create_service(Trigger, "~/success", self._answer(self._success)),
            self.create_service(Trigger, "~/failure", self._answer(self._failure)),
            self.create_subscription(String, "~/note", self._listen(self._note), qos.EVENTS),
            self.create_subscription(String, "~/instruction", self._listen(self._instruct), qos.EVENTS),
            self.create_subscription(
                String, INSTRUCTION_TOPIC, self._listen(self._on_instruction), qos.LATCHED
            ),
            self._instruction_publisher,
            self.create_subscription(String, "~/failure_reason", self._listen(self._failure), qos.EVENTS),
            self.create_subscription(String, "teleop/event", self._on_operator, qos.EVENTS),
            self.create_timer(_LOOK_S, self._topics.look, clock=steady),
            self.create_timer(_TELL_S, self._tell, clock=steady),
        ]
        if has_twin_clock:
            self._entities.append(
                self.create_subscription(ClockMessage, "/clock", clock.on_tick, qos.SENSOR, raw=True)
            )
        self._topics.look()
        if self.setting("page_port") >= 0:
            requests = {
                "start": self._start,
                "stop": self._stop,
                "success": self._success,
                "failure": self._failure,
                "rerecord": self._rerecord,
                "discard": self._discard,
                "note": self._note,
                "instruction": self._instruct,
            }
            self._page = RecorderPage(self.setting("page_port"), status=self._document, requests=requests)
            self.get_logger().info(f"status page: {self._page.address}")

    def activate(self) -> None:
        """Be ready; or wait for the first observation, where every activation is an episode."""
        self._may_record = True
        self._awaits_robot = self.setting("begin") == "activation"

    def deactivate(self) -> None:
        """End the open episode; it is kept."""
        if self._is_recording():
            self._stop("")
        self._may_record = self._awaits_robot = False

    def cleanup(self) -> None:
        """End the open episode and withdraw everything."""
        if self._page is not None:
            self._page.close()
            self._page = None
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._topics is not None:
            self._topics.close()
            self._topics = None
        for entity in self._entities:
            destroy(self, entity)
        self._entities = []

    # --- what is recorded --------------------------------------------------------------------

    def _absolute(self, name: str) -> str:
        return name if name.startswith("/") else f"{self._root}/{name}"

    def _begin(self) -> None:
        """Begin the episode of this activation with the first observation; say once why that cannot be."""
        if not self._awaits_robot:
            return
        self._awaits_robot = False
        try:
            self._start("")
        except ConfigError as error:
            self.get_logger().error(str(error))

    # --- what a person asks ------------------------------------------------------------------

    def _start(self, text: str) -> str:
        session = self._ready()
        self._forecast = self._look_at_disk()
        self._forecast.check(session.folder)
        number = session.start()
        assert self._topics is not None
        self._topics.repeat_latched()
        self.get_logger().info(f"episode {number} begins")
        return f"episode {number}"

    def _stop(self, text: str) -> str:
        path = self._ready().stop(timeout_s=_PATIENCE_S)
        return f"{path.name} is on the disk"

    def _rerecord(self, text: str) -> str:
        if self._is_recording():
            self._discard("")
        return self._start("")

    def _discard(self, text: str) -> str:
        return f"episode {self._ready().discard(timeout_s=_PATIENCE_S)} is thrown away"

    def _success(self, text: str) -> str:
        self._ready().say(EventKind.SUCCESS, text)
        return "success; " + self._stop("")

    def _failure(self, text: str) -> str:
        self._ready().say(EventKind.FAILURE, text)
        return "failure; " + self._stop("")

    def _note(self, text: str) -> str:
        self._ready().say(EventKind.NOTE, text)
        return "noted"

    def _instruct(self, text: str) -> str:
        """Take an instruction that somebody tells this node, and tell the policy."""
        self._ready().say(EventKind.INSTRUCTION, text)
        self._instruction_publisher.publish(String(data=text))
        return f"instruction: {text}"

    def _on_instruction(self, text: str) -> str:
        """Hear what somebody told the policy; what this node told it comes back too."""
        assert self._session is not None
        if text != self._session.status.instruction:
            self._session.say(EventKind.INSTRUCTION, text)
        return f"instruction: {text}"

    def _is_recording(self) -> bool:
        return self._session is not None and self._session.status.state is State.RECORDING

    def _ready(self) -> Session:
        if self._session is None or not self._may_record:
            raise ConfigError(
                "the recorder is not active",
                where=self.get_fully_qualified_name(),
                expected="an active node",
                mend="activate it first",
            )
        return self._session

    def _answer(self, request: Callable[[str], str]) -> Callable[[Any, Any], Any]:
        def call(asked: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.message, response.success = request(""), True
            except ConfigError as error:
                response.message, response.success = str(error), False
            self._tell()
            return response

        return call

    def _listen(self, request: Callable[[str], str]) -> Callable[[String], None]:
        def call(message: String) -> None:
            try:
                request(message.data)
            except ConfigError as error:
                self.get_logger().warning(str(error))
            self._tell()

        return call

    def _on_operator(self, message: String) -> None:
        """What an operator says with the device in hand."""
        said = {"success": self._success, "failure": self._failure, "discard": self._rerecord}.get(
            message.data
        )
        if said is not None and self._is_recording():
            self._listen(said)(String())

    # --- what it says ------------------------------------------------------------------------

    def _look_at_disk(self) -> Forecast:
        reserve = round(self.setting("reserve_mb") * 1e6)
        limit_s = self.setting("time_limit_s") or None
        return forecast(Path(self.setting("folder")), self._card, reserve_bytes=reserve, duration_s=limit_s)

    def _document(self) -> dict[str, Any]:
        """The status as a plain document."""
        session = self._session
        if session is None:
            return {}
        return {
            **describe(session, self._forecast, topics=len(self._topics or ())),
            "page": self._page.address if self._page is not None else "",
        }

    def _tell(self) -> None:
        if self._session is None:
            return
        self._status_publisher.publish(String(data=json.dumps(self._document())))
        level, message, values = health(self._session.status, topics=len(self._topics or ()))
        self.health.report(level, message, **values)

    def _on_finish(self, path: Path) -> None:
        """A file is whole; called in the thread of the session."""
        status = self._session.status if self._session is not None else None
        findings = f"; to look at: {'; '.join(status.findings)}" if status and status.findings else ""
        count = status.messages if status else 0
        self.get_logger().info(f"{path.name} is on the disk: {count} messages{findings}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(RecorderNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
