"""Turns a system of `bringup.py` into a description for `ros2 launch`.

`launch` and `launch_ros` come with a ROS distribution and are on no package index, so they are imported
here when a launch file asks for them, and nowhere else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reflexarc_ros.bringup import SYSTEMS, NodeSpec, environment, nodes
from reflexarc_ros.runner import PARENT_VARIABLE

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# A node that was given something wrong ends with this code; to start it again would not mend it.
_BAD_INPUT = 2
_RESPAWN_DELAY_S = 0.3


def describe(system: str) -> LaunchDescription:
    """Describe a system for `ros2 launch`: its declared arguments, then its nodes.

    Which nodes there are is worked out when the arguments are known, after `--show-args` would have
    returned. A node that ends is started anew; the supervisor's end, or a node's refusal of its
    parameters, ends the whole system with exit code 1.

    Args:
        system: a key of `bringup.SYSTEMS`.

    Returns:
        The launch description.

    Raises:
        KeyError: there is no such system.
        ImportError: `launch` is not installed; `reflexarc up` does not need it.
    """
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    from launch import LaunchDescription

    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=list(argument.choices) or None,
        )
        for argument in SYSTEMS[system].arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[system])])


def _start(context: LaunchContext, system: str) -> list[LaunchDescriptionEntity]:
    """Make the node actions, with the values that the arguments have now."""
    given = {a.name: context.launch_configurations[a.name] for a in SYSTEMS[system].arguments}
    return [_node(spec) for spec in nodes(system, given)]


def _node(spec: NodeSpec) -> LaunchDescriptionEntity:
    """Make one process: prefixed output, respawn, and no life beyond that of the launcher."""
    from launch_ros.actions import Node

    def on_exit(event: Any, context: LaunchContext) -> None:  # noqa: ANN401, launch's event has no type
        if not context.is_shutdown and (event.returncode == _BAD_INPUT or not spec.respawn):
            raise RuntimeError(f"{spec.name} ended with exit code {event.returncode}; stopping the system")

    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[{name: _typed(value) for name, value in spec.parameters.items()}],
        remappings=list(spec.remappings),
        respawn=spec.respawn,
        respawn_delay=_RESPAWN_DELAY_S,
        output="screen",
        additional_env={**environment(), PARENT_VARIABLE: str(os.getpid())},
        on_exit=on_exit,
    )


def _typed(value: Any) -> Any:  # noqa: ANN401, whatever a ROS parameter may be
    """Keep a text a text: launch would read `"10"` as a number and `""` as nothing."""
    from launch_ros.parameter_descriptions import ParameterValue

    if isinstance(value, str):
        return ParameterValue(value, value_type=str)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ParameterValue(value, value_type=list[str])
    return value
