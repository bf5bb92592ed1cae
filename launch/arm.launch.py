"""Moves an SO-101 arm: `ros2 launch reflexarc arm.launch.py robot:=twin`.

The arguments and the nodes are those of `reflexarc up arm`, from `reflexarc_ros/bringup.py`;
`--show-args` lists them.
"""

from launch import LaunchDescription
from reflexarc_ros.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the arm's launch description."""
    return describe("arm")
