"""What a system brings up for an operator: its arguments, and teleop_node's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.errors import ConfigError
from hardware.teleop import DEVICES, load_mapping, mapping_name
from hardware.teleop.binding import bind_mapping
from reflexarc_ros.system import Argument, Robot

TELEOP = (
    Argument(
        "teleop",
        "",
        "An operator's device (keyboard, gamepad, spacemouse, browser, so101_leader), or the YAML file of a"
        " mapping; empty: none.",
    ),
    Argument("teleop_options", "{}", "Options of that device as JSON, e.g. '{\"port\": 8766}'."),
)


def find_mapping(arguments: Mapping[str, str], robot: Robot, interface: str) -> str:
    """Find the mapping that `teleop` names, and see that it fits the robot.

    Args:
        arguments: complete.
        robot: the robot.
        interface: the command interface on its card.

    Returns:
        The name or path of the mapping; empty where nobody operates.

    Raises:
        ConfigError: there is no such mapping, it does not fit, its device cannot be used here, or the
            system runs in lockstep.
    """
    name = arguments["teleop"]
    if not name:
        return ""
    mapping = mapping_name(name, robot.card)
    if arguments["pace"] == "lockstep":
        raise ConfigError(
            f"teleop:={name} in lockstep",
            where="bring-up",
            expected="pace:=real_time: a person does not step with the simulation",
            mend="leave one of them out",
        )
    loaded = load_mapping(mapping)
    bind_mapping(loaded, robot.card, interface)
    if loaded.device in DEVICES and DEVICES[loaded.device].needs_terminal:
        raise ConfigError(
            f"the device {loaded.device!r} needs a terminal of its own",
            where="argument 'teleop'",
            expected="another device: the processes of a system share none",
            mend=f"bring the system up without it, then run: reflexarc teleop {loaded.device}",
        )
    return mapping


def teleop_parameters(arguments: Mapping[str, str], robot: Robot, mapping: str) -> dict[str, Any]:
    """The parameters of teleop_node."""
    return {**robot.shared, "mapping": mapping, "options": arguments["teleop_options"]}
