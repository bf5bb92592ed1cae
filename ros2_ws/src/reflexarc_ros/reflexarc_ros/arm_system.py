"""The system `arm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.card import bind, load_policy_card
from policies.controller import base_folder
from reflexarc_ros.system import (
    COMMON,
    Argument,
    NodeSpec,
    System,
    find_policy,
    find_robot,
    make_specs,
    read_seed,
    refuse_for_hardware,
    twin_parameters,
)

_ARGUMENTS = (*COMMON, Argument("policy", "bc/pick_cube", "Policy folder or controller file."))
_DEFAULTS = {a.name: a.default for a in _ARGUMENTS}


def _build(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    robot = find_robot(arguments, twin_card="so101_twin")
    policy = find_policy(arguments["policy"])
    binding = bind(load_policy_card(base_folder(policy)), robot.card)
    refuse_for_hardware(robot, arguments, _DEFAULTS, "pace", "latency", "cameras", "headless")
    parameters: dict[str, dict[str, Any]] = {
        "gate_node": {**robot.shared, "interface": binding.interface_name},
        "policy_node": {**robot.shared, "policy": str(policy), "seed": read_seed(arguments)},
        # Who makes the time does not listen to its own clock.
        "robot_node": {
            **robot.shared,
            "use_sim_time": False,
            "interface": binding.interface_name,
            **twin_parameters(arguments),
        },
    }
    return make_specs(robot, ("gate_node", "policy_node", "robot_node"), parameters, arguments)


ARM = System(
    "arm", "An SO-101 arm that picks cubes with a chunked behaviour-cloning policy.", _ARGUMENTS, _build
)
