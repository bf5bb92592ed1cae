"""How LeRobot's feature names and numbers relate to ours: the parameters of a card with method `lerobot`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hardware import schema
from hardware.command import FloatArray
from hardware.errors import ConfigError
from policies.card import PolicyCard

METHOD = "lerobot"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
PREPROCESSOR_FILE = "policy_preprocessor.json"
POSTPROCESSOR_FILE = "policy_postprocessor.json"


@dataclass(frozen=True)
class Feature:
    """One input or output of a LeRobot policy, in our words."""

    # The terms of the card whose elements it holds, one after the other; empty for an image and the action.
    terms: tuple[str, ...] = ()
    # The camera of the robot card that an image comes from; empty for numbers.
    camera: str = ""
    # LeRobot's number is ours (SI) times scale plus offset: one of each an element; empty: the same number.
    # A policy that was trained in degrees has 57.2958 here for every joint.
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a scale of zero and a feature that is both an image and numbers.

        Raises:
            ConfigError: either of them.
        """
        if self.camera and self.terms:
            raise ConfigError(
                f"the camera {self.camera!r} and the terms {', '.join(self.terms)}",
                where="feature",
                expected="either a camera or terms",
                mend="take one of them away",
            )
        if 0.0 in self.scale:
            raise ConfigError(
                "a scale of 0", where="feature", expected="a number from which ours can be had back",
                mend="correct scale",
            )  # fmt: skip

    def to_lerobot(self, values: FloatArray) -> FloatArray:
        """Turn our numbers, (..., D), into LeRobot's."""
        scaled = values * np.asarray(self.scale) if self.scale else values
        return scaled + np.asarray(self.offset) if self.offset else scaled

    def from_lerobot(self, values: FloatArray) -> FloatArray:
        """Turn LeRobot's numbers, (..., D), into ours."""
        moved = values - np.asarray(self.offset) if self.offset else values
        return moved / np.asarray(self.scale) if self.scale else moved


@dataclass(frozen=True)
class LeRobotParameters:
    """`parameters` of a policy card with method `lerobot`."""

    # LeRobot's name of each input, and what of ours it holds.
    features: Mapping[str, Feature]
    # How the numbers of the action relate to ours.
    action: Feature = field(default_factory=Feature)
    # The instruction that a language-conditioned policy is given where nobody gives another one.
    task: str = ""


def parameters_of(card: PolicyCard) -> LeRobotParameters:
    """Read the parameters of a card.

    Args:
        card: a card with method `lerobot`.

    Returns:
        The parameters, checked against the card's own terms.

    Raises:
        ConfigError: a parameter is unknown or of the wrong type, or a feature names a term that the card
            has not.
    """
    where = f"policy card {card.name!r}: parameters"
    parameters = schema.parse(LeRobotParameters, dict(card.parameters), where=where)
    for name, feature in parameters.features.items():
        absent = [term for term in feature.terms if term not in card.observation]
        if absent:
            raise ConfigError(
                f"the feature {name!r} holds the terms {', '.join(absent)}",
                where=where,
                expected="terms of the card: " + (", ".join(card.observation) or "it has none"),
                mend="add them to the card's observation or correct the feature",
            )
    return parameters
