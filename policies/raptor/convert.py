"""Convert an rl-tools checkpoint of RAPTOR, as the `foundation-policy` wheel holds it, to a policy folder.

Once for the published policy:

    python -c "from policies.raptor.convert import convert_published; convert_published('FOLDER')"
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardware import schema
from hardware.errors import ConfigError
from policies.card import PolicyCard
from policies.raptor.folder import sha256, write_folder
from policies.raptor.network import Float32Array, RaptorWeights

PACKAGE = "foundation-policy"
# Steps of the recorded example that travel with the policy.
EXAMPLE_STEPS = 500

_ARRAYS = {
    "encoder_weight": "0/weights",
    "encoder_bias": "0/biases",
    "gru_input_weight": "1/weights_input",
    "gru_input_bias": "1/biases_input",
    "gru_hidden_weight": "1/weights_hidden",
    "gru_hidden_bias": "1/biases_hidden",
    "initial_hidden": "1/initial_hidden_state",
    "head_weight": "2/weights",
    "head_bias": "2/biases",
}
_LAYERS = (
    {"type": "dense", "activation_function": "RELU"},
    {"type": "gru"},
    {"type": "dense", "activation_function": "IDENTITY"},
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What an rl-tools checkpoint holds."""

    # The trained arrays.
    weights: RaptorWeights
    # Recorded inputs, (T, B, 22).
    example_input: Float32Array
    # The authors' outputs for them, from a reset on, (T, B, 4).
    example_output: Float32Array
    # The authors' name of the training run.
    run: str
    # The authors' description of the environment and its observation, JSON.
    meta: str
    # SHA-256 of the file.
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """What made a policy folder: `training.yaml`."""

    # The method that trained the policy.
    method: str
    # The command that wrote the folder.
    command: str
    # The package that the weights come from, and its version.
    source_package: str
    source_version: str
    # The file in that package, and its SHA-256.
    source_file: str
    source_sha256: str
    # The authors' name of the training run.
    source_run: str
    # The authors' description of the environment and its observation.
    source_meta: str
    # Licence of the weights and of the recorded example.
    license: str
    # Where the training is described.
    reference: str
    # How many trained numbers there are.
    parameters: int


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read an rl-tools HDF5 checkpoint.

    Args:
        path: the file.

    Returns:
        Its weights and recorded example.

    Raises:
        ConfigError: h5py cannot be loaded, or the file is not a RAPTOR checkpoint.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            f"h5py cannot be loaded ({error})",
            where="RAPTOR conversion",
            expected="the package h5py",
            mend="install the extra reflexarc[policies]",
        ) from error
    where, expected = str(path), "an rl-tools checkpoint of dense, GRU and dense layers with an example"
    try:
        with h5py.File(path, "r") as file:
            layers = file["actor/layers"]
            found = [
                {key: str(layers[name].attrs[key]) for key in kind if key in layers[name].attrs}
                for name, kind in zip(sorted(layers), _LAYERS, strict=True)
            ]
            arrays = {name: layers[f"{key}/parameters"][()] for name, key in _ARRAYS.items()}
            example = np.asarray(file["example/input"][()]), np.asarray(file["example/output"][()])
            run, meta = (str(file["actor"].attrs[key]) for key in ("checkpoint_name", "meta"))
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"cannot be read ({error})", where=where, expected=expected, mend="give the path of checkpoint.h5"
        ) from error
    if found != list(_LAYERS):
        raise ConfigError(
            f"the layers are {found}",
            where=where,
            expected=f"{list(_LAYERS)}",
            mend="give a checkpoint of RAPTOR's architecture",
        )
    for name in ("encoder_bias", "head_bias"):
        arrays[name] = arrays[name].reshape(-1)
    return Checkpoint(
        weights=RaptorWeights(**arrays),
        example_input=example[0].astype(np.float32),
        example_output=example[1].astype(np.float32),
        run=run,
        meta=meta,
        sha256=sha256(Path(path)),
    )


def published_checkpoint() -> Path:
    """Find the checkpoint in the installed `foundation-policy` wheel.

    Returns:
        Its path.

    Raises:
        ConfigError: the wheel is not installed.
    """
    try:
        resource = importlib.resources.files("foundation_policy") / "blob" / "checkpoint.h5"
    except ImportError as error:
        raise ConfigError(
            f"{PACKAGE} cannot be loaded ({error})",
            where="RAPTOR conversion",
            expected=f"the package {PACKAGE}",
            mend="install the extra reflexarc[policies]",
        ) from error
    return Path(str(resource))


def convert_published(folder: Path | str) -> PolicyCard:
    """Write the published policy as a policy folder.

    Args:
        folder: made if absent; files of the same names are replaced.

    Returns:
        The card written.

    Raises:
        ConfigError: the wheel is not installed or holds something else.
    """
    folder = Path(folder)
    checkpoint = read_checkpoint(published_checkpoint())
    card = write_folder(
        folder,
        checkpoint.weights,
        name="raptor-published",
        description="RAPTOR, the published foundation policy for quadrotors, at motor level.",
        example_input=checkpoint.example_input[:EXAMPLE_STEPS],
        example_output=checkpoint.example_output[:EXAMPLE_STEPS],
        onboard_rate_hz=500.0,
    )
    provenance = Provenance(
        method="raptor",
        command=f"{__name__}.convert_published(FOLDER)",
        source_package=PACKAGE,
        source_version=importlib.metadata.version(PACKAGE),
        source_file="foundation_policy/blob/checkpoint.h5",
        source_sha256=checkpoint.sha256,
        source_run=checkpoint.run,
        source_meta=checkpoint.meta,
        license="MIT, Copyright (c) 2025 Jonas Eschmann (see LICENSE in this folder)",
        reference="RAPTOR: A Foundation Policy for Quadrotor Control, arXiv 2509.11481",
        parameters=checkpoint.weights.parameter_count,
    )
    (folder / "training.yaml").write_text(schema.dump(provenance), encoding="utf-8")
    return card
