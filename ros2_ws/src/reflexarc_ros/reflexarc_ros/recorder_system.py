"""What a system needs to record itself: the arguments, and recorder_node beside the other nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardware.errors import ConfigError
from hardware.ranges import is_ros_name
from hardware.teleop import load_mapping
from hardware.teleop.leader import LEADER_TOPIC, Leader
from recording.criteria import read_thresholds
from recording.quality import GATED
from reflexarc_ros.recorder_contents import calibration_files
from reflexarc_ros.system import Argument, Robot, between, split

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
    Argument(
        "record_thresholds",
        "{}",
        "From where on a recorded episode is marked, as JSON, e.g. '{\"max_idle_share\": 0.5}'; what is not"
        " named keeps its default (docs/recording.md).",
    ),
    Argument(
        "record_calibration",
        "",
        "Files that go into the recordings as they are (calibration and the like), with commas between them.",
    ),
    Argument(
        "record_exclude",
        "",
        "Topics that are not recorded, with commas between them, absolute or relative to the namespace.",
    ),
    Argument("operator", "", "Who moves the robot, for the recordings; empty: the device or the policy."),
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
        ConfigError: a time limit, a threshold or a topic that is none, or a file that cannot be read.
    """
    limit_s = between(arguments, "record_seconds", 0, 86400)
    port = round(between(arguments, "record_page", -1, 65535))
    read_thresholds(arguments["record_thresholds"], "argument 'record_thresholds'")
    calibration = [str(Path(path).absolute()) for path in split(arguments["record_calibration"], ",")]
    calibration_files(calibration, "argument 'record_calibration'")
    exclude = _topics(arguments, "record_exclude")
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
        "operator": arguments["operator"] or arguments.get("teleop") or Path(policy.get("policy", "")).name,
        "policy": policy.get("policy", ""),
        "parameters": json.dumps({"arguments": dict(arguments), "nodes": parameters}),
        "page_port": port,
        "thresholds": arguments["record_thresholds"],
        # A list without an element has no type that ROS could tell.
        "calibration": calibration or [""],
        "exclude": exclude or [""],
        "expected": _expected(robot, parameters) or [""],
    }
    return [NODE, *managed], {**parameters, NODE: own}


def _topics(arguments: Mapping[str, str], name: str) -> list[str]:
    """Read an argument that names topics; raises ConfigError where ROS takes one not."""
    topics = split(arguments[name], ",")
    for topic in topics:
        if not is_ros_name(topic.removeprefix("/")):
            raise ConfigError(
                f"{topic!r} is not a topic",
                where=f"argument {name!r}",
                expected="letters, digits and underscores, in parts that begin with no digit, joined by /",
                mend="correct the name, such as front/image",
            )
    return topics


def _expected(robot: Robot, parameters: Mapping[str, dict[str, Any]]) -> list[str]:
    """What has to arrive beside what the card measures, relative to the namespace."""
    expected = [GATED]
    # Whoever runs a real robot runs its cameras; a twin's are rendered where that is asked for.
    if parameters["robot_node"].get("cameras") or not robot.is_twin:
        expected += [f"{name}/image" for name in robot.card.cameras]
    mapping = parameters.get("teleop_node", {}).get("mapping")
    if mapping and Leader(load_mapping(mapping)).names:
        expected.append(LEADER_TOPIC)
    return expected
