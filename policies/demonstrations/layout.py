"""How named terms become the observation vector of a network, and which features it sees of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.command import FloatArray
from hardware.errors import ConfigError
from hardware.robot import RobotCard
from policies.card import GOAL_PREFIX, PolicyTerm

Float32Array = NDArray[np.float32]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """How named terms become the observation vector, in the order of the policy card."""

    # The terms by name.
    terms: Mapping[str, PolicyTerm]

    @classmethod
    def of(cls, robot: RobotCard, terms: Sequence[str], *, goal: Sequence[str] = ()) -> Layout:
        """Take terms as a robot measures them.

        Args:
            robot: the robot's card.
            terms: names of its terms, in the order of the vector.
            goal: names of those that a policy can be asked for, as `goal/NAME` behind the others.

        Returns:
            The layout.

        Raises:
            ConfigError: the robot does not measure one of them.
        """
        for term in (*terms, *goal):
            if term not in robot.observations:
                raise ConfigError(
                    f"the robot does not measure {term!r}",
                    where=f"robot card {robot.name!r}",
                    expected="some of " + ", ".join(robot.observations),
                    mend="correct observation or goal of the training config",
                )
        specs = {term: robot.observations[term] for term in terms}
        specs |= {GOAL_PREFIX + term: robot.observations[term] for term in goal}
        return cls({name: PolicyTerm(s.names, s.unit, s.frame) for name, s in specs.items()})

    @property
    def size(self) -> int:
        """Length of the vector, O."""
        return sum(len(term.names) for term in self.terms.values())

    def vector(self, values: Mapping[str, FloatArray]) -> Float32Array:
        """Join the terms.

        Args:
            values: arrays by term name, (..., len(term.names)).

        Returns:
            Shape (..., O).

        Raises:
            KeyError: a term is missing.
        """
        return np.concatenate([values[name] for name in self.terms], axis=-1).astype(np.float32)

    def indices(self, term: str, names: Sequence[str]) -> IndexArray:
        """Find elements of a term in the vector.

        Args:
            term: its name; empty: nowhere.
            names: the elements.

        Returns:
            One index a name; -1 where the term has no such element.
        """
        start = 0
        for name, spec in self.terms.items():
            if name == term:
                found = {element: start + index for index, element in enumerate(spec.names)}
                return np.array([found.get(element, -1) for element in names], np.int64)
            start += len(spec.names)
        return np.full(len(names), -1, np.int64)

    @property
    def goal(self) -> IndexArray:
        """The numbers of the vector that say what is asked for, (G,)."""
        goals = [np.full(len(term.names), name.startswith(GOAL_PREFIX)) for name, term in self.terms.items()]
        return np.flatnonzero(np.concatenate(goals))

    def features(self) -> tuple[IndexArray, IndexArray]:
        """Say which features the vector has; see `features` for what they are.

        Returns:
            `plain`, (P,), and `pairs`, (2, Q).
        """
        plain: list[int] = []
        pairs: list[tuple[int, int]] = []
        start = 0
        for term in self.terms.values():
            numbers = range(start, start + len(term.names))
            if term.unit == "quaternion":
                pairs.extend(itertools.combinations_with_replacement(numbers, 2))
            else:
                plain.extend(numbers)
            start += len(term.names)
        return np.array(plain, np.int64), np.array(pairs, np.int64).reshape(-1, 2).T


def features(observation: Float32Array, plain: IndexArray, pairs: IndexArray) -> Float32Array:
    """Compute the features: the plain numbers, and for every quaternion the products of its components.

    The ten products are the same for q and -q, and linear in them lies the rotation matrix.

    Args:
        observation: shape (..., O).
        plain: the numbers that are features as they are, (P,).
        pairs: the numbers whose products are the other features, (2, Q).

    Returns:
        Shape (..., P + Q).
    """
    products = observation[..., pairs[0]] * observation[..., pairs[1]]
    return np.concatenate([observation[..., plain], products], axis=-1)
