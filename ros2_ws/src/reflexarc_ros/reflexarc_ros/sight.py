"""What a policy sees: the newest image of each of its cameras, as of an observation."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from hardware.errors import ConfigError
from hardware.images import fit_image
from hardware.robot import Observation, RobotCard
from policies.cameras import CameraInput
from policies.policy import PolicyError
from recording.decoding import decode_image
from reflexarc_ros.messages import to_ns

# So many images of a camera are kept: an observation may be older than the newest of them.
_KEPT = 8


class Sight:
    """Collects images and puts them beside observations. Nothing is filled in, and nothing from the future.

    An image of another size than the robot's card says is refused. Those that fit are made as small as the
    policy wants them, once each, by `hardware.images.fit_image`, as in training.

    Args:
        card: the robot's card.
        cameras: those that the policy looks through, all of them on the card.
        exact: whether an observation waits for the image that its camera's rate makes due, so that the same
            run sees the same images every time (lockstep).
    """

    def __init__(self, card: RobotCard, cameras: Mapping[str, CameraInput], *, exact: bool) -> None:
        """Have seen nothing yet."""
        self._cameras = dict(cameras)
        self._specs = {name: card.cameras[name] for name in cameras}
        self._exact = exact
        self._seen: dict[str, deque[tuple[int, NDArray[np.uint8]]]] = {}
        self._begun_ns: dict[str, int] = {}
        # Why the last image of a camera was refused.
        self._faults: dict[str, str] = {}
        self.clear()

    @property
    def topics(self) -> dict[str, str]:
        """The topic of each camera's images, by the camera's name."""
        return {name: f"{name}/image" for name in self._cameras}

    def clear(self) -> None:
        """Forget what was seen."""
        self._seen = {name: deque(maxlen=_KEPT) for name in self._cameras}
        self._begun_ns.clear()
        self._faults.clear()

    def push(self, name: str, raw: bytes) -> None:
        """Take an image message.

        Args:
            name: of the camera.
            raw: a serialised sensor_msgs/Image.

        Raises:
            ConfigError: it cannot be read, or has another size than the card says.
        """
        message = deserialize_message(raw, Image)
        try:
            image = self._read(name, message)
        except ConfigError as error:
            self._faults[name] = str(error)
            raise
        self._faults.pop(name, None)
        stamp_ns, seen = to_ns(message.header.stamp), self._seen[name]
        if not seen or stamp_ns < seen[-1][0]:
            # The first one, or the first of a robot that was started anew.
            seen.clear()
            self._begun_ns[name] = stamp_ns
        seen.append((stamp_ns, image))

    def see(self, observation: Observation) -> Observation | None:
        """Put the newest images beside an observation, none of them newer than itself.

        Args:
            observation: the terms.

        Returns:
            The same with images and their stamps; None where `exact` and an image that is due has not come.

        Raises:
            PolicyError: there is no image of a camera.
        """
        images, stamps_ns = {}, {}
        for name, seen in self._seen.items():
            known = [shown for shown in seen if shown[0] <= observation.stamp_ns]
            if self._exact and (not known or known[-1][0] < self._due_ns(name, observation.stamp_ns)):
                return None
            if not known:
                fault = self._faults.get(name)
                why = f": {fault}" if fault else f" has come (topic {self.topics[name]})"
                raise PolicyError(f"no image of the camera {name!r}{why}")
            stamps_ns[name], images[name] = known[-1]
        return replace(observation, images=images, image_stamps_ns=stamps_ns)

    def _read(self, name: str, message: Image) -> NDArray[np.uint8]:
        where, spec, wanted = f"camera {name!r}", self._specs[name], self._cameras[name]
        if (message.height, message.width) != (spec.height, spec.width):
            raise ConfigError(
                f"an image of {message.width} x {message.height} pixels",
                where=where,
                expected=f"{spec.width} x {spec.height}, as on the robot card",
                mend="set the camera to that size, or correct the card",
            )
        image = decode_image(message, where)
        if not wanted.height:
            return image
        return fit_image(image, height=wanted.height, width=wanted.width, where=where)

    def _due_ns(self, name: str, stamp_ns: int) -> int:
        """When the newest image of a camera was due, counted from its first one."""
        begun_ns, rate_hz = self._begun_ns[name], self._specs[name].rate_hz
        count = int((stamp_ns - begun_ns) * 1e-9 * rate_hz + 1e-6)
        return begun_ns + round(count * 1e9 / rate_hz)
