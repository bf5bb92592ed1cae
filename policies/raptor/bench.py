"""Time of one step: our back ends beside the authors' Python package, in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.backends import WEIGHTS_FILE, make_backend
from policies.raptor.convert import PACKAGE
from policies.raptor.network import OBSERVATION_SIZE, Backend, Float32Array, RaptorWeights
from policies.raptor.policy import PUBLISHED
from policies.runtime.engines import BackendName

REFERENCE = "foundation_policy"


@dataclass(frozen=True)
class BenchRow:
    """One contender."""

    # The back end, or `foundation_policy`.
    name: str
    # Median over the repeats of the mean time of a step at batch size 1, in microseconds.
    us_per_step: float
    # The fastest repeat, in microseconds a step.
    best_us_per_step: float
    # Median over the repeats of this contender's time divided by `foundation_policy`'s.
    ratio: float


def bench_backends(
    steps: int = 1000,
    repeats: int = 15,
    *,
    folder: Path = PUBLISHED,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[BenchRow]:
    """Time every back end and the authors' package.

    All contenders run within each repeat, in an order that moves on by one every time, so that what
    else the machine does meets them alike; the ratio is taken within a repeat. Every contender gets
    the same observations and carries its hidden state from step to step.

    Args:
        steps: steps in a repeat.
        repeats: repeats of the whole round.
        folder: the policy folder.
        clock_ns: a clock in nanoseconds.

    Returns:
        One row a contender, the fastest first.

    Raises:
        ConfigError: a library of one of the contenders cannot be loaded, or a count is not positive.
    """
    for name, count in (("steps", steps), ("repeats", repeats)):
        if count < 1:
            raise ConfigError(
                f"{name} is {count}", where="bench raptor", expected="1 or more", mend="raise it"
            )
    weights = RaptorWeights.load(folder / WEIGHTS_FILE)
    observations = np.random.default_rng(0).standard_normal((steps, OBSERVATION_SIZE)).astype(np.float32)
    contenders: dict[str, Callable[[], None]] = {REFERENCE: _reference_run(observations)}
    for backend in BackendName:
        contenders[backend.value] = _run(make_backend(backend, folder, weights), weights, observations)
    times_ns = {name: np.empty(repeats) for name in contenders}
    order = list(contenders)
    for run in contenders.values():
        run()
    for repeat in range(repeats):
        for name in order:
            start_ns = clock_ns()
            contenders[name]()
            times_ns[name][repeat] = clock_ns() - start_ns
        order.append(order.pop(0))
    rows = [
        BenchRow(
            name=name,
            us_per_step=float(np.median(taken)) / steps / 1e3,
            best_us_per_step=float(taken.min()) / steps / 1e3,
            ratio=float(np.median(taken / times_ns[REFERENCE])),
        )
        for name, taken in times_ns.items()
    ]
    return sorted(rows, key=lambda row: row.us_per_step)


def _run(backend: Backend, weights: RaptorWeights, observations: Float32Array) -> Callable[[], None]:
    rows, step = list(observations), backend.step

    def run() -> None:
        hidden = weights.initial_hidden
        for row in rows:
            _, hidden = step(row, hidden)

    return run


def _reference_run(observations: Float32Array) -> Callable[[], None]:
    try:
        from foundation_policy import Raptor
    except ImportError as error:
        raise ConfigError(
            f"{PACKAGE} cannot be loaded ({error})",
            where="bench raptor",
            expected=f"the package {PACKAGE}",
            mend="install the extra reflexarc[policies]",
        ) from error
    policy: Any = Raptor()
    rows, step = list(observations[:, None]), policy.evaluate_step

    def run() -> None:
        policy.reset()
        for row in rows:
            step(row)

    return run
