"""Training of teachers: groups one after the other, or as tasks of Ray, into one bank."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardware.errors import ConfigError
from policies.provenance import command_line, git_commit, versions
from policies.raptor.folder import CARD_FILE
from policies.raptor.training.device import usable_device
from policies.raptor.training.teachers.bank import BANK_SCHEMA, TeacherBank, TeacherRecord
from policies.raptor.training.teachers.config import TeacherConfig
from policies.raptor.training.teachers.curves import write_curves
from policies.raptor.training.teachers.group import Group, Point
from policies.raptor.training.teachers.store import GroupResult, GroupStore, result_of
from sim.quadrotor.fleet_airframes import AirframeBatch
from sim.quadrotor.sampling import SamplingRules, sample_airframes

_VERSIONED = ("numpy", "torch", "numba")
# What may differ between two calls that work on the same folder.
_FREE = ("out", "count", "first", "group", "device", "threads", "max_minutes", "ray", "minimum_return")
# An unfinished group is saved at least so often, seconds.
_SAVE_EVERY_S = 300.0


@dataclass(frozen=True)
class TeacherProgress:
    """How far a training is."""

    # Number of the group's first teacher, and how many teachers it has.
    first: int
    count: int
    # Environment steps of each of them.
    step: int
    # An evaluation, if one was just made.
    point: Point | None


@dataclass(frozen=True)
class TeacherOutcome:
    """What a call of `train_teachers` came to."""

    # Whether all teachers are trained; if not, the same call goes on.
    finished: bool
    # The bank of all accepted teachers so far; None while there is none.
    bank: TeacherBank | None
    # Return of every teacher trained so far, by its number.
    returns: dict[int, float]
    # Those among them that the gate refused.
    refused: dict[int, float]
    # Processor time of the finished groups, minutes a teacher.
    core_minutes: float
    # The finished groups, in the order of their teachers.
    groups: tuple[GroupResult, ...] = ()


def train_teachers(
    config: TeacherConfig,
    *,
    progress: Callable[[TeacherProgress], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TeacherOutcome:
    """Train teachers and write their bank, or go on with a training that was interrupted.

    The bank is written anew whenever a group is finished, so that it can be used while more are trained.

    Args:
        config: every setting.
        progress: is told every segment; with Ray, every group.
        clock: seconds, for `max_minutes`.

    Returns:
        What there is now.

    Raises:
        ConfigError: the folder holds a training with other settings or is damaged, the device is not
            there, a training diverged, or no teacher at all was accepted.
    """
    torch.set_num_threads(config.threads)
    usable_device(config.device, where="teacher training")
    if (Path(config.out) / CARD_FILE).exists():
        raise ConfigError(
            "the folder holds a policy",
            where=config.out,
            expected="a new folder, or one that teachers were trained in",
            mend="give another --out",
        )
    store = GroupStore(Path(config.out), _settings(config))
    fleet = sample_airframes(config.first + config.count, seed=config.seed)
    plan = _plan(config, store.existing())
    results = [store.load_result(first, count) for first, count in plan]
    done = [result for result in results if result is not None]
    outcome = _publish(config, done, fleet, finished=len(done) == len(plan)) if done else None
    todo = [part for part, result in zip(plan, results, strict=True) if result is None]
    pace = _Pace(clock, config.max_minutes)
    for result in _results(config, todo, fleet, store, progress, pace):
        store.save_result(result)
        done.append(result)
        outcome = _publish(config, done, fleet, finished=len(done) == len(plan))
    return outcome or TeacherOutcome(finished=False, bank=None, returns={}, refused={}, core_minutes=0.0)


def _results(
    config: TeacherConfig,
    todo: list[tuple[int, int]],
    fleet: AirframeBatch,
    store: GroupStore,
    progress: Callable[[TeacherProgress], None] | None,
    pace: _Pace,
) -> Iterator[GroupResult]:
    if config.ray and todo:
        from policies.raptor.training.teachers.remote import train_remotely

        for result in train_remotely(config, todo):
            if progress is not None:
                progress(TeacherProgress(result.first, result.count, config.steps, result.points[-1]))
            yield result
        return
    for first, count in todo:
        group = Group(config, fleet.take(range(first, first + count)), first=first)
        store.load_checkpoint(group)
        if not _train(group, store, progress, pace):
            return
        yield result_of(group)


class _Pace:
    """Says when a call has to end: when the next segment would take it beyond its time."""

    def __init__(self, clock: Callable[[], float], minutes: float) -> None:
        self.clock = clock
        self._until = clock() + 60.0 * minutes if minutes else None
        self._longest: float | None = None

    def over(self) -> bool:
        # A call makes at least one segment, or a short time would never end a training.
        if self._until is None or self._longest is None:
            return False
        return self.clock() + self._longest > self._until

    def took(self, seconds: float) -> None:
        self._longest = max(self._longest or 0.0, seconds)


def _train(
    group: Group, store: GroupStore, progress: Callable[[TeacherProgress], None] | None, pace: _Pace
) -> bool:
    """Train a group to its end, or until its time is over; then save it."""
    saved = pace.clock()
    while not group.finished:
        if pace.over():
            store.save_checkpoint(group)
            return False
        began = pace.clock()
        point = group.advance()
        ended = pace.clock()
        pace.took(ended - began)
        if progress is not None:
            progress(TeacherProgress(group.first, group.count, group.step, point))
        if ended - saved > _SAVE_EVERY_S and not group.finished:
            store.save_checkpoint(group)
            saved = ended
    return True


def _plan(config: TeacherConfig, existing: dict[int, int]) -> list[tuple[int, int]]:
    """Cut the teachers into groups: those of the folder as they are, new ones of the wanted size."""
    end = config.first + config.count
    plan = []
    first = config.first
    while first < end:
        count = existing.get(first) or min(config.group, end - first)
        later = [other for other in existing if first < other < first + count]
        count = min([count, *(other - first for other in later)])
        if first + count > end:
            raise ConfigError(
                f"the folder holds a group of teachers {first} to {first + count - 1}",
                where=config.out,
                expected=f"groups that end at teacher {end - 1} or before",
                mend=f"ask for a count of {first + count - config.first} or more",
            )
        plan.append((first, count))
        first += count
    return plan


def _publish(
    config: TeacherConfig, results: list[GroupResult], fleet: AirframeBatch, *, finished: bool
) -> TeacherOutcome:
    results = sorted(results, key=lambda result: result.first)
    write_curves(Path(config.out), results)
    layers = [result.layers(config.actor_hidden) for result in results]
    indices = np.concatenate([np.arange(r.first, r.first + r.count) for r in results])
    whole = TeacherBank(
        **{name: torch.cat([part[name] for part in layers]) for name in layers[0]},
        airframes=fleet.take(indices),
        returns=np.concatenate([r.returns for r in results]),
        steps=np.concatenate([r.steps for r in results]),
        indices=indices.astype(np.int64),
        record=_record(config, len(indices)),
    )
    returns = {int(i): float(value) for i, value in zip(whole.indices, whole.returns, strict=True)}
    # While more are to come, no good one yet is no reason to stop; at the end it is.
    good = bool((whole.returns >= config.minimum_return).any())
    bank = whole.accepted(config.minimum_return) if good or finished else None
    if bank is not None:
        bank.save(config.out)
    spent = sum(result.points[-1].cpu_s for result in results)
    return TeacherOutcome(
        finished=finished,
        bank=bank,
        returns=returns,
        refused={i: value for i, value in returns.items() if not value >= config.minimum_return},
        core_minutes=spent / 60.0 / len(indices),
        groups=tuple(results),
    )


def _record(config: TeacherConfig, count: int) -> TeacherRecord:
    settings = dataclasses.asdict(config) | {"out": Path(config.out).name, "ray": bool(config.ray)}
    rules = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(SamplingRules()).items()
    }
    return TeacherRecord(
        schema=BANK_SCHEMA,
        method="raptor-teachers",
        command=command_line(
            ("reflexarc", "train", "raptor-teachers"), config, paths={"out"}, skip={"max_minutes", "ray"}
        ),
        seed=config.seed,
        count=count,
        git_commit=git_commit(),
        versions=versions(_VERSIONED),
        config=settings,
        airframe_rules=rules,
    )


def _settings(config: TeacherConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
