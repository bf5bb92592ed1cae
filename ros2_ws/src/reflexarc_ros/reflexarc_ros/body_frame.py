"""/tf: where a vehicle's body is, for RViz, Foxglove and whoever else asks for frames.

tf2_msgs comes with every ROS 2 distribution and is on no package index; with the wheels alone there is no
/tf, and the node says so. Nothing of the stack listens to it.
"""

from __future__ import annotations

from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.qos import QoSProfile

from hardware.robot import Observation, RobotCard
from reflexarc_ros import qos
from reflexarc_ros.messages import to_time

TF_TOPIC = "/tf"
# As nav_msgs/Odometry names it on the wire.
BODY = "base_link"
NOT_INSTALLED = "none: tf2_msgs is not installed; it comes with a ROS 2 distribution"
_POSITION, _ORIENTATION = "position", "orientation"
# What people watch needs no more; the control loop has better things to do.
_PERIOD_NS = 20_000_000


class Advertises(Protocol):
    """The part of a node that is needed."""

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: QoSProfile, /) -> Any:  # noqa: ANN401
        """Advertise a topic."""


def has_body(card: RobotCard) -> bool:
    """Whether a robot measures where its body is: both terms, in one frame that is not the body's."""
    terms = [card.observations.get(name) for name in (_POSITION, _ORIENTATION)]
    frames = {"" if term is None else term.frame for term in terms}
    return len(frames) == 1 and not frames & {"", "body"}


def find_messages() -> Any:  # noqa: ANN401
    """The message of /tf; None where tf2_msgs is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage


class BodyFrame:
    """Publishes the frame of one body, at most fifty times a second.

    Args:
        node: advertises the topic.
        card: of a robot that `has_body`.
        message_type: what `find_messages` gives.
    """

    def __init__(self, node: Advertises, card: RobotCard, message_type: Any) -> None:  # noqa: ANN401
        """Advertise."""
        self.publisher = node.create_publisher(message_type, TF_TOPIC, qos.FRAMES)
        self._message_type = message_type
        self._parent = card.observations[_POSITION].frame
        self._sent_ns: int | None = None

    def publish(self, observation: Observation) -> None:
        """Publish where the body was at the observation's capture, if a frame is due.

        Args:
            observation: with the terms position and orientation.
        """
        stamp_ns = observation.stamp_ns
        # A clock that went back is a new beginning.
        if self._sent_ns is not None and 0 <= stamp_ns - self._sent_ns < _PERIOD_NS:
            return
        self._sent_ns = stamp_ns
        frame = TransformStamped()
        frame.header.stamp = to_time(stamp_ns)
        frame.header.frame_id, frame.child_frame_id = self._parent, BODY
        place, turn = frame.transform.translation, frame.transform.rotation
        place.x, place.y, place.z = observation.values[_POSITION].tolist()
        turn.w, turn.x, turn.y, turn.z = observation.values[_ORIENTATION].tolist()
        self.publisher.publish(self._message_type(transforms=[frame]))
