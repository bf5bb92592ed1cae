"""What pyproject.toml cannot say: the files that let ROS tools find this package in its prefix.

`pip install` and `colcon build` both run this file, so that `ros2 launch reflexarc …` works after either.
"""

from glob import glob

from setuptools import Distribution as _Distribution
from setuptools import setup


class Distribution(_Distribution):
    """A distribution whose data files are installed by `pip install --editable` too.

    setuptools asks `has_data` before it installs them there, and names the method `has_data_files`.
    """

    has_data = _Distribution.has_data_files


setup(
    distclass=Distribution,
    license="Apache-2.0",
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/reflexarc"]),
        ("share/reflexarc", ["package.xml"]),
        ("share/reflexarc/launch", sorted(glob("launch/*.launch.py"))),
    ],
)
