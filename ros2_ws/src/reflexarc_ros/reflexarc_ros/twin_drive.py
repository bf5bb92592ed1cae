"""The twin behind robot_node: it moves simulated time on, in real time or step by step with its commander."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from hardware.chunk import ActionChunk
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from reflexarc_ros import qos
from reflexarc_ros.chunks import SafeStop
from reflexarc_ros.drive import Answer, Drive
from reflexarc_ros.loops import DeadlineLoop
from reflexarc_ros.start import RUN_ENDED
from sim.twin.base import Twin

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import RobotNode

# Lockstep time begins here, so that no stamp is zero (ROS reads zero as «no time yet»).
LOCKSTEP_START_NS = 1_000_000_000
# /clock in real time; every process that follows it pays for each message.
_CLOCK_PERIOD_NS = 20_000_000
# Lockstep: a recorder may be so many steps behind, a quarter of what is kept for it, before the twin waits.
_LAG_STEPS = qos.LOCKSTEP_DEPTH // 4
_TIMING_KEPT = 200_000


def make_twin(card: RobotCard, settings: dict[str, Any], *, start_ns: int) -> Twin:
    """Make the twin of a card.

    Args:
        card: the robot's card.
        settings: seed, latency, airframe, gust.
        start_ns: the ROS clock at the start, in nanoseconds.

    Returns:
        The twin, not connected.

    Raises:
        ConfigError: the card does not describe a robot that has a twin.
    """
    if settings["latency"] == "none":
        from sim.twin.latency import NONE

        latency = NONE
    else:
        latency = card.latency
    if card.kind == "quadrotor":
        from sim.twin.quadrotor import QuadrotorTwin

        gust = settings["gust"]
        return QuadrotorTwin(
            card,
            airframe=settings["airframe"] or str(card.parameters["airframe"]),
            seed=settings["seed"],
            latency=latency,
            start_ns=start_ns,
            gusts=((gust[0], gust[1], tuple(gust[2:5])),) if len(gust) == 5 else (),
        )
    from sim.twin.arm import ArmTwin

    return ArmTwin(card, seed=settings["seed"], latency=latency, start_ns=start_ns)


class TwinDrive(Drive):
    """Drives a twin.

    Args:
        node: publishes, and knows the settings.
        card: the twin's card.

    Raises:
        ConfigError: there is no twin of that card, or the interface is not the one that it takes.
    """

    robot: Twin

    def __init__(self, node: RobotNode, card: RobotCard) -> None:
        """Make the twin."""
        self._node = node
        self._origin_ns = LOCKSTEP_START_NS if node.is_lockstep else time.time_ns()
        settings = {s.name: node.setting(s.name) for s in node.settings}
        self.robot = make_twin(card, settings, start_ns=self._origin_ns)
        self.spec = self.robot.command_spec
        interface = node.setting("interface")
        if interface and card.commands.get(interface) is not self.spec:
            taken = next(name for name, spec in card.commands.items() if spec is self.spec)
            raise ConfigError(
                f"the twin is not driven through {interface!r}",
                where=f"{node.get_fully_qualified_name()}: parameter 'interface'",
                expected=repr(taken),
                mend="leave the parameter out, or choose a policy for that interface",
            )
        self._commands: deque[tuple[Answer, int]] = deque()
        self._latencies_ns: list[int] = []
        self._loop: DeadlineLoop | None = None
        self._clock_loop: DeadlineLoop | None = None
        self._viewer: Any = None
        # Lockstep: the stamp that is to be answered (0: none), since when, and how many steps were taken.
        self._awaited_ns = self._asked_steady_ns = self._steps = 0
        # Lockstep: since when the next step waits for a recorder (0: not), and whether it was given up.
        self._held_steady_ns, self._has_deaf = 0, False
        self._expired = 0
        self._seed = node.setting("seed")
        self._adds_latency = node.setting("latency") == "card"

    def connect(self) -> None:
        """Open the wire; the first tick of /clock goes out."""
        self.robot.connect()
        self._node.publish_clock(self._origin_ns)

    def start(self) -> None:
        """Begin the loops, or ask for the first command."""
        self._commands.clear()
        self._latencies_ns.clear()
        if self._node.setting("view"):
            from sim.worlds.viewer import LiveViewer

            self._viewer = LiveViewer(self.robot)
        if self._node.is_lockstep:
            self._publish()
            return
        self._period_ns = self.robot.observation_period_ns
        self._origin_ns = self.robot.now_ns
        self._loop = self._node.loop(self._period_ns, self._on_deadline, name="robot")
        self._clock_loop = self._node.loop(_CLOCK_PERIOD_NS, self._on_clock, name="clock")
        self._loop.start()
        # Between two observations: who listens to the clock is then not busy with one.
        self._clock_loop.start(delay_ns=self._period_ns // 2)

    def stop(self) -> None:
        """Stop the loops and land, or hold."""
        for loop in (self._clock_loop, self._loop):
            if loop is not None:
                loop.stop()
        self._awaited_ns = self._held_steady_ns = 0
        self.robot.safe_stop("deactivated")
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def close(self) -> None:
        """Close the wire."""
        self.robot.disconnect()

    @property
    def safe_stopped(self) -> str | None:
        """Why the twin is in its safe action."""
        return self.robot.safe_stopped

    def safe_stop(self, reason: str) -> None:
        """Take the safe action."""
        self.robot.safe_stop(reason)

    def take(self, answer: Answer, received_ns: int) -> None:
        """Keep it for the loop, or step."""
        if not self._node.is_lockstep:
            self._commands.append((answer, received_ns))
        elif answer.start_ns == self._awaited_ns and not self._is_early():
            self._step(answer)

    def refuse(self) -> None:
        """Forget what the loop has not looked at yet."""
        self._commands.clear()

    # --- real time ---------------------------------------------------------------------------

    def _on_deadline(self, index: int, deadline_ns: int) -> None:
        """One period: let the commands act when they arrived, move physics on, publish."""
        robot, node = self.robot, self._node
        assert self._loop is not None
        until_ns = self._origin_ns + index * self._period_ns
        while self._commands:
            answer, received_ns = self._commands.popleft()
            self._hand_over(answer, received_ns, self._origin_ns + received_ns - self._loop.start_ns)
        robot.advance(max(until_ns, robot.now_ns))
        if node.is_stopped and robot.safe_stopped is None:
            robot.safe_stop("emergency stop")
        self._publish()
        node.check_publishers(deadline_ns)
        node.offer_images()
        if self._viewer is not None and not self._viewer.sync():
            self._viewer = None

    def _on_clock(self, index: int, deadline_ns: int) -> None:
        assert self._loop is not None
        self._node.publish_clock(self._origin_ns + deadline_ns - self._loop.start_ns)

    def _hand_over(self, answer: Answer, received_ns: int, at_ns: int) -> None:
        robot = self.robot
        at_ns = max(at_ns, robot.now_ns)
        if not self._node.is_open:
            return
        if not isinstance(answer, ActionChunk):
            if isinstance(answer, SafeStop) and robot.safe_stopped is None:
                robot.advance(at_ns)
                robot.safe_stop("the gate takes the safe action")
            return
        if answer.end_ns <= robot.now_ns:
            self._expired += 1
            self._node.health.note(expired=self._expired)
            return
        if self._adds_latency:
            delay_ns = robot.latency.command_delay_ns()
            if delay_ns is None:
                return
            at_ns += delay_ns
        if len(self._latencies_ns) < _TIMING_KEPT:
            self._latencies_ns.append(at_ns - answer.start_ns)
        try:
            robot.command(answer.command_at(0, received_steady_ns=received_ns), at_ns=at_ns)
        except ConfigError as error:
            # Not from our gate: whoever sent it is not trusted with the robot.
            robot.safe_stop(f"a command that no gate lets through: {error.what}")
            self._node.health.report(DiagnosticStatus.ERROR, str(error))
            self._node.get_logger().error(str(error))

    # --- lockstep ----------------------------------------------------------------------------

    def _step(self, answer: Answer) -> None:
        """The awaited command is there: move on to the next observation."""
        robot = self.robot
        if isinstance(answer, ActionChunk):
            robot.command(answer.command_at(0, received_steady_ns=robot.now_ns))
        elif isinstance(answer, SafeStop) and robot.safe_stopped is None:
            robot.safe_stop("the gate takes the safe action")
        before_ns = robot.read().stamp_ns
        while robot.read().stamp_ns == before_ns:
            arrival_ns = robot.next_arrival_ns
            robot.advance(
                robot.next_capture_ns if arrival_ns is None else min(arrival_ns, robot.next_capture_ns)
            )
        self._steps += 1
        if self._is_ahead():
            # Whoever records gets every step: the next one waits for it.
            self._awaited_ns, self._held_steady_ns = 0, time.monotonic_ns()
        else:
            self._publish()

    def heard(self) -> None:
        """Lockstep: go on, where a recorder was waited for and has caught up."""
        if self._held_steady_ns and not self._is_ahead():
            self._held_steady_ns = 0
            self._publish()

    def _is_early(self) -> bool:
        """Whether this is the first step and a recorder has not heard it; it is asked again until then."""
        node = self._node
        waited_s = (time.monotonic_ns() - self._asked_steady_ns) * 1e-9
        return self._steps == 0 and node.has_deaf_recorder() and waited_s < 0.5 * node.setting("liveness_s")

    def _is_ahead(self) -> bool:
        """Whether a recorder that was not given up is so far behind that it may lose steps."""
        lag_ns = self._node.recorder_lag_ns(self.robot.read().stamp_ns)
        is_ahead = lag_ns > _LAG_STEPS * self.robot.observation_period_ns
        self._has_deaf = self._has_deaf and is_ahead
        return is_ahead and not self._has_deaf

    def _give_up(self) -> None:
        """Go on without a recorder that takes too long."""
        limit_s = self._node.setting("liveness_s")
        if (time.monotonic_ns() - self._held_steady_ns) * 1e-9 > limit_s:
            self._has_deaf = True
            self._node.get_logger().warning(
                f"the recorder is {_LAG_STEPS} steps behind and has not caught up within {limit_s:g} s: the"
                " run goes on, and steps may be missing in the recording"
            )
        self.heard()

    def watch(self) -> None:
        """Lockstep: ask again until somebody answers, and end a run that nobody answers."""
        node = self._node
        if self._held_steady_ns:
            self._give_up()
        if not node.is_lockstep or self._awaited_ns == 0:
            return
        node.check_publishers(time.monotonic_ns())
        waited_s = (time.monotonic_ns() - self._asked_steady_ns) * 1e-9
        limit_s = node.setting("liveness_s")
        if waited_s > limit_s:
            self._awaited_ns = 0
            self.robot.safe_stop("lockstep ended: no command")
            text = f"lockstep ended: no command for step {self._steps}"
            node.health.report(DiagnosticStatus.ERROR, f"{text} within {limit_s} s")
            node.health.flush()
            node.get_logger().error(text)
            node.end(RUN_ENDED)
        elif self._steps == 0:
            asked_ns = self._asked_steady_ns
            self._publish()
            self._asked_steady_ns = asked_ns

    def _publish(self) -> None:
        observation = self.robot.read()
        self._awaited_ns = observation.stamp_ns
        self._asked_steady_ns = time.monotonic_ns()
        if self._node.is_lockstep:
            self._node.publish_clock(self.robot.now_ns)
            self._node.offer_images()
        self._node.publish(observation)

    # --- reports -----------------------------------------------------------------------------

    def health(self) -> tuple[bytes, str]:
        """How the twin is, with the timing of late."""
        recent = np.array(self._latencies_ns[-500:], dtype=np.float64) * 1e-6
        if recent.size:
            p50, p95, p99 = np.percentile(recent, (50, 95, 99))
            self._node.health.note(
                photon_to_motor_ms_p50=f"{p50:.3f}",
                photon_to_motor_ms_p95=f"{p95:.3f}",
                photon_to_motor_ms_p99=f"{p99:.3f}",
                deadline_misses=0 if self._loop is None else self._loop.misses,
            )
        return super().health()

    def reset(self) -> tuple[bool, str]:
        """A new episode; time goes on."""
        self._seed += 1
        self.robot.reset(self._seed, start_ns=self.robot.now_ns)
        return True, f"seed {self._seed}"

    @property
    def is_task_done(self) -> bool:
        """Whether the twin's world says so."""
        return bool(getattr(self.robot, "success", False))

    def write_trace(self, path: Path) -> None:
        """Write the twin's trace, and the timing beside it."""
        write_trace(
            self.robot.trace(),
            path,
            latencies_ns=self._latencies_ns,
            misses=0 if self._loop is None else self._loop.misses,
            origin_ns=self._origin_ns,
            origin_steady_ns=0 if self._loop is None else self._loop.start_ns,
        )


def write_trace(
    trace: Any,  # noqa: ANN401
    path: Path,
    *,
    latencies_ns: list[int],
    misses: int,
    origin_ns: int,
    origin_steady_ns: int,
) -> None:
    """Write a trace and, beside it, the timing of the run.

    Args:
        trace: a `sim.twin.trace.Trace`.
        path: the npz file; the timing goes into `.timing.json`.
        latencies_ns: age of the data behind each command when the robot had it.
        misses: periods that the loop missed.
        origin_ns: an instant on the ROS clock.
        origin_steady_ns: the same instant on the steady clock; 0 where there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    trace.save(path)
    timing = {
        "photon_to_motor_ms": [n * 1e-6 for n in latencies_ns],
        "deadline_misses": misses,
        "origin_ns": origin_ns,
        "origin_steady_ns": origin_steady_ns,
    }
    path.with_suffix(".timing.json").write_text(json.dumps(timing), encoding="utf-8")
