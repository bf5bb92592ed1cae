"""Cameras of a twin on the wire: images at their own rate, rendered beside the control loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import CameraSpec, RobotCard
from reflexarc_ros import qos
from reflexarc_ros.messages import image_message
from reflexarc_ros.node import ReflexarcNode, destroy

if TYPE_CHECKING:
    from reflexarc_ros.robot_node import HasCameras


_WARM_UP_S = 60.0


class CameraPublisher:
    """Publishes `<camera>/image` and `<camera>/camera_info` for every camera of a robot.

    In the background, images are rendered by a thread with an OpenGL context of its own; one that
    is too slow loses images, never the loop its pace. Otherwise each image is rendered and
    published before `offer` returns, so that lockstep runs see the same images every time.

    Args:
        node: publishes.
        card: the robot's card.
        robot: is looked at, in the thread that calls `offer`.
        in_background: whether a thread renders.
    """

    def __init__(
        self, node: ReflexarcNode, card: RobotCard, robot: HasCameras, *, in_background: bool
    ) -> None:
        """Advertise, and start the thread where one is wanted."""
        self._node, self._card, self._robot = node, card, robot
        profile = qos.SENSOR if in_background else qos.LOCKSTEP
        self._images = {n: node.create_publisher(Image, f"{n}/image", profile) for n in card.cameras}
        self._infos = {
            n: node.create_publisher(CameraInfo, f"{n}/camera_info", profile) for n in card.cameras
        }
        self._offered: dict[str, int] = {}
        self._pending: dict[str, tuple[FloatArray, int]] = {}
        self._condition = threading.Condition()
        self._is_open = True
        self._view: Any = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        if in_background:
            # Meshes and OpenGL are made ready before the control loop begins.
            ready = threading.Event()
            first = {name: robot.camera_state(name)[0] for name in card.cameras}
            self._thread = threading.Thread(
                target=self._run, args=(first, ready), name="cameras", daemon=True
            )
            self._thread.start()
            if not ready.wait(_WARM_UP_S) or self._error is not None:
                self._withdraw()
                raise ConfigError(
                    f"the cameras cannot render ({self._error or f'not ready after {_WARM_UP_S:.0f} s'})",
                    where=node.get_fully_qualified_name(),
                    expected="an OpenGL library that works without a screen",
                    mend="run reflexarc doctor, or leave out cameras:=true",
                )

    def offer(self) -> None:
        """Look whether a camera has a new image."""
        for name in self._card.cameras:
            state, stamp_ns = self._robot.camera_state(name)
            if self._offered.get(name) == stamp_ns:
                continue
            self._offered[name] = stamp_ns
            if self._thread is None:
                self._show(name, state, stamp_ns)
                continue
            with self._condition:
                self._pending[name] = (state, stamp_ns)
                self._condition.notify()

    def close(self) -> None:
        """Stop the thread and withdraw the topics."""
        with self._condition:
            self._is_open = False
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(5.0)
        elif self._view is not None:
            self._view.close()
        self._withdraw()

    def _withdraw(self) -> None:
        for publisher in (*self._images.values(), *self._infos.values()):
            destroy(self._node, publisher)

    def _run(self, first: dict[str, FloatArray], ready: threading.Event) -> None:
        try:
            self._view = self._robot.view()
            for name, state in first.items():
                self._render(name, state)
        except Exception as error:
            self._error = error
            return
        finally:
            ready.set()
        while True:
            with self._condition:
                while self._is_open and not self._pending:
                    self._condition.wait()
                if not self._is_open:
                    break
                name = next(iter(self._pending))
                state, stamp_ns = self._pending.pop(name)
            self._show(name, state, stamp_ns)
        self._view.close()

    def _render(self, name: str, state: FloatArray) -> NDArray[np.uint8]:
        spec = self._card.cameras[name]
        image: NDArray[np.uint8] = self._view.image(state, name, width=spec.width, height=spec.height)
        return image

    def _show(self, name: str, state: FloatArray, stamp_ns: int) -> None:
        if self._view is None:
            self._view = self._robot.view()
        spec = self._card.cameras[name]
        message = image_message(self._render(name, state), stamp_ns, spec.frame)
        self._images[name].publish(message)
        self._infos[name].publish(camera_info(spec, message.header))


def camera_info(spec: CameraSpec, header: Any) -> CameraInfo:  # noqa: ANN401
    """The pinhole model of a camera.

    Args:
        spec: the camera on the card.
        header: of the image that it belongs to.

    Returns:
        The message; no distortion.
    """
    focal = 0.5 * spec.height / np.tan(np.deg2rad(spec.fovy_deg) / 2)
    cx, cy = spec.width / 2, spec.height / 2
    info = CameraInfo(header=header, width=spec.width, height=spec.height, distortion_model="plumb_bob")
    info.d = [0.0] * 5
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
