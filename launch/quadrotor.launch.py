"""Flies a quadrotor: `ros2 launch reflexarc quadrotor.launch.py robot:=twin`.

The arguments and the nodes are those of `reflexarc up quadrotor`, from `reflexarc_ros/bringup.py`;
`--show-args` lists them.
"""

from launch import LaunchDescription
from reflexarc_ros.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the quadrotor's launch description."""
    return describe("quadrotor")
