"""What a policy is asked for: values of the robot's terms, by name and unit, checked against its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware.command import FloatArray
from hardware.errors import ConfigError
from policies.card import GOAL_PREFIX, PolicyCard, PolicyTerm, measured


@dataclass(frozen=True)
class GoalTerm:
    """What one of the robot's terms is to become."""

    # Every element of the term, by its name on the policy card.
    values: Mapping[str, float]
    # Their unit.
    unit: str


def goal_values(card: PolicyCard, goal: Mapping[str, GoalTerm], *, where: str) -> dict[str, FloatArray]:
    """Turn a goal into observation terms.

    Args:
        card: of the policy that is asked.
        goal: by the name of the robot's term.
        where: the goal's file, for the error.

    Returns:
        By the name on the card (`goal/NAME`), the elements in the card's order.

    Raises:
        ConfigError: a term of the goal is missing, or the policy cannot be asked for it; other elements,
            another unit, or a number that is not finite.
    """
    wanted = {measured(n): term for n, term in card.observation.items() if n.startswith(GOAL_PREFIX)}
    missing = [name for name in wanted if name not in goal]
    unknown = [name for name in goal if name not in wanted]
    if missing or unknown:
        raise ConfigError(
            f"no goal for {', '.join(missing)}" if missing else f"a goal for {', '.join(unknown)}",
            where=where,
            expected=f"a goal for {', '.join(wanted)}, which the policy {card.name!r} is asked for"
            if wanted
            else f"none: the policy {card.name!r} has no goal on its card",
            mend=f"write goal: {{{missing[0]}: {_form(wanted[missing[0]])}}} into the controller file"
            if missing
            else "leave it out, or train a policy with --goal " + " ".join(unknown),
        )
    for name, term in wanted.items():
        given = goal[name]
        values = [given.values.get(element, np.nan) for element in term.names]
        fits = set(given.values) == set(term.names) and given.unit == term.unit
        if not (fits and np.isfinite(values).all()):
            raise ConfigError(
                f"the goal for {name} is {dict(given.values)} in {given.unit!r}",
                where=where,
                expected=f"{_form(term)} with finite numbers",
                mend="name every element and the unit of the policy card",
            )
    return {
        GOAL_PREFIX + name: np.array([goal[name].values[element] for element in term.names])
        for name, term in wanted.items()
    }


def _form(term: PolicyTerm) -> str:
    return f"{{values: {{{', '.join(f'{name}: …' for name in term.names)}}}, unit: {term.unit}}}"
