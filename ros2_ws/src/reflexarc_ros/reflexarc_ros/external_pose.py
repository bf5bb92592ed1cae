"""A pose from outside (motion capture, visual odometry) on its way to a vehicle."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node

from hardware.drones.vehicle import ExternalPose, FlightVehicle
from hardware.errors import ConfigError
from hardware.frames import rotation_matrix
from hardware.parameters import choice, number
from hardware.robot import RobotCard
from reflexarc_ros import qos
from reflexarc_ros.messages import to_ns

MOCAP_ODOMETRY, MOCAP_POSE = "mocap/odom", "mocap/pose"
_TYPES = {MOCAP_ODOMETRY: Odometry, MOCAP_POSE: PoseStamped}
# How far from one the length of a quaternion may be.
_UNIT_TOLERANCE = 0.01


class PoseInput:
    """Hands poses from a topic to a vehicle, where its card asks for it.

    Args:
        card: its parameter `external_pose` names the topic, `external_pose_timeout_s` when a pose is stale.
        vehicle: takes the poses.

    Raises:
        ConfigError: another topic, or a time that is none.
    """

    def __init__(self, card: RobotCard, vehicle: FlightVehicle) -> None:
        """Read the card."""
        self.topic = choice(card, "external_pose", tuple(_TYPES))
        self._timeout_s = number(card, "external_pose_timeout_s", 0.2)
        self._vehicle = vehicle
        self._heard_ns: int | None = None
        self._stamp_ns = 0
        # Poses that were dropped, and why the last one was.
        self.dropped = 0
        self._fault = ""

    def subscribe(self, node: Node, topic: str) -> None:
        """Listen on a node whose thread nothing holds up, to the topic as remapped; empty: to none."""
        if topic:
            node.create_subscription(_TYPES[self.topic], topic, self._on_message, qos.SENSOR)

    def age_ms(self, steady_ns: int) -> float | None:
        """How long ago the newest pose came; None: none came, or none is wanted."""
        return None if self._heard_ns is None else (steady_ns - self._heard_ns) * 1e-6

    def problem(self, steady_ns: int) -> str:
        """What is wrong with the poses, in words; empty: nothing."""
        if not self.topic:
            return ""
        if self._heard_ns is None:
            return f"no external pose on {self.topic} yet" + (f" ({self._fault})" if self._fault else "")
        age_s = (steady_ns - self._heard_ns) * 1e-9
        if age_s > self._timeout_s:
            reason = f" ({self._fault})" if self._fault else ""
            return f"the external pose on {self.topic} is {age_s:.1f} s old{reason}"
        return ""

    def _on_message(self, message: Any) -> None:  # noqa: ANN401
        try:
            pose = read_pose(message)
        except ConfigError as error:
            self.dropped += 1
            self._fault = error.what
            return
        if pose.stamp_ns <= self._stamp_ns:
            # A repeated or overtaken one. A clock that was set back is taken up again after the timeout.
            heard_ns = self._heard_ns or 0
            if time.monotonic_ns() - heard_ns < self._timeout_s * 1e9:
                return
        self._stamp_ns, self._heard_ns, self._fault = pose.stamp_ns, time.monotonic_ns(), ""
        self._vehicle.external_pose(pose)


def read_pose(message: Any) -> ExternalPose:  # noqa: ANN401
    """Read a pose off the wire.

    Args:
        message: a nav_msgs/Odometry (its velocity is the body's) or a geometry_msgs/PoseStamped.

    Returns:
        The pose in the world (z up), its velocity in the world too.

    Raises:
        ConfigError: numbers that are not finite, or an orientation that is none.
    """
    is_odometry = isinstance(message, Odometry)
    body = message.pose.pose if is_odometry else message.pose
    p, q = body.position, body.orientation
    position = np.array([p.x, p.y, p.z])
    orientation = np.array([q.w, q.x, q.y, q.z])
    velocity = None
    if is_odometry:
        v = message.twist.twist.linear
        velocity = np.array([v.x, v.y, v.z])
    parts = (position, orientation) if velocity is None else (position, orientation, velocity)
    length = float(np.linalg.norm(orientation))
    if not all(np.isfinite(part).all() for part in parts) or not abs(length - 1.0) <= _UNIT_TOLERANCE:
        raise ConfigError(
            "a pose that is not finite, or whose quaternion is not of unit length",
            where="external pose",
            expected="finite numbers and a unit quaternion",
            mend="correct the publisher",
        )
    orientation /= length
    if velocity is not None:
        velocity = rotation_matrix(orientation) @ velocity
    return ExternalPose(position, orientation, to_ns(message.header.stamp), velocity)
