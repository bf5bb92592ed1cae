"""Writes the reference transitions that the everyday parity test reads: single steps of l2f, every airframe.

    make env NAME=l2f && .venv/bin/python tools/l2f_transitions.py

Needs the side environment `l2f`. The states are random and from a fixed seed: positions within a metre, any
orientation, up to 3 m/s and 15 rad/s, efforts of 0 to 1, actions a little beyond -1 to 1, steps of 10 ms.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reflexarc.benches.l2f import l2f_next_states
from sim.quadrotor import airframe_names, load_airframe

FILE = Path(__file__).parents[1] / "tests" / "sim" / "quadrotor" / "l2f_transitions.npz"
# Transitions of each airframe.
COUNT = 100
DT_S = 0.01


def random_transitions(airframes: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw where to step from and what to do there.

    Args:
        airframes: how many airframes, A.
        count: how many states of each, K.
        seed: of the draw.

    Returns:
        States (A, K, 17) and actions (A, K, 4), float32.
    """
    random = np.random.default_rng(seed)
    limits = np.repeat([1.0, 0.0, 3.0, 15.0], [3, 4, 3, 3])
    state = np.empty((airframes, count, 17))
    state[..., :13] = limits * random.uniform(-1.0, 1.0, (airframes, count, 13))
    orientation = random.standard_normal((airframes, count, 4))
    state[..., 3:7] = orientation / np.linalg.norm(orientation, axis=-1, keepdims=True)
    state[..., 13:] = random.uniform(0.0, 1.0, (airframes, count, 4))
    action = random.uniform(-1.2, 1.2, (airframes, count, 4))
    return state.astype(np.float32), action.astype(np.float32)


def main() -> None:
    """Write the file."""
    names = airframe_names()
    state, action = random_transitions(len(names), COUNT, seed=0)
    following = l2f_next_states([load_airframe(name) for name in names], state, action, dt_s=DT_S)
    np.savez(FILE, names=names, dt_s=DT_S, state=state, action=action, next_state=following)
    print(f"{FILE}: {len(names)} airframes, {COUNT} transitions each, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
