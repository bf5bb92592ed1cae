"""One group of teachers, trained together from its first step to its last, with rests in between.

Training goes in segments of 2,000 steps a vehicle. Every segment draws its randomness from the seed, the
group and its own number, and starts all vehicles anew; checkpoints lie between segments. So a training
that was interrupted gives the same weights as one that was not, and nothing of the simulator's inside
needs to be saved. Replay buffers are part of a checkpoint (they stay on the machine that filled them).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardware.errors import ConfigError
from policies.raptor.network import ACTION_SIZE
from policies.raptor.training.teachers.bank import PRIVILEGED_SIZE
from policies.raptor.training.teachers.config import TeacherConfig
from policies.raptor.training.teachers.replay import Replay, Transitions
from policies.raptor.training.teachers.sac import Sac, actions_of, make_actors
from sim.quadrotor.fleet import CODE, PAPER, QuadrotorFleet, TerminationRules
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.references import TRAINING

# Steps of every vehicle in a segment: four whole episodes.
SEGMENT_STEPS = 2_000
_STARTS = {"paper": PAPER, "code": CODE}
# What the draws of a seed are for, so that none is used twice.
_TRAINING, _EVALUATION, _ACCEPTANCE = range(3)


@dataclass(frozen=True)
class Point:
    """One evaluation of a group: a point of its learning curves."""

    # Environment steps of every teacher so far.
    step: int
    # Mean return of every teacher's deterministic policy.
    returns: tuple[float, ...]
    # Mean length of its episodes, steps.
    lengths: tuple[float, ...]
    # Share of its episodes that were lost.
    terminated: tuple[float, ...]
    # Processor time and wall time of the group so far, seconds, evaluations included.
    cpu_s: float
    wall_s: float


def steps_per_segment(config: TeacherConfig) -> int:
    """Environment steps of a teacher in one segment.

    Args:
        config: every setting.

    Returns:
        The steps: as many segments, or parts of one, as fit between two evaluations.
    """
    return min(SEGMENT_STEPS * config.environments, config.evaluate_every)


def make_fleet(
    airframes: AirframeBatch, config: TeacherConfig, *, each: int, seed: tuple[int, ...]
) -> QuadrotorFleet:
    """Make the decision process of the teachers; specs of RAPTOR, sections 2.2 and 2.3.

    Args:
        airframes: one a teacher.
        config: every setting.
        each: vehicles of every airframe; those of one teacher are neighbours.
        seed: any whole numbers.

    Returns:
        The fleet, T times `each` vehicles.
    """
    return QuadrotorFleet(
        airframes.take(np.repeat(np.arange(len(airframes)), each)),
        seed=_seed(*seed),
        start=_STARTS[config.start],
        reference=TRAINING,
        perturbations=Perturbations(force_scale=1.0),
        termination=TerminationRules(),
    )


def evaluate(
    act: Callable[[Tensor], Tensor], fleet: QuadrotorFleet, count: int, *, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Fly one episode with every vehicle of a fleet.

    Args:
        act: deterministic policies, (T, B, 26) to (T, B, 4).
        fleet: T times B vehicles, freshly made.
        count: T.
        device: where the policies are.

    Returns:
        Mean return, mean length and share of lost episodes, each (T,). A return is the sum of the rewards
        up to the step that ends the episode, that step's included.
    """
    total = np.zeros(len(fleet))
    length = np.zeros(len(fleet))
    flying = np.ones(len(fleet), np.bool_)
    for _ in range(fleet.episode_steps):
        fleet.step(_to_host(act(_observe(fleet, count, device))))
        total[flying] += fleet.reward[flying]
        length += flying
        flying &= ~fleet.terminated
        if not flying.any():
            break
        # What is lost must not fly on to where numbers overflow; its new episode counts for nothing.
        fleet.reset(fleet.terminated)
    shape = (count, -1)
    lost = 1.0 - flying.reshape(shape).mean(1)
    return total.reshape(shape).mean(1), length.reshape(shape).mean(1), lost


class Group:
    """The training of T teachers.

    Args:
        config: every setting.
        airframes: those of this group.
        first: number of the first of them; with the seed it decides the group's randomness.
        cpu_clock: processor seconds.
        wall_clock: seconds.
    """

    def __init__(
        self,
        config: TeacherConfig,
        airframes: AirframeBatch,
        *,
        first: int,
        cpu_clock: Callable[[], float] = time.process_time,
        wall_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Draw the first weights."""
        self.config, self.airframes, self.first = config, airframes, first
        self.count = len(airframes)
        self.device = torch.device(config.device)
        self.sac = Sac(self.count, config, device=self.device, seed=_seed(config.seed, first))
        self.replay = Replay(self.count, config.replay_size, device=self.device)
        # The best actors so far, as flat parameters (T, P); their returns and when they were.
        self.best = self.sac.actor.parameters.clone()
        self.best_returns: NDArray[np.float64] = np.full(self.count, -np.inf)
        self.best_steps: NDArray[np.int64] = np.zeros(self.count, np.int64)
        # Environment steps of every teacher so far.
        self.step = 0
        # The learning curves.
        self.points: tuple[Point, ...] = ()
        # Processor and wall seconds up to the last checkpoint.
        self.cpu_s = self.wall_s = 0.0
        self._clocks = (cpu_clock, wall_clock)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.config.steps

    def advance(self) -> Point | None:
        """Train for one segment.

        Returns:
            An evaluation, if one was due after it.

        Raises:
            ConfigError: the training diverged.
        """
        cpu_clock, wall_clock = self._clocks
        cpu, wall = cpu_clock(), wall_clock()
        until = self.config.evaluate_every * (self.step // self.config.evaluate_every + 1)
        # OpenBLAS leaves floating-point flags behind; divergence is looked for at every evaluation.
        with torch.no_grad(), np.errstate(invalid="ignore"):
            self._fly(min(steps_per_segment(self.config), until - self.step))
            found = self._evaluate() if self.step == until else None
        self.cpu_s += cpu_clock() - cpu
        self.wall_s += wall_clock() - wall
        if found is None:
            return None
        returns, lengths, terminated = (tuple(float(x) for x in values) for values in found)
        point = Point(self.step, returns, lengths, terminated, self.cpu_s, self.wall_s)
        self.points += (point,)
        return point

    def accept(self) -> NDArray[np.float64]:
        """Evaluate the best actors on episodes by which they were not chosen.

        Returns:
            Mean return of every teacher, (T,): what the acceptance gate judges.
        """
        with torch.no_grad(), np.errstate(invalid="ignore"):
            return self._judge(self.best, _ACCEPTANCE)[0]

    def _fly(self, steps: int) -> None:
        config, count, each = self.config, self.count, self.config.environments
        segment = (config.seed, self.first, _TRAINING, self.step)
        fleet = make_fleet(self.airframes, config, each=each, seed=segment)
        chance = torch.Generator(self.device).manual_seed(_seed(*segment))

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=chance, device=self.device)

        observation = _observe(fleet, count, self.device)
        for _ in range(steps // each):
            action = self.sac.explore(observation, normal(count, each, ACTION_SIZE))
            fleet.step(_to_host(action))
            following = _observe(fleet, count, self.device)
            self.replay.add(
                Transitions(
                    observation,
                    action,
                    _to_device(fleet.reward, count, self.device),
                    _to_device(fleet.terminated.astype(np.float32), count, self.device),
                    following,
                )
            )
            ended = fleet.terminated | fleet.truncated
            if ended.any():
                fleet.reset(ended)
                following = _observe(fleet, count, self.device)
            observation = following
            before, self.step = self.step, self.step + each
            if self.step <= config.warm_up:
                continue
            every, batch = config.steps_per_update, config.batch_size
            for _ in range(self.step // every - before // every):
                uniform = torch.rand((count, batch), generator=chance, device=self.device)
                self.sac.update(self.replay.sample(uniform), normal(2, count, batch, ACTION_SIZE))

    def _evaluate(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if not bool(torch.isfinite(self.sac.actor.parameters).all()):
            raise ConfigError(
                f"the training diverged before step {self.step}",
                where=f"teachers {self.first} to {self.first + self.count - 1}",
                expected="finite weights",
                mend="lower the learning rates",
            )
        found = self._judge(self.sac.average, _EVALUATION)
        better = found[0] > self.best_returns
        rows = torch.from_numpy(better).to(self.device)
        self.best[rows] = self.sac.average[rows]
        self.best_returns = np.where(better, found[0], self.best_returns)
        self.best_steps = np.where(better, self.step, self.best_steps)
        return found

    def _judge(
        self, parameters: Tensor, purpose: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        actors = make_actors(self.count, self.config.actor_hidden, self.device, torch.Generator())
        actors.parameters.copy_(parameters)
        seed = (self.config.seed, self.first, purpose)
        fleet = make_fleet(self.airframes, self.config, each=self.config.episodes, seed=seed)
        return evaluate(actions_of(actors), fleet, self.count, device=self.device)


def _observe(fleet: QuadrotorFleet, count: int, device: torch.device) -> Tensor:
    return torch.from_numpy(fleet.privileged()).view(count, -1, PRIVILEGED_SIZE).to(device)


def _to_device(values: NDArray[np.float32], count: int, device: torch.device) -> Tensor:
    return torch.from_numpy(values).view(count, -1).to(device)


def _to_host(action: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = action.reshape(-1, ACTION_SIZE).cpu().numpy()
    return array


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
