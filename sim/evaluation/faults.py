"""What can go wrong on the way from a sensor to a motor, begun and ended at exact simulated times.

Each fault is one small class that says what it does to the parts of a lockstep run. Times are those of
the twin, in nanoseconds; a fault acts from `start_ns` on, until `end_ns` where it has one. One object
is for one run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hardware.chunk import ActionChunk
from hardware.errors import ConfigError
from hardware.gate import CommandGate
from hardware.robot import Observation

# What the robot listens to; the gate alone may publish there.
COMMAND_TOPIC = "gate/command"
_NEVER = 1 << 62


class Resettable(Protocol):
    """A controller, as far as faults know it."""

    def reset(self, seed: int | None = None) -> None:
        """Begin anew."""


@dataclass(frozen=True)
class Stack:
    """The parts of a run that a fault can reach."""

    # Answers observations.
    controller: Resettable
    # Judges commands.
    gate: CommandGate
    # The seed of the run: a policy that is started again begins with it.
    seed: int | None = None


class Fault:
    """Something that goes wrong for a while; this one does nothing.

    Args:
        start_ns: from when on, simulated time.
        end_ns: until when; None: it does not end.

    Raises:
        ConfigError: it ends before it starts.
    """

    def __init__(self, *, start_ns: int, end_ns: int | None = None) -> None:
        """Keep the times."""
        if end_ns is not None and end_ns <= start_ns:
            raise ConfigError(
                f"it ends at {end_ns} ns",
                where=type(self).__name__,
                expected=f"a time after its start at {start_ns} ns, or none",
                mend="correct start_ns or end_ns",
            )
        self.start_ns, self.end_ns = start_ns, end_ns

    @property
    def edges_ns(self) -> tuple[int, ...]:
        """When it starts and ends."""
        return (self.start_ns,) if self.end_ns is None else (self.start_ns, self.end_ns)

    def is_active(self, now_ns: int) -> bool:
        """Whether it acts at a time."""
        return self.start_ns <= now_ns and (self.end_ns is None or now_ns < self.end_ns)

    def begin(self, stack: Stack, now_ns: int) -> None:
        """Act once, when it starts."""

    def finish(self, stack: Stack, now_ns: int) -> None:
        """Act once, when it ends."""

    def data_clock(self, true_ns: int) -> int:
        """Say what the ROS clock shows at a time; asked only while the fault acts."""
        return true_ns

    def saw(self, observation: Observation | None, now_ns: int) -> None:
        """Take note of what reached the stack, while the fault acts or not."""

    def observation(self, observation: Observation, now_ns: int) -> Observation | None:
        """Change what the stack observes; None: it does not arrive."""
        return observation

    def runs_policy(self, now_ns: int) -> bool:
        """Whether the policy's process takes observations."""
        return True

    def chunks(self, chunk: ActionChunk, at_ns: int, now_ns: int) -> list[tuple[int, ActionChunk]]:
        """Change what leaves the policy: chunks with the times at which they reach the gate."""
        return [(at_ns, chunk)]

    def runs_gate(self, now_ns: int) -> bool:
        """Whether the gate's process judges and sends."""
        return True

    def extra_publishers(self, topic: str, now_ns: int) -> int:
        """How many others publish on a command topic."""
        return 0


class PolicyKilled(Fault):
    """The policy's process dies; where the fault ends, it is started again and has forgotten everything."""

    def runs_policy(self, now_ns: int) -> bool:
        """It does not."""
        return False

    def finish(self, stack: Stack, now_ns: int) -> None:
        """Start it again."""
        stack.controller.reset(stack.seed)


class PolicyStopped(Fault):
    """The policy's process is stopped (SIGSTOP) while it works on an observation.

    Where the fault ends it goes on (SIGCONT): with its memory, and with the chunk of that observation.
    """

    def __init__(self, *, start_ns: int, end_ns: int | None = None) -> None:
        """Nothing is being worked on yet."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._is_busy = False

    def runs_policy(self, now_ns: int) -> bool:
        """It takes one observation, and no other."""
        return not self._is_busy

    def chunks(self, chunk: ActionChunk, at_ns: int, now_ns: int) -> list[tuple[int, ActionChunk]]:
        """What it was working on leaves when it goes on."""
        self._is_busy = True
        return [(_NEVER if self.end_ns is None else self.end_ns, chunk)]


class NanOut(Fault):
    """The policy answers with numbers that are not finite."""

    def chunks(self, chunk: ActionChunk, at_ns: int, now_ns: int) -> list[tuple[int, ActionChunk]]:
        """One element of every step becomes NaN."""
        values = chunk.values.copy()
        values[:, 0] = np.nan
        return [(at_ns, chunk.with_values(values))]


class LateChunk(Fault):
    """Chunks take their time on the way to the gate.

    Args:
        delay_ns: how much longer than usual.
        start_ns: from when on.
        end_ns: until when.
    """

    def __init__(self, *, delay_ns: int, start_ns: int, end_ns: int | None = None) -> None:
        """Keep the delay."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._delay_ns = delay_ns

    def chunks(self, chunk: ActionChunk, at_ns: int, now_ns: int) -> list[tuple[int, ActionChunk]]:
        """Later."""
        return [(at_ns + self._delay_ns, chunk)]


class NanIn(Fault):
    """A sensor gives numbers that are not finite.

    Args:
        term: which of the robot's terms.
        start_ns: from when on.
        end_ns: until when.
    """

    def __init__(self, *, term: str, start_ns: int, end_ns: int | None = None) -> None:
        """Keep the term."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._term = term

    def observation(self, observation: Observation, now_ns: int) -> Observation:
        """The term's first element becomes NaN."""
        broken = observation.values[self._term].copy()
        broken[0] = np.nan
        return replace(observation, values={**observation.values, self._term: broken})


class ObservationUnplugged(Fault):
    """No observation arrives any more."""

    def observation(self, observation: Observation, now_ns: int) -> None:
        """It does not arrive."""


class ObservationFrozen(Fault):
    """The sensor sends the same numbers again and again, with new stamps."""

    def __init__(self, *, start_ns: int, end_ns: int | None = None) -> None:
        """Nothing was seen yet."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._last: Observation | None = None

    def saw(self, observation: Observation | None, now_ns: int) -> None:
        """The last observation before the start is the one that stays."""
        if observation is not None and not self.is_active(now_ns):
            self._last = observation

    def observation(self, observation: Observation, now_ns: int) -> Observation:
        """The old numbers."""
        return observation if self._last is None else replace(observation, values=self._last.values)


class ClockBack(Fault):
    """The ROS clock is set back, and with it every stamp; where the fault ends it is set right again.

    Args:
        by_ns: how far.
        start_ns: when.
        end_ns: until when.
    """

    def __init__(self, *, by_ns: int, start_ns: int, end_ns: int | None = None) -> None:
        """Keep the distance."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._by_ns = by_ns

    def data_clock(self, true_ns: int) -> int:
        """Earlier."""
        return true_ns if true_ns < self.start_ns else true_ns - self._by_ns


class ClockStopped(Fault):
    """The ROS clock stands still, and with it every stamp; where the fault ends it is right again."""

    def data_clock(self, true_ns: int) -> int:
        """Always the start."""
        return min(true_ns, self.start_ns)


class GateKilled(Fault):
    """The gate's process dies; where the fault ends, it is started again and has forgotten everything."""

    def runs_gate(self, now_ns: int) -> bool:
        """It does not."""
        return False

    def finish(self, stack: Stack, now_ns: int) -> None:
        """Start it again."""
        stack.gate.reset()


class TwoCommandPublishers(Fault):
    """Somebody else publishes on a command topic.

    Args:
        topic: the robot's topic, or `command/<source>`, a topic of the gate's.
        start_ns: from when on.
        end_ns: until when.
    """

    def __init__(self, *, topic: str = COMMAND_TOPIC, start_ns: int, end_ns: int | None = None) -> None:
        """Keep the topic."""
        super().__init__(start_ns=start_ns, end_ns=end_ns)
        self._topic = topic

    def begin(self, stack: Stack, now_ns: int) -> None:
        """The gate discovers a second publisher of one of its sources."""
        if self._topic != COMMAND_TOPIC:
            stack.gate.report_publishers(self._topic.removeprefix("command/"), 2)

    def finish(self, stack: Stack, now_ns: int) -> None:
        """It is gone."""
        if self._topic != COMMAND_TOPIC:
            stack.gate.report_publishers(self._topic.removeprefix("command/"), 1)

    def extra_publishers(self, topic: str, now_ns: int) -> int:
        """One more on its topic."""
        return int(topic == self._topic)


class EmergencyStop(Fault):
    """The operator presses the emergency stop; where the fault ends, releases it and resets the gate."""

    def begin(self, stack: Stack, now_ns: int) -> None:
        """Press."""
        stack.gate.operator_heartbeat(pressed=True, steady_now_ns=now_ns)

    def finish(self, stack: Stack, now_ns: int) -> None:
        """Release, reset, and leave."""
        stack.gate.release_operator()
        stack.gate.reset_estop()
