"""RAPTOR's weights in the formats of others: the archive that PX4's own module loads, and plain arrays.

The archive is what rl-tools' `tar` back end writes and reads (its version of November 2025 and later,
which PX4's `mc_raptor` brings): a UStar file in which every tensor is an entry `data`, raw little-endian
float32, and an entry `meta`, lines of `key: value`. PX4 reads `<storage>/raptor/policy.tar` when the
module starts, compares the shapes with those it was compiled for and runs the first five steps of both
sequences of the example.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hardware.errors import ConfigError
from policies.raptor.export_c import PolicyFolder, read_policy
from policies.raptor.network import Float32Array, RaptorWeights

# Where each array lies under `actor/layers` of an rl-tools checkpoint.
TENSOR_NAMES = {
    "encoder_weight": "0/weights/parameters",
    "encoder_bias": "0/biases/parameters",
    "gru_input_weight": "1/weights_input/parameters",
    "gru_hidden_weight": "1/weights_hidden/parameters",
    "gru_input_bias": "1/biases_input/parameters",
    "gru_hidden_bias": "1/biases_hidden/parameters",
    "initial_hidden": "1/initial_hidden_state/parameters",
    "head_weight": "2/weights/parameters",
    "head_bias": "2/biases/parameters",
}
_LAYERS = (
    {"activation_function": "RELU", "type": "dense"},
    {"type": "gru"},
    {"activation_function": "IDENTITY", "type": "dense"},
)
# What PX4's module was compiled for: its reader has no other sizes.
PX4_HIDDEN_SIZE = 16
PX4_SEQUENCES = 2
PX4_STEPS = 5
# PX4 reads a tensor's description into 100 bytes, the actor's into 256, and a name into 100.
_META_BYTES, _ACTOR_META_BYTES, _NAME_BYTES = 99, 255, 99


def tensors(weights: RaptorWeights) -> dict[str, Float32Array]:
    """Name and shape the arrays as an rl-tools checkpoint has them.

    Args:
        weights: the trained arrays.

    Returns:
        Path under `actor/layers` to array, float32; the biases of dense layers are rows, (1, n).
    """
    arrays = weights.as_mapping()
    return {
        path: arrays[name][None] if name in ("encoder_bias", "head_bias") else arrays[name]
        for name, path in TENSOR_NAMES.items()
    }


def export_numpy(policy: Path | str, out: Path | str) -> Path:
    """Write the weights as an npz file, under the names of an rl-tools checkpoint below `actor/layers`.

    Args:
        policy: the policy folder.
        out: the file; its folder is made if absent.

    Returns:
        The file.

    Raises:
        ConfigError: the folder is not a sound RAPTOR policy.
    """
    folder, out = read_policy(policy), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:
        # Into an open file, because np.savez appends its suffix to a name.
        np.savez(file, allow_pickle=False, **tensors(folder.weights))
    return out


def export_px4(policy: Path | str, out: Path | str) -> Path:
    """Write the archive that PX4's RAPTOR mode loads: `<storage>/raptor/policy.tar` on the vehicle.

    Args:
        policy: the policy folder.
        out: the file; its folder is made if absent.

    Returns:
        The file. The same policy gives the same bytes.

    Raises:
        ConfigError: the folder is not a sound RAPTOR policy, or PX4's module was compiled for another size.
    """
    folder, out = read_policy(policy), Path(out)
    _check_px4(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in _entries(folder):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out


def _check_px4(folder: PolicyFolder) -> None:
    sizes = (len(folder.weights.encoder_bias), folder.weights.hidden_size)
    steps, sequences = folder.example_input.shape[:2]
    problems = []
    if sizes != (PX4_HIDDEN_SIZE, PX4_HIDDEN_SIZE):
        problems.append(f"layers of {sizes[0]} and {sizes[1]}")
    if sequences < PX4_SEQUENCES or steps < PX4_STEPS:
        problems.append(f"an example of {steps} steps and {sequences} sequence(s)")
    if problems:
        raise ConfigError(
            f"the policy has {' and '.join(problems)}",
            where=f"policy {folder.card.name!r}",
            expected=f"layers of {PX4_HIDDEN_SIZE} and an example of at least {PX4_STEPS} steps and "
            f"{PX4_SEQUENCES} sequences, which PX4's module was compiled for",
            mend="train the published architecture, or compile PX4's module for yours",
        )


def _entries(folder: PolicyFolder) -> Iterator[tuple[str, bytes]]:
    name = f"{folder.card.name} {folder.card.files['model.safetensors']}"[:_NAME_BYTES]
    # Since November 2025 the biases of rl-tools' dense layers have one dimension; its HDF5 files are older.
    arrays = {path: folder.weights.as_mapping()[field] for field, path in TENSOR_NAMES.items()}
    for index, attributes in enumerate(_LAYERS):
        for path, array in arrays.items():
            if path.startswith(f"{index}/"):
                yield from _tensor(f"actor/layers/{path}", array)
        yield f"actor/layers/{index}/meta", _lines(attributes, _META_BYTES)
    yield "actor/meta", _lines({"type": "sequential", "checkpoint_name": name}, _ACTOR_META_BYTES)
    # The reader finds its way through the example by the strides of exactly two sequences.
    for path, array in (("input", folder.example_input), ("output", folder.example_output)):
        yield from _tensor(f"example/{path}", array[:, :PX4_SEQUENCES])


def _tensor(path: str, array: Float32Array) -> Iterator[tuple[str, bytes]]:
    attributes = {"type": "tensor", "dtype": "float32", "num_dims": str(array.ndim)}
    attributes |= {f"dim_{axis}": str(size) for axis, size in enumerate(array.shape)}
    yield f"{path}/meta", _lines(attributes, _META_BYTES)
    yield f"{path}/data", np.ascontiguousarray(array, "<f4").tobytes()


def _lines(attributes: dict[str, str], largest: int) -> bytes:
    text = "".join(f"{key}: {value}\n" for key, value in attributes.items()).encode()
    assert len(text) <= largest
    return text
