"""A robot that runs already, twin or hardware, over ROS 2: we are one source of commands of its gate."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.chunk import ActionChunk
from hardware.command import FloatArray
from hardware.errors import ConfigError, Refusal
from hardware.robot import Observation, RobotCard
from lerobot_robot_reflexarc.link import SOURCE

# A chunk counts for so many steps: a loop that stalls for longer meets the gate's timeout.
_STEPS_VALID = 2.5
_POLL_S = 0.01


class RosLink:
    """A robot's topics. The gate's node is another process; nothing here can pass it by.

    Args:
        card: the robot.
        namespace: of the robot; empty: the card's name.
        terms: those that are wanted.
        cameras: those that are wanted.
        step_s: time between two actions, seconds.
        connect_s: how long to wait for the first observation and image, seconds.
    """

    def __init__(
        self,
        card: RobotCard,
        *,
        namespace: str,
        terms: tuple[str, ...],
        cameras: tuple[str, ...],
        step_s: float,
        connect_s: float,
    ) -> None:
        """Remember what is wanted; nothing is opened."""
        self._card, self._terms, self._cameras = card, terms, cameras
        self._namespace = "/" + (namespace or card.name).strip("/")
        self._spec = next(iter(card.commands.values()))
        self._step_ns, self._connect_s = round(step_s * 1e9), connect_s
        self._lock = threading.Lock()
        self._newest: Observation | None = None
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._sent: FloatArray | None = None
        self._running = False

    def connect(self) -> None:
        """Join the graph and wait until everything wanted has arrived once.

        Raises:
            ConfigError: ROS 2 is not installed, or something does not arrive.
        """
        try:
            self._open()
        except ImportError as error:
            raise ConfigError(
                f"ROS 2 cannot be loaded ({error})",
                where="lerobot_robot_reflexarc",
                expected="rclpy, by the extra reflexarc[ros] or a sourced distribution",
                mend="install it, or give --robot.link=lockstep for the twin",
            ) from error
        deadline_s = time.monotonic() + self._connect_s
        while time.monotonic() < deadline_s:
            with self._lock:
                missing = [] if self._newest is not None else ["observations"]
                missing += [f"{camera}/image" for camera in self._cameras if camera not in self._images]
            if not missing:
                return
            time.sleep(_POLL_S)
        self.disconnect()
        raise ConfigError(
            f"no {', '.join(missing)} within {self._connect_s:g} s",
            where=f"namespace {self._namespace}",
            expected="the topics of a running robot",
            mend="bring it up: `reflexarc up arm policy:=none` (and cameras:=true)",
        )

    def read(self) -> Observation:
        """The newest observation.

        Raises:
            Refusal: the robot has not been heard of for longer than its commands live.
        """
        with self._lock:
            newest = self._newest
        assert newest is not None
        silent_s = (time.monotonic_ns() - newest.received_steady_ns) * 1e-9
        if silent_s > max(1.0, 5.0 * self._spec.timeout_s):
            raise Refusal(f"no observation of {self._namespace} for {silent_s:.1f} s")
        return newest

    def image(self, camera: str) -> NDArray[np.uint8]:
        """The newest image of a camera."""
        with self._lock:
            return self._images[camera]

    def command(self, values: FloatArray) -> FloatArray:
        """Publish a command that answers the newest observation."""
        newest = self.read()
        chunk = ActionChunk(
            kind=self._spec.kind,
            names=self._spec.names,
            values=values[None],
            start_ns=newest.stamp_ns,
            step_ns=self._step_ns,
            valid_for_s=_STEPS_VALID * self._step_ns * 1e-9,
            source=SOURCE,
        )
        self._publisher.publish(self._codec.encode(chunk))
        with self._lock:
            return values if self._sent is None else self._sent

    def disconnect(self) -> None:
        """Give the authority up and leave the graph."""
        if not self._running:
            return
        with self._lock:
            newest = self._newest
        if newest is not None and self._sent is not None:
            self._publisher.publish(self._codec.encode_stop(newest.stamp_ns))
        self._running = False
        self._thread.join(5.0)
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _open(self) -> None:
        from reflexarc.imports import add_ros_package

        add_ros_package()
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from reflexarc_ros import qos
        from reflexarc_ros.assembler import Assembler
        from reflexarc_ros.chunks import GATE_TOPIC, ChunkCodec
        from sensor_msgs.msg import Image

        self._context = rclpy.Context()
        # The words of LeRobot's command line are not ROS's.
        self._context.init(args=[])
        self._node = rclpy.create_node("lerobot", namespace=self._namespace, context=self._context)
        self._codec = ChunkCodec(self._spec.kind, self._spec.names)
        self._assembler = Assembler(self._card, self._terms, exact=False)
        for topic in self._assembler.topics:
            self._node.create_subscription(
                topic.message_type, topic.topic, self._reader(topic), qos.SENSOR, raw=True
            )
        for camera in self._cameras:
            self._node.create_subscription(Image, f"{camera}/image", self._viewer(camera), qos.SENSOR)
        self._node.create_subscription(
            self._codec.message_type, GATE_TOPIC, self._on_sent, qos.command(None, None), raw=True
        )
        self._publisher = self._node.create_publisher(
            self._codec.message_type, f"command/{SOURCE}", qos.command(None, None)
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, name="lerobot-ros", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)

    def _reader(self, topic: Any) -> Any:  # noqa: ANN401
        def read(raw: bytes) -> None:
            stamp_ns, terms = topic.decode(raw)
            found = self._assembler.push(topic.topic, stamp_ns, terms, steady_ns=time.monotonic_ns())
            if found is not None:
                with self._lock:
                    self._newest = found

        return read

    def _viewer(self, camera: str) -> Any:  # noqa: ANN401
        def view(message: Any) -> None:  # noqa: ANN401
            if message.encoding != "rgb8":
                return
            rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
            image = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
            with self._lock:
                self._images[camera] = image.copy()

        return view

    def _on_sent(self, raw: bytes) -> None:
        sent = self._codec.decode(raw, source="gate")
        if isinstance(sent, ActionChunk):
            with self._lock:
                self._sent = sent.values[0].copy()
