"""Packages the ROS 2 nodes, for `pip install` and for `colcon build` alike.

A launched node is looked for at `lib/reflexarc_ros/NAME` in the package's prefix. pip puts a console
script into `bin/`, whatever setup.cfg says, so the executables are data files: small shell scripts that
start the module of their own name with the Python of the prefix that they lie in.
"""

from glob import glob

from setuptools import Distribution as _Distribution
from setuptools import find_packages, setup

NAME = "reflexarc_ros"


class Distribution(_Distribution):
    """A distribution whose data files are installed by `pip install --editable` too.

    setuptools asks `has_data` before it installs them there, and names the method `has_data_files`.
    """

    has_data = _Distribution.has_data_files


setup(
    distclass=Distribution,
    name=NAME,
    version="0.1.0",
    description="The ROS 2 nodes of Reflexarc",
    license="Apache-2.0",
    python_requires=">=3.12,<3.13",
    install_requires=["reflexarc==0.1.0"],
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["**/*.yaml", "**/*.xml", "**/*.html", "py.typed"]},
    zip_safe=False,
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"lib/{NAME}", sorted(glob("scripts/*_node"))),
    ],
)
