"""What drives a robot for robot_node: one kind of drive for twins, one for hardware, one for what flies.

A drive owns the robot and its time: it reads, publishes what is new, and hands over what the gate lets
through. The node owns the wire: topics, the check that one publisher commands, the emergency stop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus

from hardware.chunk import ActionChunk
from hardware.drivers import TWIN, make_driver
from hardware.robot import CommandSpec, Robot, RobotCard
from reflexarc_ros.chunks import Nothing, SafeStop

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import RobotNode

# The driver that reaches PX4 over its own ROS 2 topics.
PX4_TOPICS = "px4_dds"
# What arrives from the gate.
Answer = ActionChunk | SafeStop | Nothing


class Drive(ABC):
    """Drives one robot. Made when the node is configured, closed when it is cleaned up."""

    # The command interface that the gate guards.
    spec: CommandSpec
    # The robot, for viewers and cameras.
    robot: Any

    @abstractmethod
    def connect(self) -> None:
        """Open the wire to the robot. Raises ConfigError; nothing moves."""

    @property
    def description(self) -> str:
        """The robot as URDF; empty where there is none."""
        return str(getattr(self.robot, "description", ""))

    def advertise(self) -> list[Any]:
        """Make the publishers and subscriptions of this kind of robot; the node withdraws them."""
        return []

    @abstractmethod
    def start(self) -> None:
        """Begin to publish and to listen."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the loops and take the safe action."""

    @abstractmethod
    def close(self) -> None:
        """Leave the robot."""

    @abstractmethod
    def take(self, answer: Answer, received_ns: int) -> None:
        """Take what the gate sent, in the thread that received it.

        Args:
            answer: a chunk, or what a trajectory without points means.
            received_ns: when it arrived, steady clock.
        """

    def refuse(self) -> None:  # noqa: B027, most have nothing to do here
        """Forget commands that were taken and have not been handed over."""

    @property
    @abstractmethod
    def safe_stopped(self) -> str | None:
        """Why the robot is in its safe action; None while it follows commands."""

    @abstractmethod
    def safe_stop(self, reason: str) -> None:
        """Take the robot's safe action, whoever commands."""

    def heard(self) -> None:  # noqa: B027, most do not wait for a recorder
        """A recorder has said how far it is."""

    def watch(self) -> None:  # noqa: B027, most have nothing to do here
        """Look after what does not come by itself; called a few times a second in the node's thread."""

    def health(self) -> tuple[bytes, str]:
        """How the robot is: a level and a sentence; called by the loop, may note values."""
        reason = self.safe_stopped
        if reason is None:
            return DiagnosticStatus.OK, "active"
        return DiagnosticStatus.WARN, f"safe action: {reason}"

    def reset(self) -> tuple[bool, str]:
        """Begin a new episode, where there is such a thing: whether it did, and what to say."""
        return False, "only a twin can be reset"

    @property
    def is_task_done(self) -> bool:
        """Whether the task of the robot's world is solved; False where there is none."""
        return False

    @abstractmethod
    def write_trace(self, path: Path) -> None:
        """Write what happened since the start, and the timing beside it."""


def make_drive(node: RobotNode, card: RobotCard) -> Drive:
    """Make the drive for a card's driver; nothing moves, nothing is opened.

    Args:
        node: whose settings count.
        card: the robot.

    Returns:
        The drive.

    Raises:
        ConfigError: no driver of that name, one of its packages is missing, or settings that it does not
            know what to do with.
    """
    if card.driver == TWIN:
        from reflexarc_ros.twin_drive import TwinDrive

        return TwinDrive(node, card)
    from hardware.drones.vehicle import FlightVehicle

    robot = _make_robot(card)
    if isinstance(robot, FlightVehicle):
        from reflexarc_ros.vehicle_drive import VehicleDrive

        return VehicleDrive(node, card, robot)
    from reflexarc_ros.hardware_drive import HardwareDrive

    return HardwareDrive(node, card, robot)


def _make_robot(card: RobotCard) -> Robot:
    """Make the driver of a card; one that speaks ROS itself is not among those of `hardware`."""
    if card.driver == PX4_TOPICS:
        from reflexarc_ros.px4_dds import PX4TopicsVehicle

        return PX4TopicsVehicle(card)
    return make_driver(card)
