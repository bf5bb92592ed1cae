"""Where a leader is, in the joints of the robot that follows it."""

from __future__ import annotations

import math

from hardware.teleop.mapping import TeleopMapping
from hardware.teleop.reading import Reading

# Where a leader is (by the robot's names), and whether the operator commands (latched); relative topics.
LEADER_TOPIC, ENGAGED_TOPIC = "leader/joint_states", "teleop/engaged"


class Leader:
    """The joints of a robot that go to where a leader is, without those that only follow its motion.

    Args:
        mapping: what the device does.
    """

    def __init__(self, mapping: TeleopMapping) -> None:
        """Find them."""
        parts = mapping.parts.values()
        self._follows = {n: f for part in parts if part.absolute for n, f in part.follow.items()}
        # The elements of the robot's command; none: the device is no leader.
        self.names = tuple(self._follows)

    def positions(self, reading: Reading) -> dict[str, float]:
        """Give where the leader is, whoever commands.

        Args:
            reading: of the device.

        Returns:
            Element names to radians, without those that the device gives no number for; empty: it is not
            there.
        """
        if not reading.connected:
            return {}
        found = {name: follow.position(reading.controls) for name, follow in self._follows.items()}
        return {name: position for name, position in found.items() if math.isfinite(position)}
