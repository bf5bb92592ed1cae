"""An arm's targets through the command gate, for tasks and demonstrations that happen without a twin.

What the gate does to a target is part of what a policy has to live with: a Panda that is sent somewhere else
ten times a second never jumps, because the gate holds it to its accelerations. A demonstration in which the
arm jumps shows another robot.
"""

from __future__ import annotations

from collections.abc import Callable

from hardware.cards.library import load_robot_card
from hardware.command import Command, FloatArray
from hardware.gate import CommandGate
from hardware.robot import Observation
from sim.worlds.arm_world import ArmWorld


class TargetWire:
    """Where the targets of a task go: to the servos at once, or through the gate of the world's `GATE_CARD`.

    Args:
        world: whose servos they are.

    Raises:
        ConfigError: there is no such card, or it does not fit the gate.
    """

    def __init__(self, world: ArmWorld) -> None:
        """Make the gate, where there is one."""
        self._world = world
        card = load_robot_card(world.GATE_CARD) if world.GATE_CARD else None
        self._gate = None if card is None else CommandGate(card, next(iter(card.commands)))

    def reset(self) -> None:
        """Begin anew, as the world did."""
        if self._gate is not None:
            self._gate.reset()

    def hold(
        self, targets: FloatArray, duration_ns: int, *, advance: Callable[[int], None] | None = None
    ) -> None:
        """Send the same targets for a while, as often as the robot wants a command.

        Args:
            targets: joint positions in the order of the world's `JOINTS`, shape (D,), rad.
            duration_ns: how long, nanoseconds.
            advance: lets that many nanoseconds pass; None: the world itself does.
        """
        world, gate = self._world, self._gate
        advance = world.advance if advance is None else advance
        if gate is None:
            world.set_targets(targets)
            advance(duration_ns)
            return
        until_ns = world.time_ns + duration_ns
        while world.time_ns < until_ns:
            now_ns = world.time_ns
            command = Command(gate.spec.kind, gate.spec.names, targets, now_ns, now_ns)
            seen = Observation(world.observe(), now_ns, now_ns)
            verdict = gate.filter(command, seen, now_ns, now_ns)
            if verdict.command is not None:
                world.set_targets(verdict.command.values)
            advance(min(gate.spec.period_ns, until_ns - now_ns))
