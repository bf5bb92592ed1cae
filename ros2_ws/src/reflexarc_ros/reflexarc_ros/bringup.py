"""One description per system: which nodes, with which parameters, under which conditions.

`launch/*.launch.py` turns it into a standard launch description; `reflexarc up` runs the very same
description with the wheels alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardware.errors import ConfigError
from reflexarc_ros.arm_system import ARM
from reflexarc_ros.quadrotor_system import QUADROTOR
from reflexarc_ros.system import PACKAGE, Argument, NodeSpec, System, check_graphics

__all__ = [
    "PACKAGE",
    "SYSTEMS",
    "Argument",
    "NodeSpec",
    "System",
    "check_graphics",
    "environment",
    "nodes",
    "parameter_words",
    "parse_arguments",
]

SYSTEMS: dict[str, System] = {system.name: system for system in (QUADROTOR, ARM)}


def environment() -> dict[str, str]:
    """What every process of a system needs in its environment, unless the user has set it.

    Returns:
        Names and values: discovery and transport stay on this machine, one thread for linear algebra.
    """
    profiles = str(Path(__file__).parent / "config" / "fastdds.xml")
    defaults = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        # Fast DDS 2 (Jazzy) reads the one, Fast DDS 3 (Kilted) the other.
        "FASTRTPS_DEFAULT_PROFILES_FILE": profiles,
        "FASTDDS_DEFAULT_PROFILES_FILE": profiles,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_COLORIZED_OUTPUT": "0",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()}


def parameter_words(spec: NodeSpec) -> list[str]:
    """Give a node's parameters as words of its command line, as JSON, which is YAML: a text stays a text.

    Args:
        spec: the node.

    Returns:
        `-p name:=value` for each parameter; no file is left behind.
    """
    return [w for name, value in spec.parameters.items() for w in ("-p", f"{name}:={json.dumps(value)}")]


def parse_arguments(system: str, words: Sequence[str]) -> dict[str, str]:
    """Read `name:=value` words.

    Args:
        system: a key of `SYSTEMS`.
        words: as typed.

    Returns:
        The given arguments.

    Raises:
        ConfigError: an unknown system, or a word that is not `name:=value`.
    """
    _system(system)
    given: dict[str, str] = {}
    for word in words:
        name, mark, value = word.partition(":=")
        if not mark or not name:
            raise ConfigError(
                f"{word!r} is not an argument",
                where=f"reflexarc up {system}",
                expected="name:=value",
                mend="write for instance robot:=twin",
            )
        given[name] = value
    return given


def nodes(system: str, arguments: Mapping[str, str] | None = None) -> tuple[NodeSpec, ...]:
    """Describe the processes of a system; everything is checked here, before any of them starts.

    Args:
        system: a key of `SYSTEMS`.
        arguments: the given arguments; the others take their defaults.

    Returns:
        The processes in the order of their start.

    Raises:
        ConfigError: an unknown system, argument or value, a faulty card, or a policy that does not
            fit the robot.
    """
    found = _system(system)
    given = dict(arguments or {})
    known = {a.name: a for a in found.arguments}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                f"unknown argument {name!r}",
                where=f"system {system!r}",
                expected="one of " + ", ".join(known),
                mend="correct the name",
            )
        choices = known[name].choices
        if choices and value not in choices:
            raise ConfigError(
                f"{name} is {value!r}",
                where=f"system {system!r}",
                expected="one of " + ", ".join(choices),
                mend="choose one of these",
            )
    return found.build({a.name: given.get(a.name, a.default) for a in found.arguments})


def _system(name: str) -> System:
    if name not in SYSTEMS:
        raise ConfigError(
            f"there is no system {name!r}",
            where="bring-up",
            expected="one of " + ", ".join(SYSTEMS),
            mend="correct the name",
        )
    return SYSTEMS[name]
