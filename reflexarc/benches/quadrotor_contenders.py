"""The contenders of `reflexarc bench quadrotor`, each measured once; run as a process of one thread.

    python -m reflexarc.benches.quadrotor_contenders '{"vehicles": [256], "seconds": 1, "gpu_vehicles": 9}'

NumPy's threads are decided when it is imported, which is why this is a process of its own: its parent sets
OMP_NUM_THREADS=1. It prints one JSON object: `rates`, a list of kind, name, vehicles, steps_per_s; `notes`.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import ConfigError
from reflexarc.benches.l2f import MEND, l2f_is_there, l2f_steps_per_s

L2F = "l2f"
OURS = "ours"
AUTHORS = "foundation_policy"
# Processor time: a thread that waits for a core loses none.
_CPU = time.process_time


def main() -> None:
    """Measure what the argument says."""
    asked = json.loads(sys.argv[1])
    simulators, notes = _simulators(asked["vehicles"], asked["gpu_vehicles"])
    policies, policy_notes = _policies()
    rates = [
        {"kind": kind, "name": name, "vehicles": count, "steps_per_s": rate(asked["seconds"])}
        for kind, contenders in (("simulator", simulators), ("policy", policies))
        for (name, count), rate in contenders.items()
    ]
    print(json.dumps({"rates": rates, "notes": notes + policy_notes}))


Rate = Callable[[float], float]


def _simulators(vehicles: Sequence[int], gpu_vehicles: int) -> tuple[dict[tuple[str, int], Rate], list[str]]:
    contenders: dict[tuple[str, int], Rate] = {}
    notes = []
    there = l2f_is_there()
    if not there:
        notes.append(f"l2f was not measured: its environment is missing. Make it with: {MEND}.")
    for count in vehicles:
        contenders[OURS, count] = _ours(count)
        if there:
            contenders[L2F, count] = functools.partial(l2f_steps_per_s, count)
    device = _gpu()
    if device is None:
        notes.append("No GPU was measured: torch finds none here.")
    else:
        contenders[f"ours, torch on {device}", gpu_vehicles] = _torch(gpu_vehicles)
    return contenders, notes


def _ours(count: int) -> Rate:
    from sim.quadrotor.batch import step_batch

    airframes, state, action = _fleet(count)
    setpoint = np.ascontiguousarray(0.5 + 0.5 * action)
    out = np.empty_like(state)

    def run() -> None:
        step_batch(airframes, state, setpoint, dt_s=0.01, out=out)

    run()
    return functools.partial(_rate, run, count)


def _torch(count: int) -> Rate:
    import torch

    from sim.quadrotor.torch_step import torch_coefficients, torch_step

    airframes, state, action = _fleet(count)
    device = torch.device("cuda")
    coefficients = torch_coefficients(airframes, device=device)
    states = torch.tensor(state, device=device)
    setpoint = torch.tensor(0.5 + 0.5 * action, device=device)

    def run() -> None:
        with torch.no_grad():
            for _ in range(10):
                torch_step(coefficients, states, setpoint, dt_s=0.01)
        torch.cuda.synchronize()

    run()
    return functools.partial(_rate, run, 10 * count, clock=time.perf_counter)


def _fleet(count: int) -> tuple[Any, Any, Any]:
    from sim.quadrotor.fleet import QuadrotorFleet
    from sim.quadrotor.sampling import sample_airframes

    fleet = QuadrotorFleet(sample_airframes(count, seed=0), seed=0)
    action = np.random.default_rng(0).uniform(-1.0, 1.0, (4, count)).astype(np.float32)
    return fleet.airframes, fleet.state, action


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _policies() -> tuple[dict[tuple[str, int], Rate], list[str]]:
    from policies.raptor.backends import WEIGHTS_FILE
    from policies.raptor.network import NumpyBackend, RaptorWeights
    from policies.raptor.policy import PUBLISHED

    weights = RaptorWeights.load(PUBLISHED / WEIGHTS_FILE)
    backend = NumpyBackend(weights)
    contenders: dict[tuple[str, int], Rate] = {}
    for count in (1, 1024):
        observation = np.random.default_rng(0).standard_normal((count, 22)).astype(np.float32)
        contenders["numpy", count] = _policy_rate(backend, weights.initial_hidden, observation)
        contenders[AUTHORS, count] = _authors_rate(observation)
    notes = []
    if shutil.which("gcc") is None:
        notes.append("The C export was not measured: gcc is missing.")
    else:
        contenders["C99 export, gcc -O2", 1] = _c_rate
        notes.append(
            "The C export's step includes the observation from a pose and the executor; the others' do not."
        )
    return contenders, notes


def _policy_rate(backend: Any, initial: Any, observation: Any) -> Rate:  # noqa: ANN401
    count = len(observation)
    inputs = observation[0] if count == 1 else observation
    hidden = initial if count == 1 else np.tile(initial, (count, 1))

    def run() -> None:
        nonlocal hidden
        _, hidden = backend.step(inputs, hidden)

    run()
    return functools.partial(_rate, run, count)


def _authors_rate(observation: Any) -> Rate:  # noqa: ANN401
    from policies.raptor.convert import PACKAGE

    try:
        from foundation_policy import Raptor
    except ImportError as error:
        raise ConfigError(
            f"{PACKAGE} cannot be loaded ({error})",
            where="bench quadrotor",
            expected=f"the package {PACKAGE}",
            mend="install the extra reflexarc[policies]",
        ) from error
    policy = Raptor()
    policy.reset()
    policy.evaluate_step(observation)
    return functools.partial(_rate, lambda: policy.evaluate_step(observation), len(observation))


def _c_rate(seconds: float) -> float:
    """Steps a second of the C export, compiled as a flight controller's build would; `seconds` is its own."""
    from policies.raptor.export_c import export_c
    from policies.raptor.onboard_build import measure_host
    from policies.raptor.policy import PUBLISHED

    with tempfile.TemporaryDirectory() as folder:
        code, build = Path(folder) / "c", Path(folder) / "build"
        build.mkdir()
        export_c(PUBLISHED, code)
        return 1e9 / measure_host(code, build, compiler="gcc", options=("-O2",)).median


def _rate(
    run: Callable[[], object], count: int, seconds: float, *, clock: Callable[[], float] = _CPU
) -> float:
    """Vehicle steps a second, the fastest of ten stretches: what else the machine does slows it least."""
    rates = []
    for _ in range(10):
        started, calls, taken = clock(), 0, 0.0
        while taken < seconds / 10.0:
            run()
            calls += 1
            taken = clock() - started
        rates.append(calls * count / taken)
    return max(rates)


if __name__ == "__main__":
    main()
