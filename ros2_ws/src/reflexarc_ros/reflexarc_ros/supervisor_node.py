"""supervisor_node: brings the other nodes up in order, watches their heartbeats, brings them back.

Its service `~/new_episode` begins a new episode of the robot: everybody stops acting in reverse order,
the robot is reset (`<robot>/reset`), and everybody acts again, in order and without a past.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from reflexarc_ros import qos
from reflexarc_ros.node import ReflexarcNode, Setting, destroy, run
from reflexarc_ros.start import BAD_INPUT

_TICK_S = 0.05
# How long to wait for an answer. One that a node sends before it has found its asker is lost (a process
# that has just been started anew does that): then the state is asked for again, and what it says counts.
_ASK_TIMEOUT_S, _TRANSITION_TIMEOUT_S = 0.5, 3.0
_TURNOVER_TIMEOUT_S = 15.0
# How long a node may be silent over a transition.
_CONFIGURE_TIMEOUT_S = 60.0
_RETRY_S = 0.5
# A node that refuses its configuration so often will not take it.
_CONFIGURE_TRIES = 3
_NEXT = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
}


@dataclass
class _Turnover:
    """A change of episode under way."""

    # When it was asked for, steady clock, seconds.
    began_s: float
    # The call of the robot's reset, once nobody acts any more.
    reset: Any = None


@dataclass
class _Managed:
    """One node under supervision."""

    name: str
    change: Any
    query: Any
    # The call under way, when it began (steady clock, seconds), and whether it is a transition.
    call: Any = None
    called_s: float = 0.0
    is_transition: bool = False
    state: int = State.PRIMARY_STATE_UNKNOWN
    not_before_s: float = 0.0
    # Last heartbeat (steady clock, seconds) and the process that sent it.
    heard_s: float = 0.0
    pid: int = 0
    failures: int = 0
    # When it was last told to change its state (steady clock, seconds).
    transition_s: float = 0.0


class SupervisorNode(ReflexarcNode):
    """Keeps every managed node active, in the given order; the robot, last in the list, only when all are.

    The supervisor itself needs nobody: it begins when it starts.
    """

    settings = (
        Setting(
            "managed", ["gate_node"], "Lifecycle nodes in the order of activation, relative to the namespace."
        ),
        Setting(
            "heartbeat_timeout_s",
            3.0,
            "Silence after which a process is killed, to be started anew.",
            minimum=1.5,
            maximum=60.0,
        ),
    )

    def __init__(self) -> None:
        """Make the clients and begin."""
        super().__init__("supervisor_node")
        self._managed = [self._make(name) for name in self.setting("managed")]
        self._by_status = {self._absolute(m.name).lstrip("/"): m for m in self._managed}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        robot = self._managed[-1].name
        self._reset = self.create_client(Trigger, f"{robot}/reset")
        self.create_service(Trigger, "~/new_episode", self._on_new_episode)
        self._turnover: _Turnover | None = None
        self._episode = 0
        self._began_s = time.monotonic()
        self._ready = False
        self.health.report(DiagnosticStatus.WARN, "bringing up")

    def _absolute(self, name: str) -> str:
        return f"{self.get_namespace().rstrip('/')}/{name}"

    def _make(self, name: str) -> _Managed:
        return _Managed(
            name,
            change=self.create_client(ChangeState, f"{name}/change_state"),
            query=self.create_client(GetState, f"{name}/get_state"),
        )

    # --- watching ----------------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now_s = time.monotonic()
        for status in message.status:
            managed = self._by_status.get(status.name)
            if managed is None:
                continue
            managed.heard_s = now_s
            pid = next((int(v.value) for v in status.values if v.key == "pid" and v.value.isdecimal()), 0)
            if pid != managed.pid and _is_node_process(pid, managed.name):
                if managed.pid:
                    self.get_logger().warning(f"{managed.name} was started anew (process {pid})")
                managed.pid, managed.state = pid, State.PRIMARY_STATE_UNKNOWN
                managed.call, managed.failures = None, 0

    def _tick(self) -> None:
        now_s = time.monotonic()
        for managed in self._managed:
            self._collect(managed, now_s)
            self._check_heartbeat(managed, now_s)
        if self._turnover is not None:
            self._turn_over(self._turnover, now_s)
            return
        for index, managed in enumerate(self._managed):
            if managed.state == State.PRIMARY_STATE_ACTIVE:
                if managed.call is None and now_s >= managed.not_before_s:
                    self._ask(managed, now_s)
                continue
            others = [m for m in self._managed if m is not managed]
            if index == len(self._managed) - 1 and any(m.state != State.PRIMARY_STATE_ACTIVE for m in others):
                continue
            self._bring_up(managed, now_s)
            if not self._ready:
                break
        active = [m.name for m in self._managed if m.state == State.PRIMARY_STATE_ACTIVE]
        if len(active) == len(self._managed):
            if not self._ready:
                self._ready = True
                self.get_logger().info(f"all active after {now_s - self._began_s:.1f} s: {', '.join(active)}")
            self.health.report(DiagnosticStatus.OK, "all active", episode=self._episode)
        else:
            missing = ", ".join(m.name for m in self._managed if m.name not in active)
            self.health.report(DiagnosticStatus.WARN, f"not active: {missing}", episode=self._episode)

    def _bring_up(self, managed: _Managed, now_s: float) -> None:
        if managed.call is not None or now_s < managed.not_before_s:
            return
        transition = _NEXT.get(managed.state)
        if transition is None:
            self._ask(managed, now_s)
        else:
            self._change(managed, transition, now_s)

    def _change(self, managed: _Managed, transition: int, now_s: float) -> None:
        if managed.change.service_is_ready():
            request = ChangeState.Request(transition=Transition(id=transition))
            managed.call, managed.called_s = managed.change.call_async(request), now_s
            managed.is_transition, managed.transition_s = True, now_s

    def _ask(self, managed: _Managed, now_s: float) -> None:
        if managed.query.service_is_ready():
            managed.call, managed.called_s = managed.query.call_async(GetState.Request()), now_s
            managed.is_transition = False

    def _collect(self, managed: _Managed, now_s: float) -> None:
        if managed.call is None:
            return
        if not managed.call.done():
            limit_s = _TRANSITION_TIMEOUT_S if managed.is_transition else _ASK_TIMEOUT_S
            if now_s - managed.called_s > limit_s:
                managed.call, managed.state = None, State.PRIMARY_STATE_UNKNOWN
            return
        result, managed.call = managed.call.result(), None
        if not managed.is_transition:
            managed.state = result.current_state.id
            managed.not_before_s = now_s + (_RETRY_S if managed.state == State.PRIMARY_STATE_ACTIVE else 0.0)
            return
        was_unconfigured = managed.state == State.PRIMARY_STATE_UNCONFIGURED
        managed.state = State.PRIMARY_STATE_UNKNOWN
        if not result.success and was_unconfigured and managed.failures + 1 >= _CONFIGURE_TRIES:
            self.get_logger().error(
                f"{managed.name} cannot be configured (its log says why); ending the system"
            )
            self.end(BAD_INPUT)
        if result.success:
            managed.failures = 0
            managed.not_before_s = now_s
        else:
            managed.failures += 1
            managed.not_before_s = now_s + _RETRY_S * min(managed.failures, 6)

    def _check_heartbeat(self, managed: _Managed, now_s: float) -> None:
        silent_s = now_s - managed.heard_s
        if not managed.pid or silent_s < self.setting("heartbeat_timeout_s"):
            return
        if managed.transition_s > managed.heard_s and now_s - managed.transition_s < _CONFIGURE_TIMEOUT_S:
            # It loads a policy or meshes, and cannot send heartbeats meanwhile.
            return
        if _is_node_process(managed.pid, managed.name):
            self.get_logger().error(
                f"{managed.name} has been silent for {silent_s:.1f} s: killing process {managed.pid}"
            )
            os.kill(managed.pid, signal.SIGKILL)
        managed.pid, managed.state, managed.call = 0, State.PRIMARY_STATE_UNKNOWN, None
        managed.heard_s = now_s

    # --- episodes ----------------------------------------------------------------------------

    def _on_new_episode(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin a new episode; the value `episode` on /diagnostics says when it runs."""
        if self._turnover is not None:
            response.success, response.message = False, "a new episode is being prepared already"
            return response
        self._turnover = _Turnover(time.monotonic())
        response.success, response.message = True, f"episode {self._episode + 1}"
        return response

    def _turn_over(self, turnover: _Turnover, now_s: float) -> None:
        """One step on the way to a new episode: the robot stops first, the gate last."""
        self.health.report(DiagnosticStatus.WARN, "preparing a new episode")
        if now_s - turnover.began_s > _TURNOVER_TIMEOUT_S:
            self._end_turnover(f"no new episode within {_TURNOVER_TIMEOUT_S:g} s")
            return
        for managed in reversed(self._managed):
            if managed.call is not None:
                return
            if managed.state == State.PRIMARY_STATE_ACTIVE:
                self._change(managed, Transition.TRANSITION_DEACTIVATE, now_s)
                return
            if managed.state == State.PRIMARY_STATE_UNKNOWN:
                self._ask(managed, now_s)
                return
        if turnover.reset is None:
            if self._reset.service_is_ready():
                turnover.reset = self._reset.call_async(Trigger.Request())
        elif turnover.reset.done():
            result = turnover.reset.result()
            if result.success:
                self._episode += 1
                self._end_turnover(None)
            else:
                self._end_turnover(f"the robot refuses a reset: {result.message}")

    def _end_turnover(self, problem: str | None) -> None:
        """Bring everybody up again, in order."""
        self._turnover, self._ready, self._began_s = None, False, time.monotonic()
        if problem is not None:
            self.get_logger().error(problem)

    # --- stopping ----------------------------------------------------------------------------

    def stop(self) -> None:
        """The others get the same signal and leave themselves safe; nothing is left to do here."""
        for managed in self._managed:
            destroy(self, managed.change)
            destroy(self, managed.query)
        destroy(self, self._reset)
        self._managed = []


def _is_node_process(pid: int, name: str) -> bool:
    """Whether a process is still the one that was heard, by its command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return name in command


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(SupervisorNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
