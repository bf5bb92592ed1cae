"""The network of behaviour cloning: its weights with all normalisation inside, and the NumPy back end.

An observation vector goes through four stages, all of them part of the weights file:

1. features: the plain numbers, and for every quaternion the ten products of its components (the same
   for q and -q, and linear in them lies the rotation matrix);
2. normalisation to zero mean and unit deviation over the demonstrations;
3. dense layers with ReLU in between, the last one linear;
4. back to the unit of the robot, as an offset from where the robot stood when it was observed, or
   from zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError
from policies.demonstrations.layout import Float32Array, IndexArray, features

_MEND = "train the policy again with policies.bc.train"


@dataclass(frozen=True, eq=False)
class BcWeights:
    """Every array of the network, read-only. O observation numbers, F features, T steps, D elements."""

    # Which observation numbers are features as they are, (P,).
    plain: IndexArray
    # Pairs of observation numbers whose products are the other features, (2, Q); F = P + Q.
    pairs: IndexArray
    # What is subtracted from the features, and what they are divided by, (F,).
    feature_mean: Float32Array
    feature_scale: Float32Array
    # Dense layers from the features to the T * D outputs: weights (outputs, inputs) and biases.
    weights: tuple[Float32Array, ...]
    biases: tuple[Float32Array, ...]
    # What the outputs are multiplied by, and what is added, (T, D).
    action_scale: Float32Array
    action_mean: Float32Array
    # The observation number that each action element is an offset from, (D,); -1: from zero.
    base: IndexArray
    # How many numbers an observation has.
    observation_size: int

    def __post_init__(self) -> None:
        """Copy every array as read-only and check it.

        Raises:
            ConfigError: a shape that does not fit the others, or a number that is not finite.
        """
        for name in ("plain", "pairs", "base"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.int64))
        for name in ("feature_mean", "feature_scale", "action_scale", "action_mean"):
            object.__setattr__(self, name, _frozen(getattr(self, name), np.float32))
        for name in ("weights", "biases"):
            object.__setattr__(self, name, tuple(_frozen(array, np.float32) for array in getattr(self, name)))
        sizes = [self.feature_size, *(len(bias) for bias in self.biases)]
        expected: dict[str, tuple[int, ...]] = {
            "feature_mean": (self.feature_size,),
            "feature_scale": (self.feature_size,),
            "action_mean": (self.horizon, self.action_size),
            "base": (self.action_size,),
        }
        found: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in expected}
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            expected[f"layer {index}"] = (outputs, inputs)
            found[f"layer {index}"] = self.weights[index]
        expected["the last bias"] = (self.horizon * self.action_size,)
        found["the last bias"] = self.biases[-1]
        for name, shape in expected.items():
            if found[name].shape != shape:
                raise ConfigError(
                    f"{name} has shape {found[name].shape}",
                    where="weights of behaviour cloning",
                    expected=f"{shape}, as the other arrays imply",
                    mend=_MEND,
                )
        for name, array in self.as_mapping().items():
            if not np.isfinite(array).all():
                raise ConfigError(
                    f"{name} holds numbers that are not finite",
                    where="weights of behaviour cloning",
                    expected="finite numbers",
                    mend=_MEND,
                )

    @property
    def feature_size(self) -> int:
        """How many features there are, F."""
        return len(self.plain) + self.pairs.shape[1]

    @property
    def horizon(self) -> int:
        """How many steps a chunk has, T."""
        return int(self.action_scale.shape[0])

    @property
    def action_size(self) -> int:
        """How many elements a step has, D."""
        return int(self.action_scale.shape[1])

    @property
    def parameter_count(self) -> int:
        """How many trained numbers there are."""
        return sum(array.size for array in (*self.weights, *self.biases))

    def as_mapping(self) -> dict[str, NDArray[np.generic]]:
        """Name every array, as in the weights file."""
        arrays: dict[str, NDArray[np.generic]] = {
            name: getattr(self, name)
            for name in (
                "plain",
                "pairs",
                "feature_mean",
                "feature_scale",
                "action_scale",
                "action_mean",
                "base",
            )
        }
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays[f"layers.{index}.weight"], arrays[f"layers.{index}.bias"] = weight, bias
        arrays["observation_size"] = np.array([self.observation_size], np.int64)
        return arrays

    def save(self, path: Path | str) -> None:
        """Write the arrays as safetensors.

        Args:
            path: the file.
        """
        from safetensors.numpy import save_file

        save_file(self.as_mapping(), str(path))

    @classmethod
    def load(cls, path: Path | str) -> BcWeights:
        """Read arrays that `save` wrote.

        Args:
            path: the safetensors file.

        Returns:
            The weights.

        Raises:
            ConfigError: the file is missing, is not safetensors, or holds other arrays.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays: dict[str, NDArray[np.generic]] = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"cannot be read as safetensors ({error})",
                where=str(path),
                expected="a safetensors file",
                mend="copy the policy folder again, or " + _MEND,
            ) from error
        return cls._from_mapping(arrays, where=str(path))

    @classmethod
    def _from_mapping(cls, arrays: Mapping[str, NDArray[np.generic]], *, where: str) -> BcWeights:
        layers = sum(1 for name in arrays if name.startswith("layers.") and name.endswith(".weight"))
        names = [
            *("plain", "pairs", "feature_mean", "feature_scale", "action_scale", "action_mean", "base"),
            *(f"layers.{index}.{part}" for index in range(layers) for part in ("weight", "bias")),
            "observation_size",
        ]
        if not layers or sorted(arrays) != sorted(names):
            raise ConfigError(
                f"the arrays {', '.join(sorted(arrays)) or 'none'}",
                where=where,
                expected=", ".join(names),
                mend=_MEND,
            )
        simple = {name: arrays[name] for name in names[:7]}
        return cls(
            **simple,  # type: ignore[arg-type]
            weights=tuple(arrays[f"layers.{index}.weight"] for index in range(layers)),  # type: ignore[misc]
            biases=tuple(arrays[f"layers.{index}.bias"] for index in range(layers)),  # type: ignore[misc]
            observation_size=int(arrays["observation_size"].item()),
        )


class Backend(Protocol):
    """The network, run by one library."""

    # The name by which the back end is chosen.
    name: str

    def evaluate(self, observation: Float32Array) -> Float32Array:
        """Answer one observation.

        Args:
            observation: shape (O,), float32, units of the robot card.

        Returns:
            Shape (T, D), in the unit of the action; the caller's to keep.
        """
        ...


class NumpyBackend:
    """The network in NumPy.

    Args:
        weights: the network's arrays.
    """

    name = "numpy"

    def __init__(self, weights: BcWeights) -> None:
        """Keep the weights in the order that a product of one row wants."""
        self._weights = weights
        self._inverse_scale = (1.0 / weights.feature_scale).astype(np.float32)
        self._is_relative = (weights.base >= 0).astype(np.float32)

    def evaluate(self, observation: Float32Array) -> Float32Array:
        """Answer one observation; see `Backend.evaluate`."""
        weights = self._weights
        x = (features(observation, weights.plain, weights.pairs) - weights.feature_mean) * self._inverse_scale
        last = len(weights.weights) - 1
        for index, (weight, bias) in enumerate(zip(weights.weights, weights.biases, strict=True)):
            x = weight @ x + bias
            if index < last:
                np.maximum(x, 0.0, out=x)
        offsets: Float32Array = x.reshape(weights.action_scale.shape) * weights.action_scale
        offsets += weights.action_mean
        # Index -1 reads a number that the factor 0 removes.
        offsets += observation[weights.base] * self._is_relative
        return offsets


def _frozen[Number: np.generic](array: NDArray[np.generic], kind: type[Number]) -> NDArray[Number]:
    copy = np.array(array, dtype=kind, order="C")
    copy.setflags(write=False)
    return copy
