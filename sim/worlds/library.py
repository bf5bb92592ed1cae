"""Finds worlds with an arm by the name on a robot card or by the task that is made of them."""

from __future__ import annotations

import importlib
from typing import Any

from hardware.errors import ConfigError
from hardware.robot import RobotCard
from sim.worlds.arm_world import ArmWorld

# What a robot card calls a world (`parameters: {world: ...}`), and the class behind it.
_WORLDS = {
    "so101_pick_cube": "sim.worlds.pick_cube:PickCubeWorld",
    "so101_pair_pick_cube": "sim.worlds.pair_pick_cube:PairPickCubeWorld",
    "g1_upper_reach": "sim.worlds.two_hand_reach:TwoHandReachWorld",
    "panda_push_t": "sim.worlds.push_t:PushTWorld",
    "panda_peg_insert": "sim.worlds.peg_insert:PegInsertWorld",
}


def find_world(name: str) -> type[ArmWorld]:
    """Find a world.

    Args:
        name: as on a robot card, or the Gymnasium name of its task.

    Returns:
        The class.

    Raises:
        ConfigError: there is none.
    """
    if name in _WORLDS:
        return _load(name)
    tasks = {_load(known).TASK: known for known in _WORLDS} if name.startswith("reflexarc/") else {}
    if name in tasks:
        return _load(tasks[name])
    raise ConfigError(
        f"there is no world {name!r} with an arm",
        where="parameters: world",
        expected="one of " + ", ".join(tasks or _WORLDS),
        mend="correct the name",
    )


def make_world(card: RobotCard, *, settings: Any = None) -> ArmWorld:  # noqa: ANN401
    """Make the world that a robot card names.

    Args:
        card: the card of a twin with an arm.
        settings: how an attempt begins and what counts as success, of the world's kind; None: as usual.

    Returns:
        The world.

    Raises:
        ConfigError: the card names no world, or one that does not exist.
    """
    world: Any = find_world(str(card.parameters.get("world", "")))
    made: ArmWorld = world(settings=settings)
    return made


def _load(name: str) -> type[ArmWorld]:
    module, _, kind = _WORLDS[name].partition(":")
    found: type[ArmWorld] = getattr(importlib.import_module(module), kind)
    return found
