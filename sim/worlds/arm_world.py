"""What all worlds with an arm share: servos that take targets, exact time, success that must last.

Whoever steps a world decides when a command acts; nothing here knows of control rates, latency or
observation stamps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from hardware.robot import TermSpec

FloatArray = NDArray[np.float64]

POSITION = TermSpec(("x", "y", "z"), "m", "base_link")
ORIENTATION = TermSpec(("w", "x", "y", "z"), "quaternion", "base_link")


class ArmWorld(ABC):
    """An arm at a table with something to do. The model's first joints are the arm's, in order.

    Args:
        hold_s: how long the goal must hold without a break to count as success, seconds.
    """

    # The Gymnasium task that is made of this world.
    TASK: ClassVar[str]
    # How often the task acts, Hz.
    CONTROL_HZ: ClassVar[int]
    # The commanded joints in the order of targets.
    JOINTS: ClassVar[tuple[str, ...]]
    # Where the joints are at rest, rad.
    HOME: ClassVar[tuple[float, ...]]
    # Joints that keep their target on a safe stop, because they hold something.
    GRIPPING: ClassVar[tuple[str, ...]] = ()
    # The cameras with their vertical fields of view, degrees.
    CAMERAS: ClassVar[Mapping[str, float]]
    # The robot card whose command gate the task's targets pass; empty: they act at once, as the servos can.
    GATE_CARD: ClassVar[str] = ""
    # Everything that can be measured; a robot card picks from these.
    MEASURED: ClassVar[Mapping[str, TermSpec]]
    # What success is, in words.
    SUCCESS: ClassVar[str]
    # When an attempt without success ends, seconds.
    DURATION_S: ClassVar[float]
    # Success is looked for on this grid, so that it does not depend on how callers slice time.
    CHECK_PERIOD_NS: ClassVar[int] = 10_000_000

    def __init__(self, *, hold_s: float) -> None:
        """Compile the world; the subclass lays it out."""
        self.model = type(self).build_model()
        self.data = mujoco.MjData(self.model)
        self.step_ns = round(self.model.opt.timestep * 1e9)
        self._ranges = np.array([self.model.joint(name).range for name in self.JOINTS])
        self._arm = slice(0, len(self.JOINTS))
        self._hold_ns = round(hold_s * 1e9)
        # Time since the beginning of the attempt, nanoseconds.
        self.time_ns = 0
        self._held_checks = 0

    # --- what a subclass fills in -----------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def build_model(*, visual: bool = False) -> mujoco.MjModel:
        """Compile the world.

        Args:
            visual: with everything that images need; a state of one is a state of the other.
        """

    @staticmethod
    @abstractmethod
    def urdf() -> str:
        """Describe the arm for RViz and Foxglove."""

    @property
    @abstractmethod
    def reached(self) -> bool:
        """Whether the goal holds right now."""

    @abstractmethod
    def reset(self, rng: np.random.Generator) -> None:
        """Begin another attempt.

        Args:
            rng: the source of randomness; the same state gives the same attempt.
        """

    @abstractmethod
    def observe(self) -> dict[str, FloatArray]:
        """Measure every term of `MEASURED`, as new arrays."""

    def progress(self) -> dict[str, float]:
        """Numbers about the attempt for the task's info, beside success and time."""
        return {}

    # --- what they share --------------------------------------------------------------------------

    @property
    def joint_ranges(self) -> FloatArray:
        """Joint limits, shape (D, 2), rad."""
        return self._ranges.copy()

    @property
    def targets(self) -> FloatArray:
        """The joint positions that the servos aim at now, shape (D,), rad."""
        return np.array(self.data.ctrl)

    @property
    def success(self) -> bool:
        """Whether the goal has held for long enough."""
        return self._held_checks > 0 and self._held_checks * self.CHECK_PERIOD_NS >= self._hold_ns

    @property
    def state(self) -> FloatArray:
        """The positions, for replay with the visual model: qpos, then the poses that no physics moves."""
        placed = np.concatenate([self.data.mocap_pos, self.data.mocap_quat], axis=1)
        return np.concatenate([self.data.qpos, placed.ravel()])

    def set_targets(self, targets: FloatArray) -> None:
        """Tell the servos where to go.

        Args:
            targets: joint positions in the order of `JOINTS`, shape (D,), rad; the servos stop at their
                limits.
        """
        self.data.ctrl[:] = np.clip(targets, self._ranges[:, 0], self._ranges[:, 1])

    def advance(self, duration_ns: int) -> None:
        """Let time pass, in steps of `step_ns` that are cut where needed.

        Args:
            duration_ns: how long, nanoseconds, of any length.
        """
        until_ns = self.time_ns + duration_ns
        while self.time_ns < until_ns:
            check_ns = (self.time_ns // self.CHECK_PERIOD_NS + 1) * self.CHECK_PERIOD_NS
            self._integrate(min(check_ns, until_ns) - self.time_ns)
            if self.time_ns == check_ns:
                self._held_checks = self._held_checks + 1 if self.reached else 0

    def _integrate(self, duration_ns: int) -> None:
        whole, rest_ns = divmod(duration_ns, self.step_ns)
        if whole:
            mujoco.mj_step(self.model, self.data, nstep=whole)
        if rest_ns:
            self.model.opt.timestep = rest_ns * 1e-9
            mujoco.mj_step(self.model, self.data)
            self.model.opt.timestep = self.step_ns * 1e-9
        self.time_ns += duration_ns

    def _begin(self, joints: FloatArray) -> None:
        """Put the arm somewhere, servos on; everything else as in the model; time zero."""
        mujoco.mj_resetData(self.model, self.data)
        joints = np.clip(joints, self._ranges[:, 0], self._ranges[:, 1])
        self.data.qpos[self._arm] = joints
        self.data.ctrl[:] = joints
        self.time_ns = 0
        self._held_checks = 0

    def _joint_terms(self) -> dict[str, FloatArray]:
        return {
            "joint_position": self.data.qpos[self._arm].copy(),
            "joint_velocity": self.data.qvel[self._arm].copy(),
        }


def upright(quaternion_wxyz: FloatArray) -> FloatArray:
    """Choose the one of two equal quaternions whose w is not negative.

    Args:
        quaternion_wxyz: shape (4,).

    Returns:
        A new array.
    """
    return -quaternion_wxyz if quaternion_wxyz[0] < 0 else np.array(quaternion_wxyz)


def joint_terms(joints: tuple[str, ...]) -> dict[str, TermSpec]:
    """Describe what every arm measures of its joints.

    Args:
        joints: their names in order.

    Returns:
        joint_position in rad and joint_velocity in rad/s.
    """
    return {"joint_position": TermSpec(joints, "rad"), "joint_velocity": TermSpec(joints, "rad/s")}
