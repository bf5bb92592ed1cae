"""A device or an expert of ours as LeRobot's commands know a teleoperator."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from lerobot.teleoperators.teleoperator import Teleoperator
from lerobot_robot_reflexarc import current_robot

from hardware.cards.library import load_robot_card
from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import Observation
from hardware.teleop import Device, Operator, load_mapping, make_device
from lerobot_teleoperator_reflexarc.config_reflexarc import ReflexarcTeleopConfig
from sim.experts.library import Expert, make_expert


class ReflexarcTeleop(Teleoperator):
    """Moves a robot of type `reflexarc` in the same command: both need to know where the robot is.

    While nobody is engaged the robot holds the posture in which it was let go.

    Args:
        config: a mapping or an expert.

    Raises:
        ConfigError: neither or both are given, there is no such card, mapping, device or expert, or they do
            not fit.
    """

    config_class = ReflexarcTeleopConfig
    name = "reflexarc"

    def __init__(self, config: ReflexarcTeleopConfig) -> None:
        """Check the configuration; nothing is opened."""
        super().__init__(config)
        self.config = config
        if bool(config.mapping) == bool(config.expert):
            raise ConfigError(
                f"mapping {config.mapping!r} and expert {config.expert!r}",
                where="--teleop.type=reflexarc",
                expected="one of the two",
                mend="give --teleop.mapping=browser_arm, or --teleop.expert=reflexarc/PickCube-v0",
            )
        self._card = load_robot_card(config.card)
        interface, spec = next(iter(self._card.commands.items()))
        self._names = spec.names
        self._expert: Expert | None = None
        self._device: Device | None = None
        if config.expert:
            self._expert = make_expert(config.expert)
        else:
            mapping = load_mapping(config.mapping)
            self._operator = Operator(mapping, self._card, interface)
            self._device = make_device(mapping, config.options)
        self._held: FloatArray | None = None
        self._connected = False

    @property
    def action_features(self) -> dict[str, Any]:
        """Names and types of what `get_action` gives."""
        return dict.fromkeys(self._names, float)

    @property
    def feedback_features(self) -> dict[str, Any]:
        """None: what the operator should see is shown by the device itself."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether the device is open."""
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        """Always: calibration belongs to the mapping."""
        return True

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002  (LeRobot's own signature)
        """Open the device, or begin an attempt.

        Args:
            calibrate: not used.
        """
        if self._expert is not None:
            self._expert.reset(self.config.seed)
        if self._device is not None:
            self._device.open()
        self._connected = True

    def calibrate(self) -> None:
        """There is nothing to do."""

    def configure(self) -> None:
        """There is nothing to do."""

    def get_action(self) -> dict[str, Any]:
        """Where the robot should go.

        Returns:
            A set-point for every element of the command.

        Raises:
            ConfigError: there is no robot of type `reflexarc` with this card in this process.
        """
        observation = self._observe()
        if self._expert is not None:
            targets = np.asarray(self._expert.act(observation.values))
        else:
            assert self._device is not None
            now_ns = time.monotonic_ns()
            step = self._operator.step(self._device.read(now_ns), self._fresh(observation, now_ns), now_ns)
            self._device.show(step.status)
            if step.targets is None:
                targets = self._hold(observation, begins=step.released)
            else:
                targets, self._held = step.targets, None
        return dict(zip(self._names, map(float, targets), strict=True))

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """There is nothing to feel.

        Args:
            feedback: not used.
        """

    def disconnect(self) -> None:
        """Close the device."""
        if self._device is not None and self._connected:
            self._device.close()
        self._connected = False

    def _observe(self) -> Observation:
        robot = current_robot(self._card.name)
        if robot is None or not robot.is_connected:
            raise ConfigError(
                f"no connected robot {self._card.name!r} of type reflexarc in this process",
                where="--teleop.type=reflexarc",
                expected="--robot.type=reflexarc with the same card",
                mend="use this teleoperator with a robot of ours, or LeRobot's own with LeRobot's robots",
            )
        return robot.observe()

    def _hold(self, observation: Observation, *, begins: bool) -> FloatArray:
        if self._held is None or begins:
            term = self._card.observations["joint_position"]
            measured = observation.values["joint_position"]
            self._held = np.array([measured[term.names.index(name)] for name in self._names])
        return self._held

    @staticmethod
    def _fresh(observation: Observation, now_ns: int) -> Observation:
        """In lockstep the twin's time says nothing about age: its newest observation is fresh."""
        return Observation(observation.values, observation.stamp_ns, now_ns, observation.images)
