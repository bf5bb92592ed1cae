"""RAPTOR as two C99 files for flight controllers, with a test and a timing harness beside them.

The code is `policies/raptor/onboard/policy/*.c` and `*.h`; what a policy brings (sizes, weights, recorded
steps, provenance) is written in place of the lines marked `@GENERATED NAME@`. Floats are hexadecimal, so
that no compiler rounds them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from hardware.errors import ConfigError
from policies.card import PolicyCard, load_policy_card
from policies.raptor.backends import EXAMPLE_FILE, EXAMPLE_TOLERANCE, WEIGHTS_FILE, self_test
from policies.raptor.contract import card_clipping, card_onboard_rate_hz, check_card
from policies.raptor.network import (
    ACTION_SIZE,
    OBSERVATION_SIZE,
    Float32Array,
    NumpyBackend,
    RaptorWeights,
    load_tensors,
)

# The sources that are filled in.
TEMPLATES = Path(__file__).parent / "onboard" / "policy"
# What goes onto a flight controller, and what proves and measures it.
SOURCES = ("raptor_policy.h", "raptor_policy.c")
HARNESS = ("raptor_test.c", "raptor_timing.c")
# Steps of hover and of the example that the policy carries for its self-test.
SELF_TEST_STEPS = 5

_ARRAYS = {
    "encoder_weight": "[RAPTOR_ENCODER_SIZE][RAPTOR_OBSERVATION_SIZE]",
    "encoder_bias": "[RAPTOR_ENCODER_SIZE]",
    "gru_input_weight": "[3 * RAPTOR_HIDDEN_SIZE][RAPTOR_ENCODER_SIZE]",
    "gru_input_bias": "[3 * RAPTOR_HIDDEN_SIZE]",
    "gru_hidden_weight": "[3 * RAPTOR_HIDDEN_SIZE][RAPTOR_HIDDEN_SIZE]",
    "gru_hidden_bias": "[3 * RAPTOR_HIDDEN_SIZE]",
    "initial_hidden": "[RAPTOR_HIDDEN_SIZE]",
    "head_weight": "[RAPTOR_ACTION_SIZE][RAPTOR_HIDDEN_SIZE]",
    "head_bias": "[RAPTOR_ACTION_SIZE]",
}


@dataclass(frozen=True, eq=False)
class PolicyFolder:
    """What an export needs of a RAPTOR policy folder, checked."""

    # Its card.
    card: PolicyCard
    # The trained arrays.
    weights: RaptorWeights
    # Recorded inputs, (T, B, 22).
    example_input: Float32Array
    # The actions recorded for them, from a reset on and not clamped, (T, B, 4).
    example_output: Float32Array
    # What the weights were made from, for the record: words and SHA-256.
    provenance: dict[str, str]


def read_policy(folder: Path | str) -> PolicyFolder:
    """Read a policy folder and prove that its weights compute its example.

    Args:
        folder: holds `card.yaml`, `model.safetensors` and `example.safetensors`.

    Returns:
        What an export needs.

    Raises:
        ConfigError: a file is missing or spoilt, or the weights do not compute the example.
        ConfigErrors: it is no RAPTOR policy.
    """
    folder = Path(folder)
    card = load_policy_card(folder)
    weights = RaptorWeights.load(folder / WEIGHTS_FILE)
    check_card(card, weights.hidden_size)
    self_test(NumpyBackend(weights), weights, folder / EXAMPLE_FILE)
    example = load_tensors(folder / EXAMPLE_FILE)
    if len(example["input"]) < SELF_TEST_STEPS:
        raise ConfigError(
            f"the example has {len(example['input'])} steps",
            where=str(folder / EXAMPLE_FILE),
            expected=f"{SELF_TEST_STEPS} or more",
            mend="record a longer one",
        )
    provenance = {"policy": card.name, WEIGHTS_FILE: f"SHA-256 {card.files[WEIGHTS_FILE]}"}
    training = folder / "training.yaml"
    made = yaml.safe_load(training.read_text(encoding="utf-8")) if training.is_file() else {}
    if {"source_file", "source_sha256"} <= set(made):
        provenance[Path(made["source_file"]).name] = f"SHA-256 {made['source_sha256']}"
    if "license" in made:
        provenance["weights' licence"] = str(made["license"])
    return PolicyFolder(card, weights, example["input"], example["output"], provenance)


def export_c(policy: Path | str, out: Path | str) -> dict[str, Path]:
    """Write a policy as C99.

    Args:
        policy: the policy folder.
        out: where to; made if absent, files of the same names are replaced.

    Returns:
        The files by name: `SOURCES` are what flies, `HARNESS` test and measure it; and the licence of
        the weights, where the folder has one.

    Raises:
        ConfigError: the folder is not a sound RAPTOR policy, or its layers have an odd size.
    """
    folder, out = read_policy(policy), Path(out)
    sizes = (len(folder.weights.encoder_bias), folder.weights.hidden_size)
    if sizes[0] % 4 or sizes[1] % 4:
        raise ConfigError(
            f"the policy has layers of {sizes[0]} and {sizes[1]}",
            where=f"policy {folder.card.name!r}",
            expected="multiples of 4, because the C code computes four rows at a time",
            mend="train a network of such a size",
        )
    sections = _sections(folder)
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name in (*SOURCES, *HARNESS):
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        for section, generated in sections.items():
            text = text.replace(f"/* @GENERATED {section}@ */", generated)
        text = text.replace(" * @GENERATED provenance@", _comment(folder.provenance))
        written[name] = out / name
        written[name].write_text(text, encoding="utf-8")
    if (Path(policy) / "LICENSE").is_file():
        written["LICENSE"] = Path(shutil.copyfile(Path(policy) / "LICENSE", out / "LICENSE"))
    return written


def hover_actions(weights: RaptorWeights, steps: int = SELF_TEST_STEPS) -> Float32Array:
    """Compute the first actions of a vehicle at rest at its reference, in double precision.

    Args:
        weights: the trained arrays.
        steps: how many.

    Returns:
        Shape (steps, 4), not clamped; the previous action in the observation is held at zero.
    """
    w = {name: array.astype(np.float64) for name, array in weights.as_mapping().items()}
    observation = np.zeros(OBSERVATION_SIZE)
    observation[[3, 7, 11]] = 1.0
    encoded = np.maximum(w["encoder_weight"] @ observation + w["encoder_bias"], 0.0)
    from_input = np.split(w["gru_input_weight"] @ encoded + w["gru_input_bias"], 3)
    hidden, actions = w["initial_hidden"], np.empty((steps, ACTION_SIZE))
    for step in range(steps):
        from_hidden = np.split(w["gru_hidden_weight"] @ hidden + w["gru_hidden_bias"], 3)
        reset, update = (1.0 / (1.0 + np.exp(-(from_input[i] + from_hidden[i]))) for i in (0, 1))
        candidate = np.tanh(from_input[2] + reset * from_hidden[2])
        hidden = update * hidden + (1.0 - update) * candidate
        actions[step] = w["head_weight"] @ hidden + w["head_bias"]
    return actions.astype(np.float32)


def _sections(folder: PolicyFolder) -> dict[str, str]:
    weights, clipping = folder.weights, card_clipping(folder.card)
    hover = hover_actions(weights)
    sizes = {
        "OBSERVATION_SIZE": OBSERVATION_SIZE,
        "ACTION_SIZE": ACTION_SIZE,
        "ENCODER_SIZE": len(weights.encoder_bias),
        "HIDDEN_SIZE": weights.hidden_size,
    }
    lines = [f"#define RAPTOR_{name} {size}" for name, size in sizes.items()]
    lines += [
        "/* The largest errors that the policy gets to see, per axis of the yaw frame. */",
        f"#define RAPTOR_CLIP_POSITION_M {np.float32(clipping.position_m)!s}f",
        f"#define RAPTOR_CLIP_VELOCITY_M_S {np.float32(clipping.velocity_m_s)!s}f",
        "/* How often to evaluate the policy, at most: with which it flies steadily. */",
        f"#define RAPTOR_RATE_HZ {card_onboard_rate_hz(folder.card)}",
        "/* Which policy this is. */",
        f'#define RAPTOR_POLICY_NAME "{folder.card.name}"',
        f'#define RAPTOR_POLICY_SHA256 "{folder.card.files[WEIGHTS_FILE]}"',
    ]
    tables = [
        f"static const float {name}{_ARRAYS[name]} = {_literal(array)};"
        for name, array in weights.as_mapping().items()
    ]
    few = SELF_TEST_STEPS
    tables += [
        f"#define SELF_TEST_STEPS {few}u",
        f"static const float hover_action[SELF_TEST_STEPS][RAPTOR_ACTION_SIZE] = {_literal(hover)};",
        "static const float example_observation[SELF_TEST_STEPS][RAPTOR_OBSERVATION_SIZE] = "
        f"{_literal(folder.example_input[:few, 0])};",
        "static const float example_action[SELF_TEST_STEPS][RAPTOR_ACTION_SIZE] = "
        f"{_literal(folder.example_output[:few, 0])};",
    ]
    steps, sequences = folder.example_input.shape[:2]
    shape = "[EXAMPLE_STEPS][EXAMPLE_SEQUENCES]"
    example = [
        f"#define EXAMPLE_STEPS {steps}u",
        f"#define EXAMPLE_SEQUENCES {sequences}u",
        f"static const float example_input{shape}[RAPTOR_OBSERVATION_SIZE] = "
        f"{_literal(folder.example_input)};",
        f"static const float example_output{shape}[RAPTOR_ACTION_SIZE] = {_literal(folder.example_output)};",
        f"static const float hover_output[5][RAPTOR_ACTION_SIZE] = {_literal(hover_actions(weights, 5))};",
    ]
    return {"sizes": "\n".join(lines), "tables": "\n".join(tables), "example": "\n".join(example)}


def _comment(provenance: dict[str, str]) -> str:
    """The record as lines of a comment, which nothing in it can end."""
    words = (f"{name}: {text}".replace("*/", "* /").replace("\n", " ") for name, text in provenance.items())
    lines = [f" * Written by `reflexarc export c`; recorded steps agree to {EXAMPLE_TOLERANCE:.0e}."]
    return "\n".join([*lines, *(f" *   {line}" for line in words)])


def _number(value: float) -> str:
    """A float32 as a hexadecimal C99 literal without trailing zeros."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}f"


def _literal(array: Float32Array, indent: str = "    ") -> str:
    """A nested initialiser, lines no longer than about a hundred characters."""
    if array.ndim > 1:
        rows = (_literal(row, indent + "    ") for row in array)
        return "{\n" + ",\n".join(f"{indent}{row}" for row in rows) + "}"
    return "{" + f",\n{indent}".join(_wrapped(_number(value) for value in array)) + "}"


def _wrapped(words: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < 96:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
