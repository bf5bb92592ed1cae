"""Where an operator's leader arm is, on the wire, whoever commands."""

from __future__ import annotations

from sensor_msgs.msg import JointState

from hardware.teleop import Reading, TeleopMapping
from hardware.teleop.leader import LEADER_TOPIC, Leader
from reflexarc_ros import qos
from reflexarc_ros.messages import to_time
from reflexarc_ros.node import ReflexarcNode, destroy


class LeaderPublisher:
    """Publishes the joints that a robot follows to where its leader is; without such joints, nothing.

    Args:
        node: publishes.
        mapping: what the device does.
    """

    def __init__(self, node: ReflexarcNode, mapping: TeleopMapping) -> None:
        """Advertise, where there is something to say."""
        self._node, self._leader = node, Leader(mapping)
        self._publisher = (
            node.create_publisher(JointState, LEADER_TOPIC, qos.SENSOR) if self._leader.names else None
        )
        self._heard_ns = 0
        # Of the last message: its stamp, and the ROS clock then.
        self._stamp_ns = self._now_ns = 0

    def publish(self, reading: Reading, *, steady_ns: int, data_ns: int) -> None:
        """Say where the leader is, once for each of its measurements.

        Args:
            reading: of the device.
            steady_ns: the steady clock, nanoseconds.
            data_ns: the ROS clock at the same moment, nanoseconds; 0: there is none yet.
        """
        if self._publisher is None or not data_ns or reading.heard_ns == self._heard_ns:
            return
        positions = self._leader.positions(reading)
        if not positions:
            return
        self._heard_ns = reading.heard_ns
        message = JointState(name=list(positions), position=list(positions.values()))
        stamp_ns = max(data_ns - (steady_ns - reading.heard_ns), 0)
        if data_ns >= self._now_ns:
            # A twin's clock stands still between its ticks; stamps do not go back for that.
            stamp_ns = max(stamp_ns, self._stamp_ns)
        self._stamp_ns, self._now_ns = stamp_ns, data_ns
        message.header.stamp = to_time(stamp_ns)
        self._publisher.publish(message)

    def close(self) -> None:
        """Withdraw it."""
        if self._publisher is not None:
            destroy(self._node, self._publisher)
            self._publisher = None
