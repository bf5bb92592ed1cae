"""The expert for `reflexarc/PushT-v0`: MPPI on a small model of rod and T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim.experts.mppi import Mppi, MppiSettings
from sim.worlds import panda, push_t
from sim.worlds.panda_reach import PandaReach

FloatArray = NDArray[np.float64]

_STEP_S = 0.02
_GRAVITY = 9.81
# The rod in the model: its mass, kg, and the stiffness, N/m, of what moves it; it lags as the arm does.
_ROD_MASS_KG, _ROD_STIFFNESS = 0.5, 800.0
# How far from the T's centre friction acts on average when the T turns, metres.
_FRICTION_ARM_M = 0.045
# Farther from the T's centre than this the rod passes it freely, metres.
_AROUND_M = 0.105


@dataclass(frozen=True)
class PushTWeights:
    """What a roll-out costs."""

    # For the mean distance of the T's corners from their goals, metre: on the way and at the end.
    way: float = 1.0
    end: float = 4.0
    # For the distance of the rod from the T, metre, where it is farther than it need be.
    near: float = 0.05
    # For a control at its limit, and for a change from one limit to the other.
    effort: float = 0.0005
    change: float = 0.002
    # Fastest motion of the rod, m/s.
    speed: float = 0.16
    # Speed of the proposals while they push, m/s.
    pushing: float = 0.06


class PushTProblem:
    """The rod as a point that is pulled along, the T as a flat body that slides with friction.

    The model's positions are the rod's x, y and the T's x, y, angle. A control is the velocity of the rod's
    target, m/s.

    Args:
        weights: what a roll-out costs.
    """

    def __init__(self, *, weights: PushTWeights | None = None) -> None:
        """Compile the model."""
        self._weights = weights or PushTWeights()
        self._model = _build_model()
        self._corners = np.concatenate(push_t.PARTS)
        self._goal = _placed(self._corners, np.array(push_t.GOAL))
        self._sides = _sides()
        self._place: FloatArray = np.zeros(5)
        self._target: FloatArray = np.zeros(2)
        self._last: FloatArray = np.zeros(2)
        self._period_s = 1.0 / push_t.PushTWorld.CONTROL_HZ

    @property
    def model(self) -> mujoco.MjModel:
        """The small model."""
        return self._model

    @property
    def limits(self) -> FloatArray:
        """The fastest motion along x and y, m/s."""
        return np.full(2, self._weights.speed)

    def observe(self, place: FloatArray, target: FloatArray, last: FloatArray) -> None:
        """Tell where everything is.

        Args:
            place: the model's positions, shape (5,).
            target: where the rod's target is, metres, shape (2,).
            last: the control that is carried out now, shape (2,).
        """
        self._place, self._target, self._last = place, target, last

    def targets(self, controls: FloatArray) -> FloatArray:
        """The rod's target after each control, within reach."""
        moved = self._target + np.cumsum(controls, axis=1) * self._period_s
        return clip_to_reach(moved)

    def cost(self, positions: FloatArray, controls: FloatArray) -> FloatArray:
        """The T's distance from its goal, the rod's from the T, and what the motion takes."""
        w = self._weights
        away = np.linalg.norm(_placed(self._corners, positions[..., 2:]) - self._goal, axis=-1).mean(axis=-1)
        reach = np.linalg.norm(positions[..., :2] - positions[..., 2:4], axis=-1)
        changes = np.diff(controls, axis=1, prepend=np.broadcast_to(self._last, controls[:, :1].shape))
        return np.asarray(
            w.way * away.mean(axis=1)
            + w.end * away[:, -5:].mean(axis=1)
            + w.near * np.maximum(0.0, reach - 0.09).mean(axis=1)
            + w.effort * (controls**2).sum(axis=2).mean(axis=1) / w.speed**2
            + w.change * (changes**2).sum(axis=2).mean(axis=1) / w.speed**2
        )

    def proposals(self, steps: int) -> FloatArray:
        """For every side of the T: go there around it, and push."""
        rod, block = self._target, self._place[2:]
        sine, cosine = np.sin(block[2]), np.cos(block[2])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        result = []
        for contact, direction in self._sides:
            begin = block[:2] + turn @ (contact - direction * (push_t.ROD_RADIUS_M + 0.006))
            heading = turn @ direction
            path = _path(rod, begin, block[:2])
            for angle in (-0.35, 0.0, 0.35):
                tilted = np.array(
                    [
                        np.cos(angle) * heading[0] - np.sin(angle) * heading[1],
                        np.sin(angle) * heading[0] + np.cos(angle) * heading[1],
                    ]
                )
                result.append(self._follow(path, tilted, steps))
        return np.array(result)

    def _follow(self, path: list[FloatArray], direction: FloatArray, steps: int) -> FloatArray:
        controls = np.zeros((steps, 2))
        place: FloatArray = self._target.copy()
        points = list(path)
        fast, slow = self._weights.speed * self._period_s, self._weights.pushing
        for number in range(steps):
            rest = fast
            before = place.copy()
            while points and rest > 0.0:
                ahead = points[0] - place
                far = float(np.hypot(*ahead))
                if far > rest:
                    place = place + ahead * (rest / far)
                    rest = 0.0
                else:
                    place, rest = points.pop(0), rest - far
            if not points and rest == fast:
                place = place + direction * (slow * self._period_s)
            controls[number] = (place - before) / self._period_s
        return controls


class PushTExpert:
    """Pushes the T to its goal.

    Args:
        settings: of the planner.
        weights: what a plan costs.
    """

    def __init__(self, *, settings: MppiSettings | None = None, weights: PushTWeights | None = None) -> None:
        """Prepare planner and kinematics."""
        self._problem = PushTProblem(weights=weights)
        self._planner = Mppi(self._problem, settings=settings)
        self._reach = PandaReach()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the plan and where the rod was sent.

        Args:
            seed: of the planner's noise.
        """
        self._planner.reset(seed)
        self._target: FloatArray | None = None
        self._last: FloatArray = np.zeros(2)

    def act(self, observation: Mapping[str, FloatArray]) -> FloatArray:
        """Choose the next joint targets.

        Args:
            observation: the terms of the task.

        Returns:
            Joint position targets, shape (7,), rad, in the order of `panda.JOINTS`.
        """
        rod = observation["tool_position"][:2]
        if self._target is None:
            self._target = rod.copy()
        w, _, _, z = observation["block_orientation"]
        block = np.array([*observation["block_position"][:2], 2 * np.arctan2(z, w)])
        place = np.concatenate([rod, block])
        self._problem.observe(place, self._target, self._last)
        moving = (self._target - rod) / panda.LAG_S
        speed = np.clip(moving, -self._problem.limits, self._problem.limits)
        control = self._planner.step(place, np.concatenate([speed, np.zeros(3)]))
        self._last = control
        self._target = clip_to_reach(self._target + control / push_t.PushTWorld.CONTROL_HZ)
        return push_t.rod_joints(self._reach, self._target, observation["joint_position"])


def clip_to_reach(places: FloatArray) -> FloatArray:
    """Keep the rod where the arm can hold it.

    Args:
        places: x and y in base_link, metres, shape (..., 2).

    Returns:
        The nearest places within reach.
    """
    lower = np.array([push_t.ROD_X_M[0], push_t.ROD_Y_M[0]])
    upper = np.array([push_t.ROD_X_M[1], push_t.ROD_Y_M[1]])
    return np.clip(places, lower, upper)


def _build_model() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.modelname = "push_t_plan"
    spec.option.timestep = _STEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, 0.0]
    spec.option.iterations = 10
    spec.compiler.degree = False
    rod = spec.worldbody.add_body(name="rod", pos=[0.0, 0.0, push_t.HEIGHT_M / 2])
    for index, axis in enumerate("xy"):
        direction = [float(index == i) for i in range(3)]
        rod.add_joint(name=f"rod_{axis}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=direction)
        actuator = spec.add_actuator(
            name=f"rod_{axis}", target=f"rod_{axis}", trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        actuator.set_to_position(kp=_ROD_STIFFNESS, kv=panda.LAG_S * _ROD_STIFFNESS)
    rod.add_geom(
        name="rod",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[push_t.ROD_RADIUS_M, 0.0, 0.0],
        mass=_ROD_MASS_KG,
        contype=1,
        conaffinity=0,
        friction=[push_t.ROD_FRICTION, 0.005, 0.0001],
        priority=1,
    )
    block = spec.worldbody.add_body(name="block", pos=[0.0, 0.0, push_t.HEIGHT_M / 2])
    slide = push_t.TABLE_FRICTION * push_t.MASS_KG * _GRAVITY
    for index, axis in enumerate("xy"):
        block.add_joint(
            name=f"block_{axis}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[float(index == i) for i in range(3)],
            frictionloss=slide,
        )
    block.add_joint(
        name="block_turn",
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, 0, 1],
        frictionloss=slide * _FRICTION_ARM_M,
    )
    for name, part in zip(("bar", "stem"), push_t.PARTS, strict=True):
        size = np.ptp(part, axis=0) / 2
        block.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[*size.tolist(), push_t.HEIGHT_M / 2],
            pos=[*part.mean(axis=0).tolist(), 0.0],
            mass=push_t.MASS_KG / 2,
            contype=0,
            conaffinity=1,
        )
    return spec.compile()


def _sides() -> list[tuple[FloatArray, FloatArray]]:
    """Points on the T's sides where it can be pushed, and the direction inwards, in its own frame."""
    outline = push_t.UNIT_M * np.array(
        [[-2, 0], [-2, -1], [-0.5, -1], [-0.5, -4], [0.5, -4], [0.5, -1], [2, -1], [2, 0]], dtype=np.float64
    ) + [0.0, push_t.PARTS[0][:, 1].max()]
    result = []
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        along = end - start
        length = float(np.hypot(*along))
        inwards = np.array([-along[1], along[0]]) / length
        count = max(1, round(length / push_t.UNIT_M))
        for number in range(count):
            result.append((start + along * ((number + 0.5) / count), inwards))
    return result


def _path(start: FloatArray, end: FloatArray, centre: FloatArray) -> list[FloatArray]:
    """From here to there, around a circle about the T where the straight way would meet it."""
    ahead = end - start
    length = float(np.hypot(*ahead))
    if length < 1e-6:
        return [end]
    share = float(np.clip((centre - start) @ ahead / length**2, 0.0, 1.0))
    nearest = float(np.hypot(*(start + share * ahead - centre)))
    # Straight on where nothing is passed: the end is the point of the way that is nearest to the T.
    if share >= 0.98 or nearest >= _AROUND_M:
        return [end]
    first = float(np.arctan2(*(start - centre)[::-1]))
    last = float(np.arctan2(*(end - centre)[::-1]))
    turn = (last - first + np.pi) % (2 * np.pi) - np.pi
    count = max(1, int(np.ceil(abs(turn) / 0.25)))
    angles = first + turn * np.linspace(0.0, 1.0, count + 1)
    return [centre + _AROUND_M * np.array([np.cos(angle), np.sin(angle)]) for angle in angles] + [end]


def _placed(points: FloatArray, pose: FloatArray) -> FloatArray:
    """Points of the T in base_link, shape (..., P, 2), for poses of shape (..., 3)."""
    sine, cosine = np.sin(pose[..., 2:3]), np.cos(pose[..., 2:3])
    x = pose[..., 0:1] + cosine * points[:, 0] - sine * points[:, 1]
    y = pose[..., 1:2] + sine * points[:, 0] + cosine * points[:, 1]
    return np.stack([x, y], axis=-1)
