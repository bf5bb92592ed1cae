"""The system `arm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.command import CommandKind
from policies.cameras import cameras_of
from policies.card import bind
from policies.controller import base_card
from reflexarc_ros.recorder_system import RECORD, with_recorder
from reflexarc_ros.system import (
    COMMON,
    Argument,
    NodeSpec,
    Robot,
    System,
    find_policy,
    find_robot,
    make_specs,
    read_seed,
    refuse_for_hardware,
    twin_parameters,
)
from reflexarc_ros.teleop_system import TELEOP, find_mapping, teleop_parameters

DEFAULT_POLICY = "bc/pick_cube"
_NO_POLICY = "none"
_ARGUMENTS = (
    *COMMON,
    Argument(
        "policy",
        "",
        f"Policy folder or controller file, or {_NO_POLICY}; empty: {DEFAULT_POLICY}, or {_NO_POLICY} where"
        " teleop is given. With both, the operator takes over while engaged.",
    ),
    *TELEOP,
    *RECORD,
)
_DEFAULTS = {a.name: a.default for a in _ARGUMENTS}


def _build(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    robot = find_robot(arguments, twin_card="so101_twin")
    name = arguments["policy"] or (_NO_POLICY if arguments["teleop"] else DEFAULT_POLICY)
    policy = None if name == _NO_POLICY else find_policy(name)
    card = None if policy is None else base_card(policy)
    interface = _interface(robot) if card is None else bind(card, robot.card).interface_name
    twin = twin_parameters(arguments)
    if card is not None and cameras_of(card):
        # Who looks through them needs them, asked for or not.
        twin["cameras"] = True
    mapping = find_mapping(arguments, robot, interface)
    refuse_for_hardware(robot, arguments, _DEFAULTS, "pace", "latency", "cameras", "headless")
    parameters: dict[str, dict[str, Any]] = {
        "gate_node": {**robot.shared, "interface": interface},
        # Who makes the time does not listen to its own clock.
        "robot_node": {
            **robot.shared,
            "use_sim_time": False,
            "interface": interface,
            **twin,
        },
    }
    if policy is not None:
        parameters["policy_node"] = {
            **robot.shared,
            "policy": str(policy),
            "seed": read_seed(arguments),
            "inference": arguments["inference"],
            "instruction": arguments["instruction"],
            "journal": arguments["journal"],
        }
    if mapping:
        parameters["teleop_node"] = {
            **teleop_parameters(arguments, robot, mapping),
            "interface": interface,
        }
    order = ("gate_node", "policy_node", "teleop_node", "robot_node")
    managed, parameters = with_recorder(robot, [n for n in order if n in parameters], parameters, arguments)
    return make_specs(robot, managed, parameters, arguments)


def _interface(robot: Robot) -> str:
    """The interface that an operator commands: the card's first one for joints."""
    spec = robot.card.command_of_kind(CommandKind.JOINT_POSITION)
    return next(name for name, other in robot.card.commands.items() if other is spec)


ARM = System(
    "arm", "An SO-101 arm that picks cubes with a chunked behaviour-cloning policy.", _ARGUMENTS, _build
)
