"""From a policy folder to a policy: the method on the card names the class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from policies.card import load_policy_card
from policies.policy import Policy

# Method on the card -> module and class. A class takes (folder, card, **options).
METHODS: dict[str, tuple[str, str]] = {
    "raptor": ("policies.raptor.policy", "RaptorPolicy"),
    "bc": ("policies.bc.policy", "BcPolicy"),
}


def load_policy(folder: Path | str, **options: Any) -> Policy:  # noqa: ANN401
    """Load a policy.

    Args:
        folder: a policy folder: `card.yaml` and the weights that it names.
        options: settings of the method's class (for instance `backend`).

    Returns:
        The policy, weights checked against the card.

    Raises:
        ConfigError: a fault of the card, the weights or the options.
    """
    card = load_policy_card(folder)
    if card.method not in METHODS:
        raise ConfigError(
            f"nobody here can run the method {card.method!r}",
            where=str(folder),
            expected="one of " + ", ".join(METHODS),
            mend="install the plug-in or correct the card",
        )
    module, name = METHODS[card.method]
    policy: Policy = getattr(importlib.import_module(module), name)(Path(folder), card, **options)
    return policy
