"""A scripted expert for `reflexarc/PickCube-v0`.

It decides from the observation alone, without memory: every step it looks where the tool and the
cube are, and goes on from there. A learner can therefore imitate it as a function, and it recovers
from whatever goes wrong, be it a dropped or pushed cube or noise on its actions.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.frames import rotation_matrix
from sim.experts.inverse_kinematics import ToolSolver
from sim.worlds import so101

FloatArray = NDArray[np.float64]


class Phase(enum.StrEnum):
    """What the expert is doing, derived from the observation."""

    # Towards the cube from above, lower the better the tool is aligned, jaw open.
    REACH = "reach"
    # The cube is between the fingers: close them.
    CLOSE = "close"
    # The fingers hold it: up, and then where it is carried to.
    LIFT = "lift"


@dataclass(frozen=True)
class ExpertSettings:
    """How fast and how carefully the expert moves."""

    # Largest joint speed, rad/s.
    velocity: float = 1.6
    # Largest joint acceleration, rad/s^2.
    acceleration: float = 12.0
    # Deceleration towards the goal, rad/s^2.
    braking: float = 5.0
    # Speed for a radian of distance close to the goal, 1/s.
    gain: float = 10.0
    # The time between two actions, seconds.
    period_s: float = 0.04
    # Height of the tool above its grasp while it is not aligned, metres.
    clearance_m: float = 0.045
    # Up to this distance from being aligned the tool may go all the way down, metres.
    aligned_m: float = 0.004
    # The open jaw comes down with the cube this much nearer to the moving finger, which has more
    # room, than it is once grasped, metres.
    approach_offset_m: float = 0.005
    # Where the arm carries the cube, the five joints without the jaw, rad.
    carry_to_rad: tuple[float, ...] = so101.HOME[:5]
    # Age of the observation when an action acts, seconds, for a robot with latency.
    latency_s: float = 0.0
    # Where the open and the closed jaw aim at, rad.
    jaw_open_rad: float = 0.70
    jaw_closed_rad: float = 0.03
    # A jaw no wider than this has the cube in it, rad.
    jaw_grasp_rad: float = 0.24


# Height of the tool when it grasps; the finger tips are 11 mm below it.
_GRASP_HEIGHT_M = 0.0135
# The cube is between the fingers when its middle is here in the tool's frame: x towards the moving
# finger, z out of the hand.
_BETWEEN_LOWER_M = np.array([-0.007, -0.010, -0.012])
_BETWEEN_UPPER_M = np.array([0.014, 0.010, 0.006])
# One radian of yaw error counts as so many metres of misalignment.
_YAW_M_PER_RAD = 0.03
# The funnel: metres of height for a metre of misalignment.
_FUNNEL = 8.0
# The cube's middle above this is carried on instead of straight up, metres.
_CLEAR_OF_TABLE_M = 0.035
_QUARTER = np.pi / 2


class PickCubeExpert:
    """Picks the cube up.

    Args:
        settings: how fast and how carefully.
    """

    def __init__(self, *, settings: ExpertSettings | None = None) -> None:
        """Prepare the kinematics."""
        self.settings = settings or ExpertSettings()
        self._solver = ToolSolver()
        self._carry_to = np.array(self.settings.carry_to_rad)
        # What the position servos lag behind a ramp, seconds, plus half the time an action is held.
        arm, jaw = so101.servo_lag_s()
        self._lead_s = np.array([arm] * 5 + [jaw]) + self.settings.period_s / 2
        self._lead_s += self.settings.latency_s

    def reset(self, seed: int) -> None:
        """There is nothing to remember or to draw."""

    def phase(self, observation: Mapping[str, FloatArray]) -> Phase:
        """Say what the expert would do.

        Args:
            observation: the terms of the task, as for `act`.

        Returns:
            The phase.
        """
        tool, rotation = self._solver.forward(observation["joint_position"])
        offset = rotation.T @ (observation["cube_position"] - tool)
        if bool(((offset < _BETWEEN_LOWER_M) | (offset > _BETWEEN_UPPER_M)).any()):
            return Phase.REACH
        jaw, speed = observation["joint_position"][5], observation["joint_velocity"][5]
        if jaw <= self.settings.jaw_grasp_rad and speed > -0.3:
            return Phase.LIFT
        return Phase.CLOSE

    def act(self, observation: Mapping[str, FloatArray]) -> FloatArray:
        """Choose the next joint targets.

        Args:
            observation: joint_position (6,) rad, joint_velocity (6,) rad/s, cube_position (3,) m
                in base_link, cube_orientation (4,) quaternion w, x, y, z.

        Returns:
            Joint position targets, shape (6,), rad, in the order of `so101.JOINTS`.
        """
        settings = self.settings
        joints, speeds = observation["joint_position"], observation["joint_velocity"]
        goal = self._goal(self.phase(observation), observation)
        distance = goal - joints
        farthest = max(float(np.abs(distance).max()), 1e-9)
        # Fast far away, braking evenly, then in proportion; one factor for all joints, so that the
        # tool stays on the line between here and there.
        speed = min(settings.velocity, np.sqrt(2 * settings.braking * farthest), settings.gain * farthest)
        wanted = distance * (speed / farthest)
        change = settings.acceleration * settings.period_s
        wanted = np.clip(wanted, speeds - change, speeds + change)
        return np.asarray(joints + wanted * self._lead_s + self._solver.droop(joints))

    def _goal(self, phase: Phase, observation: Mapping[str, FloatArray]) -> FloatArray:
        joints, cube = observation["joint_position"], observation["cube_position"]
        if phase is Phase.LIFT and cube[2] > _CLEAR_OF_TABLE_M:
            return np.append(self._carry_to, self.settings.jaw_closed_rad)
        tool, rotation = self._solver.forward(joints)
        tool_yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        if phase is Phase.REACH:
            position, yaw = self._approach(tool, tool_yaw, observation)
            jaw = self.settings.jaw_open_rad
        else:
            height = _GRASP_HEIGHT_M if phase is Phase.CLOSE else _CLEAR_OF_TABLE_M + 0.02
            position, yaw = np.array([tool[0], tool[1], height]), tool_yaw
            jaw = self.settings.jaw_closed_rad
        return np.append(self._solver.inverse(joints, position_m=position, yaw_rad=yaw), jaw)

    def _approach(
        self, tool: FloatArray, tool_yaw: float, observation: Mapping[str, FloatArray]
    ) -> tuple[FloatArray, float]:
        # Any of the cube's four sides will do: the one that needs the least turning.
        turn = _side_yaw(observation["cube_orientation"]) - tool_yaw
        turn -= _QUARTER * np.round(turn / _QUARTER)
        yaw = tool_yaw + turn
        closing = np.array([np.cos(yaw), np.sin(yaw)])
        place = observation["cube_position"][:2] - self.settings.approach_offset_m * closing
        misaligned = float(np.hypot(*(place - tool[:2]))) + _YAW_M_PER_RAD * abs(turn)
        height = _FUNNEL * max(0.0, misaligned - self.settings.aligned_m)
        return np.append(place, _GRASP_HEIGHT_M + min(height, self.settings.clearance_m)), yaw


def _side_yaw(quaternion_wxyz: FloatArray) -> float:
    # A cube on another face looks the same: of its axes, the one that points up most is its vertical.
    rotation = rotation_matrix(quaternion_wxyz)
    up = int(np.abs(rotation[2]).argmax())
    side = rotation[:, (up + 1) % 3]
    return float(np.arctan2(side[1], side[0]))
