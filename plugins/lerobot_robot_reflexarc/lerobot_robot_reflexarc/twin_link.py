"""The twin in this process, with the gate's rules between LeRobot and its motors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hardware.command import Command, FloatArray
from hardware.errors import ConfigError
from hardware.gate import CommandGate, GateAction
from hardware.robot import Observation, RobotCard
from lerobot_robot_reflexarc.link import SOURCE
from sim.twin.arm import ArmTwin
from sim.twin.latency import NONE

# An action counts for so many of LeRobot's steps; a loop that stalls for longer meets the gate's timeout.
_STEPS_VALID = 2.5


class TwinLink:
    """The twin of an arm. Its time moves on when LeRobot acts (lockstep), or with the wall's (real time).

    Args:
        card: the arm; its driver must be the twin.
        seed: of its start and latency.
        step_s: time between two actions, seconds.
        clock: the steady clock, nanoseconds, for real time; None: lockstep.

    Raises:
        ConfigError: the card is no arm, or its robot is no twin.
    """

    def __init__(
        self, card: RobotCard, *, seed: int, step_s: float, clock: Callable[[], int] | None = None
    ) -> None:
        """Make twin and gate."""
        if card.driver != "twin" or card.kind != "arm":
            raise ConfigError(
                f"a card of kind {card.kind!r} with the driver {card.driver!r}",
                where=f"robot card {card.name!r}",
                expected="an arm in the twin: hardware is commanded by the gate in its own process alone",
                mend="bring the robot up with `reflexarc up` and give --robot.link=ros2",
            )
        self._card = card
        self._name, self._spec = next(iter(card.commands.items()))
        self._twin = ArmTwin(card, seed=seed, latency=NONE)
        self._gate = CommandGate(card, self._name)
        self._step_ns = round(step_s * 1e9)
        self._clock = clock
        self._offset_ns = 0
        self._values: FloatArray | None = None
        self._asked_ns = 0
        self._judged_ns = -1
        self._sent: FloatArray | None = None

    def connect(self) -> None:
        """Connect the twin."""
        self._twin.connect()
        if self._clock is not None:
            self._offset_ns = self._twin.now_ns - self._clock()

    def read(self) -> Observation:
        """The newest observation; in real time the twin first catches up with the wall."""
        if self._clock is not None:
            self._run(self._clock() + self._offset_ns)
        return self._twin.read()

    def image(self, camera: str) -> NDArray[np.uint8]:
        """The newest image of a camera."""
        return self._twin.read_camera(camera)[0]

    def command(self, values: FloatArray) -> FloatArray:
        """Ask for set-points; in lockstep the twin then lives through one step."""
        self._values, self._asked_ns = values, self._twin.now_ns
        until_ns = (
            self._twin.now_ns + self._step_ns if self._clock is None else self._clock() + self._offset_ns
        )
        self._run(until_ns)
        return values if self._sent is None else self._sent

    def disconnect(self) -> None:
        """Close the wire; the twin takes its safe action."""
        self._twin.disconnect()

    def _run(self, until_ns: int) -> None:
        """Judge and hand over one command for every observation on the way, with the one that is there."""
        twin = self._twin
        while True:
            observation = twin.read()
            if observation.stamp_ns != self._judged_ns:
                self._judge(observation)
            if twin.now_ns >= until_ns:
                return
            arrival_ns = twin.next_arrival_ns
            event_ns = twin.next_capture_ns if arrival_ns is None else min(arrival_ns, twin.next_capture_ns)
            # What is captured at the very end belongs to the next action.
            twin.advance(min(event_ns, until_ns))
            if twin.now_ns >= until_ns:
                return

    def _judge(self, observation: Observation) -> None:
        twin = self._twin
        now_ns = twin.now_ns
        self._judged_ns = observation.stamp_ns
        command = None
        if self._values is not None and now_ns - self._asked_ns <= _STEPS_VALID * self._step_ns:
            command = Command(
                kind=self._spec.kind,
                names=self._spec.names,
                values=self._values,
                stamp_ns=observation.stamp_ns,
                received_steady_ns=now_ns,
                source=SOURCE,
            )
        verdict = self._gate.filter(command, observation, now_ns, now_ns)
        if verdict.action is GateAction.KEEP:
            return
        if verdict.command is None:
            if twin.safe_stopped is None and self._sent is not None:
                twin.safe_stop(f"the gate takes the safe action: {', '.join(verdict.reasons)}")
            return
        twin.command(verdict.command)
        self._sent = verdict.command.values.copy()
