"""Meta-imitation: one recurrent student learns from many teachers, each the master of one airframe.

In the first epochs the teachers fly, later the student; in every visited state the teacher of that
airframe, who sees the truth, says what it would do. Source: RAPTOR, "Meta-Imitation Learning" (arXiv
2509.11481) and its released code. Two things are done as the paper says and the code does not: the student
sees errors relative to the reference, and starts are tilted up to 90 degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from policies.raptor.network import ACTION_SIZE, OBSERVATION_SIZE, Float32Array, NumpyBackend
from policies.raptor.torch_backend import RaptorModule
from policies.raptor.training.config import RaptorTrainConfig
from policies.raptor.training.sequence import follow
from policies.raptor.training.teachers.bank import PRIVILEGED_SIZE, TeacherBank
from sim.quadrotor.fleet import QuadrotorFleet, StartRules, TerminationRules
from sim.quadrotor.perturbations import Perturbations
from sim.quadrotor.references import HOVER, TRAINING

# Steps of an episode after which a teacher's position counts as its steady state.
_STEADY = 250
_CORRECTION_SEED, _EPISODE_SEED, _ORDER_SEED = 10, 11, 12
# Gradient steps over which the learning rate rises.
_RISE = 50


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    # Mean squared error of an action against the teachers'.
    loss: float
    # Mean return and length of the episodes flown, and the share of them that were lost.
    episode_return: float
    length: float
    lost: float
    # Whether the teachers flew.
    teachers_flew: bool


@dataclass(frozen=True, eq=False)
class Experience:
    """All episodes of one epoch; vehicles of one teacher lie together."""

    # What the student saw, steady-state error of its teacher corrected, (T, N, 22).
    observations: Float32Array
    # What the teacher would have done, (T, N, 4).
    labels: Float32Array
    # Steps of every episode until its end, (N,).
    lengths: NDArray[np.int64]
    # Sum of the rewards until then, (N,).
    returns: Float32Array


class Imitation:
    """The first stage: student, optimiser and the teachers' steady-state errors.

    Args:
        module: the student; trained in place.
        bank: the teachers.
        config: every setting.
        offsets: the teachers' steady-state errors, if they were measured before.
    """

    def __init__(
        self,
        module: RaptorModule,
        bank: TeacherBank,
        config: RaptorTrainConfig,
        *,
        offsets: Float32Array | None = None,
    ) -> None:
        """Measure the teachers' steady-state errors and start at epoch 0."""
        self.module, self.bank, self.config = module, bank, config
        self.optimizer = torch.optim.Adam(module.parameters(), lr=config.imitation_rate, eps=1e-7)
        self.done, self.steps = 0, 0
        # Where each teacher comes to rest relative to its reference, (teachers, 3), metres.
        self.offsets = steady_state(bank, config) if offsets is None else offsets

    @property
    def finished(self) -> bool:
        """Whether all epochs are over."""
        return self.done >= self.config.epochs

    def epoch(self) -> Epoch:
        """Fly one epoch and learn from it.

        Returns:
            What it came to. Returns and lengths are those of the weights before it.
        """
        teachers_fly = self.done < self.config.teacher_epochs
        experience = gather(
            self.bank, None if teachers_fly else self.module, self.offsets, self.config, number=self.done
        )
        loss = self._learn(experience)
        self.done += 1
        return Epoch(
            loss=loss,
            episode_return=float(experience.returns.mean()),
            length=float(experience.lengths.mean()),
            lost=float((experience.lengths < self.config.episode_steps).mean()),
            teachers_flew=teachers_fly,
        )

    def _learn(self, experience: Experience) -> float:
        config = self.config
        rng = np.random.Generator(
            np.random.SFC64(np.random.SeedSequence((config.seed, _ORDER_SEED, self.done)))
        )
        observations, labels, kept = pack(experience, config.episode_steps, rng)
        total, count = 0.0, 0
        for start in range(0, len(observations), config.rows):
            # Time first, rows last, as the compiled loops read them.
            seen = np.ascontiguousarray(observations[start : start + config.rows].transpose(1, 2, 0))
            said = torch.from_numpy(labels[start : start + config.rows].transpose(1, 2, 0))
            keep = np.ascontiguousarray(kept[start : start + config.rows].T)
            actions = follow(self.module, seen, keep)
            loss = (actions - said.to(actions.device)).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            self.optimizer.step()
            self.steps += 1
            total += loss.item() * seen.shape[2]
            count += seen.shape[2]
        return total / max(count, 1)

    def _rate(self) -> float:
        config = self.config
        share = 0.5 * (1.0 + math.cos(math.pi * self.done / config.epochs))
        rate = config.imitation_end_rate + (config.imitation_rate - config.imitation_end_rate) * share
        return rate * min(1.0, (self.steps + 1) / _RISE)


def steady_state(bank: TeacherBank, config: RaptorTrainConfig) -> Float32Array:
    """Where teachers come to rest, relative to where they should: what the student is not to inherit.

    Args:
        bank: the teachers.
        config: `correction_episodes` of every teacher are flown, to a fixed position, undisturbed.

    Returns:
        The mean position from half of the episode on, (teachers, 3), metres; zero without an episode that
        lasts so long.
    """
    episodes, steps = config.correction_episodes, config.episode_steps
    first = min(_STEADY, steps // 2)
    if episodes == 0:
        return np.zeros((len(bank), 3), np.float32)
    fleet = QuadrotorFleet(
        bank.airframes.take(np.repeat(np.arange(len(bank)), episodes)),
        seed=_seed(config, _CORRECTION_SEED, 0),
        start=_start(config),
        reference=HOVER,
        termination=TerminationRules(),
    )
    lost = np.zeros(len(fleet), np.bool_)
    total = np.zeros((3, len(fleet)))
    for step in range(steps):
        fleet.step(_advice(bank, fleet.privileged()))
        lost |= fleet.terminated
        if step >= first:
            total += np.where(lost, 0.0, fleet.state[0:3])
    kept = (~lost).reshape(len(bank), episodes)
    sums = np.where(lost, 0.0, total).reshape(3, len(bank), episodes).sum(axis=2)
    mean = sums / np.maximum(kept.sum(axis=1) * (steps - first), 1)
    return np.ascontiguousarray(mean.T, dtype=np.float32)


def gather(
    bank: TeacherBank,
    student: RaptorModule | None,
    offsets: Float32Array,
    config: RaptorTrainConfig,
    *,
    number: int,
) -> Experience:
    """Fly one epoch: every teacher's airframe a number of times, all at once.

    Args:
        bank: the teachers, who say what they would do, and fly if no student does.
        student: who flies; None: the teachers.
        offsets: the teachers' steady-state errors, (teachers, 3).
        config: episodes, starts, disturbances.
        number: of the epoch; the same one flies the same episodes.

    Returns:
        What was seen and what should have been done.
    """
    count = len(bank) * config.episodes
    owner = np.repeat(np.arange(len(bank)), config.episodes)
    delayed = max(config.action_delay_s, config.velocity_delay_s) > 0.0
    fleet = QuadrotorFleet(
        bank.airframes.take(owner),
        seed=_seed(config, _EPISODE_SEED, number),
        start=_start(config),
        reference=TRAINING,
        # Teachers fly as they learned to, with a constant force; what else disturbs the student is not theirs
        # to bear.
        perturbations=Perturbations(force_scale=config.force_scale)
        if student is None
        else config.perturbations(),
        dt_s=0.005 if delayed else 0.01,
        physics_steps=2 if delayed else 1,
        episode_steps=config.episode_steps,
        termination=TerminationRules(),
    )
    observations = np.zeros((config.episode_steps, count, OBSERVATION_SIZE), np.float32)
    truth = np.zeros((config.episode_steps, count, PRIVILEGED_SIZE), np.float32)
    lengths = np.full(count, config.episode_steps, np.int64)
    lost = np.zeros(count, np.bool_)
    returns = np.zeros(count, np.float32)
    backend = None if student is None else NumpyBackend(student.to_weights())
    hidden: Float32Array = np.zeros((count, config.hidden_size), np.float32)
    shift = offsets[owner]
    for step in range(config.episode_steps):
        seen = fleet.observe()
        truth[step] = fleet.privileged()
        np.clip(seen[:, 12:15], -config.clip_velocity_m_s, config.clip_velocity_m_s, out=seen[:, 12:15])
        observations[step] = seen
        observations[step, :, 0:3] -= shift
        action: Float32Array
        if backend is None:
            action = _advice(bank, truth[step])
        else:
            np.clip(seen[:, 0:3], -config.clip_position_m, config.clip_position_m, out=seen[:, 0:3])
            answer, hidden = backend.step(seen, hidden)
            # As whoever flies the policy does it; the previous action that is seen next is the clamped one.
            action = np.clip(answer, -1.0, 1.0)
        fleet.step(action)
        returns += np.where(lost, 0.0, fleet.reward)
        lengths[fleet.terminated & ~lost] = step + 1
        lost |= fleet.terminated
        if lost.all():
            break
    positions = observations[..., 0:3]
    np.clip(positions, -config.clip_position_m, config.clip_position_m, out=positions)
    return Experience(observations, _labels(bank, truth, int(lengths.max())), lengths, returns)


def pack(
    experience: Experience, steps: int, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Lay episodes end to end, in random order, and cut them into rows.

    A row may begin in the middle of an episode, with a hidden state of zero, and hold several episodes.

    Args:
        experience: the episodes.
        steps: length of a row.
        rng: orders episodes and rows.

    Returns:
        Observations (rows, steps, 22), labels (rows, steps, 4), and (rows, steps) 0 where an episode
        begins, else 1. What does not fill a row is left out, unless it is all there is.
    """
    vehicles = rng.permutation(len(experience.lengths))
    lengths = experience.lengths[vehicles]
    starts = np.cumsum(lengths) - lengths
    vehicle = np.repeat(vehicles, lengths)
    time = np.arange(len(vehicle)) - np.repeat(starts, lengths)
    steps = min(steps, len(vehicle))
    rows = len(vehicle) // steps
    used = rows * steps
    at = time[:used], vehicle[:used]
    order = rng.permutation(rows)
    kept = (time[:used] != 0).astype(np.float32).reshape(rows, steps)[order]
    observations = experience.observations[at].reshape(rows, steps, OBSERVATION_SIZE)[order]
    labels = experience.labels[at].reshape(rows, steps, ACTION_SIZE)[order]
    return observations, labels, kept


def _start(config: RaptorTrainConfig) -> StartRules:
    return StartRules(tilt_rad=config.tilt_rad)


def _seed(config: RaptorTrainConfig, purpose: int, number: int) -> int:
    return int(np.random.SeedSequence((config.seed, purpose, number)).generate_state(1, np.uint64)[0])


def _advice(bank: TeacherBank, privileged: Float32Array) -> Float32Array:
    """Ask every vehicle's teacher, (N, 26) to (N, 4)."""
    rows = torch.from_numpy(privileged).to(bank.device).reshape(len(bank), -1, PRIVILEGED_SIZE)
    answer: Float32Array = bank.act(rows).reshape(-1, ACTION_SIZE).cpu().numpy()
    return answer


def _labels(bank: TeacherBank, truth: Float32Array, steps: int) -> Float32Array:
    """Ask every vehicle's teacher about every step that was flown, (T, N, 26) to (T, N, 4)."""
    labels = np.zeros((*truth.shape[:2], ACTION_SIZE), np.float32)
    # A few steps at a time: the teachers' hidden layers need more memory than the observations.
    for start in range(0, steps, 50):
        part = truth[start : min(start + 50, steps)]
        # Teacher first: (T, teachers, episodes, 26) to (teachers, T * episodes, 26).
        rows = part.reshape(len(part), len(bank), -1, PRIVILEGED_SIZE).transpose(1, 0, 2, 3)
        asked = torch.from_numpy(rows.reshape(len(bank), -1, PRIVILEGED_SIZE)).to(bank.device)
        answer: Float32Array = bank.act(asked).cpu().numpy()
        answer = answer.reshape(len(bank), len(part), -1, ACTION_SIZE).transpose(1, 0, 2, 3)
        labels[start : start + len(part)] = answer.reshape(len(part), -1, ACTION_SIZE)
    return labels
