"""A generic expert: sampling-based model-predictive control (MPPI) on parallel MuJoCo roll-outs.

Model predictive path integral control (Williams et al., 2017) for tasks that have a cost but no script: in
every step many sequences of controls are rolled out in a small model of the task, and those that cost less
count more. What is new against the textbook is what keeps the demonstrations fit for imitation: whole
proposals of the task compete with the plan (another side of an object is not found by noise), the plan is
left only for one that is clearly better, and the noise is smooth in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from hardware.errors import ConfigError

FloatArray = NDArray[np.float64]


class PlanningProblem(Protocol):
    """What a task says to the planner. N sequences of T controls with D elements each."""

    @property
    def model(self) -> mujoco.MjModel:
        """The small model, rolled out at its own time step."""

    @property
    def limits(self) -> FloatArray:
        """The largest absolute control, shape (D,)."""

    def targets(self, controls: FloatArray) -> FloatArray:
        """What the model's actuators are told.

        Args:
            controls: shape (N, T, D).

        Returns:
            Shape (N, T, nu).
        """

    def cost(self, positions: FloatArray, controls: FloatArray) -> FloatArray:
        """Judge roll-outs.

        Args:
            positions: `qpos` after each control, shape (N, T, nq).
            controls: shape (N, T, D).

        Returns:
            Shape (N,), smaller is better.
        """

    def proposals(self, steps: int) -> FloatArray:
        """Whole sequences that noise would not find.

        Args:
            steps: T.

        Returns:
            Shape (M, T, D); M may be 0.
        """


@dataclass(frozen=True)
class MppiSettings:
    """How far the planner looks ahead, and how widely it searches."""

    # Time between two controls, and how many of them a plan has, seconds.
    period_s: float = 0.1
    steps: int = 30
    # Sequences around the plan in each iteration, and iterations in a step.
    samples: int = 32
    iterations: int = 2
    # Standard deviation of the noise, as a share of the largest control.
    noise: float = 0.35
    # Controls between two knots of the noise; it is linear in between.
    knot: int = 5
    # How quickly a sequence counts less the more it costs: the temperature, in units of the plan's cost.
    temperature: float = 0.02
    # Steps between two looks at the task's proposals.
    propose_every: int = 3
    # A proposal must cost less than this share of the plan's cost to replace it.
    hysteresis: float = 0.93
    # Threads for the roll-outs.
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that make no plan.

        Raises:
            ConfigError: a number is out of range.
        """
        for name in (
            "period_s", "steps", "samples", "iterations", "noise", "knot", "temperature", "propose_every",
            "threads",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where="MppiSettings",
                    expected="a positive number",
                    mend=f"correct {name}",
                )
        if not 0 < self.hysteresis <= 1:
            raise ConfigError(
                f"hysteresis is {self.hysteresis}",
                where="MppiSettings",
                expected="above 0, at most 1",
                mend="correct hysteresis",
            )


class Mppi:
    """Plans for one problem, step after step.

    Args:
        problem: what is to be done.
        settings: how far and how widely it searches.
    """

    def __init__(self, problem: PlanningProblem, *, settings: MppiSettings | None = None) -> None:
        """Prepare the roll-outs."""
        self.settings = settings or MppiSettings()
        self._problem = problem
        model = problem.model
        self._substeps = max(1, round(self.settings.period_s / model.opt.timestep))
        self._data = [mujoco.MjData(model) for _ in range(self.settings.threads)]
        self._spec = mujoco.mjtState.mjSTATE_FULLPHYSICS
        self._shape = (self.settings.steps, len(problem.limits))
        self._knots = _knots(self.settings.steps, self.settings.knot)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the plan.

        Args:
            seed: of the noise.
        """
        self._random = np.random.default_rng(seed)
        self._plan: FloatArray = np.zeros(self._shape)
        self._count = 0

    def step(self, positions: FloatArray, velocities: FloatArray) -> FloatArray:
        """Plan from a state.

        Args:
            positions: `qpos` of the model, shape (nq,).
            velocities: `qvel`, shape (nv,).

        Returns:
            The control to carry out now, shape (D,).
        """
        s, limits = self.settings, self._problem.limits
        start = self._start(positions, velocities)
        self._plan = np.concatenate([self._plan[1:], np.zeros_like(self._plan[:1])])
        if self._count % s.propose_every == 0:
            others = np.clip(self._problem.proposals(s.steps), -limits, limits)
            costs = self._costs(start, np.concatenate([self._plan[None], others]))
            best = int(costs.argmin())
            if best > 0 and costs[best] < s.hysteresis * costs[0]:
                self._plan = others[best - 1].copy()
        self._count += 1
        for _ in range(s.iterations):
            noise = self._random.standard_normal((s.samples, self._knots.shape[1], len(limits)))
            noise = np.einsum("tk,nkd->ntd", self._knots, noise) * (s.noise * limits)
            noise[0] = 0.0
            tried = np.clip(self._plan + noise, -limits, limits)
            costs = self._costs(start, tried)
            lowest = float(costs.min())
            weights = np.exp(-(costs - lowest) / (s.temperature * max(abs(lowest), 1e-9)))
            self._plan = np.einsum("n,ntd->td", weights / weights.sum(), tried)
        return np.array(self._plan[0])

    def _start(self, positions: FloatArray, velocities: FloatArray) -> FloatArray:
        data = self._data[0]
        mujoco.mj_resetData(self._problem.model, data)
        data.qpos[:], data.qvel[:] = positions, velocities
        state = np.empty(mujoco.mj_stateSize(self._problem.model, self._spec.value))
        mujoco.mj_getState(self._problem.model, data, state, self._spec.value)
        return state

    def _costs(self, start: FloatArray, controls: FloatArray) -> FloatArray:
        model = self._problem.model
        told = np.repeat(self._problem.targets(controls), self._substeps, axis=1)
        states, _ = rollout.rollout(
            model, self._data, np.tile(start, (len(told), 1)), told, persistent_pool=True
        )
        after = states[:, self._substeps - 1 :: self._substeps]
        # The state begins with the time.
        costs = self._problem.cost(after[:, :, 1 : 1 + model.nq], controls)
        return np.asarray(np.where(np.isfinite(costs), costs, np.inf))


def _knots(steps: int, spacing: int) -> FloatArray:
    """The matrix that draws straight lines between knots, shape (steps, number of knots)."""
    count = (steps - 1) // spacing + 2
    places = np.arange(steps) / spacing
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(count)[None]))
