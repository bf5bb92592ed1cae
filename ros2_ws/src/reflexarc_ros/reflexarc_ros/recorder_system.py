"""What a system needs to record itself: the arguments, and recorder_node beside the other nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reflexarc_ros.system import Argument, Robot, between

NODE = "recorder_node"
RECORD = (
    Argument("record", "", "Folder for recorded episodes (MCAP); empty: nothing is recorded."),
    Argument(
        "record_begin",
        "request",
        "When an episode begins: on a request, or with the first observation after every activation.",
        ("request", "activation"),
    ),
    Argument("record_seconds", "0", "Longest recorded episode in seconds; 0: no limit."),
    Argument("record_page", "-1", "Port of the recorder's page on this machine; 0: any, -1: no page."),
    Argument("task", "", "What is to be done, as a short name for the recordings."),
    Argument("instruction", "", "What is to be done, in words for the recordings."),
)


def with_recorder(
    robot: Robot,
    managed: Sequence[str],
    parameters: Mapping[str, dict[str, Any]],
    arguments: Mapping[str, str],
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Add recorder_node, where a folder is given; it is active before anything moves.

    Args:
        robot: the robot.
        managed: the nodes in the order of their start.
        parameters: of each.
        arguments: complete.

    Returns:
        The nodes and their parameters.

    Raises:
        ConfigError: a time limit that is none.
    """
    limit_s = between(arguments, "record_seconds", 0, 86400)
    port = round(between(arguments, "record_page", -1, 65535))
    if not arguments["record"]:
        return list(managed), dict(parameters)
    policy = parameters.get("policy_node", {})
    own = {
        **robot.shared,
        "folder": str(Path(arguments["record"]).absolute()),
        "begin": arguments["record_begin"],
        "time_limit_s": limit_s,
        "task": arguments["task"],
        "instruction": arguments["instruction"],
        "operator": arguments.get("teleop") or Path(policy.get("policy", "")).name,
        "policy": policy.get("policy", ""),
        "parameters": json.dumps({"arguments": dict(arguments), "nodes": parameters}),
        "page_port": port,
    }
    return [NODE, *managed], {**parameters, NODE: own}
