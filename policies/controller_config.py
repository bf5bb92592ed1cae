"""The file of a controller: which base policy, with which options, and how its chunks are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardware import schema
from hardware.chunk import Interpolation
from hardware.errors import ConfigError
from policies.card import PolicyCard, load_policy_card
from policies.goal import GoalTerm
from policies.policy import Policy
from policies.registry import is_url, load_policy

CONTROLLER_SCHEMA = "reflexarc/controller/1"
# In a policy folder: how its chunks are to be carried out.
CONTROLLER_FILE = "controller.yaml"


@dataclass(frozen=True)
class ScheduleConfig:
    """How chunks become the action of the moment."""

    # Cross-fade from an old chunk to a new one, seconds.
    blend_s: float = 0.0
    # What to give between two steps.
    interpolation: Interpolation = Interpolation.HOLD
    # Whether the policy is told the steps that will be carried out while it thinks, so that a policy
    # that can (diffusion: by in-painting) goes on from them.
    inpaint: bool = True


@dataclass(frozen=True)
class ControllerConfig:
    """The YAML file of a controller."""

    # The version of this format.
    schema: str
    # The base policy's folder, relative to the file; or the address of a policy server, wss://host:port.
    base: str
    # Settings of the base policy's loader (back end, clipping; files relative to this one).
    options: Mapping[str, Any] = field(default_factory=dict)
    # What the base policy is asked for, by the robot's terms; needed where its card has goal terms.
    goal: Mapping[str, GoalTerm] = field(default_factory=dict)
    # What is to be done, in words, for a base that understands them; empty: as its card says.
    instruction: str = ""
    # The schedule.
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


def base_card(path: Path | str) -> PolicyCard:
    """Find the card of the base policy of a controller file, or of a policy folder, which is its own.

    Args:
        path: a controller file or a policy folder.

    Returns:
        The card; that of a policy server is fetched from there.

    Raises:
        ConfigError: a file has faults, or the server cannot be reached.
    """
    path = controller_file(path)
    if path.is_dir():
        return load_policy_card(path)
    base, options = find_base(load_config(path), path.parent)
    if not is_url(base):
        return load_policy_card(base)
    policy = load_policy(base, **options)
    try:
        return policy.card
    finally:
        close_policy(policy)


def close_policy(policy: Policy) -> None:
    """Let a policy go that holds something open (a connection); others need nothing."""
    close = getattr(policy, "close", None)
    if close is not None:
        close()


def controller_file(path: Path | str) -> Path:
    """The controller file in a policy folder, where it has one; else the path itself."""
    path = Path(path)
    return path / CONTROLLER_FILE if (path / CONTROLLER_FILE).exists() else path


def find_base(config: ControllerConfig, folder: Path) -> tuple[Path | str, dict[str, Any]]:
    """Find the base and the options of its loader, with paths as seen from here.

    Args:
        config: the controller file.
        folder: where it lies.

    Returns:
        The policy's folder or its server's address, and the options.
    """
    options = {
        name: str(folder / value) if name.endswith("_file") and isinstance(value, str) else value
        for name, value in config.options.items()
    }
    return config.base if is_url(config.base) else folder / config.base, options


def load_config(path: Path) -> ControllerConfig:
    """Read a controller file.

    Args:
        path: the file.

    Returns:
        What it says.

    Raises:
        ConfigError: the file has faults.
    """
    config = schema.load(ControllerConfig, path)
    if config.schema != CONTROLLER_SCHEMA:
        raise ConfigError(
            f"schema {config.schema!r}",
            where=str(path),
            expected=repr(CONTROLLER_SCHEMA),
            mend="use a controller file of this version",
        )
    return config
