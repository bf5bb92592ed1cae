"""Turns a system of `bringup.py` into a description for `ros2 launch`.

`launch` and `launch_ros` come with a ROS distribution and are on no package index, so they are imported
here when a launch file asks for them, and nowhere else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reflexarc_ros.bringup import SYSTEMS, NodeSpec, environment, nodes, parameter_words
from reflexarc_ros.start import BAD_INPUT, PARENT_VARIABLE, RUN_ENDED

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

_RESPAWN_DELAY_S = 0.3


def describe(system: str) -> LaunchDescription:
    """Describe a system for `ros2 launch`: its declared arguments, then its nodes.

    Which nodes there are is worked out when the arguments are known, after `--show-args` would have
    returned. A node that ends is started anew. The supervisor's end is that of the whole system, and so is
    a node's refusal of its parameters; the launch then fails, unless the supervisor had been asked to end
    (a Ctrl-C in a terminal may reach it before it reaches the launcher).

    Args:
        system: a key of `bringup.SYSTEMS`.

    Returns:
        The launch description.

    Raises:
        KeyError: there is no such system.
        ImportError: `launch` is not installed; `reflexarc up` does not need it.
    """
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

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
    from launch.actions import Shutdown
    from launch_ros.actions import Node

    def on_exit(event: Any, context: LaunchContext) -> Shutdown | None:  # noqa: ANN401, launch gives no type
        if context.is_shutdown or (spec.respawn and event.returncode not in (BAD_INPUT, RUN_ENDED)):
            return None
        if event.returncode == 0:
            return Shutdown(reason=f"{spec.name} ended")
        raise RuntimeError(f"{spec.name} ended with exit code {event.returncode}; stopping the system")

    return Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace=spec.namespace,
        ros_arguments=parameter_words(spec),
        remappings=list(spec.remappings),
        respawn=spec.respawn,
        respawn_delay=_RESPAWN_DELAY_S,
        output="screen",
        # How long it may take after Ctrl-C: a vehicle lands first.
        sigterm_timeout=f"{spec.stop_s:g}",
        additional_env={**environment(), PARENT_VARIABLE: str(os.getpid())},
        on_exit=on_exit,
    )
