"""What the robot of LeRobot asks of a connection to one of ours."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.robot import Observation

# As whom LeRobot commands: the gate gives an operator precedence over a policy of ours.
SOURCE = "operator"


class RobotLink(Protocol):
    """A robot behind the command gate."""

    def connect(self) -> None:
        """Open the connection and wait for the first observation.

        Raises:
            ConfigError: nobody is there.
        """

    def read(self) -> Observation:
        """The newest observation."""

    def image(self, camera: str) -> NDArray[np.uint8]:
        """The newest image of a camera, (H, W, 3)."""

    def command(self, values: FloatArray) -> FloatArray:
        """Ask for set-points, (D,), in the order of the card.

        Returns:
            What the gate let through last, (D,).
        """

    def disconnect(self) -> None:
        """Leave the robot in its safe action and close the connection."""
