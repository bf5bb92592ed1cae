"""Lockstep in one process: robot twin, controller and command gate, paced by observations.

The order of operations is that of the ROS nodes. Both clocks are the twin's simulated time, nothing
waits for the host, so a run is repeatable bit for bit:

1. the observation arrives; the reference of the same instant joins it;
2. the controller answers with a chunk, or refuses;
3. the gate judges the chunk's first step with the newest state, or the tick without a command;
4. what the gate lets through goes to the twin; on a verdict without a command the robot takes its
   safe action;
5. time moves on to the next observation, or to whatever else happens first.

When no observation comes, the gate is asked once a period all the same, as its own clock would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.command import Command, FloatArray
from hardware.errors import ConfigError, Refusal
from hardware.gate import CommandGate, GateAction, Verdict
from hardware.reference import Trajectory
from hardware.robot import Observation, RobotCard
from sim.evaluation.faults import COMMAND_TOPIC, Fault, Stack
from sim.twin.base import Twin


class Controller(Protocol):
    """What lockstep can drive. `policies.controller.Controller` is one."""

    @property
    def card(self) -> Any:  # noqa: ANN401
        """What the controller expects and produces: a policy card."""

    def reset(self, seed: int | None = None) -> None:
        """Begin anew, with randomness from the seed."""

    def act(self, observation: Observation, *, now_ns: int) -> ActionChunk:
        """Answer an observation.

        Raises:
            Refusal: it cannot be answered; the robot gets no command for it.
        """


@dataclass(frozen=True, slots=True)
class Step:
    """What happened at one instant."""

    # Number of the instant, from 0.
    index: int
    # When it was, simulated time, nanoseconds.
    now_ns: int
    # The observation that arrived, as the stack saw it, or None.
    observation: Observation | None
    # What the controller answered, or None.
    chunk: ActionChunk | None
    # Why it did not answer; empty when it did or was not asked.
    refusal: str
    # What the gate said last at this instant; None while it is dead.
    verdict: Verdict | None
    # What was sent to the robot, or None.
    command: Command | None
    # Why the robot is in its safe action after this instant, or None.
    safe_stopped: str | None


@dataclass(frozen=True)
class SafeStop:
    """The robot went into its safe action."""

    # When, simulated time, nanoseconds.
    at_ns: int
    # Why.
    reason: str


@dataclass(frozen=True, eq=False)
class LockstepRun:
    """What a run gives."""

    # When each command was sent to the robot, simulated time, nanoseconds, shape (N,).
    command_ns: NDArray[np.int64]
    # What was sent, shape (N, D), in the order of the robot's card.
    commands: FloatArray
    # When the robot went into its safe action, as its own log has it, and why.
    safe_stops: tuple[SafeStop, ...]
    # How many instants there were.
    steps: int
    # How many observations the controller refused to answer.
    refusals: int
    # How often the gate said each of pass, limited, keep and safe.
    verdicts: dict[str, int]

    @property
    def interventions(self) -> int:
        """How many commands the gate changed."""
        return self.verdicts.get(GateAction.LIMITED.value, 0)


def make_gate(card: RobotCard, interface: str | None = None) -> CommandGate:
    """Make the command gate of a robot.

    Args:
        card: the robot's card.
        interface: a name of `card.commands`; None: the first one.

    Returns:
        The gate, with all rules of the interface's kind.

    Raises:
        ConfigError: the card has no such interface, or a rule cannot be applied to it.
    """
    return CommandGate(card, next(iter(card.commands)) if interface is None else interface)


def run_lockstep(
    twin: Twin,
    controller: Controller,
    gate: CommandGate,
    *,
    steps: int | None = None,
    until: Callable[[Step], bool] | None = None,
    reference: Trajectory | None = None,
    on_step: Callable[[Step], None] | None = None,
    faults: Sequence[Fault] = (),
    seed: int | None = None,
) -> LockstepRun:
    """Run robot, controller and gate until an end is reached.

    Args:
        twin: the robot; it is connected if it was not.
        controller: answers observations.
        gate: judges commands.
        steps: end after so many instants; None: `until` decides alone.
        until: ends the run after the first step for which it is true.
        reference: gives the reference terms of each observation, from the first observation on.
        on_step: is told every step.
        faults: what goes wrong, and when.
        seed: begins a new run of all three with this seed; None: goes on from where they are.

    Returns:
        The commands and the safe stops.

    Raises:
        ConfigError: neither `steps` nor `until` is given, or `steps` is not positive.
    """
    if (steps is None and until is None) or (steps is not None and steps < 1):
        raise ConfigError(
            f"steps {steps}, until {until}",
            where="run_lockstep",
            expected="a positive number of steps, or a condition",
            mend="say when the run ends",
        )
    if not twin.is_connected:
        twin.connect()
    if seed is not None:
        twin.reset(seed)
        controller.reset(seed)
        gate.reset()
    run = _Run(twin, controller, gate, reference, faults, seed)
    while True:
        step = run.step()
        if on_step is not None:
            on_step(step)
        if (steps is not None and step.index + 1 >= steps) or (until is not None and until(step)):
            return run.result()
        run.advance()


class _Run:
    def __init__(
        self,
        twin: Twin,
        controller: Controller,
        gate: CommandGate,
        reference: Trajectory | None,
        faults: Sequence[Fault],
        seed: int | None,
    ) -> None:
        self._twin, self._controller, self._gate = twin, controller, gate
        self._reference, self._faults = reference, tuple(faults)
        self._stack = Stack(controller=controller, gate=gate, seed=seed)
        self._period_ns = twin.observation_period_ns
        self._begun_ns = twin.now_ns
        self._first_stamp_ns: int | None = None
        self._last_stamp_ns: int | None = None
        self._arrived_ns = twin.now_ns
        self._state: Observation | None = None
        # Chunks on their way to the gate: (time of delivery, order of sending, chunk).
        self._under_way: list[tuple[int, int, ActionChunk]] = []
        self._sent = 0
        self._armed = [fault for fault in self._faults if fault.end_ns is None or fault.end_ns > twin.now_ns]
        self._acting: list[Fault] = []
        self._index = -1
        self._refusals = 0
        self._verdicts: dict[str, int] = {}
        self._command_ns: list[int] = []
        self._commands: list[FloatArray] = []

    # --- one instant --------------------------------------------------------------------------

    def step(self) -> Step:
        twin = self._twin
        now_ns = twin.now_ns
        self._index += 1
        self._switch_faults(now_ns)
        observation = self._receive(now_ns)
        chunk, refusal = None, ""
        if observation is not None and all(fault.runs_policy(now_ns) for fault in self._acting):
            chunk, refusal = self._ask(observation, now_ns)
        verdict, command = None, None
        if all(fault.runs_gate(now_ns) for fault in self._acting):
            due: list[ActionChunk | None] = [*self._due(now_ns)]
            for arrived in due or [None]:
                verdict = self._judge(arrived, now_ns)
                command = self._hand_over(verdict, now_ns) or command
        else:
            self._due(now_ns)
        self._check_publishers(now_ns)
        return Step(self._index, now_ns, observation, chunk, refusal, verdict, command, twin.safe_stopped)

    def advance(self) -> None:
        """Move time on to the next observation, delivery or fault, or by one silent period."""
        twin = self._twin
        now_ns = twin.now_ns
        wakes = [at_ns for at_ns, _, _ in self._under_way if at_ns > now_ns]
        wakes += [edge_ns for fault in self._faults for edge_ns in fault.edges_ns if edge_ns > now_ns]
        # A late observation is given half a period; after that the tick passes without one.
        periods = (now_ns - self._arrived_ns) // self._period_ns + 1
        tick_ns = self._arrived_ns + periods * self._period_ns
        wakes.append(tick_ns if periods > 1 else tick_ns + self._period_ns // 2)
        wake_ns = min(wakes)
        before_ns = twin.read().stamp_ns
        while twin.now_ns < wake_ns:
            arrival_ns = twin.next_arrival_ns
            event_ns = twin.next_capture_ns if arrival_ns is None else min(arrival_ns, twin.next_capture_ns)
            twin.advance(min(event_ns, wake_ns))
            if twin.read().stamp_ns != before_ns:
                return

    def result(self) -> LockstepRun:
        trace = self._twin.trace()
        stops = tuple(
            SafeStop(int(at_ns), reason)
            for at_ns, name, reason in zip(
                trace.event_time_ns, trace.event_names, trace.event_details, strict=True
            )
            if name == "safe_stop" and at_ns >= self._begun_ns
        )
        width = len(self._twin.command_spec.names)
        return LockstepRun(
            command_ns=np.array(self._command_ns, np.int64),
            commands=np.array(self._commands, np.float64).reshape(-1, width),
            safe_stops=stops,
            steps=self._index + 1,
            refusals=self._refusals,
            verdicts=dict(self._verdicts),
        )

    # --- private ------------------------------------------------------------------------------

    def _switch_faults(self, now_ns: int) -> None:
        for fault in [f for f in self._acting if not f.is_active(now_ns)]:
            self._acting.remove(fault)
            fault.finish(self._stack, now_ns)
        for fault in [f for f in self._armed if f.is_active(now_ns)]:
            self._armed.remove(fault)
            self._acting.append(fault)
            fault.begin(self._stack, now_ns)

    def _clock(self, now_ns: int) -> int:
        for fault in self._acting:
            now_ns = fault.data_clock(now_ns)
        return now_ns

    def _receive(self, now_ns: int) -> Observation | None:
        newest = self._twin.read()
        if newest.stamp_ns == self._last_stamp_ns:
            return None
        self._last_stamp_ns = newest.stamp_ns
        self._arrived_ns = now_ns
        observation: Observation | None = replace(
            newest,
            stamp_ns=self._clock(newest.stamp_ns),
            received_steady_ns=now_ns,
            image_stamps_ns={name: self._clock(at_ns) for name, at_ns in newest.image_stamps_ns.items()},
        )
        for fault in self._acting:
            if observation is not None:
                observation = fault.observation(observation, now_ns)
        if observation is not None:
            self._state = observation
        for fault in self._faults:
            fault.saw(observation, now_ns)
        return observation

    def _ask(self, observation: Observation, now_ns: int) -> tuple[ActionChunk | None, str]:
        if self._reference is not None:
            observation = self._with_reference(observation)
        try:
            chunk = self._controller.act(observation, now_ns=self._clock(now_ns))
        except Refusal as refusal:
            self._refusals += 1
            return None, str(refusal)
        deliveries = [(now_ns, chunk)]
        for fault in self._acting:
            deliveries = [late for at_ns, sent in deliveries for late in fault.chunks(sent, at_ns, now_ns)]
        for at_ns, sent in deliveries:
            self._sent += 1
            self._under_way.append((at_ns, self._sent, sent))
        return chunk, ""

    def _with_reference(self, observation: Observation) -> Observation:
        assert self._reference is not None
        if self._first_stamp_ns is None:
            self._first_stamp_ns = observation.stamp_ns
        point = self._reference.sample((observation.stamp_ns - self._first_stamp_ns) * 1e-9)
        terms = {
            "reference_position": np.asarray(point.position_m, np.float64),
            "reference_velocity": np.asarray(point.velocity_m_s, np.float64),
            "reference_yaw": np.array([point.yaw_rad]),
        }
        return replace(observation, values={**observation.values, **terms})

    def _due(self, now_ns: int) -> list[ActionChunk]:
        """Take the chunks that have reached the gate by now, in the order of their arrival."""
        due = sorted((at_ns, order, chunk) for at_ns, order, chunk in self._under_way if at_ns <= now_ns)
        self._under_way = [item for item in self._under_way if item[0] > now_ns]
        return [chunk for _, _, chunk in due]

    def _judge(self, chunk: ActionChunk | None, now_ns: int) -> Verdict:
        command = None if chunk is None else chunk.command_at(0, received_steady_ns=now_ns)
        verdict = self._gate.filter(command, self._state, self._clock(now_ns), now_ns)
        self._verdicts[verdict.action.value] = self._verdicts.get(verdict.action.value, 0) + 1
        return verdict

    def _hand_over(self, verdict: Verdict, now_ns: int) -> Command | None:
        twin = self._twin
        if verdict.action is GateAction.KEEP or self._publishers(now_ns) != 1:
            return None
        command = verdict.command
        if command is None:
            if twin.safe_stopped is None:
                twin.safe_stop(f"the gate takes the safe action: {', '.join(verdict.reasons)}")
            return None
        twin.command(command)
        self._command_ns.append(now_ns)
        self._commands.append(command.values.copy())
        return command

    def _publishers(self, now_ns: int) -> int:
        return 1 + sum(fault.extra_publishers(COMMAND_TOPIC, now_ns) for fault in self._acting)

    def _check_publishers(self, now_ns: int) -> None:
        """The robot trusts nobody while more than one commands it."""
        count = self._publishers(now_ns)
        if count != 1 and self._twin.safe_stopped is None:
            self._twin.safe_stop(f"{count} publishers on {COMMAND_TOPIC}")
