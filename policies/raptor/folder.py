"""Writes policy folders of RAPTOR, wherever their weights come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from hardware import schema
from policies.card import PolicyCard
from policies.raptor.backends import EXAMPLE_FILE, ONNX_FILE, WEIGHTS_FILE
from policies.raptor.contract import FLIGHT_CLIPPING, ErrorClipping, raptor_card
from policies.raptor.network import OBSERVATION_SIZE, Float32Array, NumpyBackend, RaptorWeights

CARD_FILE = "card.yaml"


def write_folder(
    folder: Path | str,
    weights: RaptorWeights,
    *,
    name: str,
    description: str,
    example_input: Float32Array,
    example_output: Float32Array,
    clipping: ErrorClipping = FLIGHT_CLIPPING,
    max_loop_age_s: float = 0.005,
    onboard_rate_hz: float = 100.0,
) -> PolicyCard:
    """Write weights, ONNX model, recorded example and card; what made them is the caller's to add.

    Args:
        folder: made if absent; files of the same names are replaced.
        weights: the trained arrays.
        name: the policy's name on its card.
        description: one sentence.
        example_input: observations from a reset on, shape (T, B, 22).
        example_output: the actions that every implementation must give for them, (T, B, 4).
        clipping: the largest errors that the policy is meant to see.
        max_loop_age_s: the oldest data with which it still flies, seconds.
        onboard_rate_hz: how often a flight controller evaluates it, Hz.

    Returns:
        The card written.
    """
    from safetensors.numpy import save_file

    from policies.raptor.onnx_backend import onnx_model

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(folder / WEIGHTS_FILE)
    (folder / ONNX_FILE).write_bytes(onnx_model(weights))
    tensors = {
        "input": np.ascontiguousarray(example_input),
        "output": np.ascontiguousarray(example_output),
    }
    save_file(tensors, str(folder / EXAMPLE_FILE))
    card = raptor_card(
        name=name,
        description=description,
        files={file: sha256(folder / file) for file in (WEIGHTS_FILE, ONNX_FILE, EXAMPLE_FILE)},
        hidden_size=weights.hidden_size,
        clipping=clipping,
        max_loop_age_s=max_loop_age_s,
        onboard_rate_hz=onboard_rate_hz,
    )
    (folder / CARD_FILE).write_text(schema.dump(card), encoding="utf-8")
    return card


def record_example(
    weights: RaptorWeights, *, steps: int = 500, sequences: int = 2, seed: int = 0
) -> tuple[Float32Array, Float32Array]:
    """Make an example of random observations, as the authors' checkpoint holds one.

    Args:
        weights: the trained arrays.
        steps: T.
        sequences: B.
        seed: draws the observations, normal with deviation 1.

    Returns:
        Observations (T, B, 22) and actions (T, B, 4), the hidden state starting at its initial value.
    """
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((steps, sequences, OBSERVATION_SIZE), dtype=np.float32)
    backend = NumpyBackend(weights)
    hidden = np.tile(weights.initial_hidden, (sequences, 1))
    outputs = []
    for observation in inputs:
        action, hidden = backend.step(observation, hidden)
        outputs.append(action)
    return inputs, np.stack(outputs)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
