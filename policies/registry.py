"""From a policy folder to a policy: the method on the card names the class."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from hardware import schema
from hardware.errors import ConfigError
from policies.card import PolicyCard
from policies.policy import Policy

# Method on the card -> module, class and the dataclass of its options. A class has
# `load(folder, options)`, which checks the weights against the card.
METHODS: dict[str, tuple[str, str, str]] = {
    "raptor": ("policies.raptor.policy", "RaptorPolicy", "RaptorOptions"),
    "tracking": ("policies.tracking.policy", "TrackingPolicy", "TrackingOptions"),
    "bc": ("policies.bc.policy", "BcPolicy", "BcOptions"),
    "diffusion": ("policies.diffusion.policy", "DiffusionPolicy", "DiffusionOptions"),
    "expert": ("policies.expert.policy", "ExpertPolicy", "ExpertOptions"),
    "lerobot": ("policies.lerobot.policy", "LeRobotPolicy", "LeRobotOptions"),
    "reference": ("policies.reference.policy", "ReferencePolicy", "ReferenceOptions"),
}


def is_url(name: Path | str) -> bool:
    """Whether a policy's name is the address of a policy server (`policies.runtime.remote`)."""
    return str(name).startswith(("ws://", "wss://"))


def load_policy(folder: Path | str, *, rate_hz: float | None = None, **options: Any) -> Policy:  # noqa: ANN401
    """Load a policy.

    Args:
        folder: a policy folder: `card.yaml` and the weights that it names; or the address of a policy
            server, `wss://host:port`.
        rate_hz: how often it will be asked, for methods that can be asked at any rate; None: as on
            the card.
        options: settings of the method's class (for instance `backend`).

    Returns:
        The policy, weights checked against the card.

    Raises:
        ConfigError: a fault of the card, the weights or the options, or a server that cannot be reached.
    """
    if is_url(folder):
        from policies.runtime.remote import RemoteOptions, RemotePolicy

        return RemotePolicy(
            str(folder), schema.parse(RemoteOptions, options, where=f"options of {str(folder)!r}")
        )
    card = schema.load(PolicyCard, Path(folder) / "card.yaml")
    if card.method not in METHODS:
        raise ConfigError(
            f"nobody here can run the method {card.method!r}",
            where=str(folder),
            expected="one of " + ", ".join(METHODS),
            mend="install the plug-in or correct the card",
        )
    module_name, name, options_name = METHODS[card.method]
    module = importlib.import_module(module_name)
    options_class = getattr(module, options_name)
    if rate_hz is not None and any(f.name == "rate_hz" for f in fields(options_class)):
        options["rate_hz"] = rate_hz
    parsed = schema.parse(options_class, options, where=f"options of {card.name!r}")
    policy: Policy = getattr(module, name).load(Path(folder), parsed)
    return policy
