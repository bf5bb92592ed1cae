"""What policy_node gives out beside commands: each layer's action, a journal, a word about the airframe."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import JointState

from hardware.command import FloatArray
from hardware.robot import RobotCard
from reflexarc_ros import qos
from reflexarc_ros.messages import to_time
from reflexarc_ros.node import ReflexarcNode
from reflexarc_ros.wire import Layout

if TYPE_CHECKING:
    from policies.controller import Controller
    from policies.runtime.journal_file import JournalFile


class LayerPublisher:
    """policy/<layer>/action as a JointState.

    Args:
        node: publishes.
        layer: its name.
        names: the elements of the action.
    """

    def __init__(self, node: ReflexarcNode, layer: str, names: tuple[str, ...]) -> None:
        """Advertise."""
        message = JointState(name=list(names), position=[0.0] * len(names))
        message.header.stamp = to_time(0)
        self._layout = Layout(message, len(names), lambda m, n: setattr(m, "position", n))
        profile = qos.LOCKSTEP if node.is_lockstep else qos.SENSOR
        self.publisher = node.create_publisher(JointState, f"policy/{layer}/action", profile)

    def publish(self, stamp_ns: int, action: FloatArray) -> None:
        """Publish an action, shape (D,), of the step with this stamp, ROS clock, nanoseconds."""
        self.publisher.publish(self._layout.encode(stamp_ns, action))


def open_journal(
    folder: Path, *, robot: RobotCard, controller: Controller, policy: str, rate_hz: float | None
) -> JournalFile:
    """Begin the next journal of a folder: policy_000000.mcap, policy_000001.mcap, ...

    Args:
        folder: of the journals.
        robot: the robot's card.
        controller: whose journal it is to be.
        policy: its controller file or policy folder, as it was named.
        rate_hz: as given to `load_controller`.

    Returns:
        The journal.

    Raises:
        ConfigError: the file cannot be written.
    """
    from policies.runtime.journal_file import JournalFile

    taken = {path.name.split(".")[0] for path in folder.glob("policy_*.mcap*")}
    path = next(p for n in itertools.count() if (p := folder / f"policy_{n:06d}.mcap").stem not in taken)
    return JournalFile(
        path,
        robot=robot,
        controller=controller,
        policy=policy,
        rate_hz=rate_hz,
        steady_clock=time.monotonic_ns,
    )


def warn_of_airframe(name: Any) -> str | None:  # noqa: ANN401
    """Say in numbers where a vehicle is unlike those that RAPTOR was trained on.

    Args:
        name: the airframe; empty or None: nobody knows which it is.

    Returns:
        A sentence; None where there is nothing to warn of.

    Raises:
        ConfigError: there is no such airframe.
    """
    if not name:
        return None
    from policies.raptor.distribution import warning
    from sim.quadrotor.airframes import load_airframe

    return warning(load_airframe(str(name)))
