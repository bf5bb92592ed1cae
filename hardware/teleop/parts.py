"""The parts of a robot that an operator moves: tools in space, joints, and a vehicle's reference.

Each keeps a target of its own, which begins where the robot is when the operator engages and never runs far
ahead of it. Joints that no part moves stay where they were.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from hardware.command import FloatArray
from hardware.frames import rotation_matrix, turn_by, turn_of
from hardware.kinematics import SerialChain
from hardware.reference import Reference
from hardware.robot import Box
from hardware.teleop.inverse_kinematics import attainable, move_tool
from hardware.teleop.mapping import ANGULAR, LINEAR, Frame, Part
from hardware.teleop.reading import Pose, Reading


class JointPart(Protocol):
    """A part whose targets are joints."""

    def engage(self, target: FloatArray, reading: Reading) -> None:
        """Begin where the robot is.

        Args:
            target: the joints of the command, shape (D,).
            reading: of the device, which references are taken from.
        """

    def step(self, target: FloatArray, reading: Reading, *, is_clutched: bool, dt_s: float) -> None:
        """Move the part's joints in `target`, in place.

        Args:
            target: the joints of the command, shape (D,).
            reading: of the device.
            is_clutched: the operator moves without the robot.
            dt_s: since the last step, seconds.
        """


class Tool:
    """A tool in space, moved at speeds or after a pose, through the robot's own chain.

    Args:
        part: how it is moved.
        chain: from the base to the tool.
        limits: smallest, largest and fastest of each joint, each shape (D,).
        workspace: where the tool may be.
    """

    def __init__(
        self,
        part: Part,
        chain: SerialChain,
        limits: tuple[FloatArray, FloatArray, FloatArray],
        workspace: Box | None,
    ) -> None:
        """Prepare; there is no target yet."""
        self._part, self._chain = part, chain
        self._lower, self._upper, self._fastest = limits
        self._box = None if workspace is None else (np.array(workspace.lower_m), np.array(workspace.upper_m))
        self._view = turn_by(np.array([0.0, 0.0, part.operator_yaw_rad]))
        self._position: FloatArray = np.zeros(3)
        self._rotation: FloatArray = np.eye(3)
        # Where the arm is fixed: the heading is away from it.
        self._root: FloatArray = np.zeros(3)
        self._start: tuple[Pose, FloatArray, FloatArray] | None = None

    def engage(self, target: FloatArray, reading: Reading) -> None:
        """Begin where the tool is."""
        self._position, self._rotation, _ = self._chain.jacobian(target)
        self._root = self._chain.root(target)
        self._start = None

    def step(self, target: FloatArray, reading: Reading, *, is_clutched: bool, dt_s: float) -> None:
        """Move the joints that carry the tool."""
        if is_clutched:
            self._start = None
            return
        if self._part.pose:
            self._follow(reading.poses.get(self._part.pose), dt_s)
        move, turn = self._wanted(LINEAR, reading), self._wanted(ANGULAR, reading)
        self._position = self._position + move * dt_s
        self._rotation = turn_by(turn * dt_s) @ self._rotation
        if self._box is not None:
            self._position = np.clip(self._position, *self._box)
        target[:] = move_tool(
            self._chain,
            target,
            position_m=self._position,
            rotation=self._rotation,
            lower=self._lower,
            upper=self._upper,
            step_rad=float(self._fastest.min()) * dt_s,
        )
        self._rotation = attainable(self._chain, target, self._rotation)
        # What is out of reach is not gone after: the way back would begin with nothing happening.
        reached, _, _ = self._chain.jacobian(target)
        self._root = self._chain.root(target)
        self._position = reached + _shorten(self._position - reached, self._part.lead_m)

    def _wanted(self, names: tuple[str, ...], reading: Reading) -> FloatArray:
        """The speed that the controls ask for, base frame, shape (3,)."""
        total: FloatArray = np.zeros(3)
        for i, name in enumerate(names):
            axis = self._part.axes.get(name)
            if axis is not None:
                total += self._frame(axis.frame or self._part.frame)[:, i] * axis.speed(reading.controls)
        return total

    def _frame(self, frame: Frame) -> FloatArray:
        if frame is Frame.TOOL:
            return self._rotation
        if frame is Frame.HEADING:
            away = self._position - self._root
            return turn_by(np.array([0.0, 0.0, math.atan2(away[1], away[0])]))
        return self._view

    def _follow(self, pose: Pose | None, dt_s: float) -> None:
        """Move the target after a pose, relative to where both were at the start."""
        part = self._part
        if pose is None or not _is_pose(pose):
            self._start = None
            return
        if self._start is None:
            self._start = (pose, self._position, self._rotation)
        begin, position, rotation = self._start
        turned = rotation_matrix(pose.orientation_wxyz) @ rotation_matrix(begin.orientation_wxyz).T
        frame = rotation if part.frame is Frame.TOOL else self._frame(part.frame)
        goal = position + frame @ (pose.position_m - begin.position_m) * part.translation_scale
        self._position = self._position + _shorten(goal - self._position, part.max_speed_m_s * dt_s)
        wanted = turn_by(frame @ turn_of(turned) * part.rotation_scale) @ rotation
        rest = _shorten(turn_of(wanted @ self._rotation.T), part.max_speed_rad_s * dt_s)
        self._rotation = turn_by(rest) @ self._rotation


class Joints:
    """Joints that move at speeds, or after those of a leader.

    Args:
        part: how they are moved.
        names: the joints of the command.
        limits: smallest, largest and fastest of each, each shape (D,).
    """

    def __init__(
        self, part: Part, names: tuple[str, ...], limits: tuple[FloatArray, FloatArray, FloatArray]
    ) -> None:
        """Prepare; there is no target yet."""
        self._part = part
        lower, upper, fastest = limits
        where = {name: i for i, name in enumerate(names)}
        self._axes = [(where[n], axis) for n, axis in part.axes.items() if n in where]
        self._followers = [(where[n], follow) for n, follow in part.follow.items()]
        self._lower, self._upper, self._fastest = lower, upper, fastest
        self._offsets: dict[int, float] = {}
        self._is_close: set[int] = set()

    def engage(self, target: FloatArray, reading: Reading) -> None:
        """Begin where the joints are."""
        self._offsets, self._is_close = {}, set()

    def step(self, target: FloatArray, reading: Reading, *, is_clutched: bool, dt_s: float) -> None:
        """Move the joints."""
        if is_clutched:
            self._offsets, self._is_close = {}, set()
            return
        for index, axis in self._axes:
            target[index] += axis.speed(reading.controls) * dt_s
        for index, follow in self._followers:
            leader = follow.position(reading.controls)
            if not math.isfinite(leader):
                self._offsets.pop(index, None)
                self._is_close.discard(index)
                continue
            if not self._part.absolute:
                leader += self._offsets.setdefault(index, float(target[index]) - leader)
            gap = leader - float(target[index])
            step = float(self._fastest[index]) * dt_s
            if index not in self._is_close:
                near = self._part.approach_rad_s * dt_s
                if abs(gap) <= near or not self._part.absolute:
                    self._is_close.add(index)
                else:
                    step = min(step, near)
            target[index] += math.copysign(min(abs(gap), step), gap)
        np.clip(target, self._lower, self._upper, out=target)


class Vehicle:
    """A vehicle's reference, moved at speeds and kept within a box.

    Args:
        part: how it is moved.
        box: where the reference may be, world frame.
        acceleration_m_s2: how fast its speed may change.
    """

    def __init__(self, part: Part, box: Box | None, *, acceleration_m_s2: float = 3.0) -> None:
        """Prepare; there is no reference yet."""
        self._part, self._acceleration = part, acceleration_m_s2
        self._box = None if box is None else (np.array(box.lower_m), np.array(box.upper_m))
        self.reference = Reference(np.zeros(3), np.zeros(3))
        # How fast the heading changes, rad/s.
        self.yaw_rate = 0.0

    def place(self, reference: Reference) -> None:
        """Begin from a point of a reference."""
        self.reference = reference

    def step(self, reading: Reading | None, measured_m: FloatArray | None, *, dt_s: float) -> None:
        """Move the reference.

        Args:
            reading: of the device; None: nobody commands, and the reference comes to rest.
            measured_m: where the vehicle is, shape (3,): the reference does not run away from it.
            dt_s: since the last step, seconds.
        """
        old = self.reference
        speed = np.zeros(4)
        if reading is not None:
            for i, name in enumerate((*LINEAR, "yaw")):
                axis = self._part.axes.get(name)
                speed[i] = 0.0 if axis is None else axis.speed(reading.controls)
        heading = 0.0 if self._part.frame is Frame.BASE else old.yaw_rad
        turn = turn_by(np.array([0.0, 0.0, heading + self._part.operator_yaw_rad]))
        wanted = _shorten(turn @ speed[:3], self._part.max_speed_m_s)
        change = _shorten(wanted - old.velocity_m_s, self._acceleration * dt_s)
        velocity = old.velocity_m_s + change
        self.yaw_rate = float(np.clip(speed[3], -self._part.max_speed_rad_s, self._part.max_speed_rad_s))
        position = old.position_m + velocity * dt_s
        if measured_m is not None:
            position = measured_m + _shorten(position - measured_m, self._part.lead_m)
        if self._box is not None:
            inside = np.clip(position, *self._box)
            velocity = np.where(inside == position, velocity, 0.0)
            position = inside
        yaw = math.remainder(old.yaw_rad + self.yaw_rate * dt_s, 2.0 * math.pi)
        self.reference = Reference(position, velocity, yaw)


def _is_pose(pose: Pose) -> bool:
    length = float(np.linalg.norm(pose.orientation_wxyz))
    return bool(np.isfinite(pose.position_m).all()) and abs(length - 1.0) < 0.01


def _shorten(vector: FloatArray, longest: float) -> FloatArray:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else np.asarray(vector * (longest / length))
