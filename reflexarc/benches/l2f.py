"""The RAPTOR authors' simulator `l2f`, in its side environment: its single steps and its speed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from sim.quadrotor.airframes import MOTORS, TORQUE_SIGNS, Airframe
from sim.quadrotor.fleet_airframes import Float32Array

_ROOT = Path(__file__).parents[2]
L2F_PYTHON = _ROOT / ".env-l2f" / "bin" / "python"
_PEER = _ROOT / "env" / "l2f" / "peer.py"
# How to get it.
MEND = "make env NAME=l2f (it compiles for about a quarter of an hour)"


def l2f_is_there() -> bool:
    """Whether the side environment has been made."""
    return (L2F_PYTHON.parents[1] / "setup-stamp").exists() and L2F_PYTHON.exists()


def l2f_next_states(
    airframes: list[Airframe], state: Float32Array, action: Float32Array, *, dt_s: float
) -> Float32Array:
    """Let l2f step once from every state.

    Args:
        airframes: A of them; their parameters reach l2f with all their digits.
        state: shape (A, K, 17), as `sim.quadrotor.dynamics` packs it.
        action: shape (A, K, 4), -1 to 1; l2f limits it.
        dt_s: length of the step, seconds.

    Returns:
        Shape (A, K, 17), float32.

    Raises:
        ConfigError: the side environment is missing, or l2f failed; its last words are in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            given,
            mass=[a.mass_kg for a in airframes],
            inertia=[a.inertia_kg_m2 for a in airframes],
            thrust=[a.thrust_n for a in airframes],
            rotor_positions=[a.rotor_positions_m for a in airframes],
            torque_signs=[TORQUE_SIGNS[motor] for motor in MOTORS],
            torque_constant=[a.torque_constant_m for a in airframes],
            rising=[a.rising_s for a in airframes],
            falling=[a.falling_s for a in airframes],
            dt_s=dt_s,
            state=state,
            action=action,
        )
        _ask("step", str(given), str(answer))
        with np.load(answer) as arrays:
            return np.asarray(arrays["next_state"], np.float32)


def l2f_steps_per_s(count: int, seconds: float) -> float:
    """Measure l2f's own vector of environments on one thread.

    Args:
        count: how many vehicles: a power of two up to 8192.
        seconds: how long.

    Returns:
        Environment steps a second of processor time, the fastest of ten stretches.

    Raises:
        ConfigError: the side environment is missing, or l2f failed.
    """
    return float(json.loads(_ask("speed", str(count), str(seconds)))["env_steps_per_s"])


def _ask(*words: str) -> str:
    if not l2f_is_there():
        raise ConfigError(
            "l2f is not there", where=L2F_PYTHON.parts[-3], expected="its side environment", mend=MEND
        )
    # More threads than one make it slower on machines that have other work.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(L2F_PYTHON), str(_PEER), *words],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ConfigError(
            f"l2f failed: {last[-1]}",
            where=L2F_PYTHON.parts[-3],
            expected="an answer",
            mend="rm -rf .env-l2f and " + MEND,
        )
    return done.stdout
