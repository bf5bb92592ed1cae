"""A robot of ours as LeRobot's commands know one."""

from __future__ import annotations

import time
import weakref
from typing import Any

import numpy as np
from lerobot.robots.robot import Robot

from hardware.cards.library import load_robot_card
from hardware.errors import ConfigError
from hardware.robot import Observation
from lerobot_robot_reflexarc.config_reflexarc import Link, ReflexarcRobotConfig
from lerobot_robot_reflexarc.link import RobotLink

# The robots of this process by the name on their card, for teleoperators that have to know where one is.
_ROBOTS: weakref.WeakValueDictionary[str, ReflexarcRobot] = weakref.WeakValueDictionary()


class ReflexarcRobot(Robot):
    """A robot of ours: named numbers in SI units, actions through the command gate.

    Observations are called `<term>.<element>` (joint_position.elbow_flex), images by their camera, actions by
    their element (elbow_flex). `send_action` gives back what the gate let through.

    Args:
        config: which robot, and how it is reached.

    Raises:
        ConfigError: no such card, term or camera, or hardware without ROS 2.
    """

    config_class = ReflexarcRobotConfig
    name = "reflexarc"

    def __init__(self, config: ReflexarcRobotConfig) -> None:
        """Check the configuration; nothing is opened."""
        super().__init__(config)
        self.config = config
        self.card = load_robot_card(config.card)
        self._terms = tuple(config.terms) or tuple(self.card.observations)
        for name, known, what in [(n, self.card.observations, "term") for n in self._terms] + [
            (n, self.card.cameras, "camera") for n in config.camera_names
        ]:
            if name not in known:
                raise ConfigError(
                    f"there is no {what} {name!r}",
                    where=f"robot card {self.card.name!r}",
                    expected="one of " + ", ".join(known),
                    mend="correct --robot.terms or --robot.camera_names",
                )
        self._spec = next(iter(self.card.commands.values()))
        # From Python it may be given as the text that the command line has.
        self._how = Link(config.link)
        # LeRobot counts them, to choose how many threads write images.
        self.cameras = dict.fromkeys(config.camera_names)
        self._link: RobotLink | None = None
        _ROBOTS[self.card.name] = self

    @property
    def observation_features(self) -> dict[str, Any]:
        """Names and types of what `get_observation` gives."""
        numbers: dict[str, Any] = {
            f"{term}.{element}": float
            for term in self._terms
            for element in self.card.observations[term].names
        }
        sizes = {name: self.card.cameras[name] for name in self.config.camera_names}
        return numbers | {name: (camera.height, camera.width, 3) for name, camera in sizes.items()}

    @property
    def action_features(self) -> dict[str, Any]:
        """Names and types of what `send_action` takes."""
        return dict.fromkeys(self._spec.names, float)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    @property
    def is_calibrated(self) -> bool:
        """Always: calibration belongs to the card."""
        return True

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002  (LeRobot's own signature)
        """Connect.

        Args:
            calibrate: not used.

        Raises:
            ConfigError: nobody is there.
        """
        if self._link is not None:
            return
        link = self._make_link()
        link.connect()
        self._link = link

    def calibrate(self) -> None:
        """There is nothing to do."""

    def configure(self) -> None:
        """There is nothing to do."""

    def observe(self) -> Observation:
        """The newest observation under our own names.

        Raises:
            ConfigError: not connected.
        """
        return self._connected().read()

    def get_observation(self) -> dict[str, Any]:
        """The newest observation as LeRobot wants it.

        Raises:
            ConfigError: not connected.
        """
        link = self._connected()
        observation = link.read()
        values: dict[str, Any] = {
            f"{term}.{element}": float(value)
            for term in self._terms
            for element, value in zip(
                self.card.observations[term].names, observation.values[term], strict=True
            )
        }
        return values | {camera: link.image(camera) for camera in self.config.camera_names}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Ask for set-points.

        Args:
            action: a number for every element of the command.

        Returns:
            What the gate let through.

        Raises:
            ConfigError: an element is missing, or not connected.
        """
        link = self._connected()
        missing = [name for name in self._spec.names if name not in action]
        if missing:
            raise ConfigError(
                f"the action lacks {', '.join(missing)}",
                where=f"robot {self.card.name!r}",
                expected=", ".join(self._spec.names),
                mend="use a teleoperator or policy for this robot",
            )
        sent = link.command(np.array([float(action[name]) for name in self._spec.names]))
        return dict(zip(self._spec.names, map(float, sent), strict=True))

    def disconnect(self) -> None:
        """Leave the robot in its safe action."""
        if self._link is not None:
            link, self._link = self._link, None
            link.disconnect()

    def _connected(self) -> RobotLink:
        if self._link is None:
            raise ConfigError(
                "not connected",
                where=f"robot {self.card.name!r}",
                expected="a connection",
                mend="call connect() first",
            )
        return self._link

    def _make_link(self) -> RobotLink:
        config = self.config
        if self._how is Link.ROS2:
            from lerobot_robot_reflexarc.ros_link import RosLink

            return RosLink(
                self.card,
                namespace=config.namespace,
                terms=self._terms,
                cameras=tuple(config.camera_names),
                step_s=config.step_s,
                connect_s=config.connect_s,
            )
        from lerobot_robot_reflexarc.twin_link import TwinLink

        clock = time.monotonic_ns if self._how is Link.REAL_TIME else None
        return TwinLink(self.card, seed=config.seed, step_s=config.step_s, clock=clock)


def current_robot(card: str) -> ReflexarcRobot | None:
    """Find the robot of this process with the name on a card; None: there is none, or not any more."""
    return _ROBOTS.get(card)
